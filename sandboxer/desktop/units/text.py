"""
The text of unit files: sections, keys, values, and what several files come to.

What comes in: texts of unit files, in the order in which they hold. What goes out: a Unit that tells each key's values,
with the resets that an empty value means. It opens no file, and knows no key but by whether its values are a list.

Source: systemd.syntax(7), systemd.unit(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from sandboxer.words import Record

COMMENTS = ("#", ";")
WHITESPACE = " \t\n\r"
"""What systemd takes for that; any other letter is part of a value."""
LINE_END = re.compile("\r\n|\n\r|[\n\r\0]")
TRUE = ("1", "yes", "y", "true", "t", "on")


class Setting(Record):
    """One assignment; `file` and `line` are where it begins."""

    section: str
    key: str
    value: str
    file: str
    line: int


class Unit(Record):
    """All assignments that hold, the first one first."""

    settings: tuple[Setting, ...]

    def values(self, key: str, section: str = "Service") -> tuple[Setting, ...]:
        """A list's values: those since the last empty one."""
        found: list[Setting] = []
        for setting in self.settings:
            if setting.section == section and setting.key == key:
                found = [*found, setting] if setting.value else []
        return tuple(found)

    def value(self, key: str, section: str = "Service") -> str:
        """A single value, the last one; "" where there is none."""
        found = self.values(key, section)
        return found[-1].value if found else ""

    def is_on(self, key: str, section: str = "Service") -> bool:
        """Whether a boolean is set, and to yes."""
        return self.value(key, section).lower() in TRUE


def settings(text: str, file: str) -> Iterator[Setting]:
    """The assignments of one file; lines that are none are left out, as systemd does after a warning."""
    section = ""
    for number, line in _lines(text):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif section:
            key, equals, value = line.partition("=")
            if equals and key.strip(WHITESPACE):
                yield Setting(
                    section=section,
                    key=key.strip(WHITESPACE),
                    value=value.strip(WHITESPACE),
                    file=file,
                    line=number,
                )


def merged(files: Iterable[tuple[str, str]]) -> Unit:
    """What files of (path, text) come to together."""
    return Unit(settings=tuple(setting for path, text in files for setting in settings(text, path)))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """
    Lines as systemd joins them: a backslash at the end becomes a space, and comments in between are left out. The
    number is the first one's.
    """
    joined, start = "", 0
    for number, line in enumerate(LINE_END.split(text.removeprefix("\ufeff")), start=1):
        bare = line.lstrip(WHITESPACE)
        if bare.startswith(COMMENTS):
            continue
        if not joined:
            start = number
            if not bare.strip(WHITESPACE):
                continue
        if _continues(line):
            joined += line[:-1] + " "
            continue
        whole, joined = (joined + line).strip(WHITESPACE), ""
        if whole:
            yield start, whole
    if joined.strip(WHITESPACE):
        yield start, joined.strip(WHITESPACE)


def _continues(line: str) -> bool:
    """Whether it ends in a backslash that isn't itself escaped."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1

"""
Names of the variables that a unit gives its program: Environment=, PassEnvironment=, EnvironmentFile=.

What comes in: the merged unit and its specifiers' meanings. What goes out: names, never a value, and which files they
come from. A file that isn't there gives none.

Source: systemd.exec(5); parse_env_file_internal() of systemd for the files' syntax.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator

from sandboxer.desktop.units.specifiers import Meanings
from sandboxer.desktop.units.text import Unit
from sandboxer.desktop.units.words import split
from sandboxer.words import Record

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
FILE_SIZE_MAX = 1024 * 1024
PASSED_BY_THE_LAUNCHER = frozenset(
    {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}
)
"""What the launcher hands on itself, or leaves out."""


class Variables(Record):
    """`names` in their order, each once; `files` those that were read; `missing` those that have to be there."""

    names: tuple[str, ...]
    files: tuple[str, ...]
    missing: tuple[str, ...]


def variables(unit: Unit, meanings: Meanings) -> Variables:
    """The variables of a unit, as it and its files are now."""
    names: list[str] = []
    for setting in unit.values("Environment"):
        names += [word.partition("=")[0] for word in split(setting.value) if "=" in word]
    for setting in unit.values("PassEnvironment"):
        names += split(setting.value)
    read: list[str] = []
    missing: list[str] = []
    for setting in unit.values("EnvironmentFile"):
        optional = setting.value.startswith("-")
        pattern = meanings.expanded(setting.value.removeprefix("-"))
        found = sorted(glob.glob(pattern)) if pattern.startswith("/") else []
        if not found and not optional and meanings.is_known(setting.value):
            missing.append(pattern)
        for path in found:
            text = _read(path)
            if text is None:
                if not optional:
                    missing.append(path)
                continue
            read.append(path)
            names += names_in(text)
    kept = dict.fromkeys(
        name for name in names if NAME.fullmatch(name) and name not in PASSED_BY_THE_LAUNCHER
    )
    return Variables(names=tuple(kept), files=tuple(dict.fromkeys(read)), missing=tuple(missing))


def names_in(text: str) -> Iterator[str]:
    """The names that an environment file assigns to."""
    at = 0
    while at < len(text):
        while at < len(text) and text[at] in " \t\r\n":
            at += 1
        if text[at : at + 1] in ("#", ";"):
            at = _end_of_comment(text, at)
            continue
        end = at
        while end < len(text) and text[end] not in "=\n\r":
            end += 1
        if text[end : end + 1] != "=":  # a line that assigns nothing
            at = end + 1
            continue
        yield text[at:end].strip()
        at = _end_of_value(text, end + 1)


def _end_of_comment(text: str, at: int) -> int:
    """A backslash at a comment's end goes on with it."""
    while at < len(text) and text[at] not in "\n\r":
        at += 2 if text[at] == "\\" else 1
    return at


def _end_of_value(text: str, at: int) -> int:
    """Quotes, which may span lines, and escapes, which may hide a line's end."""
    quote, begins = "", True
    while at < len(text):
        letter = text[at]
        if letter == "\\" and quote != "'":
            at += 2
            begins = False
            continue
        if quote:
            if letter == quote:
                quote, begins = "", True  # one quoted piece may follow another
        elif letter in "\n\r":
            return at
        elif begins and letter in "'\"":
            quote = letter
        elif letter not in " \t":
            begins = False
        at += 1
    return at


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(FILE_SIZE_MAX)
    except OSError:
        return None

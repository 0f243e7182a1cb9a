"""
The text of desktop entries and D-Bus service files, edited without touching what isn't meant.

What comes in: a file's bytes. What goes out: the same bytes, but for the values that were set: comments, blank lines,
the order of keys, unknown groups, localized keys, line ends and bytes that aren't UTF-8 stay. It never judges a value.

Source: desktop entry specification 1.5, "Basic format of the file"; where that is silent, GLib's GKeyFile (blanks
before a key count for nothing, a group that comes twice goes on).
"""

from __future__ import annotations

from collections.abc import Iterator

from sandboxer.words import Record

UNESCAPED = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
ESCAPED = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


class Pair(Record):
    """One `key=value`; `line` is its index, `key` has the locale in it ("Name[de]"), `value` is as written."""

    line: int
    group: str
    key: str
    value: str

    @property
    def text(self) -> str:
        """The value without the escapes of strings; unknown ones stay as they are."""
        return unescape(self.value)

    @property
    def bare_key(self) -> str:
        """The key without its locale."""
        return self.key.partition("[")[0]


class KeyFile:
    """A file, to be read and edited by groups and keys."""

    def __init__(self, content: bytes) -> None:
        self._lines = content.decode("utf-8", "surrogateescape").split("\n")

    def content(self) -> bytes:
        """The file as it is now."""
        return "\n".join(self._lines).encode("utf-8", "surrogateescape")

    def groups(self) -> tuple[str, ...]:
        """The names of groups, each once, in order."""
        return tuple(dict.fromkeys(group for _, group, line in self._walk() if line.startswith("[")))

    def pairs(self) -> Iterator[Pair]:
        """All keys of all groups, in order; a key that comes twice comes twice."""
        for index, group, line in self._walk():
            key, equals, value = line.partition("=")
            if equals and group and not line.startswith(("#", "[")):
                yield Pair(line=index, group=group, key=key.rstrip(), value=value.strip())

    def get(self, group: str, key: str) -> str | None:
        """A value as written, the last one where it comes twice, as GLib has it; None when it isn't there."""
        found = None
        for pair in self.pairs():
            if (pair.group, pair.key) == (group, key):
                found = pair.value
        return found

    def text(self, group: str, key: str) -> str:
        """A value without the escapes of strings; "" when it isn't there."""
        return unescape(self.get(group, key) or "")

    def put(self, line: int, value: str) -> None:
        """Give the key on a line another value, escaped already."""
        old = self._lines[line]
        start = old.index("=") + 1
        start += len(old[start:]) - len(old[start:].lstrip(" \t"))
        self._lines[line] = old[:start] + value + ("\r" if old.endswith("\r") else "")

    def set(self, group: str, key: str, value: str) -> None:
        """Give a key a value, everywhere where the group has it; where it hasn't, behind the group's last line."""
        lines = [pair.line for pair in self.pairs() if (pair.group, pair.key) == (group, key)]
        for line in lines:
            self.put(line, value)
        if lines:
            return
        last = max(
            (index for index, of, line in self._walk() if of == group and line and not line.startswith("#")),
            default=None,
        )
        assert last is not None, f"there is no group {group}"
        end = "\r" if self._lines[last].endswith("\r") else ""
        self._lines.insert(last + 1, f"{key}={value}{end}")
        if last + 2 == len(self._lines):  # the file had no line end at its end
            self._lines.append("")

    def drop(self, group: str, key: str) -> None:
        """Take a key out of a group, wherever it is there."""
        lines = [pair.line for pair in self.pairs() if (pair.group, pair.key) == (group, key)]
        for line in reversed(lines):
            del self._lines[line]

    def _walk(self) -> Iterator[tuple[int, str, str]]:
        """Index, group and stripped text of each line; a header is in its own group."""
        group = ""
        for index, raw in enumerate(self._lines):
            line = raw.strip(" \t\r\f\v")
            if line.startswith("[") and "]" in line:
                group = line[1 : line.index("]")]
            yield index, group, line


def unescape(value: str) -> str:
    """Take the escapes of strings off: backslash and s, n, t, r or another backslash."""
    if "\\" not in value:
        return value
    made, letters = [], iter(value)
    for letter in letters:
        if letter != "\\":
            made.append(letter)
            continue
        following = next(letters, "")
        made.append(UNESCAPED.get(following, f"\\{following}"))
    return "".join(made)


def escape(text: str) -> str:
    """A string's value as a file has it: what `unescape` takes off, and a blank at its start."""
    made = "".join(ESCAPED.get(letter, letter) for letter in text)
    return f"\\s{made[1:]}" if made.startswith(" ") else made

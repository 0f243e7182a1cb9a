"""
Where in a TOML text each key and each array element stands.

What comes in: text that tomllib has accepted. What goes out: line numbers, for origins and error messages. It
never decides what a value is; tomllib, which keeps no lines, has done that.
"""

from __future__ import annotations

import tomllib

Place = tuple[str | int, ...]
"""Keys from the document's root; a number is an index, into an array or a row of [[tables]]."""

BLANK = " \t"
SPACE = " \t\n"
BARE_END = ",]}#\n"
KEY_END = " \t\n.=]"


def locate(text: str) -> dict[Place, int]:
    """
    The 1-based line on which each key, table header and array element begins.

    A table that several lines make (dotted keys) has the line of the first. Line ends may be LF or CRLF.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.lines


class _Scanner:
    """One walk over valid TOML. `at` is the next character; lines are counted up to where was last asked."""

    def __init__(self, text: str) -> None:
        self.text = text + "\n"
        self.end = len(text)
        self.at = 0
        self.lines: dict[Place, int] = {}
        self.rows: dict[Place, int] = {}
        self._line = 1
        self._counted = 0

    def line(self) -> int:
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def note(self, place: Place) -> None:
        if place not in self.lines:
            self.lines[place] = self.line()

    def skip(self, characters: str) -> str:
        """Pass over these and comments' text; the character that stands there then."""
        text = self.text
        while self.at < self.end:
            here = text[self.at]
            if here == "#" and "\n" in characters:
                self.at = text.index("\n", self.at)
            elif here in characters:
                self.at += 1
            else:
                return here
        return ""

    def document(self) -> None:
        table: Place = ()
        while here := self.skip(SPACE):
            if here == "[":
                table = self.header()
            else:
                self.pair(table)

    def header(self) -> Place:
        """[a.b] or [[a.b]], up to and with the closing brackets; the table that the next pairs belong to."""
        row = self.text.startswith("[[", self.at)
        self.at += 2 if row else 1
        table: Place = ()
        keys = self.keys()
        for key in keys:
            table = (*self.inside(table), key)
            self.note(table)
        self.at += 2 if row else 1
        if row:
            self.rows[table] = self.rows.get(table, -1) + 1
            self.note(self.inside(table))
        return self.inside(table)

    def inside(self, table: Place) -> Place:
        """A table, or the newest row of an array of tables."""
        return (*table, self.rows[table]) if table in self.rows else table

    def pair(self, table: Place) -> None:
        for key in self.keys():
            table = (*table, key)
            self.note(table)
        self.at += 1  # "="
        self.value(table)

    def keys(self) -> list[str]:
        """A dotted key; stops at what follows it ("=" or "]")."""
        found = []
        while True:
            self.skip(BLANK)
            found.append(self.key())
            if self.skip(BLANK) != ".":
                return found
            self.at += 1

    def key(self) -> str:
        text, start = self.text, self.at
        if text[start] in "\"'":
            self.string()
            quoted = text[start : self.at]
            if "\\" not in quoted:
                return quoted[1:-1]
            return next(iter(tomllib.loads(f"{quoted} = 0")))
        while text[self.at] not in KEY_END:
            self.at += 1
        return text[start : self.at]

    def value(self, place: Place) -> None:
        here = self.skip(BLANK)
        if here in "\"'":
            self.string()
        elif here == "[":
            self.array(place)
        elif here == "{":
            self.inline_table(place)
        else:
            while self.text[self.at] not in BARE_END:
                self.at += 1

    def array(self, place: Place) -> None:
        self.at += 1
        index = 0
        while self.skip(SPACE) != "]":
            element = (*place, index)
            self.note(element)
            self.value(element)
            if self.skip(SPACE) == ",":
                self.at += 1
            index += 1
        self.at += 1

    def inline_table(self, place: Place) -> None:
        self.at += 1
        while self.skip(SPACE) != "}":
            self.pair(place)
            if self.skip(SPACE) == ",":
                self.at += 1
        self.at += 1

    def string(self) -> None:
        """Any of the four kinds, from its opening quote to past its closing one."""
        text = self.text
        quote = text[self.at]
        ends = quote * 3 if text.startswith(quote * 3, self.at) else quote
        self.at += len(ends)
        while True:
            close = text.index(ends, self.at)
            if quote == '"':
                escape = text.find("\\", self.at, close)
                if escape >= 0:
                    self.at = escape + 2
                    continue
            self.at = close + len(ends)
            break
        # A multi-line string may hold one or two quotes right before its end: """a"""".
        if len(ends) == 3:
            while text[self.at] == quote:
                self.at += 1

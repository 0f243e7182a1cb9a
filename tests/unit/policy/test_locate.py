"""Lines of keys and array elements, against texts written by hand and documents made at random."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxer.policy.locate import Place, locate

EVERYTHING = '''\
# a comment with "quotes" and [brackets] = 1
top = "a"   # line 2
a.b . "c d" = 1

[files]
home = "private"
read = [
    "~/x",   # ] not the end, "nor this
    # "not an item",
    "~/y", "~/z",

    \'\'\'
over lines [
\'\'\',
]
text = """
home = "not a key"
[nor] a table \\""" still inside
"""
last = { one = 1, two.three = [ 1,
  2 ] }

[ "quoted.name" . 'x' ]
"key # 1" = '''


def test_every_kind_of_key_and_item_has_its_line() -> None:
    lines = locate(EVERYTHING + "true\n")
    assert {
        ("top",): 2,
        ("a",): 3,
        ("a", "b"): 3,
        ("a", "b", "c d"): 3,
        ("files",): 5,
        ("files", "home"): 6,
        ("files", "read"): 7,
        ("files", "read", 0): 8,
        ("files", "read", 1): 10,
        ("files", "read", 2): 10,
        ("files", "read", 3): 12,
        ("files", "text"): 16,
        ("files", "last"): 20,
        ("files", "last", "one"): 20,
        ("files", "last", "two"): 20,
        ("files", "last", "two", "three"): 20,
        ("files", "last", "two", "three", 0): 20,
        ("files", "last", "two", "three", 1): 21,
        ("quoted.name",): 23,
        ("quoted.name", "x"): 23,
        ("quoted.name", "x", "key # 1"): 24,
    } == lines


def test_rows_of_tables_are_counted() -> None:
    text = "[[row]]\na = 1\n[[row]]\na = 2\n[row.sub]\nb = 3\n[[row.inner]]\nc = 4\n[[row.inner]]\nc = 5\n"
    lines = locate(text)
    assert (2, 4) == (lines["row", 0, "a"], lines["row", 1, "a"])
    assert 6 == lines["row", 1, "sub", "b"]
    assert (8, 10) == (lines["row", 1, "inner", 0, "c"], lines["row", 1, "inner", 1, "c"])


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_line_ends_of_either_kind_count_the_same(ends: str) -> None:
    assert {("a",): 1, ("b",): 3, ("b", 0): 4} == locate(ends.join(["a = 1", "", "b = [", "  2", "]"]))


@pytest.mark.parametrize(
    "value",
    ['""', '"a\\"b"', '"\\\\"', "''", "'\\'", '""""""', '"""a"""""', '"""\\""" """', "''''''", "'''a'''''"],
)
def test_any_string_ends_where_tomllib_ends_it(value: str) -> None:
    text = f"a = {value} # x\nb = [{value}, {value}]\nc = 3"
    assert 3 == tomllib.loads(text)["c"]
    assert {("a",): 1, ("b",): 2, ("b", 0): 2, ("b", 1): 2, ("c",): 3} == locate(text)


# A random document is written with a known line for each place, then located.

KEYS = st.one_of(
    st.text("abcXYZ019_-", min_size=1, max_size=6),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=6),
)
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\t"), max_size=12)
SCALARS = st.one_of(TEXTS, st.booleans(), st.integers(-9, 10**6), st.floats(allow_nan=False))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=3), st.lists(SCALARS, max_size=4)
    ),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(
    KEYS,
    st.one_of(
        VALUES,
        st.dictionaries(KEYS, VALUES, max_size=4),
        st.lists(st.dictionaries(KEYS, VALUES, max_size=2), min_size=1, max_size=3),
    ),
    max_size=5,
)


class Writer:
    """Writes TOML in the many ways there are, as `draw` chooses, and notes the line of each place."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.text = ""
        self.lines: dict[Place, int] = {}

    def pick(self, *choices: str) -> str:
        return self.data.draw(st.sampled_from(choices))

    def note(self, place: Place) -> None:
        self.lines.setdefault(place, self.text.count("\n") + 1)

    def basic(self, text: str, *, multi_line: bool = False) -> str:
        out = []
        for character in text:
            if character in '"\\':
                out.append("\\" + character)
            elif character == "\n" and multi_line:
                out.append(self.pick("\n", "\\n", "\\\n \n  \\n"))
            elif character in "\n\x7f":
                out.append(f"\\u{ord(character):04x}")
            else:
                out.append(character)
        return "".join(out)

    def key(self, key: str) -> str:
        bare = bool(key) and key.isascii() and key.replace("-", "a").replace("_", "a").isalnum()
        if bare and self.pick("bare", "quoted") == "bare":
            return key
        if "'" not in key and "\x7f" not in key and self.pick("basic", "literal") == "literal":
            return f"'{key}'"
        return f'"{self.basic(key)}"'

    def string(self, text: str) -> str:
        form = self.pick("basic", "long basic", "literal", "long literal")
        if "\x7f" not in text and "\r" not in text:
            if form == "literal" and "'" not in text and "\n" not in text:
                return f"'{text}'"
            if form == "long literal" and "'''" not in text and not text.endswith("'"):
                return f"'''\n{text}'''"
        if form == "long basic":
            return f'"""{self.pick("", chr(10))}{self.long_start(text)}"""'
        return f'"{self.basic(text)}"'

    def long_start(self, text: str) -> str:
        written = self.basic(text, multi_line=True)
        return "\\n" + written[1:] if written.startswith("\n") else written

    def value(self, place: Place, value: Any) -> None:
        if isinstance(value, dict):
            self.text += "{"
            for index, (name, inner) in enumerate(value.items()):
                self.text += ", " if index else " "
                self.note((*place, name))
                self.text += f"{self.key(name)}{self.pick('=', ' = ')}"
                self.value((*place, name), inner)
            self.text += "}"
        elif isinstance(value, list):
            self.text += "["
            for index, inner in enumerate(value):
                self.text += self.pick("", " ", "\n", " # ] \" '\n\n  ")
                self.note((*place, index))
                self.value((*place, index), inner)
                self.text += self.pick("", " ", "\n", "# [\n") + (
                    "," if index + 1 < len(value) else self.pick("", ",")
                )
            self.text += self.pick("", "\n", " # ,\n") + "]"
        elif isinstance(value, bool):
            self.text += "true" if value else "false"
        elif isinstance(value, str):
            self.text += self.string(value)
        else:
            self.text += repr(value)

    def pair(self, place: Place, value: Any) -> None:
        self.text += self.pick("", "  ", "\n", "# x = 'y\n")
        self.note(place)
        self.text += f"{self.key(str(place[-1]))}{self.pick('=', ' = ', '= ')}"
        self.value(place, value)
        self.text += self.pick("", "  ", " # [z]") + "\n"

    def document(self, document: dict[str, Any]) -> None:
        tables = {}
        for name, value in document.items():
            rows = isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
            if (rows or isinstance(value, dict)) and self.pick("inline", "table") == "table":
                tables[name] = value
            else:
                self.pair((name,), value)
        for name, value in tables.items():
            for row, place in self.rows(name, value):
                self.text += self.pick("", "\n", "  ")
                self.note((name,))
                self.note(place)
                brackets = ("[", "]") if len(place) == 1 else ("[[", "]]")
                self.text += (
                    f"{brackets[0]}{self.pick('', ' ')}{self.key(name)}{self.pick('', ' ')}{brackets[1]}"
                )
                self.text += self.pick("", " # c") + "\n"
                for key, inner in row.items():
                    self.pair((*place, key), inner)

    @staticmethod
    def rows(name: str, value: Any) -> Iterator[tuple[dict[str, Any], Place]]:
        if isinstance(value, dict):
            yield value, (name,)
        else:
            for index, row in enumerate(value):
                yield row, (name, index)


@given(DOCUMENTS, st.data())
def test_any_document_written_in_any_way_is_located(document: dict[str, Any], data: st.DataObject) -> None:
    writer = Writer(data)
    writer.document(document)
    assert document == tomllib.loads(writer.text)
    assert writer.lines == locate(writer.text)


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Every place of a parsed document."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*place, key)
        yield from places(inner, (*place, key))


@given(st.text("ab.=[]{}\"'\\#,1 \n\t", max_size=40))
def test_what_tomllib_takes_has_exactly_the_places_that_tomllib_finds(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(places(document)) == set(locate(text))

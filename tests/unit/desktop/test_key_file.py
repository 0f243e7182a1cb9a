"""Desktop entries as text: what isn't meant to change doesn't, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxer.desktop.wrappers.key_file import KeyFile, escape, unescape

ENTRY = b"""# a comment
[Desktop Entry]
Name=Tool
Name[de]=Werkzeug
 Exec = tool %U\r
X-Odd=\xff\xfe

[Other Group]
Exec=other
# the end
[Desktop Entry]
Exec=tool again"""


@given(st.binary(max_size=300))
def test_reading_alone_changes_no_byte(content: bytes) -> None:
    assert content == KeyFile(content).content()


def test_only_the_value_that_is_set_changes() -> None:
    text = KeyFile(ENTRY)
    (first, other, again) = [pair for pair in text.pairs() if pair.key == "Exec"]
    assert ("tool %U", "Other Group", "tool again") == (first.value, other.group, again.value)
    text.put(first.line, "box tool %U")
    assert ENTRY.replace(b" Exec = tool %U\r", b" Exec = box tool %U\r") == text.content()


def test_a_key_that_comes_twice_is_set_twice_and_the_last_one_counts() -> None:
    text = KeyFile(ENTRY)
    assert "tool again" == text.get("Desktop Entry", "Exec")
    text.set("Desktop Entry", "Exec", "x")
    assert ["x", "other", "x"] == [pair.value for pair in text.pairs() if pair.key == "Exec"]


def test_a_new_key_goes_behind_the_groups_last_line() -> None:
    text = KeyFile(b"[Desktop Entry]\nName=a\n\n# next\n[Desktop Action b]\nName=b\n")
    text.set("Desktop Entry", "TryExec", "/usr/bin/a")
    assert (
        b"[Desktop Entry]\nName=a\nTryExec=/usr/bin/a\n\n# next\n[Desktop Action b]\nName=b\n"
        == text.content()
    )
    text.set("Desktop Action b", "Exec", "b")
    assert text.content().endswith(b"Name=b\nExec=b\n")


def test_a_file_without_a_line_end_gets_one_before_a_new_key() -> None:
    text = KeyFile(b"[Desktop Entry]\r\nName=a\r")
    text.set("Desktop Entry", "X", "1")
    assert b"[Desktop Entry]\r\nName=a\r\nX=1\r\n" == text.content()


def test_keys_before_any_group_and_comments_are_no_keys() -> None:
    assert [] == list(KeyFile(b"Exec=a\n#[Desktop Entry]\n# Exec=b\n[x]\nnothing\n").pairs())


@pytest.mark.parametrize(
    ("value", "text"),
    [("a\\sb", "a b"), ("\\\\\\\\", "\\\\"), ("\\n\\t\\r", "\n\t\r"), ('\\"', '\\"'), ("a\\", "a\\")],
)
def test_the_escapes_of_strings_are_taken_off(value: str, text: str) -> None:
    assert text == unescape(value)


@given(st.text())
def test_what_is_escaped_reads_back_and_is_one_line(text: str) -> None:
    value = escape(text)
    assert text == unescape(value)
    assert "\n" not in value
    assert not value.startswith(" ")

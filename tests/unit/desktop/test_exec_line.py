"""Commands of desktop entries: words, quotes, field codes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxer.desktop.wrappers.exec_line import (
    Fields,
    exec_word,
    expand,
    is_link,
    path_of,
    split,
    without_deprecated,
    without_fields,
)


def texts(line: str) -> list[str]:
    return [word.text for word in split(line)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tool %U", ["tool", "%U"]),
        ('"/opt/my tool/run"  --a="b c"\t%f', ["/opt/my tool/run", "--a=b c", "%f"]),
        (r'tool "a\"b\\c\$d\`e" "\q"', ["tool", 'a"b\\c$d`e', "\\q"]),
        ("sh -c 'exec \"$@\" \\n'", ["sh", "-c", 'exec "$@" \\n']),
        (r"tool a\ b '' \"", ["tool", "a b", "", '"']),
        ("tool '%U'x", ["tool", "%Ux"]),
    ],
)
def test_words_are_split_as_a_desktop_splits_them(line: str, words: list[str]) -> None:
    assert words == texts(line)


@pytest.mark.parametrize("line", ["", "   ", '""', 'tool "', "tool 'a", "tool \\", '"" tool'])
def test_a_command_that_no_desktop_understands_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"quote|backslash|program"):
        split(line)


@given(st.lists(st.text(min_size=1), min_size=1))
def test_any_words_survive_being_written(words: list[str]) -> None:
    line = " ".join(exec_word(word) for word in words)
    assert [words] == expand(texts(line), Fields())


@given(st.lists(st.text(alphabet="ab \\\"'$`%", max_size=6), min_size=1, max_size=4))
def test_a_word_as_written_is_the_word_as_meant(words: list[str]) -> None:
    line = " ".join(["tool", *(exec_word(word) for word in words)])
    again = " ".join(word.raw for word in split(line))
    assert texts(line) == texts(again)


def test_retired_field_codes_are_left_out_and_a_percent_sign_stays() -> None:
    line = 'tool %m %i %d --dir=%D "%n" %%d %v100%% %N%u'
    assert ["tool", "%i", "--dir=", "%%d", "100%%", "%u"] == [
        word.raw for word in without_deprecated(split(line)) if word.raw != '""'
    ]


def test_what_is_opened_can_be_left_out() -> None:
    assert ["tool", "--new", "%i"] == [word.text for word in without_fields(split("tool --new %U %i %f"))]


FILES = ("file:///home/ann/a%20b.txt", "https://example.org/")


@pytest.mark.parametrize(
    ("line", "files", "made"),
    [
        ("tool %U", FILES, [["tool", *FILES]]),
        ("tool %F", FILES, [["tool", "/home/ann/a b.txt", FILES[1]]]),
        ("tool %u", FILES, [["tool", FILES[0]], ["tool", FILES[1]]]),
        ("tool %f", FILES[:1], [["tool", "/home/ann/a b.txt"]]),
        ("tool %u", (), [["tool"]]),
        ("tool", FILES, [["tool"]]),
        ("tool --at=%u", FILES[1:], [["tool", "--at=https://example.org/"]]),
        ("tool %i %c %k 1%%", (), [["tool", "--icon", "pic", "A tool", "/e.desktop", "1%"]]),
        ('tool "%%U" %x', (), [["tool", "%U", ""]]),
    ],
)
def test_field_codes_become_what_they_stand_for(
    line: str, files: tuple[str, ...], made: list[list[str]]
) -> None:
    fields = Fields(files=files, icon="pic", name="A tool", location="/e.desktop")
    assert made == expand(texts(line), fields)


def test_a_file_of_another_machine_stays_a_link() -> None:
    assert "file://nas/a" == path_of("file://nas/a")
    assert "/a" == path_of("file://localhost/a")


@pytest.mark.parametrize(
    "link",
    [
        "file:--preferences",
        "file:%2d%2dpreferences",
        "FILE:-x",
        "file:..%2f",
        "file:a",
        "file:",
        "file://localhost",
        "file:///a%00b",
        "file://[",
    ],
)
def test_a_link_becomes_a_path_only_when_that_is_absolute(link: str) -> None:
    assert not is_link(link)
    assert [["tool", link]] == expand(["tool", "%f"], Fields(files=(link,)))


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("file:///home/ann/a%20b", True),
        ("file://localhost/a", True),
        ("file:/-a", True),
        ("file://nas/a", True),
        ("https://example.org/", True),
        ("/home/ann/a", True),
        ("", False),
        ("--preferences", False),
        ("/a\0b", False),
    ],
)
def test_what_is_no_option_and_no_half_of_a_path_is_a_link(text: str, good: bool) -> None:
    assert good == is_link(text)

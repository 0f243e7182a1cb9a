"""Command lines of units, as systemd reads them and as they are written back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxer.desktop.units.words import commands, quoted, split
from sandboxer.errors import ResolveError


def read(value: str) -> list[tuple[str, str, list[str]]]:
    return [
        (command.prefixes, command.program, [word.value for word in command.words])
        for command in commands(value)
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/bin/a b  c", [("", "/bin/a", ["b", "c"])]),
        ("-/bin/a", [("-", "/bin/a", [])]),
        ("@-:/bin/a called b", [("@-:", "/bin/a", ["called", "b"])]),
        ("!!/bin/a", [("!!", "/bin/a", [])]),
        ("+-/bin/a", [("+-", "/bin/a", [])]),
        ('"-/bin/a b" c', [("-", "/bin/a b", ["c"])]),
        ("/bin/a 'b c' d\"e f\"g", [("", "/bin/a", ["b c", "de fg"])]),
        (r"/bin/a \x41 \101 \t\s\" \q b\;c", [("", "/bin/a", ["A", "A", '\t "', r"\q", r"b\;c"])]),
        ("/bin/a b ; -/bin/c d ;", [("", "/bin/a", ["b"]), ("-", "/bin/c", ["d"])]),
        (r"/bin/a \; b", [("", "/bin/a", [";", "b"])]),
        ('/bin/a ";" b;', [("", "/bin/a", [";", "b;"])]),
        ("%h/a $B ${C}d $$E", [("", "%h/a", ["$B", "${C}d", "$$E"])]),
        ("/bin/a ''", [("", "/bin/a", [""])]),
        ("", []),
    ],
)
def test_commands_are_split_as_systemd_does(value: str, expected: list[tuple[str, str, list[str]]]) -> None:
    assert expected == read(value)


def test_words_keep_their_own_text() -> None:
    (command,) = commands(r"""/bin/a 'b c' \x41 "${D}" """)
    assert ["'b c'", r"\x41", '"${D}"'] == [word.text for word in command.words]


@pytest.mark.parametrize("value", ["/bin/a 'b", "-", "|/bin/a", "/bin/", "/bin/a \\"])
def test_what_systemd_refuses_or_is_newer_is_refused(value: str) -> None:
    with pytest.raises(ResolveError):
        read(value)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_quoted_word_is_read_as_it_was(text: str) -> None:
    assert (text.replace("%", "%%").replace("$", "$$"),) == split(quoted(text))


def test_what_systemd_would_replace_is_doubled_only_where_it_does() -> None:
    assert "'a $$B 100%% c'" == quoted("a $B 100% c")
    assert "'a $B %h'" == quoted("a $B %h", expands=False, specifiers=True)

"""Pages: plain in pipes, wrapped and coloured on terminals, and never in command of one."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

import pytest

from sandboxer.cli.output import (
    Line,
    Part,
    Table,
    Tone,
    from_home,
    heading,
    line,
    plain,
    quiet,
    show,
    visible,
)

TREE = Path(__file__).resolve().parents[3]
SCRIPT = """
from sandboxer.cli.output import EMPTY, Part, Table, Tone, heading, line, quiet, show
show([
    heading("Files"),
    EMPTY,
    line("can read and change all that anybody ever put into this directory, and then some", quiet("  [a.toml:1]"),
         indent=2),
    line(Part(text="a hole", tone=Tone.HOLE)),
    Table(headings=("name", "what"), rows=((Part(text="foo"), Part(text="bar")),)),
])
"""


LISTED = """
from sandboxer.cli.output import Part, Table, show
rows = [("firefox", "yes", "display, network, sound", "shipped, ~/.config/sandboxer", "A browser of the Web"),
        ("less", "no", "none", "~/.config/sandboxer", "A pager")]
show([Table(headings=("application", "installed", "holes", "policy", "what it is"),
            rows=tuple(tuple(Part(text=cell) for cell in row) for row in rows))])
"""


def on_terminal(variables: Mapping[str, str], columns: int, script: str = SCRIPT) -> str:
    """What a script writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    environment = {"PATH": os.defpath, "TERM": "xterm-256color", "PYTHONPATH": str(TREE), **variables}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=theirs, stdin=theirs, env=environment
    ) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not piece:
                break
            written += piece
    os.close(ours)
    assert process.returncode == 0
    return written.decode().replace("\r\n", "\n")


def test_a_pipe_gets_plain_text_with_one_line_for_each_sentence() -> None:
    stream = io.StringIO()
    show([heading("Files"), line("a " * 200, quiet("[origin]"), indent=2), Line(parts=())], stream)
    assert ["Files", "  " + "a " * 200 + "[origin]", ""] == stream.getvalue().splitlines()


COMMANDED = """
from sandboxer.cli.output import command, show
show([command("try: " + "a long command | sudo tee /somewhere && " * 3, indent=4)])
"""


def test_a_command_is_never_broken_so_that_it_can_be_copied() -> None:
    wanted = "    try: " + ("a long command | sudo tee /somewhere && " * 3).rstrip()
    assert [wanted] == [line.rstrip() for line in on_terminal({}, 60, COMMANDED).splitlines()]


def test_a_table_in_a_pipe_is_aligned_and_has_no_lines_drawn() -> None:
    table = Table(
        headings=("name", "what"),
        rows=((Part(text="foo"), Part(text="bar")), (Part(text="longer"), Part(text=""))),
    )
    assert "NAME    WHAT\nfoo     bar\nlonger\n" == plain([table])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é → text", "plain é → text"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc\r", "a\\x0ab\\x09c\\x0d"),
        ("\udcff", "\\xff"),
        ("\u202e", "\\u202e"),
        ("\x9b31m", "\\x9b31m"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_characters_that_a_terminal_would_act_upon_are_shown_by_number(text: str, shown: str) -> None:
    assert shown == visible(text)
    assert f"{shown}\n" == plain([line(text)])


def test_a_terminal_gets_colours_and_lines_of_its_width() -> None:
    written = on_terminal({}, 60)
    assert "\x1b[1mFiles\x1b[0m" in written
    assert "\x1b[1;31ma hole\x1b[0m" in written
    plain_lines = on_terminal({"NO_COLOR": "1"}, 60).splitlines()
    assert ["Files", ""] == plain_lines[:2]
    assert max(map(len, plain_lines)) <= 60
    assert any(text.startswith("    ") for text in plain_lines)  # the rest of the sentence hangs


def test_a_wide_terminal_is_not_filled_to_its_edge() -> None:
    assert max(map(len, on_terminal({"NO_COLOR": "1"}, 300).splitlines())) <= 110


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_escape_sequence_where_colours_are_not_wanted_or_not_known(variables: dict[str, str]) -> None:
    assert "\x1b" not in on_terminal(variables, 80)


def test_a_reader_that_goes_away_is_no_error_of_ours() -> None:
    script = "from sandboxer.cli.output import line, show\nshow([line('x' * 80)] * 100000)"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(TREE), "PATH": os.defpath},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (128 + 13, b"") == (process.returncode, said)


def test_a_locale_without_the_character_gets_its_number() -> None:
    environment = {"PYTHONPATH": str(TREE), "PATH": os.defpath, "PYTHONIOENCODING": "ascii"}
    script = "from sandboxer.cli.output import line, show\nshow([line('a → b')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment, check=True)
    assert b"a \\u2192 b\n" == done.stdout


def test_a_pipe_costs_no_rich() -> None:
    script = (
        "import sys\nfrom sandboxer.cli.output import line, show\nshow([line('a')])\n"
        "assert 'rich' not in sys.modules, 'rich was imported'"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        env={"PYTHONPATH": str(TREE), "PATH": os.defpath},
    )


def test_tones_are_styles_that_a_terminal_has() -> None:
    from rich.style import Style

    for tone in Tone:
        Style.parse(tone.value)


@pytest.mark.parametrize("columns", [50, 80])
def test_a_table_that_is_too_wide_for_the_terminal_is_told_in_paragraphs(columns: int) -> None:
    lines = on_terminal({"NO_COLOR": "1"}, columns, LISTED).splitlines()
    assert "firefox: A browser of the Web" == lines[0].rstrip()
    assert lines[1].startswith("  installed: yes; holes: display, network, sound; ")
    assert "less: A pager" in [text.rstrip() for text in lines]
    assert max(map(len, lines)) <= columns
    assert len(lines) <= 3 * 2


BARE = """
from sandboxer.cli.output import Part, Table, show
long = "~/.local/share/applications/firefox-esr-of-a-long-name.desktop"
rows = [(long, "menu", "", "/usr/share/applications/x.desktop"), ("short", "login", "kept", "")]
show([Table(rows=tuple(tuple(Part(text=cell) for cell in row) for row in rows), indent=2)])
"""


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_table_without_headings_loses_nothing_on_a_narrow_terminal(columns: int) -> None:
    written = on_terminal({"NO_COLOR": "1"}, columns, BARE)
    together = "".join(written.split())
    for cell in (
        "firefox-esr-of-a-long-name.desktop",
        "menu",
        "/usr/share/applications/x.desktop",
        "login",
        "kept",
    ):
        assert cell in together
    assert max(map(len, written.splitlines())) <= columns
    assert "short" in written.split()


def test_paths_in_the_home_directory_are_shown_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert ["~", "~/x", "/home/anna/x", "x"] == [
        from_home(path) for path in ("/home/ann", "/home/ann/x", "/home/anna/x", "x")
    ]
    monkeypatch.setenv("HOME", "/")
    assert "/x" == from_home("/x")


def test_a_table_that_fits_keeps_its_columns() -> None:
    first, *rows = on_terminal({"NO_COLOR": "1"}, 110, LISTED).splitlines()
    assert ["APPLICATION", "INSTALLED", "HOLES", "POLICY", "WHAT", "IT", "IS"] == first.split()
    assert rows[0].startswith("firefox      yes")


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["list", "--help"], ["--help"]])
def test_a_full_disk_is_one_message_and_125(words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sandboxer.cli.main", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            env={"PATH": os.defpath, "PYTHONPATH": str(TREE), "HOME": os.path.expanduser("~")},
            text=True,
            check=False,
        )
    assert 125 == done.returncode
    assert ["sandboxer: cannot print what was asked for", "  standard output: No space left on device"] == (
        done.stderr.splitlines()[:2]
    )
    assert "Exception" not in done.stderr

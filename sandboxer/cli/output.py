"""
Pages for people: headings, sentences, tables.

What comes in: blocks of text, each part with a tone. What goes out: on a terminal, coloured and wrapped to its
width (see `terminal`); anywhere else plain text, a line per sentence, the same on every machine. It never writes a
character that a terminal would act upon: file names are the application's to choose, so whatever can't be printed
is shown by its number.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from enum import Enum
from typing import TextIO

from sandboxer.errors import LaunchError
from sandboxer.words import Record

GAP = "  "
PIPE_CLOSED = 128 + 13
"""As if the reader's absence (SIGPIPE) had ended us."""


class Tone(Enum):
    """How a part of a line sounds; the value is its style on a terminal."""

    PLAIN = ""
    HEADING = "bold"
    HOLE = "bold red"
    WARNING = "yellow"
    GOOD = "green"
    QUIET = "dim"


class Part(Record):
    """A run of text in one tone. Line ends in it are shown, not obeyed."""

    text: str
    tone: Tone = Tone.PLAIN


class Line(Record):
    """
    One sentence; where it is wrapped, what follows is indented by two more columns.

    One that is `whole` is left to the terminal to wrap: a command, which then can be copied as the one line that it is.
    """

    parts: tuple[Part, ...]
    indent: int = 0
    whole: bool = False


class Table(Record):
    """
    Rows under headings; the last column is the one that may be wrapped. Where a terminal is too narrow for that, each
    row becomes a paragraph: the first cell names it. Nothing is ever cut off.

    `indent` columns stand before it. Without `headings` there are only the rows.
    """

    rows: tuple[tuple[Part, ...], ...]
    headings: tuple[str, ...] = ()
    indent: int = 0


Block = Line | Table
EMPTY = Line(parts=())


def line(*parts: str | Part, indent: int = 0) -> Line:
    """A line from texts and parts."""
    made = tuple(Part(text=part) if isinstance(part, str) else part for part in parts)
    return Line(parts=made, indent=indent)


def command(*parts: str | Part, indent: int = 0) -> Line:
    """A line that somebody may copy into a shell."""
    return Line(parts=line(*parts).parts, indent=indent, whole=True)


def heading(text: str, tone: Tone = Tone.HEADING) -> Line:
    """A heading, at the margin."""
    return line(Part(text=text, tone=tone))


def quiet(text: str) -> Part:
    """A part that steps back: origins, sources."""
    return Part(text=text, tone=Tone.QUIET)


def from_home(path: str) -> str:
    """A path for people: "~/x" for what is in the home directory."""
    home = os.path.expanduser("~").rstrip("/")
    return f"~{path[len(home) :]}" if home and (path == home or path.startswith(f"{home}/")) else path


def visible(text: str) -> str:
    """The text with each character that can't be printed as \\xNN or \\uNNNN, as are bytes that aren't UTF-8."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode's stand-in for a byte that isn't UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def plain(blocks: Iterable[Block]) -> str:
    """The page as it goes into pipes and files: nothing is wrapped, nothing coloured."""
    lines: list[str] = []
    for block in blocks:
        if isinstance(block, Line):
            lines.append(" " * block.indent + "".join(visible(part.text) for part in block.parts))
        else:
            lines += _plain_table(block)
    return "".join(f"{text.rstrip()}\n" for text in lines)


def _plain_table(table: Table) -> list[str]:
    rows = [tuple(visible(part.text) for part in row) for row in table.rows]
    if table.headings:
        rows.insert(0, tuple(heading.upper() for heading in table.headings))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        " " * table.indent + GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def show(blocks: Iterable[Block], stream: TextIO | None = None) -> None:
    """
    Print a page, on stdout unless said.

    Raises:
        SystemExit: the reader has gone.
        LaunchError: it can't be written (the disk is full).
    """
    stream = stream or _stdout()
    if stream.isatty():
        from sandboxer.cli import terminal  # rich costs 40 ms: only where it is of use

        _finish(stream, lambda: terminal.draw(blocks, _encodable(stream)))
    else:
        write(plain(blocks), stream)


def write(text: str, stream: TextIO | None = None) -> None:
    """Print text as it is: the help, and JSON, which escapes what can't be printed itself. Raises as `show`."""
    stream = stream or _stdout()
    _finish(stream, lambda: _encodable(stream).write(text))


def _stdout() -> TextIO:
    if sys.stdout is None:
        raise LaunchError("cannot print what was asked for", subject="standard output: it is closed")
    return sys.stdout


def _finish(stream: TextIO, produce: Callable[[], object]) -> None:
    try:
        produce()
        stream.flush()
    except OSError as error:
        # The interpreter would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), stream.fileno())
        if isinstance(error, BrokenPipeError):
            raise SystemExit(PIPE_CLOSED) from None
        raise LaunchError(
            "cannot print what was asked for",
            subject=f"standard output: {error.strerror or error}",
            hint="make room where it goes, or let it go elsewhere",
        ) from error


def _encodable(stream: TextIO) -> TextIO:
    """A stream that takes every character, whatever the locale is."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return stream

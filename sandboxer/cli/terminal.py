"""
Pages on a terminal, by rich.

What comes in: blocks from `output`, a stream that is a terminal. What goes out: colours and wrapped lines, as TERM,
COLUMNS and NO_COLOR have it (rich reads them). It never decides what is said.

This is the only module that imports rich; import it only once there is a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from sandboxer.cli.output import GAP, Block, Line, Part, Table, visible

WIDTH_MAX = 110
"""Columns. Longer lines are hard to read, however wide the terminal is."""
HANG = 2
"""Columns by which the rest of a wrapped line is indented further."""


def draw(blocks: Iterable[Block], stream: TextIO) -> None:
    """Print the blocks."""
    console = _console(stream)
    for block in blocks:
        if isinstance(block, Line):
            _draw_line(console, block)
        else:
            _draw_table(console, block)


def _console(stream: TextIO) -> Console:
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    width = min(console.width, WIDTH_MAX)
    # With NO_COLOR there is no escape sequence at all: bold and dim are colours to whoever asks for none.
    return Console(
        file=stream,
        highlight=False,
        markup=False,
        emoji=False,
        width=width,
        color_system=None if console.no_color else "auto",
    )


def _text(parts: Iterable[Part]) -> Text:
    text = Text()
    for part in parts:
        text.append(visible(part.text), style=part.tone.value)
    return text


def _draw_line(console: Console, block: Line) -> None:
    text = _text(block.parts)
    if not text:
        console.print()
        return
    hang = block.indent + HANG
    if text.cell_len + block.indent > console.width > 2 * hang:
        first = text.wrap(console, console.width - block.indent)[0]
        rest = text[len(first.plain) :]
        console.print(Padding(first, (0, 0, 0, block.indent), expand=False))
        text, block = rest[len(rest.plain) - len(rest.plain.lstrip()) :], Line(parts=(), indent=hang)
    console.print(Padding(text, (0, 0, 0, block.indent), expand=False))


def _draw_table(console: Console, block: Table) -> None:
    grid = Grid(box=None, show_header=bool(block.headings), padding=(0, len(GAP), 0, 0), header_style="bold")
    columns = len(block.headings or block.rows[0]) if block.headings or block.rows else 0
    for index in range(columns):
        title = block.headings[index].upper() if block.headings else ""
        grid.add_column(title, no_wrap=index < columns - 1, overflow="fold")
    for row in block.rows:
        grid.add_row(*(_text((part,)) for part in row))
    console.print(Padding(grid, (0, 0, 0, block.indent), expand=False))

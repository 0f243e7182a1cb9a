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
LAST_MIN = 30
"""Columns that a table's last column needs; where it has less, each row is a paragraph."""
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
    if block.whole:
        console.print(Text(" " * block.indent) + text, soft_wrap=True)
        return
    hang = block.indent + HANG
    if text.cell_len + block.indent > console.width > 2 * hang:
        first = text.wrap(console, console.width - block.indent)[0]
        rest = text[len(first.plain) :]
        console.print(Padding(first, (0, 0, 0, block.indent), expand=False))
        text, block = rest[len(rest.plain) - len(rest.plain.lstrip()) :], Line(parts=(), indent=hang)
    console.print(Padding(text, (0, 0, 0, block.indent), expand=False))


def _is_narrow(console: Console, block: Table) -> bool:
    """Whether the last column, which may be wrapped, has less room than it needs to be read."""
    titles = (tuple(Part(text=heading) for heading in block.headings),) if block.headings else ()
    widths = [
        max(_text((cell,)).cell_len for cell in column) for column in zip(*block.rows, *titles, strict=True)
    ]
    room = console.width - block.indent - sum(width + len(GAP) for width in widths[:-1])
    return room < min(widths[-1], LAST_MIN)


def _draw_row(console: Console, row: tuple[Part, ...], block: Table) -> None:
    """A row as lines: the first cell with the last, then the others, by their headings where there are any."""
    first, *others, last = row
    named = (first, Part(text=": "), last) if last.text else (first,)
    _draw_line(console, Line(parts=named, indent=block.indent))
    titles = block.headings[1:-1] or ("",) * len(others)
    parts: list[Part] = []
    for title, cell in zip(titles, others, strict=True):
        if cell.text:
            parts += [Part(text=f"{'; ' if parts else ''}{title}{': ' if title else ''}"), cell]
    if parts:
        _draw_line(console, Line(parts=tuple(parts), indent=block.indent + HANG))


def _draw_table(console: Console, block: Table) -> None:
    if not block.rows and not block.headings:
        return
    if len(block.headings or block.rows[0]) > 1 and _is_narrow(console, block):
        for row in block.rows:
            _draw_row(console, row, block)
        return
    grid = Grid(box=None, show_header=bool(block.headings), padding=(0, len(GAP), 0, 0), header_style="bold")
    columns = len(block.headings or block.rows[0]) if block.headings or block.rows else 0
    for index in range(columns):
        title = block.headings[index].upper() if block.headings else ""
        grid.add_column(title, no_wrap=index < columns - 1, overflow="fold")
    for row in block.rows:
        grid.add_row(*(_text((part,)) for part in row))
    console.print(Padding(grid, (0, 0, 0, block.indent), expand=False))

"""
`sandbox thaw BOX`: let a frozen box go on.

What comes in: the words after the verb. What goes out: one sentence. It lets go on whatever stands still in the box,
what had been stopped before it was frozen, too.
"""

from __future__ import annotations

from sandboxer.cli import output, running
from sandboxer.cli.arguments import Parser
from sandboxer.cli.output import line
from sandboxer.steward import freezing, processes

DOES = "Lets a frozen box go on."
EXAMPLES = """\
  sandbox thaw firefox"""


def main(argv: list[str]) -> int:
    """Thaw. Returns 0. Raises SandboxerError."""
    options = parser().parse_args(argv)
    box = running.box_named(options.box)
    was_frozen = freezing.is_frozen(box, processes.find(box))
    count = freezing.thaw(box)
    what = "goes on" if was_frozen else "wasn't frozen, and runs"
    output.show([line(f"{box.id} {what}: {running.counted(count)}.")])
    return 0


def parser() -> Parser:
    """The verb's words."""
    words = Parser("thaw", DOES, EXAMPLES)
    words.add_argument("box", metavar="BOX", help=running.BOX)
    return words

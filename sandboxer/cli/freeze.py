"""
`sandbox freeze BOX`: let nothing of a running box run, until `sandbox thaw`.

What comes in: the words after the verb. What goes out: one sentence. Memory stays as it is, connections time out on the
other side, and what has an end (`sandbox grant --for`) still ends.
"""

from __future__ import annotations

from sandboxer.cli import output, running
from sandboxer.cli.arguments import Parser
from sandboxer.cli.output import line
from sandboxer.steward import freezing, processes

DOES = "Lets nothing of a running box run, until it is thawed."
EXAMPLES = """\
  sandbox freeze firefox
  sandbox thaw firefox"""


def main(argv: list[str]) -> int:
    """Freeze. Returns 0. Raises SandboxerError."""
    options = parser().parse_args(argv)
    box = running.box_named(options.box)
    was_frozen = freezing.is_frozen(box, processes.find(box))
    count, by = freezing.freeze(box)
    how = "by its cgroup" if by == "cgroup" else "each was sent SIGSTOP"
    what = "was frozen already" if was_frozen else f"stands still: {running.counted(count)}, {how}"
    output.show([line(f"{box.id} {what}. To let it go on: sandbox thaw {box.id}")])
    return 0


def parser() -> Parser:
    """The verb's words."""
    words = Parser("freeze", DOES, EXAMPLES)
    words.add_argument("box", metavar="BOX", help=running.BOX)
    return words

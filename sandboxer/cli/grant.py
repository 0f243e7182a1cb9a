"""
`sandbox grant BOX PATH`: show a file, a directory or a device node in a box that runs.

What comes in: the words after the verb. What goes out: one sentence, that says where it is and for how long. The box's
steward does it, and judges it.
"""

from __future__ import annotations

from collections.abc import Iterable

from sandboxer.cli import output, running
from sandboxer.cli.arguments import Parser
from sandboxer.cli.output import Block, Part, Tone, line
from sandboxer.steward import control
from sandboxer.steward.control import Add, Added

DOES = "Shows a file, a directory or a device node in a box that runs."
EXAMPLES = """\
  sandbox grant firefox ~/Projects/site
  sandbox grant gimp ~/Pictures/holiday:rw --for 1h30m
  sandbox grant cheese /dev/video0:rw --for 10m"""


def main(argv: list[str]) -> int:
    """Grant. Returns 0. Raises SandboxerError."""
    options = parser().parse_args(argv)
    path, write = running.split_mode(options.path)
    seconds = running.duration(options.time) if options.time is not None else None
    box = running.box_named(options.box, or_start=True)
    request = Add(
        path=running.absolute(path),
        write=write,
        seconds=seconds,
        hidden=running.hidden(running.policy_of(running.look(box))),
    )
    answer = control.ask(box, request)
    if not isinstance(answer, Added):
        raise running.unexpected(answer)
    output.show(page(box.app, answer))
    return 0


def page(app: str, added: Added) -> Iterable[Block]:
    """For people."""
    grant = added.grant
    ends = "until it ends" if added.seconds is None else f"for {running.told(added.seconds)}"
    number = output.quiet(f"  [grant {grant.number}]")
    if grant.device:
        yield line(Part(text=f"{app} has {grant.path} {ends}: {added.meaning}", tone=Tone.HOLE), number)
    else:
        verb = "read and change" if grant.write else "read"
        yield line(f"{app} can {verb} {grant.source} {ends}", number)
    if grant.path != grant.source:
        yield line(f"in the box it is {grant.path}: {added.instead}", indent=2)
    if added.covered:
        yield line("what the application had there itself is covered until then", indent=2)
    if grant.covers:
        yield line(f"covered in it: {', '.join(grant.covers)}", indent=2)


def parser() -> Parser:
    """The verb's words."""
    words = Parser("grant", DOES, EXAMPLES)
    words.add_argument("box", metavar="BOX", help=running.BOX)
    words.add_argument("path", metavar="PATH[:ro|:rw]", help="what is shown; read-only unless it ends in :rw")
    until = words.add_mutually_exclusive_group()
    until.add_argument("--for", dest="time", metavar="TIME", help="how long: 90s, 10m, 1h30m, 2d")
    until.add_argument("--until-exit", action="store_true", help="as long as the box runs (default)")
    return words

"""
`sandbox revoke BOX PATH|NUMBER|--all`: take away what was granted while the box runs.

What comes in: the words after the verb. What goes out: what is gone, and who in the box still holds something of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from sandboxer.cli import output, running
from sandboxer.cli.arguments import Parser
from sandboxer.cli.output import EMPTY, Block, Part, Tone, heading, line
from sandboxer.errors import UsageError
from sandboxer.steward import control
from sandboxer.steward.control import Revoke, Revoked
from sandboxer.steward.holders import Holder

DOES = "Takes away what was granted to a box while it runs."
EXAMPLES = """\
  sandbox revoke firefox ~/Projects/site
  sandbox revoke firefox 2
  sandbox revoke firefox --all"""


def main(argv: list[str]) -> int:
    """Revoke. Returns 0. Raises SandboxerError."""
    options = parser().parse_args(argv)
    if options.all == (options.what is not None):
        raise UsageError(
            "cannot tell what to revoke",
            subject="either a path or number, or --all",
            hint=f"sandbox grants {options.box}",
        )
    box = running.box_named(options.box)
    word = options.what
    if word is not None and not (word.isascii() and word.isdigit()):
        word = running.absolute(word)
    answer = control.ask(box, Revoke(word=word))
    if not isinstance(answer, Revoked):
        raise running.unexpected(answer)
    output.show(page(box.app, answer))
    return 0


def page(app: str, revoked: Revoked) -> Iterable[Block]:
    """For people."""
    if not revoked.grants:
        yield line(f"Nothing was granted to {app} while it runs.")
    for grant in revoked.grants:
        yield line(f"{app} has lost {grant.path}", output.quiet(f"  [grant {grant.number}]"))
    for grant in revoked.dropped:
        yield line(f"with it went {grant.path}, which lay in it", output.quiet(f"  [grant {grant.number}]"))
    if revoked.holders:
        yield from (EMPTY, heading("What was open stays open", Tone.WARNING))
    for holder in revoked.holders:
        yield line(
            Part(text=f"{holder.program} ({holder.pid})", tone=Tone.HEADING),
            f" holds {holder.path}: {_means(holder, closed=revoked.closed)}",
            indent=2,
        )
    if revoked.more:
        yield line(f"and {revoked.more} more", indent=2)
    if not revoked.is_whole:
        yield line(f"{app} has too much open to look at all of it in time: there may be others.")


def _means(holder: Holder, *, closed: bool) -> str:
    match holder.how:
        case "file":
            return "open, and of use until it closes it"
        case "memory":
            return "in its memory, until it lets go of it"
        case "namespace":
            return "a copy of the mount, in namespaces that it made for itself; end it to close that"
    if closed:
        return "a directory: it can still see the names in it and connect to sockets in it, and open nothing"
    return "a directory: it can still open what is in it, until it closes it"


def parser() -> Parser:
    """The verb's words."""
    words = Parser("revoke", DOES, EXAMPLES)
    words.add_argument("box", metavar="BOX", help=running.BOX)
    words.add_argument(
        "what", nargs="?", metavar="PATH|NUMBER", help="outside or in the box; see sandbox grants"
    )
    words.add_argument("--all", action="store_true", help="all that was granted while it runs")
    return words

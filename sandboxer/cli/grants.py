"""
`sandbox grants BOX`: what a running box has of the user's things, by its policy and since.

What comes in: the words after the verb. What goes out: two tables, or JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from sandboxer.cli import output, running
from sandboxer.cli.arguments import Parser
from sandboxer.cli.output import EMPTY, Block, Part, Table, Tone, heading, line, quiet
from sandboxer.steward import control
from sandboxer.steward.control import Listed, Listing
from sandboxer.steward.ledger import Grant

DOES = "Tells what a running box was granted: by its policy, and while it runs."
EXAMPLES = """\
  sandbox grants firefox
  sandbox grants firefox --json"""
KINDS = {"grant": "", "document": "a document", "siblings": "beside a document"}


def main(argv: list[str]) -> int:
    """List. Returns 0. Raises SandboxerError."""
    options = parser().parse_args(argv)
    box = running.box_named(options.box, or_start=True)
    answer = control.ask(box, Listing())
    if not isinstance(answer, Listed):
        raise running.unexpected(answer)
    if options.json:
        output.write(json.dumps(facts(box.id, box.app, answer), indent=2) + "\n")
    else:
        output.show(page(box.app, answer))
    return 0


def page(app: str, listed: Listed) -> Iterable[Block]:
    """For people."""
    yield heading("While it runs")
    if listed.grants:
        rows = tuple(_row(grant, seconds) for grant, seconds in listed.grants)
        yield Table(headings=("grant", "may", "ends", "path"), rows=rows, indent=2)
    else:
        yield line(f"nothing; to change that: sandbox grant {app} PATH", indent=2)
    yield from (EMPTY, heading("By its policy"))
    if listed.policy:
        cells = tuple(
            (
                Part(text=_place(grant.path, grant.source)),
                Part(text=_may(write=grant.write, device=grant.device)),
                quiet(f"[{grant.origin}]"),
            )
            for grant in listed.policy
        )
        yield Table(headings=("path", "may", "says"), rows=cells, indent=2)
    else:
        yield line("none of your files", indent=2)
    yield line(quiet(f"all that it can do: sandbox explain {app}"))


def facts(box_id: str, app: str, listed: Listed) -> dict[str, object]:
    """For machines."""
    return {
        "box": box_id,
        "application": app,
        "grants": [
            {
                "number": grant.number,
                "kind": grant.kind,
                "path": grant.path,
                "source": grant.source,
                "write": grant.write,
                "device": grant.device,
                "seconds-left": seconds,
            }
            for grant, seconds in listed.grants
        ],
        "policy": [
            {
                "path": grant.path,
                "source": grant.source,
                "write": grant.write,
                "device": grant.device,
                "origin": grant.origin,
            }
            for grant in listed.policy
        ],
    }


def _row(grant: Grant, seconds: int | None) -> tuple[Part, ...]:
    ends = "with the box" if seconds is None else f"in {running.told(seconds)}"
    kind = KINDS.get(grant.kind, grant.kind)
    return (
        Part(text=str(grant.number), tone=Tone.HEADING),
        Part(
            text=_may(write=grant.write, device=grant.device), tone=Tone.HOLE if grant.device else Tone.PLAIN
        ),
        Part(text=ends),
        Part(text=_place(grant.path, grant.source) + (f" ({kind})" if kind else "")),
    )


def _may(*, write: bool, device: bool) -> str:
    return "use" if device else "read, change" if write else "read"


def _place(path: str, source: str) -> str:
    shown = output.from_home(path)
    return shown if path == source else f"{shown} → {output.from_home(source)}"


def parser() -> Parser:
    """The verb's words."""
    words = Parser("grants", DOES, EXAMPLES)
    words.add_argument("box", metavar="BOX", help=running.BOX)
    words.add_argument("--json", action="store_true", help="for machines; see sandboxer/cli/README.md")
    return words

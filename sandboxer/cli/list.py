"""
`sandbox list`: the applications that have a policy.

What comes in: the words after the verb. What goes out: a table, or JSON. It leaves nothing behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from sandboxer.cli import output
from sandboxer.cli.account import policy_files
from sandboxer.cli.arguments import Parser
from sandboxer.cli.output import Block, Part, Table, Tone, line
from sandboxer.cli.survey import Anywhere, survey
from sandboxer.errors import SandboxerError
from sandboxer.grants.base import SEARCH_PATH
from sandboxer.grants.grant import Grant, Weight
from sandboxer.host import session
from sandboxer.host.view import FileType, Host
from sandboxer.policy import layers
from sandboxer.words import Record

DOES = "Lists the applications that have a policy."
EXAMPLES = """\
  sandbox list
  sandbox list --json"""
SHIPPED = "shipped"


class Entry(Record):
    """
    One application. `program` is "" where it isn't installed, None where its policy has a mistake and can't tell,
    `layers` who has a say, `holes` the topics of its holes, `fault` why its policy doesn't hold here, or "".
    """

    name: str
    summary: str = ""
    program: str | None = ""
    layers: tuple[str, ...] = ()
    holes: tuple[str, ...] = ()
    fault: str = ""


def main(argv: list[str]) -> int:
    """List. Returns 0. Raises UsageError."""
    options = parser().parse_args(argv)
    found = entries(Anywhere(session.current()))
    if options.json:
        output.write(json.dumps({"applications": [facts(entry) for entry in found]}, indent=2) + "\n")
    else:
        output.show(page(found))
    return 0


def entries(host: Host) -> list[Entry]:
    """All applications, by name."""
    return [_entry(name, host) for name in layers.names("apps", host)]


def _entry(name: str, host: Host) -> Entry:
    try:
        effective = layers.load(name, host)
        made = survey(effective, host, with_program=False)
    except SandboxerError as error:
        fault = f"{error.what}; see sandbox check"
        return Entry(name=name, program=None, layers=_layers(name, (), host), fault=fault)
    holes = [item.topic for item in made.found if isinstance(item, Grant) and item.weight is Weight.HOLE]
    return Entry(
        name=name,
        summary=effective.policy.summary,
        program=_program(effective.policy.command or (name,), host),
        layers=_layers(name, policy_files(effective), host),
        holes=tuple(dict.fromkeys(holes)),
        fault=made.errors[0].what if made.errors else "",
    )


def _program(names: Sequence[str], host: Host) -> str:
    """The first that is installed; whether the box shows it is another question, and for `explain`."""
    for name in names:
        for path in (name,) if name.startswith("/") else tuple(f"{place}/{name}" for place in SEARCH_PATH):
            if host.type_of(path) is FileType.REGULAR:
                return path
    return ""


def _layers(name: str, files: Sequence[str], host: Host) -> tuple[str, ...]:
    """
    The layers that have a policy of this name, in their order; then those of the user's and the administrator's that
    change a set which it extends, by one of `files`.
    """
    found: list[str] = []
    for place in layers.places(host):
        there = (f"{place.path}/apps/{name}{ending}" for ending in (".toml", ".d"))
        if any(host.type_of(path) is not None for path in there):
            found.append(SHIPPED if place.shipped else place.shown)
    own = (place.shown for place in layers.places(host) if not place.shipped)
    found += (shown for shown in own if any(file.startswith(f"{shown}/") for file in files))
    return tuple(dict.fromkeys(found))


def page(found: Sequence[Entry]) -> Iterable[Block]:
    """For people."""
    if not found:
        yield line("No application has a policy.")
        return
    rows = tuple(
        (
            Part(text=entry.name, tone=Tone.HEADING),
            _installed(entry),
            _holes(entry),
            Part(text=", ".join(entry.layers)),
            Part(text=entry.summary)
            if not entry.fault
            else Part(text=f"{entry.summary} (not now: {entry.fault})".lstrip(), tone=Tone.WARNING),
        )
        for entry in found
    )
    yield Table(headings=("application", "installed", "holes", "policy", "what it is"), rows=rows)


def _installed(entry: Entry) -> Part:
    if entry.program is None:
        return Part(text="?", tone=Tone.WARNING)
    return Part(text="yes", tone=Tone.GOOD) if entry.program else output.quiet("no")


def _holes(entry: Entry) -> Part:
    if entry.program is None:
        return Part(text="?", tone=Tone.WARNING)
    return Part(text=", ".join(entry.holes), tone=Tone.HOLE) if entry.holes else output.quiet("none")


def facts(entry: Entry) -> dict[str, object]:
    """For machines."""
    return {
        "name": entry.name,
        "summary": entry.summary,
        "program": entry.program,
        "layers": list(entry.layers),
        "holes": list(entry.holes),
        "fault": entry.fault,
    }


def parser() -> Parser:
    """The verb's words."""
    words = Parser("list", DOES, EXAMPLES)
    words.add_argument("--json", action="store_true", help="for machines; see sandboxer/cli/README.md")
    return words

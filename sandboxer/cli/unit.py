"""
`sandbox unit`: applications and services in boxes, started by the user's systemd.

What comes in: the words after the verb. What goes out: units and drop-ins beneath ~/.config/systemd/user, each sealed
so that it is known again, and a user manager that was told; or a table of them. It never touches a file of somebody
else's.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable

from sandboxer.cli import output, unit_wrapped
from sandboxer.cli.arguments import Parser
from sandboxer.cli.output import EMPTY, Block, Part, Table, Tone, heading, line, quiet
from sandboxer.cli.survey import Anywhere
from sandboxer.cli.unit_wrapped import State, Wrapping
from sandboxer.desktop.units import store as unit_store
from sandboxer.desktop.units import templates as units
from sandboxer.errors import ResolveError, UsageError
from sandboxer.host import session
from sandboxer.host.installation import native_program
from sandboxer.policy import layers
from sandboxer.policy.checks import check_name

DOES = "Runs applications and services in boxes that the user's systemd starts."
EXAMPLES = """\
  sandbox unit install; systemctl --user start sandbox@firefox
  sandbox unit wrap syncthing.service --policy network
  sandbox unit check
  sandbox unit unwrap syncthing.service"""
WRITTEN_BY_INSTALL = "written by `sandbox unit install`; `sandbox unit remove` takes it away"


def main(argv: list[str]) -> int:
    """Do it. Returns 0; for `check` 1 when something isn't as it should be. Raises SandboxerError."""
    if argv[:1] == ["control"]:
        from sandboxer.cli import unit_control

        return unit_control.main(argv[1:])
    options = parser().parse_args(argv)
    if not options.action:
        raise UsageError("what is to be done with units?", hint="sandbox unit --help")
    action: str = options.action
    if action in ("install", "remove"):
        return install() if action == "install" else remove()
    if action == "new":
        return new(options.app)
    if action == "wrap":
        return unit_wrapped.wrap_unit(options.name, options.policy, options.set, options.without)
    if action == "unwrap":
        return unit_wrapped.unwrap_unit(options.name)
    if action == "check":
        return check(options.names, as_json=options.json)
    found = wrappings()
    if options.json:
        facts = {"installed": installed(), "units": own_units(), "wrapped": [_facts(item) for item in found]}
        output.write(json.dumps(facts, indent=2) + "\n")
    else:
        output.show(page(found))
    return 0


def install() -> int:
    """Write the template and the scope service's units, and enable its socket."""
    directory = _directory()
    paths = {name: os.path.join(directory, name) for name in units.INSTALLED}
    for path in paths.values():
        if os.path.lexists(path):
            unit_store.require_ours(path)
    launcher = native_program()
    for name, path in paths.items():
        text = units.installed_text(name, launcher, sys.executable)
        unit_store.write(path, text, WRITTEN_BY_INSTALL)
    unit_store.link(*_enabling(directory))
    if _tell("daemon-reload"):
        unit_store.tell_manager("start", units.SCOPES_SOCKET)
    output.show(
        [
            _listed("installed", (*paths.values(), _enabling(directory)[0])),
            line("To run an application in its box: systemctl --user start sandbox@APP"),
        ]
    )
    return 0


def remove() -> int:
    """Take away what `install` wrote."""
    directory = _directory()
    paths = [os.path.join(directory, name) for name in units.INSTALLED]
    there = [path for path in paths if os.path.lexists(path)]
    if not there:
        raise ResolveError("nothing is installed", subject=directory)
    for path in there:
        unit_store.require_ours(path)
    if unit_store.manager_runs(session.current().environment):
        unit_store.tell_manager("stop", units.SCOPES_SOCKET, "sandboxer-scopes.service")
    link, target = _enabling(directory)
    enabled = [link] if os.path.islink(link) else []
    unit_store.unlink(link, target)
    for path in reversed(there):  # the first one may know of directories that were made for all
        unit_store.remove(path)
    _tell("daemon-reload")
    output.show([_listed("removed", (*there, *enabled))])
    return 0


def new(app: str) -> int:
    """Write an application's own unit."""
    if (complaint := check_name(app)) is not None:
        raise UsageError(
            "an application goes by its name", subject=f"{app}: {complaint.wrong}", hint="sandbox list"
        )
    host = Anywhere(session.current())
    known = layers.names("apps", host)
    if app not in known:
        near = layers.nearest(app, known)
        raise UsageError(
            "no policy has this name",
            subject=app,
            hint=f"sandbox unit new {near}" if near else "sandbox list",
        )
    effective = layers.load(app, host)
    path = os.path.join(_directory(), units.own_name(app))
    if os.path.lexists(path):
        raise ResolveError(
            "there is such a unit already",
            subject=path,
            hint=f"systemctl --user edit --full {units.own_name(app)}",
        )
    unit_store.create(path, units.new_text(app, effective, native_program()))
    _tell("daemon-reload")
    output.show(
        [
            _listed("written", [path]),
            line(
                f"To start it now and with each session: systemctl --user enable --now {units.own_name(app)}"
            ),
        ]
    )
    return 0


def check(names: list[str], *, as_json: bool) -> int:
    """Tell which wrapped units, or installed ones, aren't what would be written now."""
    found = wrappings(names)
    stale = [item for item in found if item.state is not State.CURRENT]
    outdated = [] if names else outdated_units()
    if as_json:
        output.write(
            json.dumps({"units": [_facts(item) for item in found], "outdated": outdated}, indent=2) + "\n"
        )
    else:
        for item in stale:
            for reason in item.reasons:
                output.show([line(Part(text=item.name, tone=Tone.WARNING), f": {reason}")])
        for path in outdated:
            output.show(
                [line(Part(text=path, tone=Tone.WARNING), ": is of another version; sandbox unit install")]
            )
        if not stale and not outdated:
            output.show([line(f"{len(found)} wrapped units, all as they should be.")])
    return 1 if stale or outdated else 0


def wrappings(names: list[str] | None = None) -> list[Wrapping]:
    """The wrapped units, or those of these names."""
    return unit_wrapped.all_wrapped(names or [])


def installed() -> list[str]:
    """Paths of what `install` wrote."""
    directory = _directory()
    paths = [os.path.join(directory, name) for name in units.INSTALLED]
    return [path for path in paths if os.path.lexists(path) and unit_store.is_ours(path)]


def outdated_units() -> list[str]:
    """Installed ones that this version would write otherwise."""
    launcher = native_program()
    return [
        path
        for path in installed()
        if unit_store.body_of(unit_store.read(path))
        != units.installed_text(os.path.basename(path), launcher, sys.executable)
    ]


def own_units() -> list[str]:
    """Paths of applications' own units."""
    directory = _directory()
    entries = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    return [
        os.path.join(directory, entry)
        for entry in entries
        if entry.startswith("sandbox-") and entry.endswith(".service")
    ]


def page(found: list[Wrapping]) -> Iterable[Block]:
    """For people."""
    yield heading("Installed")
    yield from [line(path, indent=2) for path in (*installed(), *own_units())] or [
        line("nothing; to change that: sandbox unit install", indent=2)
    ]
    yield from (EMPTY, heading("Wrapped services"))
    if not found:
        yield line("none; to change that: sandbox unit wrap NAME.service", indent=2)
        return
    tones = {
        State.CURRENT: Tone.GOOD,
        State.OUTSIDE: Tone.WARNING,
        State.STALE: Tone.WARNING,
        State.BROKEN: Tone.HOLE,
    }
    for item in found:
        yield Table(
            rows=(
                (
                    Part(text=item.name, tone=Tone.HEADING),
                    Part(text=item.state.value, tone=tones[item.state]),
                ),
            ),
            indent=2,
        )
        yield line(f"policy {item.policy}", indent=4)
        for grant in (*item.grants, *(f"--set {setting}" for setting in item.settings)):
            yield line(grant, indent=4)
        for reason in item.reasons:
            yield line(Part(text=reason, tone=Tone.WARNING), indent=4)
        yield line(quiet(item.path), indent=4)


def _facts(item: Wrapping) -> dict[str, object]:
    """For machines."""
    return {
        "name": item.name,
        "state": item.state.name.lower(),
        "policy": item.policy,
        "settings": list(item.settings),
        "grants": list(item.grants),
        "reasons": list(item.reasons),
        "path": item.path,
    }


def _listed(became: str, paths: Iterable[str]) -> Table:
    """What became of files, one a row."""
    return Table(
        rows=tuple((Part(text=became, tone=Tone.GOOD), Part(text=output.from_home(path))) for path in paths)
    )


def _directory() -> str:
    here = Anywhere(session.current())
    return unit_store.own_directory(session.current().environment, here.user.home)


def _enabling(directory: str) -> tuple[str, str]:
    """The link that has the socket opened with the session, and where it leads."""
    link = os.path.join(directory, units.SOCKETS_TARGET, units.SCOPES_SOCKET)
    return link, os.path.join(directory, units.SCOPES_SOCKET)


def _tell(*words: str) -> bool:
    """Tell the user manager, where one runs."""
    runs = unit_store.manager_runs(session.current().environment)
    if runs:
        unit_store.tell_manager(*words)
    return runs


ACTIONS = {
    "install": (
        "write sandbox@.service, and the service that puts boxes into scopes",
        "Writes sandbox@.service and the units of the scope service, and enables its socket.",
        "sandbox unit install; systemctl --user start sandbox@firefox",
    ),
    "remove": ("take both away", "Takes away what install wrote.", "sandbox unit remove"),
    "new": (
        "write a unit of an application's own, to be edited and enabled",
        "Writes a unit that starts one application in its box, with the session.",
        "sandbox unit new firefox; systemctl --user enable sandbox-firefox",
    ),
    "wrap": (
        "have an existing user service run in a box",
        "Writes a drop-in that has an existing user service run in a box.",
        "sandbox unit wrap syncthing --policy network --set 'files.write=[\"~/Sync\"]'",
    ),
    "unwrap": (
        "have it run outside again, as before",
        "Takes away what wrap wrote.",
        "sandbox unit unwrap syncthing",
    ),
    "check": (
        "which wrapped units have changed since, or still run outside; 1 if there are some",
        "Tells which drop-ins wouldn't be written so today, and what still runs outside. Exit status 1 if any.",
        "sandbox unit check",
    ),
    "list": (
        "what is installed and wrapped, and what each wrap grants",
        "Tells what is installed and wrapped, and what each wrapped unit is granted.",
        "sandbox unit list --json",
    ),
}
"""Action → what it does, in the list of actions and in a sentence; an example."""


def parser() -> Parser:
    """The verb's words."""
    words = Parser("unit", DOES, EXAMPLES)
    actions = words.add_subparsers(dest="action", metavar="ACTION", title="actions", parser_class=_Action)
    made = {name: actions.add_parser(name, help=short) for name, (short, _, _) in ACTIONS.items()}
    made["new"].add_argument("app", metavar="APP", help="an application, by its policy")
    wrap = made["wrap"]
    wrap.add_argument("name", metavar="NAME.service", help="the service; an instance or a template, too")
    wrap.add_argument(
        "--policy", metavar="NAME|FILE", help="whose policy holds (its program's own; strict if it has none)"
    )
    wrap.add_argument(
        "--set", action="append", metavar="KEY=VALUE", help="one key of the policy; can be repeated"
    )
    wrap.add_argument(
        "--without",
        action="append",
        metavar="KEY",
        help="give up a setting of the unit's that is in a box's way",
    )
    made["unwrap"].add_argument("name", metavar="NAME.service", help="a service that was wrapped")
    made["check"].add_argument("names", nargs="*", metavar="NAME.service", help="all of them unless named")
    for action in ("check", "list"):
        made[action].add_argument(
            "--json", action="store_true", help="for machines; see sandboxer/cli/README.md"
        )
    return words


class _Action(Parser):
    """One action's words; `prog` is "sandbox unit ACTION"."""

    def __init__(self, prog: str, **_rest: object) -> None:
        verb = prog.removeprefix("sandbox ")
        _, does, example = ACTIONS[verb.split()[-1]]
        super().__init__(verb, does, f"  {example}")

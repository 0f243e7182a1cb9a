"""
`sandbox install`: applications start in their boxes from menus, at login, by D-Bus and, if wanted, by name.

What comes in: the words after the verb. What goes out: what was written, undone, or is wrong; JSON where that is
asked for. The work is done in `sandboxer.desktop`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Sequence

from sandboxer.cli import output
from sandboxer.cli.arguments import Parser
from sandboxer.cli.output import Block, Part, Table, Tone, line
from sandboxer.cli.survey import Anywhere
from sandboxer.desktop import extras
from sandboxer.desktop.wrappers import application, checking, installing, wanted, written
from sandboxer.desktop.wrappers.checking import Problem
from sandboxer.desktop.wrappers.entries import Kind
from sandboxer.desktop.wrappers.installing import HalfDone, Hand, Outcome
from sandboxer.desktop.wrappers.wanted import Left, Machine, Wanted
from sandboxer.desktop.wrappers.written import Item
from sandboxer.errors import LaunchError, UsageError
from sandboxer.grants import protected
from sandboxer.grants.paths import within
from sandboxer.host import session
from sandboxer.host.installation import native_program
from sandboxer.host.session import Session
from sandboxer.host.view import Host
from sandboxer.policy import layers
from sandboxer.words import Record

DOES = "Has applications start in their boxes from menus, at login and by D-Bus."
EXAMPLES = """\
  sandbox install firefox
  sandbox install --all --shims --extras
  sandbox install --undo firefox"""
OWN_PROGRAMS = ".local/bin"
KINDS = {
    Kind.ENTRY: "menu",
    Kind.AUTOSTART: "login",
    Kind.SERVICE: "D-Bus",
    Kind.SHIM: "shell",
    Kind.EXTRA: "extra",
    Kind.CACHE: "types",
}


class Report(Record):
    """
    What a run comes to: `complaints` are of what surrounds it, and spoil nothing. `missed`: something that was to
    start in a box starts outside.
    """

    outcomes: tuple[Outcome, ...] = ()
    complaints: tuple[str, ...] = ()
    missed: bool = False


def main(argv: list[str]) -> int:
    """
    Do what is asked. Returns 0; 1 where --check finds something, --undo had to keep something, or what was named isn't
    all wrapped.

    Raises:
        SandboxerError: it can't be done.
    """
    options = parser().parse_args(argv)
    if os.getuid() == 0:
        raise LaunchError(
            "refuses to change root's desktop",
            hint="run it as the ordinary user whose applications are to start in boxes",
        )
    here = session.current()
    if options.serve is not None:
        return _serve(options.serve, here)
    _require_sense(options)
    host = Anywhere(here)
    with written.opened(host) as ledger:
        hand = Hand(ledger, host, here)
        if options.list:
            _show_items(ledger.items, as_json=options.json)
            return 0
        if options.check:
            return _check(options, host, hand)
        try:
            report = _undo(options, hand) if options.undo else _install(options, host, hand)
        except HalfDone as error:
            report = Report(outcomes=error.outcomes, complaints=tuple(hand.complaints))
            if error.outcomes or options.json:
                _tell(report, as_json=options.json)
            raise
    _tell(report, as_json=options.json)
    return 1 if report.missed or any(outcome.what == "kept" for outcome in report.outcomes) else 0


def _tell(report: Report, *, as_json: bool) -> None:
    if as_json:
        output.write(json.dumps(facts(report), indent=2) + "\n")
    else:
        output.show(page(report))


def page(report: Report) -> Iterable[Block]:
    """For people."""
    tones = {"wrapped": Tone.GOOD, "left": Tone.WARNING, "kept": Tone.WARNING}
    if not report.outcomes:
        yield line("There is nothing to do.")
    else:
        rows = tuple(
            (
                Part(text=one.policy or "extras", tone=Tone.HEADING),
                Part(text=KINDS[one.kind]),
                Part(text=_became(one), tone=tones.get(one.what, Tone.PLAIN)),
                Part(
                    text=f"{output.from_home(one.path)}: {one.why}" if one.why else output.from_home(one.path)
                ),
            )
            for one in report.outcomes
        )
        yield Table(headings=("application", "kind", "is", "file"), rows=rows)
    for complaint in report.complaints:
        yield line(Part(text=complaint, tone=Tone.WARNING))


def facts(report: Report) -> dict[str, object]:
    """For machines."""
    return {
        "files": [
            {
                "application": one.policy,
                "kind": one.kind.value,
                "path": one.path,
                "what": one.what,
                "why": one.why,
            }
            for one in report.outcomes
        ],
        "complaints": list(report.complaints),
    }


def problem_facts(found: Sequence[Problem]) -> dict[str, object]:
    """For machines, of --check."""
    return {
        "problems": [
            {"application": one.policy, "path": one.path, "what": one.what, "hint": one.hint} for one in found
        ]
    }


def _install(options: argparse.Namespace, host: Host, hand: Hand) -> Report:
    chosen = None if options.all else tuple(dict.fromkeys(options.apps))
    launcher = _launcher()
    machine = Machine(host, launcher, hand.ledger, chosen)
    _require_policies(machine, chosen, host)
    found, left = wanted.wanted(machine)
    if options.extras:
        found += extras.wanted_files(host)
        hand.complaints += extras.left_to_the_user(host)
    if options.shims or options.shims_in:
        directory = _shim_directory(options.shims_in, host)
        found += wanted.shims(machine, directory)
        _note_search_path(directory, found, hand)
    found += _known_shims(machine, found)
    _require_found(chosen, found, left)
    stale = _stale(machine, found)
    if any(one.kind is Kind.SERVICE for one in found):
        _note_bus_home(hand)
    outcomes = installing.install(found, launcher, hand)
    try:
        outcomes += installing.undo(stale, hand)
    except HalfDone as error:
        raise HalfDone(error, (*outcomes, *error.outcomes)) from error
    missed = any(one.what == "left" and one.kind is not Kind.SHIM for one in outcomes)
    missed = missed or (chosen is not None and not all(one.boxed for one in left))
    outcomes += [_left(one) for one in left]
    if options.all:
        faults = (f"{name}: {error.what}; see sandbox check {name}" for name, error in machine.faults.items())
        hand.complaints += faults
    return Report(outcomes=tuple(outcomes), complaints=tuple(hand.complaints), missed=missed)


def _undo(options: argparse.Namespace, hand: Hand) -> Report:
    named = options.apps
    everything = not named and not options.extras
    items = [
        item
        for item in hand.ledger.items
        if everything or item.policy in named or (options.extras and item.kind is Kind.EXTRA)
    ]
    if unknown := set(named) - {item.policy for item in items}:
        raise UsageError(
            "nothing is installed for that application",
            subject=", ".join(sorted(unknown)),
            hint="sandbox install --list",
        )
    outcomes = installing.undo(items, hand)
    return Report(outcomes=tuple(outcomes), complaints=tuple(hand.complaints))


def _check(options: argparse.Namespace, host: Host, hand: Hand) -> int:
    installed = {item.policy for item in hand.ledger.items if item.policy}
    chosen = tuple(sorted(installed.intersection(options.apps) if options.apps else installed))
    machine = Machine(host, _launcher(), hand.ledger, chosen)
    items, left = wanted.wanted(machine)
    items += _known_shims(machine, items)
    items += [one for one in extras.wanted_files(host) if hand.ledger.item(one.path) is not None]
    found = [
        problem
        for problem in checking.problems(machine, items, left, hand)
        if not options.apps or problem.policy in options.apps
    ]
    if options.json:
        output.write(json.dumps(problem_facts(found), indent=2) + "\n")
    elif not found:
        output.show([line(Part(text="All that is installed still holds.", tone=Tone.GOOD))])
    else:
        output.show(_problem_page(found))
    return 1 if found else 0


def _problem_page(found: Sequence[Problem]) -> Iterable[Block]:
    for one in found:
        yield line(Part(text=one.policy or "extras", tone=Tone.HEADING), f": {one.path}: {one.what}")
        yield line(output.quiet(f"try: {one.hint}"), indent=2)


def _show_items(items: Sequence[Item], *, as_json: bool) -> None:
    shown = sorted((item for item in items if item.kind is not Kind.CACHE), key=lambda item: item.path)
    if as_json:
        listed = [
            {
                "application": item.policy,
                "kind": item.kind.value,
                "path": item.path,
                "origin": item.origin,
                "kept": bool(item.kept),
            }
            for item in shown
        ]
        output.write(json.dumps({"files": listed}, indent=2) + "\n")
    elif not shown:
        output.show([line("Nothing is installed.")])
    else:
        rows = tuple(
            (
                Part(text=item.policy or "extras", tone=Tone.HEADING),
                Part(text=KINDS[item.kind]),
                output.quiet(_before(item)),
                Part(text=output.from_home(item.path)),
            )
            for item in shown
        )
        output.show([Table(headings=("application", "kind", "replaces", "file"), rows=rows)])


def _became(one: Outcome) -> str:
    if one.what == "absent":
        return "wasn't there"
    return "installed" if one.kind is Kind.EXTRA and one.what == "wrapped" else one.what


def _before(item: Item) -> str:
    if item.kind is Kind.EXTRA:
        return "your own, kept" if item.kept else "nothing"
    return output.from_home(item.origin) if item.origin != item.path else "your own, kept"


def _serve(name: str, here: Session) -> int:
    with written.opened(Anywhere(here)) as ledger:
        started = application.starts(name, ledger.items, _launcher())
    application.serve(name, started, here)
    return 0


def _launcher() -> str:
    launcher = native_program()
    if not os.access(launcher, os.X_OK):
        raise LaunchError(
            "cannot find the launcher that desktop entries are to start",
            subject=f"{launcher}: no such program",
            hint="install sandboxer again",
        )
    return launcher


def _require_sense(options: argparse.Namespace) -> None:
    hint = "sandbox install --help"
    if options.extras and (options.check or options.list):
        raise UsageError("--extras is for installing, and for --undo", hint=hint)
    if options.apps and options.all:
        raise UsageError("--all and names of applications don't go together", hint=hint)
    other = options.undo or options.check or options.list
    if other and (options.all or options.shims or options.shims_in):
        raise UsageError("--all and --shims are for installing", hint=hint)
    if options.list and options.apps:
        raise UsageError("--list tells of all applications", hint=hint)
    if not other and not options.apps and not options.all and not options.extras:
        raise UsageError("no application is named", hint="sandbox install firefox, or sandbox install --all")


def _require_policies(machine: Machine, chosen: Sequence[str] | None, host: Host) -> None:
    """A name that has no policy isn't wrapped: in the strict default it would show no window."""
    known = {candidate.name for candidate in machine.known}
    for name in chosen or ():
        if name in machine.faults:
            raise machine.faults[name]
        if name not in known:
            near = layers.nearest(name, sorted(known))
            raise UsageError(
                "no policy has this name",
                subject=name,
                hint=f"sandbox install {near}" if near else "sandbox list",
            )


def _require_found(chosen: Sequence[str] | None, found: Sequence[Wanted], left: Sequence[Left]) -> None:
    policies = {one.policy for one in found} | {one.policy for one in left}
    for name in chosen or ():
        if name not in policies:
            raise UsageError(
                "nothing on this desktop starts that application",
                subject=f"{name}: no desktop entry, autostart entry or D-Bus service is for it",
                hint=f"install the application; or, for the shell alone: sandbox install {name} --shims",
            )


def _known_shims(machine: Machine, found: Sequence[Wanted]) -> list[Wanted]:
    """Shims that were installed before, as they would be written now."""
    there = {item.path for item in machine.ledger.items if item.kind is Kind.SHIM}
    there -= {one.path for one in found}
    places = sorted({os.path.dirname(path) for path in there})
    return [one for place in places for one in wanted.shims(machine, place) if one.path in there]


def _stale(machine: Machine, found: Sequence[Wanted]) -> list[Item]:
    """
    What was written for these applications in place of something that is gone.

    Nothing else: where a policy is broken or gone, a wrapper that fails is better than an application outside.
    """
    paths = {one.path for one in found}
    names = {candidate.name for candidate in machine.candidates()}
    return [
        item
        for item in machine.ledger.items
        if item.policy in names
        and item.path not in paths
        and not item.kept
        and not os.path.exists(item.origin)
    ]


def _left(one: Left) -> Outcome:
    kind = Kind.AUTOSTART if "/autostart/" in one.path else Kind.ENTRY
    return Outcome(what="left", kind=kind, path=one.path, policy=one.policy, why=one.why)


def _shim_directory(named: str, host: Host) -> str:
    """Where shims go; a place that no box can write to."""
    directory = os.path.abspath(named) if named else os.path.join(host.user.home, OWN_PROGRAMS)
    real = os.path.realpath(directory)
    safe = protected.is_hidden(real, host) or any(
        within(real, place)
        for guarded in protected.protected(host)
        for place in protected.spellings(guarded.path, host)
    )
    if not safe:
        raise UsageError(
            "refuses to put programs where a box may be let write",
            subject=f"{directory}: no policy is kept from granting it",
            hint="take ~/.local/bin or ~/bin",
        )
    return directory


def _note_search_path(directory: str, found: Sequence[Wanted], hand: Hand) -> None:
    """Say so where the shell would find other programs first."""
    places = [os.path.normpath(one) for one in hand.session.environment.get("PATH", "").split(":") if one]
    if directory not in places:
        hand.complaints.append(f"{directory} isn't in PATH: the shell doesn't find the programs there")
        return
    before = places[: places.index(directory)]
    for one in found:
        first = next((place for place in before if os.path.exists(os.path.join(place, one.name))), None)
        if one.kind is Kind.SHIM and first is not None:
            hand.complaints.append(f"{one.name} is found in {first} first: put {directory} before it in PATH")


def _note_bus_home(hand: Hand) -> None:
    """dbus-daemon looks for services in the home of the user database, whatever HOME is."""
    import pwd

    here = hand.session.environment
    home = pwd.getpwuid(os.getuid()).pw_dir
    if not here.get("XDG_DATA_HOME") and os.path.realpath(home) != os.path.realpath(here.get("HOME", home)):
        hand.complaints.append(
            f"D-Bus may look for services in {home}, not in HOME: set XDG_DATA_HOME for the session"
        )


def parser() -> Parser:
    """The verb's words."""
    words = Parser("install", DOES, EXAMPLES)
    words.add_argument("apps", metavar="APP", nargs="*", help="applications, by their policies")
    words.add_argument("--all", action="store_true", help="every installed application that has a policy")
    words.add_argument("--shims", action="store_true", help="in ~/.local/bin, programs for the shell as well")
    words.add_argument("--shims-in", metavar="DIRECTORY", default="", help="the same, elsewhere")
    words.add_argument("--extras", action="store_true", help="our own completion, manual pages, icon")
    instead = words.add_mutually_exclusive_group()
    instead.add_argument("--undo", action="store_true", help="bring back what was there (all unless named)")
    instead.add_argument("--check", action="store_true", help="whether all of it still holds; 1 if not")
    instead.add_argument("--list", action="store_true", help="what is installed")
    instead.add_argument("--serve", metavar="NAME", help=argparse.SUPPRESS)
    words.add_argument("--json", action="store_true", help="for machines; see sandboxer/cli/README.md")
    return words

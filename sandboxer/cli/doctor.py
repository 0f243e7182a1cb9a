"""
`sandbox doctor`: whether this machine and session can do what boxes need, and what to do where they can't.

What comes in: the words after the verb. What goes out: a page, JSON, or the AppArmor profile; an exit status that tells
the same. It never asks for more rights than the user has: remedies are printed, and run by nobody.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Iterator

from sandboxer import __version__
from sandboxer.cli import output
from sandboxer.cli.arguments import Parser
from sandboxer.cli.output import EMPTY, Block, Part, Tone, command, heading, line, quiet
from sandboxer.doctor import apparmor, examine, machine
from sandboxer.doctor.finding import Finding, State
from sandboxer.host.installation import native_program
from sandboxer.host.session import current

DOES = """\
Tries what boxes need of this machine and session, and tells what to do.
Exit status: 0 all is fine, 1 something is lost, 2 nothing can be started."""
EXAMPLES = """\
  sandbox doctor
  sandbox doctor --json"""
HEADINGS = {
    State.UNUSABLE: ("Nothing can be started", Tone.HOLE),
    State.DEGRADED: ("Works, with something lost", Tone.WARNING),
    State.NOTE: ("To know", Tone.HEADING),
}
WHOLE = {
    State.UNUSABLE: "Boxes can't be made here.",
    State.DEGRADED: "Boxes can be made here, but not everything works.",
    State.FINE: "Everything that boxes need is here.",
}
DAEMON, DAEMON_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
BUS_S = 3.0


def parser() -> Parser:
    """The verb's command line."""
    words = Parser("doctor", DOES, EXAMPLES)
    words.add_argument("--verbose", action="store_true", help="also what is fine, and what wasn't looked at")
    words.add_argument("--json", action="store_true", help="for machines; see sandboxer/cli/README.md")
    words.add_argument(
        "--apparmor-profile",
        action="store_true",
        help="print a profile for the launcher where it is installed",
    )
    words.add_argument(
        "--here",
        action="store_true",
        help="don't start again through the launcher, by whose path AppArmor knows this program",
    )
    return words


def main(argv: list[str]) -> int:
    """Examine. Returns the exit status. Raises SandboxerError."""
    options = parser().parse_args(argv)
    launcher = native_program()
    if options.apparmor_profile:
        output.write(apparmor.profile(launcher))
        return 0
    here = current()
    facts = machine.look(here.environment.get("container", ""))
    if facts.restricted_by_apparmor and facts.unconfined and not options.here:
        _start_through(launcher, argv)
    found = examine.examine(facts, here, launcher, _names_on)
    if options.json:
        output.write(json.dumps(_facts(facts, found), indent=2) + "\n")
    else:
        output.show(page(found, options))
    return examine.status(found)


def page(found: list[Finding], options: argparse.Namespace) -> Iterable[Block]:
    """For people."""
    whole = examine.worst(found)
    tone = HEADINGS[whole][1] if whole in HEADINGS else Tone.GOOD
    yield line(Part(text=WHOLE[whole], tone=tone))
    for state, (text, tone) in HEADINGS.items():
        group = [finding for finding in found if finding.state is state]
        if group:
            yield EMPTY
            yield heading(text, tone)
        for finding in group:
            yield from _told(finding)
    yield from _rest(found, verbose=options.verbose)


def _told(finding: Finding) -> Iterator[Block]:
    yield line(Part(text=finding.title, tone=Tone.HEADING), f": {finding.found}", indent=2)
    yield line(finding.cause, indent=4)
    if finding.lost:
        yield line(f"lost: {finding.lost}", indent=4)
    yield command(f"try: {finding.remedy}", indent=4)
    for text in finding.evidence:
        yield line(quiet(text), indent=4)


def _rest(found: list[Finding], *, verbose: bool) -> Iterator[Block]:
    good = [finding for finding in found if finding.state is State.FINE]
    skipped = [finding for finding in found if finding.state is State.SKIPPED]
    if verbose:
        for text, group in (("Fine", good), ("Not looked at", skipped)):
            if group:
                yield EMPTY
                yield heading(text)
            for finding in group:
                yield line(f"{finding.title}: ", quiet(finding.found), indent=2)
        return
    if skipped:
        yield EMPTY
        yield line(quiet(f"not looked at, for that: {', '.join(finding.title for finding in skipped)}"))
    if good:
        yield EMPTY
        yield line(quiet(f"fine: {len(good)} others; --verbose tells which"))


def _facts(facts: machine.Machine, found: list[Finding]) -> dict[str, object]:
    """For machines."""
    return {
        "status": examine.worst(found).value,
        "version": __version__,
        "machine": facts.facts(),
        "findings": [
            {
                "name": finding.name,
                "title": finding.title,
                "state": finding.state.value,
                "found": finding.found,
                "cause": finding.cause,
                "remedy": finding.remedy,
                "lost": finding.lost,
                "evidence": list(finding.evidence),
            }
            for finding in found
        ],
    }


def _start_through(launcher: str, argv: list[str]) -> None:
    """
    Become the launcher, which comes back with its profile, if it has one.

    AppArmor attaches profiles by path, and this process may have been started as `python -m sandboxer.cli.main` or by
    the script `sandboxer`. It has been tried from the launcher already where that has no profile: then nothing is lost.
    """
    if os.access(launcher, os.X_OK):
        os.execv(launcher, ["sandbox", "doctor", "--here", *argv])  # noqa: S606  # no shell, on purpose


def _names_on(address: str) -> list[str]:
    """Every name on a bus that is owned, or that can be started. Raises SandboxerError."""
    from sandboxer.desktop import bus  # dbus-next costs 60 ms

    with bus.connect(address, BUS_S) as connection:
        names = []
        for member in ("ListNames", "ListActivatableNames"):
            names += connection.call(DAEMON, DAEMON_PATH, DAEMON, member, timeout_s=BUS_S)[0]
    return [str(name) for name in names]

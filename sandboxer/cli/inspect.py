"""
`sandbox inspect BOX`: what a running box has now, and what it is confined by.

What comes in: the words after the verb. What goes out: a page, or JSON. The grants, those made while it runs among
them, and the broker's rules are the steward's to tell; mounts, descriptors, namespaces, the filter, capabilities and
limits are told by the kernel, of the application's process: that is what holds, whatever a plan says. Mounts,
descriptors and the plan's flags are many lines that few want: the page has them with --verbose.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from sandboxer.cli import grants as grants_page
from sandboxer.cli import output, running
from sandboxer.cli.arguments import Parser
from sandboxer.cli.output import EMPTY, Block, Part, Table, Tone, heading, line, quiet
from sandboxer.cli.process_facts import Facts, of
from sandboxer.steward import cgroups, control, freezing, processes, services
from sandboxer.steward.boxes import Box
from sandboxer.steward.control import Inspected, Listed
from sandboxer.steward.processes import Found, Process

DOES = "Tells what a running box has now, and what confines it."
EXAMPLES = """\
  sandbox inspect firefox
  sandbox inspect firefox --verbose
  sandbox inspect firefox --json"""


def main(argv: list[str]) -> int:
    """Tell. Returns 0. Raises SandboxerError."""
    options = parser().parse_args(argv)
    box = running.box_named(options.box, or_start=True)
    found = processes.find(box)
    plan = control.ask(box, control.Inspect())
    granted = control.ask(box, control.Listing())
    if not isinstance(plan, Inspected) or not isinstance(granted, Listed):
        raise running.unexpected(plan)
    target = found.application or next((pid for pid in found.members if pid != found.first), found.first)
    kernel = of(target)
    told = list(processes.told(found))
    if options.json:
        output.write(json.dumps(facts(box, found, told, plan, granted, kernel), indent=2) + "\n")
    else:
        output.show(page(box, found, told, plan, granted, kernel, is_verbose=options.verbose))
    return 0


def page(
    box: Box,
    found: Found,
    told: list[Process],
    plan: Inspected,
    granted: Listed,
    kernel: Facts,
    *,
    is_verbose: bool = False,
) -> Iterable[Block]:
    """For people."""
    state = " It stands still (frozen)." if freezing.is_frozen(box, found) else ""
    yield line(Part(text=box.id, tone=Tone.HEADING), f": by the policy {box.policy or '?'}.{state}")
    yield line(quiet(f"started as: {' '.join(plan.request)}; runs {' '.join(plan.command) or 'a command'}"))
    if service := services.service_of(box.monitor):
        yield line(quiet(f"unit: {service}"))
    yield from (EMPTY, heading("Processes"))
    rows = tuple(
        (Part(text=str(one.pid)), Part(text=str(one.number)), Part(text=one.state), Part(text=one.name))
        for one in told
    )
    yield Table(headings=("outside", "in the box", "state", "calls itself"), rows=rows, indent=2)
    yield EMPTY
    if box.holes:
        yield heading("Holes", Tone.HOLE)
        yield from (line(Part(text=hole, tone=Tone.HOLE), indent=2) for hole in box.holes)
    else:
        yield line(Part(text="Holes: none", tone=Tone.GOOD))
    yield EMPTY
    yield from grants_page.page(box.app, granted)
    yield from (EMPTY, heading("Broker"))
    yield from _broker(plan)
    yield from (EMPTY, heading(f"What the kernel holds, of process {kernel.pid}"))
    held = tuple((Part(text=name), Part(text=value)) for name, value in _confinement(found, kernel))
    yield Table(headings=("what", "is"), rows=held, indent=2)
    if not is_verbose:
        yield from (EMPTY, line(quiet("its mounts and descriptors, too: --verbose")))
        return
    yield from (EMPTY, heading("Flags of its plan"), line(", ".join(plan.flags) or "none", indent=2))
    yield from (EMPTY, heading("Mounts"))
    yield from _list(kernel.mounts)
    yield from (EMPTY, heading("Descriptors"))
    yield from _list(kernel.descriptors)


def _broker(plan: Inspected) -> Iterable[Block]:
    if not plan.rules:
        yield line("none: nothing is opened for it", indent=2)
        return
    cells = tuple(
        (
            Part(text=output.from_home(rule.what)),
            Part(text=", ".join(rule.may)),
            quiet(f"[{rule.origin}]"),
        )
        for rule in plan.rules
    )
    yield Table(headings=("what", "may", "says"), rows=cells, indent=2)
    if plan.more_rules:
        yield line(f"and {plan.more_rules} more: sandbox explain --plan", indent=2)
    for path in plan.hidden:
        yield line(f"never {path}", indent=2)


def _list(texts: tuple[str, ...] | None) -> Iterable[Block]:
    if texts is None:
        yield line("not to be told: this process lets nobody look into it", indent=2)
    else:
        yield from (line(text, indent=2) for text in texts or ("none",))


def _confinement(found: Found, kernel: Facts) -> Iterable[tuple[str, str]]:
    yield "system calls", kernel.seccomp
    yield "new privileges", "never" if kernel.has_no_new_privs else "NOT FORBIDDEN"
    yield "capabilities", "; ".join(f"{name} {value}" for name, value in kernel.capabilities.items())
    yield (
        "namespaces",
        "; ".join(f"{name} {'its own' if own else 'of the host'}" for name, own in kernel.namespaces.items())
        or "not to be told",
    )
    if found.group is not None:
        yield "cgroup", found.group.path
        yield from cgroups.limits(found.group).items()
    else:
        yield "cgroup", "none of its own"
    yield from kernel.limits.items()


def facts(
    box: Box, found: Found, told: list[Process], plan: Inspected, granted: Listed, kernel: Facts
) -> dict[str, object]:
    """For machines."""
    return {
        **grants_page.facts(box.id, box.app, granted),
        "by-policy": box.policy,
        "request": list(plan.request),
        "command": list(plan.command),
        "started": box.started,
        "launcher": box.monitor,
        "frozen": freezing.is_frozen(box, found),
        "network": box.network or None,
        "holes": list(box.holes),
        "topics": list(box.topics),
        "unit": services.service_of(box.monitor) or None,
        "processes": [
            {"pid": one.pid, "number": one.number, "state": one.state, "name": one.name} for one in told
        ],
        "broker": {
            "rules": [
                {"may": list(rule.may), "what": rule.what, "origin": rule.origin} for rule in plan.rules
            ],
            "more": plan.more_rules,
            "hidden": list(plan.hidden),
        },
        "plan-flags": list(plan.flags),
        "plan-limits": dict(plan.limits),
        "cgroup": None
        if found.group is None
        else {"path": found.group.path, "limits": cgroups.limits(found.group)},
        "process": {
            "pid": kernel.pid,
            "seccomp": kernel.seccomp,
            "no-new-privs": kernel.has_no_new_privs,
            "capabilities": kernel.capabilities,
            "namespaces": kernel.namespaces,
            "limits": kernel.limits,
            "mounts": None if kernel.mounts is None else list(kernel.mounts),
            "descriptors": None if kernel.descriptors is None else list(kernel.descriptors),
        },
    }


def parser() -> Parser:
    """The verb's words."""
    words = Parser("inspect", DOES, EXAMPLES)
    words.add_argument("box", metavar="BOX", help=running.BOX)
    words.add_argument(
        "--verbose", action="store_true", help="its mounts, open descriptors and the flags of its plan, too"
    )
    words.add_argument("--json", action="store_true", help="for machines; see sandboxer/cli/README.md")
    return words

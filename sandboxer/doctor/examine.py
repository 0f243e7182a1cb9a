"""
The examination: all checks in their order, each in a child, and what they say together.

What comes in: the session, the launcher's path, a way to ask a bus. What goes out: findings, the most serious first,
and a verdict on the whole. It changes nothing but the directory of plans, which a start would make, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from sandboxer.doctor import (
    child,
    confinement,
    devices,
    install,
    kernel_log,
    namespaces,
    session,
    windows,
)
from sandboxer.doctor.finding import Check, Finding, State
from sandboxer.doctor.machine import Machine
from sandboxer.host.facts import Facts
from sandboxer.host.session import Session
from sandboxer.words import changed

FOR_A_BOX = (
    "kernel",
    "user-namespace",
    "id-maps",
    "mount-calls",
    "mounts",
    "processes",
    "network",
    "host-name",
    "ipc",
    "cgroup",
    "lock",
    "filter",
    "state-directory",
)
REFUSED_BY_A_MODULE = ("user-namespace", "id-maps", "mounts", "processes", "network", "host-name")
STATUSES = {State.UNUSABLE: 2, State.DEGRADED: 1}
ORDER = list(State)


def examine(machine: Machine, here: Session, launcher: str, names: session.Names) -> list[Finding]:
    """Look at everything. Findings of one state stay in the order in which they were looked at."""
    if os.geteuid() == 0:
        return [_root()]
    environment = here.environment
    host = Facts(here)
    found = list(
        findings(
            (
                *namespaces.checks(machine),
                *confinement.checks(machine),
                *session.checks(environment, machine, names),
                *windows.checks(host),
                *devices.checks(host, machine),
                *install.checks(launcher, environment, FOR_A_BOX),
            )
        )
    )
    found.sort(key=lambda finding: ORDER.index(finding.state))
    return _with_log(found, machine)


def findings(checks: Iterable[Check]) -> Iterable[Finding]:
    """Each check's result; of those that need one that has failed, only that."""
    states: dict[str, State] = {}
    titles: dict[str, str] = {}
    for check in checks:
        failed = next((name for name in check.needs if _fails(states.get(name, State.FINE))), "")
        if failed:
            finding = Finding(
                name=check.name,
                title=check.title,
                state=State.SKIPPED,
                found=f"follows from: {titles[failed]}",
            )
        else:
            verdict = check.judge(child.run(check.work, check.seconds))
            finding = Finding(
                name=check.name,
                title=check.title,
                state=verdict.state,
                found=verdict.found,
                cause=verdict.cause,
                remedy=verdict.remedy,
                lost=verdict.lost,
                evidence=verdict.evidence,
            )
        states[check.name], titles[check.name] = finding.state, finding.title
        yield finding


def worst(found: Iterable[Finding]) -> State:
    """Of the whole: UNUSABLE, DEGRADED or FINE."""
    states = {finding.state for finding in found}
    return next((state for state in STATUSES if state in states), State.FINE)


def status(found: Iterable[Finding]) -> int:
    """The exit status: 0 fine, 1 degraded, 2 unusable."""
    return STATUSES.get(worst(found), 0)


def _fails(state: State) -> bool:
    return state in (State.UNUSABLE, State.DEGRADED, State.SKIPPED)


def _with_log(found: list[Finding], machine: Machine) -> list[Finding]:
    """What the kernel logged, beside the first failure that a security module can be the cause of."""
    if "apparmor" not in machine.modules and not machine.restricted_by_apparmor:
        return found
    for index, finding in enumerate(found):
        if finding.state is State.UNUSABLE and finding.name in REFUSED_BY_A_MODULE:
            found[index] = changed(finding, evidence=(*finding.evidence, *kernel_log.refusals()))
            break
    return found


def _root() -> Finding:
    return Finding(
        name="user",
        title="who you are",
        state=State.UNUSABLE,
        found="you are root",
        cause="Boxes are made by ordinary users; the launcher refuses to run as root, so nothing else was looked at.",
        remedy="sudo -u NAME XDG_RUNTIME_DIR=/run/user/$(id -u NAME) sandbox doctor "
        "(NAME is who starts the applications)",
        lost="nothing starts",
    )

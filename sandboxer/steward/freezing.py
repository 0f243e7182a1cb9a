"""
A box that stands still, and goes on.

What comes in: what runs in a box. What goes out: the word that none of it runs any more, or that all of it may. Where
the box has a cgroup of its own, the kernel freezes that, and nothing in the box can tell. Else each process is stopped,
the first one before all others: it would take the application's stop for one by job control, and the launcher would
stop with it, so that a shell would take the terminal back. The last to go on, it hears nothing of it.

A process of the box that still runs can let others go on: so they are gone through again until none runs, and then
nobody is left in it who could. From outside, whoever may signal them still can (`fg` in the shell of the box is one).
What an application had stopped itself goes on with the rest.
"""

from __future__ import annotations

import signal
import time

from sandboxer.errors import StewardError
from sandboxer.steward import cgroups, descendants, processes
from sandboxer.steward.boxes import Box
from sandboxer.steward.processes import Found

WITHIN_S = 5.0
STEP_S = 0.01
STOPPED = "TtZX"
WAITING_S = 1.0
"""After which one that waits in the kernel (D) counts as stopped: it will be when that is over, before it runs."""


def is_frozen(found: Found) -> bool:
    """Whether a box stands still: its group does, or its first process, which nothing in the box can stop."""
    if found.group is not None and cgroups.is_frozen(found.group):
        return True
    return processes.state_of(found.first) == "T"


def freeze(box: Box) -> tuple[int, str]:
    """
    Let nothing of a box run.

    Returns:
        How many processes stand still, and by what: "cgroup" or "signals".
    Raises:
        StewardError: some still run after five seconds. They were let go on then, all of them.
    """
    found = processes.find(box)
    if _has_group(found, box):
        assert found.group is not None
        cgroups.set_frozen(found.group, frozen=True)
        deadline = time.monotonic() + WITHIN_S
        while not cgroups.is_frozen(found.group):
            if time.monotonic() > deadline:
                cgroups.set_frozen(found.group, frozen=False)
                raise _runs_on(box)
            time.sleep(STEP_S)
        return len(found.members), "cgroup"
    if not _stop_all(found.first):
        _let_go(found.first)
        raise _runs_on(box)
    return len(processes.find(box).members), "signals"


def thaw(box: Box) -> int:
    """Let all of a box run again, however it was stopped. Returns how many processes do."""
    found = processes.find(box)
    if _has_group(found, box):
        assert found.group is not None
        cgroups.set_frozen(found.group, frozen=False)
    _let_go(found.first)
    return len(found.members)


def _has_group(found: Found, box: Box) -> bool:
    """Whether there is a group to freeze, in which the launcher isn't: that is to go on."""
    group = found.group
    return group is not None and cgroups.can_freeze(group) and box.monitor not in cgroups.members(group)


def _stop_all(first: int) -> bool:
    began = time.monotonic()
    processes.send(first, first, signal.SIGSTOP)
    while time.monotonic() - began < WITHIN_S:
        fine = STOPPED + ("D" if time.monotonic() - began > WAITING_S else "")
        running = [pid for pid in (first, *descendants.members(first)) if processes.state_of(pid) not in fine]
        if not running and _still(first, fine):
            return True
        for pid in running:
            processes.send(pid, first, signal.SIGSTOP)
        time.sleep(STEP_S)
    return False


def _still(first: int, fine: str) -> bool:
    """A second look: one that was passed by could have been let go on by one that ran until now."""
    return all(processes.state_of(pid) in fine for pid in (first, *descendants.members(first)))


def _let_go(first: int) -> None:
    for pid in descendants.members(first):
        processes.send(pid, first, signal.SIGCONT)
    processes.send(first, first, signal.SIGCONT)


def _runs_on(box: Box) -> StewardError:
    return StewardError(
        "cannot freeze the box",
        subject=f"{box.id}: some of it still ran after {WITHIN_S:.0f} seconds; it goes on",
        hint=f"end it: sandbox kill {box.id}",
    )

"""
A box that stands still, and goes on.

What comes in: what runs in a box. What goes out: the word that none of it runs any more, or that all of it may. Where
the box has a cgroup of its own, the kernel freezes that, and nothing in the box can tell. Else the box's first process
is ordered to stop all others, and goes on itself: the kernel sends such a signal to whatever is in the box that moment,
what is being forked included.

A process that runs while the others are stopped can let them go on: so they are stopped again until none has run
between two looks that can have missed nobody (`stillness`). If that doesn't come to pass, the box goes on, and it is
said. From outside, whoever may signal them still can. What an application had stopped itself goes on with the rest.
"""

from __future__ import annotations

import time

from sandboxer.errors import StewardError
from sandboxer.steward import cgroups, control, processes, stillness
from sandboxer.steward.boxes import Box
from sandboxer.steward.control import Freeze, Halted, Request, Thaw
from sandboxer.steward.ledger import Ledger
from sandboxer.steward.processes import Found
from sandboxer.steward.stillness import STOPPED, WAITING

WITHIN_S = 5.0
STEP_S = 0.005
WAITING_S = 1.0
"""After which one that waits in the kernel counts as stopped."""


def is_frozen(box: Box, found: Found) -> bool:
    """Whether a box stands still because it was told to: its group does, or all that is in it by the user's order."""
    if found.group is not None and cgroups.is_frozen(found.group):
        return True
    return _is_ordered(box) and all(
        processes.state_of(pid) in STOPPED + WAITING for pid in found.members if pid != found.first
    )


def freeze(box: Box) -> tuple[int, str]:
    """
    Let nothing of a box run.

    Returns:
        How many processes stand still, and by what: "cgroup" or "signals".
    Raises:
        StewardError: some still run after five seconds, or it can't be told. They were let go on then, all of them.
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
    _require_launcher(box)
    if not _stop_all(box, found.first):
        _order(box, Thaw())
        raise _runs_on(box)
    return len(processes.find(box).members), "signals"


def thaw(box: Box) -> int:
    """Let all of a box run again, however it was stopped. Returns how many processes do. Raises StewardError."""
    found = processes.find(box)
    if _has_group(found, box):
        assert found.group is not None
        cgroups.set_frozen(found.group, frozen=False)
    _require_launcher(box)
    _order(box, Thaw())
    return len(found.members)


def _has_group(found: Found, box: Box) -> bool:
    """Whether there is a group to freeze, in which the launcher isn't: that is to go on."""
    group = found.group
    return group is not None and cgroups.can_freeze(group) and box.monitor not in cgroups.members(group)


def _is_ordered(box: Box) -> bool:
    try:
        return Ledger(box.directory).is_frozen
    except StewardError:  # no steward can go by it either
        return False


def _require_launcher(box: Box) -> None:
    """It starts the steward, which gives the order."""
    if processes.state_of(box.monitor) == "T":
        raise StewardError(
            "cannot tell the box anything: its launcher is stopped",
            subject=f"{box.id}: process {box.monitor}",
            hint=f"fg in the shell that it was started from, or: kill -CONT {box.monitor}",
        )


def _order(box: Box, request: Request) -> None:
    answer = control.ask(box, request)
    if not isinstance(answer, Halted):
        raise StewardError("cannot understand what the box's steward says", subject=type(answer).__name__)


def _stop_all(box: Box, first: int) -> bool:
    began = time.monotonic()
    before: stillness.Look | None = None
    _order(box, Freeze())
    while (passed := time.monotonic() - began) < WITHIN_S:
        found = stillness.look(first)
        if found.is_whole and found.is_still(with_waiting=passed > WAITING_S):
            if found == before:
                return True
            before = found
        else:
            time.sleep(STEP_S)
            _order(box, Freeze(again=True))
    return False


def _runs_on(box: Box) -> StewardError:
    return StewardError(
        "cannot freeze the box",
        subject=f"{box.id}: some of it still ran after {WITHIN_S:.0f} seconds, or may have; it goes on",
        hint=f"end it: sandbox kill {box.id}",
    )

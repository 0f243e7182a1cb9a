"""
The launcher's two processes are killed, each before each of their system calls, and nothing is left behind but, of a
monitor that was killed, the directory by which its box was known, free to be removed.

tests/programs/stepper.c kills, waits until the victim is gone, lets the rest run on without any more interference, and
ends when no process of the run exists any more. The application sleeps for longer than the stepper waits, so that a
box that outlives its launcher is seen as a hang.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from boxes import PlannedBox
from plans import listen
from stepping import INIT, MONITOR, Call, Run, Stepper, landlock_flags

from sandboxer.plan.ops import PlanFlag

SLEEPS_S = "60"
KILLED = -signal.SIGKILL
VICTIMS = {MONITOR: "the monitor", INIT: "the box's first process"}


FORKS = frozenset({"clone", "clone3", "fork", "vfork"})
WAITS = frozenset({"poll", "ppoll", "rt_sigtimedwait"})


def place_of(names: frozenset[str], calls: list[Call], start: int = 0) -> int:
    """Where the first call of these names is, from `start` on."""
    return next(call.place for call in calls[start:] if call.name in names)


def calls_of(run: Run, process: int) -> list[Call]:
    return [call for call in run.calls if call.process == process]


def points(run: Run) -> list[Call]:
    """
    The calls of both halves, to the one in which each waits for the application.

    Later ones would not be reached while the application sleeps.
    """
    found: list[Call] = []
    for process in (MONITOR, INIT):
        calls = calls_of(run, process)
        found += calls[: place_of(WAITS, calls, place_of(FORKS, calls)) + 1]
    return found


def ready_from(run: Run) -> int:
    """The first call of the box's first process after it has told the monitor that the box is complete."""
    return max(call.place for call in points(run) if call.process == INIT and call.name == "write") + 1


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def complaints(point: Call, victim: int, ready: int, run: Run) -> Iterator[str]:
    if run.hung:
        yield "something is left behind, or hangs"
        return
    if not run.hit:
        yield "the point was not reached"
    if not run.killed:
        yield "nobody was killed"
        return
    if victim == MONITOR:
        allowed = {KILLED}
    elif point.process == INIT:
        allowed = {137} if point.place >= ready else {125}
    else:
        allowed = {125, 137}  # how far the other half has got by then is a matter of luck
    if run.status not in allowed:
        yield f"the monitor's exit status is {run.status}"
    if run.status == 125 and "sandboxer: t: " not in run.errors:
        yield f"no message: {run.errors!r}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["plain", "with a broker"])
def test_whichever_half_is_killed_whenever_nothing_is_left_behind(
    planned_box: PlannedBox, native_program: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    document = tmp_path / "document"
    document.touch()
    flags = PlanFlag.PRIVATE_NETWORK | PlanFlag.DOCUMENTS_READ | PlanFlag.LINGER | landlock_flags()
    plan: dict[str, Any] = {}
    if kind != "plain":
        flags |= PlanFlag.BROKER_DESCRIPTOR
        plan = {"more": [listen("broker"), listen("ssh-agent", stream=True)], "broker": b"rules"}
    mounts = Path("/proc/self/mountinfo").read_text()

    def stepper(seconds: str) -> Stepper:
        return Stepper(
            [str(native_program("stepper"))],
            [
                *planned_box.plan("/bin/sh", "-c", f"exec sleep {seconds}", "sh", flags=flags, **plan),
                str(document),
            ],
            stdin=subprocess.DEVNULL,
            directory=tmp_path,
            environment=planned_box.environment,
        )

    undisturbed = stepper("0.3").list_calls()  # long enough for both halves to wait
    ready = ready_from(undisturbed)
    chosen = points(undisturbed)
    forked = place_of(FORKS, calls_of(undisturbed, MONITOR))
    cases = [
        (point, victim)
        for point in chosen
        for victim in VICTIMS
        if victim == MONITOR
        or point.process == INIT
        or point.place > forked  # before, there is one process only
    ]
    killing = stepper(SLEEPS_S)
    happened: Counter[str] = Counter()
    found: list[str] = []

    def judge(case: tuple[Call, int]) -> tuple[Call, int, Run]:
        return *case, killing.kill(*case)

    for chosen_victim in (INIT, MONITOR):
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for point, victim, run in pool.map(judge, [case for case in cases if case[1] == chosen_victim]):
                happened[VICTIMS[victim]] += run.killed
                where = f"before call {point.place} of process {point.process} ({point.name})"
                found += [
                    f"{VICTIMS[victim]} killed {where}: {what}"
                    for what in complaints(point, victim, ready, run)
                ]
        left = list(planned_box.boxes.iterdir())
        if chosen_victim == INIT and left:
            found.append(f"directories of boxes are left, though the monitor lived: {left}")
        for directory in left:
            if (directory / "box").exists() and is_locked(directory / "box"):
                found.append(f"{directory} looks as if its launcher ran")
    print(f"\nkilled before {len(chosen)} calls: {dict(happened)}")
    assert not found, "\n".join(found)
    assert mounts == Path("/proc/self/mountinfo").read_text()
    assert happened["the monitor"] > 250
    assert happened["the box's first process"] > 250

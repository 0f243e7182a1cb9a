"""
Attack: signals to groups, which reach beyond what a process can see: kill(0), kill(-1), and priorities.

The application is in the process group of whoever started it, a shell script or the other programs of a pipe.
"""

from __future__ import annotations

import os
import signal

from escape.conftest import Attack, Boxed, Bystander, attacker, outcome
from escape.kernel import NEWPID, NEWUSER, Kernel


def kill_group(_kernel: Kernel) -> None:
    os.kill(0, signal.SIGKILL)


def slow_group(_kernel: Kernel) -> None:
    os.setpriority(os.PRIO_PGRP, 0, 19)


def hold_up_group(kernel: Kernel) -> None:
    """IOPRIO_WHO_PGRP, of its own group, to the idle class: the disk is for the others first."""
    kernel.call("ioprio_set", 2, 0, 3 << 13)


def kill_all(kernel: Kernel, victim: str) -> str:
    """
    All that it may signal. Outside, in a process namespace of its own, or it would end this test run: there a child
    stands for the rest of the user's programs; `victim` says whether to make both.
    """
    if victim:
        kernel.call("unshare", NEWUSER | NEWPID)
        if child := os.fork():
            os._exit(os.waitpid(child, 0)[1])
    if not (sleeper := os.fork()):
        signal.pause()
    os.kill(-1, signal.SIGKILL)
    return f"signal {os.waitpid(sleeper, 0)[1]}"


def test_the_process_group_outside_survives(
    boxed: Boxed, session: dict[str, str], bystander: Bystander
) -> None:
    for settings in (['network.access="host"'], ['network.access="none"']):
        outcome(boxed(*attacker(kill_group), settings=settings), env=session, process_group=bystander.pid)
        assert bystander.lives(), settings
    outcome(attacker(kill_group), env=session, process_group=bystander.pid)
    assert not bystander.lives(), "outside, the whole group ends"


def test_the_process_group_outside_is_not_slowed_down(
    boxed: Boxed, session: dict[str, str], bystander: Bystander
) -> None:
    outcome(boxed(*attacker(slow_group)), env=session, process_group=bystander.pid)
    assert os.getpriority(os.PRIO_PROCESS, bystander.pid) == 0
    outcome(attacker(slow_group), env=session, process_group=bystander.pid)
    assert os.getpriority(os.PRIO_PROCESS, bystander.pid) == 19


def test_nor_held_up_at_the_disk(attack: Attack) -> None:
    attack(hold_up_group, refused="EPERM")


def test_all_processes_are_those_of_the_box(
    boxed: Boxed, session: dict[str, str], bystander: Bystander
) -> None:
    ended, said = outcome(attacker(kill_all, "yes"), env=session)
    assert ended == "succeeded: signal 9", said
    ended, said = outcome(boxed(*attacker(kill_all, "")), env=session)
    assert ended == "succeeded: signal 9", said
    assert bystander.lives()

"""
What keeps an application in its box besides namespaces: the system-call filter and Landlock.

What comes in: the machine's facts. What goes out: checks. Filters and Landlock domains are really entered, in a child.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator

from sandboxer import process_state
from sandboxer._kernel import lib
from sandboxer.doctor import causes
from sandboxer.doctor.child import Outcome, Steps
from sandboxer.doctor.finding import Check, State, Verdict, fine
from sandboxer.doctor.machine import Machine

RETURN_CONSTANT, ALLOW = 0x06, 0x7FFF0000
PASS_ALL = struct.pack("=HBBI", RETURN_CONSTANT, 0, 0, ALLOW)
"""A filter of one instruction. Source: seccomp(2), linux/bpf_common.h."""
FILES_ABI, SCOPE_ABI = 3, 6
"""What the broker needs for its rules (Linux 6.2), and what closes abstract sockets (Linux 6.12)."""
READ_FILE = 1 << 2


def checks(machine: Machine) -> Iterator[Check]:
    """In order of importance."""
    yield Check(
        name="filter",
        title="the system-call filter",
        work=_filter,
        judge=_filtered(machine),
        needs=("kernel",),
    )
    yield Check(
        name="landlock", title="Landlock", work=_landlock, judge=_landlocked(machine), needs=("kernel",)
    )
    yield Check(
        name="filter-notification",
        title="asking about filtered calls",
        work=_notify,
        judge=_notified(machine),
        needs=("filter",),
    )


def _filter(step: Steps) -> None:
    process_state.set_no_new_privs()
    step("seccomp")
    _checked(lib.kernel_load_filter(PASS_ALL, len(PASS_ALL)))


def _notify(step: Steps) -> None:
    process_state.set_no_new_privs()
    step("seccomp with a listener")
    os.close(_checked(lib.kernel_load_notifier(PASS_ALL, len(PASS_ALL))))


def _landlock(step: Steps) -> int:
    """The ABI."""
    process_state.set_no_new_privs()
    step("landlock_create_ruleset")
    abi = _checked(lib.kernel_landlock_abi())
    ruleset = _checked(lib.kernel_landlock_create(READ_FILE, 0, 0))
    step("landlock_restrict_self")
    _checked(lib.kernel_landlock_restrict(ruleset))
    return abi


def _filtered(machine: Machine) -> Callable[[Outcome], Verdict]:
    def judge(outcome: Outcome) -> Verdict:
        if not outcome.failed:
            return fine("can be loaded")
        cause = causes.of_rights(outcome, machine)
        if outcome.error in (errno.EINVAL, errno.ENOSYS) and not machine.seccomp:
            cause = causes.Cause(
                why="This kernel was built without seccomp filters.", remedy=causes.NEW_KERNEL
            )
        return Verdict(
            state=State.UNUSABLE,
            found=outcome.told(),
            cause=cause.why,
            remedy=cause.remedy,
            lost="no box can be made: nothing starts",
        )

    return judge


def _notified(machine: Machine) -> Callable[[Outcome], Verdict]:
    def judge(outcome: Outcome) -> Verdict:
        if not outcome.failed:
            return fine("possible")
        if outcome.error == errno.EBUSY:
            why = "A filter around this one has a listener already; the kernel allows one (a container does so)."
            remedy = "start it outside the container"
        else:
            why, remedy = (
                "This kernel has no user notification for filters (Linux 5.0 has).",
                causes.NEW_KERNEL,
            )
        return Verdict(
            state=State.NOTE,
            found=outcome.told(),
            cause=why,
            remedy=remedy,
            lost="nothing that this version uses",
        )

    return judge


def _landlocked(machine: Machine) -> Callable[[Outcome], Verdict]:
    def judge(outcome: Outcome) -> Verdict:
        if outcome.failed:
            cause = _why_not(outcome, machine)
            return Verdict(
                state=State.DEGRADED,
                found=outcome.told(),
                cause=cause.why,
                remedy=cause.remedy,
                lost="the broker can't serve a box ([broker] in a policy); boxes that share the network reach the X "
                "server's abstract socket",
            )
        abi = int(outcome.value)
        if abi < FILES_ABI:
            return Verdict(
                state=State.DEGRADED,
                found=f"version {abi}",
                cause=f"Landlock of this kernel is of version {abi}; the broker needs {FILES_ABI} (Linux 6.2).",
                remedy="install a kernel of Linux 6.2 or newer, and restart",
                lost="the broker can't serve files to a box ([broker] in a policy)",
            )
        if abi < SCOPE_ABI:
            return Verdict(
                state=State.NOTE,
                found=f"version {abi}",
                cause=f"Landlock of this kernel is of version {abi}; from {SCOPE_ABI} on (Linux 6.12) "
                "it closes abstract sockets.",
                remedy="install a kernel of Linux 6.12 or newer, and restart",
                lost="boxes that share the host's network reach abstract sockets; `sandbox explain` says so of each",
            )
        return fine(f"version {abi}")

    return judge


def _why_not(outcome: Outcome, machine: Machine) -> causes.Cause:
    if outcome.error == errno.EOPNOTSUPP:
        modules = ",".join(("landlock", *(name for name in machine.modules if name != "landlock")))
        return causes.Cause(
            why="Landlock is built into this kernel, and left out of its list of security modules. "
            f"{causes.NEXT_START}",
            remedy=causes.set_kernel_argument(f"lsm={modules}", machine)
            if machine.modules_listed and not machine.container
            else "add landlock to lsm= on the kernel's command line, before the modules that are there, and restart",
        )
    if outcome.error == errno.ENOSYS and not machine.seccomp:
        return causes.Cause(
            why="This kernel has no Landlock (Linux 5.13 was the first).",
            remedy="install a kernel of Linux 6.2 or newer with Landlock, and restart",
        )
    return causes.of_rights(outcome, machine)


def _checked(answer: int) -> int:
    if answer < 0:
        raise OSError(-answer, os.strerror(-answer))
    return answer

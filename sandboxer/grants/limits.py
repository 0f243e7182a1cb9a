"""
Limits: how much of the machine the box may use, and what holds it to that.

What comes in: `[limits]`, and whether the session has a user manager. What goes out: statements, one for each limit,
that say what holds it here or why nothing does; limits of processes for the plan; and what the scope service
(`desktop.scopes`) is asked for. It never asks for what the session can't hold: the manager takes such a property, and
does nothing.

Two things can hold a limit. A control group, which a user manager makes, counts all programs of the box together; it
can hold only what the session delegates to the manager. The kernel's limits of processes (rlimits) need nobody; but for
the number of tasks, which it counts for a user namespace since Linux 5.14, they hold each process by itself, and the
one on memory only what a process has for itself: not what is shared, as MAP_SHARED and files in memory are.

Abuse: without a limit on tasks a box can keep the whole session from starting anything, so every box has one. There is
none on memory, cpu and disks unless a policy sets it.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandboxer.errors import ResolveError
from sandboxer.grants.grant import Grant, Weight
from sandboxer.host.view import Host
from sandboxer.plan.ops import LimitKind
from sandboxer.policy.amounts import percent, size, size_words
from sandboxer.policy.effective import Effective
from sandboxer.words import BUILT_IN, Origin

TOPIC = "limits"
BY_GROUP = "all its programs together; held by its control group"
WEIGHT, SWAP = "io.weight", "memory.swap.max"
SWAPS = "/proc/swaps"
"""Where there is none, the kernel was built without swap."""
CPU_USEC = 10_000
"""Microseconds of processor time in a second, for one percent."""


def grants(effective: Effective, host: Host) -> Iterator[Grant]:
    """Every limit that is set, as it is held here."""
    _check(effective)
    if host.user_manager is not None:
        yield Grant(
            topic="processes",
            words="has a control group of its own",
            detail="as a scope of the session's user manager",
            weight=Weight.NOTICE,
            origin=BUILT_IN,
        )
    yield _tasks(effective, host)
    yield from _memory(effective, host)
    limits = effective.policy.limits
    if limits.cpu:
        yield _by_group_alone(
            effective.origin("limits.cpu"),
            host,
            "cpu",
            f"can use at most {limits.cpu} of one processor",
            "can use as much of the processors as it likes",
        )
    if limits.io_weight:
        yield _by_group_alone(
            effective.origin("limits.io-weight"),
            host,
            "io",
            f"has {limits.io_weight} parts of the disks' time where others have 100",
            "has as large a part of the disks' time as others",
            needs=WEIGHT,
        )
    if limits.open_files:
        yield Grant(
            topic=TOPIC,
            words=f"can have at most {limits.open_files} files open in each of its processes",
            weight=Weight.NOTICE,
            origin=effective.origin("limits.open-files"),
        )
    if limits.no_new_files:
        yield Grant(
            topic=TOPIC,
            words="can't write to any file",
            detail="whatever is granted; nor to memory that is shared as a file",
            weight=Weight.NOTICE,
            origin=effective.origin("limits.no-new-files"),
        )


def of_processes(effective: Effective, host: Host) -> tuple[tuple[LimitKind, int], ...]:
    """What the box's first process limits itself and all others to."""
    limits = effective.policy.limits
    held: list[tuple[LimitKind, int]] = [(LimitKind.PROCESSES, limits.tasks)]
    if limits.open_files:
        held.append((LimitKind.OPEN_FILES, limits.open_files))
    if limits.no_new_files:
        held.append((LimitKind.FILE_SIZE, 0))
    memory = size(limits.memory)
    if memory is not None and not _has("memory", host):
        held.append((LimitKind.DATA, memory))
    return tuple(held)


def scope(effective: Effective, host: Host) -> bytes:
    """
    What the scope service is asked for, as JSON; empty where there is no user manager.

    Names and units are those of systemd.resource-control(5)'s D-Bus properties. Written by hand: an application's name
    has no character that JSON escapes, and `json` costs a compile 6 ms.
    """
    if host.user_manager is None:
        return b""
    limits = effective.policy.limits
    share = percent(limits.cpu)
    wanted = (
        ("pids", "TasksMax", limits.tasks),
        ("memory", "MemoryMax", size(limits.memory)),
        ("memory", "MemorySwapMax", 0 if limits.memory and _keeps(SWAP, host) else None),
        ("memory", "MemoryHigh", size(limits.memory_high)),
        ("cpu", "CPUQuotaPerSecUSec", None if share is None else share * CPU_USEC),
        ("io", "IOWeight", limits.io_weight if limits.io_weight and _keeps(WEIGHT, host) else None),
    )
    properties = ",".join(
        f'"{name}":{value}'
        for controller, name, value in wanted
        if value is not None and _has(controller, host)
    )
    return f'{{"app":"{effective.name}","properties":{{{properties}}}}}'.encode()


def _check(effective: Effective) -> None:
    limits = effective.policy.limits
    most, high = size(limits.memory), size(limits.memory_high)
    if most is not None and high is not None and high > most:
        raise ResolveError(
            "two limits contradict each other",
            subject=f"limits.memory-high = {limits.memory_high} is above limits.memory = {limits.memory}",
            origin=effective.origin("limits.memory-high"),
            hint="set memory-high to less than memory",
        )


def _tasks(effective: Effective, host: Host) -> Grant:
    group = "its control group and by " if _has("pids", host) else ""
    return Grant(
        topic=TOPIC,
        words=f"can have at most {effective.policy.limits.tasks} processes and threads at once",
        detail=f"held by {group}the kernel's count for its user namespace",
        weight=Weight.NOTICE,
        origin=effective.origin("limits.tasks"),
    )


def _memory(effective: Effective, host: Host) -> Iterator[Grant]:
    limits = effective.policy.limits
    most, high = size(limits.memory), size(limits.memory_high)
    if most is not None:
        words = size_words(most)
        if _has("memory", host) and not _keeps(SWAP, host) and host.type_of(SWAPS) is not None:
            yield Grant(
                topic=TOPIC,
                words=f"can use more than {words} of memory where the machine swaps",
                detail="its control group holds what is in memory; this kernel doesn't count swap for one "
                f"({SWAP})",
                weight=Weight.HOLE,
                origin=effective.origin("limits.memory"),
            )
        else:
            yield _by_group_alone(
                effective.origin("limits.memory"),
                host,
                "memory",
                f"can use at most {words} of memory, and no swap",
                f"can use more than {words} of memory",
                f"each program gets at most {words} of its own; neither what programs share (MAP_SHARED, files in "
                "memory) nor all together is held: ",
            )
    if high is not None:
        words = size_words(high)
        yield _by_group_alone(
            effective.origin("limits.memory-high"),
            host,
            "memory",
            f"is slowed down when it uses more than {words} of memory",
            f"isn't slowed down when it uses more than {words} of memory",
        )


def _by_group_alone(
    origin: Origin,
    host: Host,
    controller: str,
    held: str,
    loose: str,
    instead: str = "nothing holds it here: ",
    needs: str = "",
) -> Grant:
    """
    A limit that only a control group can hold; a hole where none does, for somebody asked for it.

    `needs`: a file of the controller's that some kernels don't have.
    """
    if _has(controller, host) and _keeps(needs, host):
        return Grant(topic=TOPIC, words=held, detail=BY_GROUP, weight=Weight.NOTICE, origin=origin)
    why = (
        "there is no user manager (systemd)"
        if host.user_manager is None
        else f"this kernel has no {needs} in its control groups"
        if _has(controller, host)
        else f"the session doesn't delegate the controller {controller} to its user manager"
    )
    return Grant(topic=TOPIC, words=loose, detail=f"{instead}{why}", weight=Weight.HOLE, origin=origin)


def _keeps(file: str, host: Host) -> bool:
    """Whether this kernel has a file in its control groups, given that it has the controller."""
    manager = host.user_manager
    return manager is not None and file not in manager.missing


def _has(controller: str, host: Host) -> bool:
    manager = host.user_manager
    return manager is not None and controller in manager.controllers

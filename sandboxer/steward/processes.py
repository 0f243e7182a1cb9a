"""
The processes of a running box, as the kernel tells of them from outside.

What comes in: a Box. What goes out: its first process, the application's, all others; what they use; signals to one of
them. A process may call itself what it likes: names are for people, and nothing is decided by them. A signal goes to a
process that is held by a pidfd and was found to be the box's after that, so that it never reaches another one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from functools import partial

from sandboxer.errors import StewardError
from sandboxer.steward import cgroups, descendants
from sandboxer.steward.boxes import Box
from sandboxer.steward.cgroups import Group
from sandboxer.steward.child import Child
from sandboxer.words import Record

APPLICATION = 2
"""The application's number in its box: the first process forks it before anything else."""
PIDFD_SIGNAL_PROCESS_GROUP = 4
"""Linux 6.9."""
GRACE_S = 0.3
"""For the child that looks, to say what it has come to."""
TICKS = os.sysconf("SC_CLK_TCK")


class Found(Record):
    """`first` is the box's first process, `application` 0 when it has ended; `members` are all, the first ahead."""

    first: int
    application: int
    members: tuple[int, ...]
    group: Group | None = None


class Usage(Record):
    """`counted_by` is "cgroup" or "processes"."""

    memory_bytes: int
    cpu_s: float
    counted_by: str


class Process(Record):
    """`number` is its pid in the box, `state` a letter of proc(5), `name` its own choice."""

    pid: int
    number: int
    state: str
    name: str


def find(box: Box) -> Found:
    """
    What runs in a box.

    Raises:
        StewardError: it has ended, or is being made.
    """
    first = descendants.first_process(box.monitor)
    inside = [first, *sorted(descendants.members(first))]
    depth = len(numbers(first))
    application = next((pid for pid in inside if _is_application(pid, first, depth)), 0)
    return Found(
        first=first,
        application=application,
        members=tuple(inside),
        group=cgroups.own(first, box.monitor),
    )


def _is_application(pid: int, first: int, depth: int) -> bool:
    """In a namespace of its own, which a box may be allowed to make, any process can have that number."""
    found = numbers(pid)
    return len(found) == depth and found[-1] == APPLICATION and parent(pid) == first


def usage(found: Found, until: float) -> Usage:
    """
    Memory and processor time, by the box's own cgroup, or summed over its processes.

    Args:
        until: by the monotonic clock, when it is to be known: of processes that can't be looked into by then, the
            resident memory counts.

    The sum is of each process's proportional share (PSS), or where that can't be read (an undumpable process) of its
    resident memory, in which shared pages count once for each; processor time includes children that were waited for.
    """
    if found.group is not None:
        memory, cpu = cgroups.memory_bytes(found.group), cgroups.cpu_s(found.group)
        if memory is not None and cpu is not None:
            return Usage(memory_bytes=memory, cpu_s=cpu, counted_by="cgroup")
    return Usage(
        memory_bytes=sum(_memory_bytes(found.members, until)),
        cpu_s=sum(_cpu_s(pid) for pid in found.members),
        counted_by="processes",
    )


def told(found: Found) -> Iterator[Process]:
    """Each process that lives, by its number in the box."""
    known = [(numbers(pid)[-1:], pid) for pid in found.members]
    for number, pid in sorted(pair for pair in known if pair[0]):
        state = state_of(pid)
        if state not in "ZX":
            yield Process(pid=pid, number=number[0], state=state, name=descendants.program(pid))


def numbers(pid: int) -> list[int]:
    """A process's pid in each namespace, ours first; empty when it is gone."""
    return [int(number) for number in status(pid).get("NSpid", "").split()]


def status(pid: int) -> dict[str, str]:
    """/proc/PID/status by field; empty when it is gone."""
    lines = read(f"/proc/{pid}/status").decode("utf-8", "replace").split("\n")
    return {name: value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}


def state_of(pid: int) -> str:
    """The letter of proc(5); "X" when it is gone."""
    found = fields(f"/proc/{pid}/stat")
    return found[0].decode("ascii", "replace") if found else "X"


def parent(pid: int) -> int:
    """0 when it is gone."""
    found = fields(f"/proc/{pid}/stat")
    return int(found[1]) if len(found) > 1 else 0


@contextlib.contextmanager
def held(pid: int, first: int) -> Iterator[int]:
    """
    A pidfd of a process of the box, the first included.

    Raises:
        ProcessLookupError: it has ended, or the number isn't a process of the box's.
    """
    fd = os.pidfd_open(pid)
    try:
        if not (_is_first(pid) if pid == first else _belongs(pid, first)):
            raise ProcessLookupError(f"process {pid} is none of the box's")
        if has_ended(fd):
            raise ProcessLookupError(f"process {pid} has ended")
        yield fd
    finally:
        os.close(fd)


def send(pid: int, first: int, number: int, *, group: bool = False) -> bool:
    """Send a signal to a process of the box, or to all of the process group that it leads. Whether it was there."""
    try:
        with held(pid, first) as fd:
            if group:
                _send_to_group(pid, fd, number)
            else:
                signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    return True


def _send_to_group(pid: int, fd: int, number: int) -> None:
    try:
        signal.pidfd_send_signal(fd, number, None, PIDFD_SIGNAL_PROCESS_GROUP)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        os.killpg(pid, number)  # an older kernel: it was there a moment ago


def by_number(first: int, number: int) -> int:
    """The pid outside of the process that has this number in the box; 0 when there is none."""
    for pid in descendants.members(first):
        found = numbers(pid)
        if found[-1:] == [number] and len(found) == len(numbers(first)):
            return pid
    return 0


def has_ended(pidfd: int, seconds: float = 0) -> bool:
    """Whether a process ends within so many seconds."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def signal_named(name: str) -> int:
    """
    "TERM", "sigterm", "15" → its number.

    Raises:
        StewardError: there is none.
    """
    if name.isascii() and name.isdigit() and int(name) in {*signal.valid_signals()}:
        return int(name)
    upper = name.upper()
    for full in (upper, f"SIG{upper}"):
        if full in signal.Signals.__members__:
            return int(signal.Signals[full])
    raise StewardError("there is no such signal", subject=name, hint="kill -l lists them")


def _is_first(pid: int) -> bool:
    """Whether it is the first of a namespace right below ours: one that has come by its number isn't."""
    found = numbers(pid)
    return found[-1:] == [1] and len(found) == len(numbers(os.getpid())) + 1


def _belongs(pid: int, first: int) -> bool:
    directory = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return descendants.belongs(directory, first)
    except OSError as error:
        raise ProcessLookupError(f"process {pid} has ended") from error
    finally:
        os.close(directory)


def _memory_bytes(pids: Sequence[int], until: float) -> list[int]:
    """
    Of each process. The kernel looks through its memory for that, and waits for the process where that is just changing
    it: a child does so, and is given up.
    """
    shares: dict[int, int] = {}
    seconds = until - time.monotonic()
    if seconds > 0:
        with contextlib.suppress(OSError):
            shares = dict(Child(partial(_shares, pids, until), seconds + GRACE_S).result())
    return [shares[pid] if pid in shares else _resident_bytes(pid) for pid in pids]


def _shares(pids: Sequence[int], until: float) -> list[tuple[int, int]]:
    """Those that can be told by then."""
    found: list[tuple[int, int]] = []
    for pid in pids:
        if time.monotonic() > until:
            break
        lines = read(f"/proc/{pid}/smaps_rollup").splitlines()
        found += [(pid, int(line.split()[1]) * 1024) for line in lines if line.startswith(b"Pss:")]
    return found


def _resident_bytes(pid: int) -> int:
    return int(status(pid).get("VmRSS", "0 kB").split()[0]) * 1024


def _cpu_s(pid: int) -> float:
    return sum(int(ticks) for ticks in fields(f"/proc/{pid}/stat")[11:15]) / TICKS


def fields(path: str) -> list[bytes]:
    """Of a file `stat` in /proc, from the state on; the name before it, in parentheses, is the process's to choose."""
    return read(path).rpartition(b")")[2].split()


def read(path: str) -> bytes:
    """A file of /proc; b"" where it is gone or not ours to read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""

"""
The processes of a box, seen from outside.

What comes in: the launcher's pid. What goes out: pids. A process belongs to a box when the box's first process is among
its ancestors: that can't be left, since what is orphaned in a box becomes a child of that first process.

A number can be given to another process at any moment. Whoever does more than look opens the directory in /proc first,
which stays the process's, and asks `belongs` after that.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from sandboxer.errors import StewardError

ANCESTORS_MAX = 4096


def first_process(monitor: int) -> int:
    """
    The pid of the box's first process: the one child of the launcher that is pid 1 in a namespace below its own.

    Raises:
        StewardError: there is none (yet, or any more).
    """
    depth = len(_namespaced(monitor))
    for pid, parent in parents().items():
        if parent == monitor:
            numbers = _namespaced(pid)
            if len(numbers) == depth + 1 and numbers[-1] == "1":
                return pid
    raise StewardError("the box isn't there any more", subject=f"launcher {monitor}: no box of its own")


def members(first: int) -> list[int]:
    """All processes of the box but its first, which is the launcher's own; in no order."""
    return members_in(parents(), first)


def members_in(table: dict[int, int], first: int) -> list[int]:
    """The same by what `parents` has told."""
    return [pid for pid in table if pid != first and _descends(pid, first, table)]


def belongs(pid_directory: int, first: int) -> bool:
    """Whether the process whose directory in /proc is open is one of the box's, and lives."""
    parent = _parent(_read("stat", pid_directory))
    return parent == first or (parent > 0 and _descends(parent, first, parents()))


def strangers(pids: Iterable[int], ancestor: int) -> set[int]:
    """Those that live and aren't among a process and its descendants."""
    table = parents()
    return {pid for pid in pids if pid in table and not _descends(pid, ancestor, table)}


def parents() -> dict[int, int]:
    """Every process's parent."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                found[int(name)] = _parent(_read(f"/proc/{name}/stat"))
    return found


def program(pid: int) -> str:
    """What a process calls itself: its own choice, so to be printed with care. "" when it is gone."""
    try:
        return os.fsdecode(_read(f"/proc/{pid}/comm")).rstrip("\n")
    except OSError:
        return ""


def _descends(pid: int, first: int, table: dict[int, int]) -> bool:
    for _ in range(ANCESTORS_MAX):
        if pid == first:
            return True
        pid = table.get(pid, 0)
        if pid == 0:
            return False
    return False


def _namespaced(pid: int) -> list[str]:
    """A process's number in each namespace that it is in, ours first."""
    try:
        status = _read(f"/proc/{pid}/status")
    except OSError:
        return []
    for line in status.decode("ascii", "replace").splitlines():
        if line.startswith("NSpid:"):
            return line.split()[1:]
    return []


def _parent(content: bytes) -> int:
    """The fourth field of /proc/PID/stat; the second, in parentheses, is the process's to choose."""
    fields = content.rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _read(path: str, directory: int | None = None) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)

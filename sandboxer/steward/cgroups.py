"""
The control group of a box, where it has one to itself.

What comes in: the box's first process and its launcher. What goes out: what the kernel counts and holds there, and the
order to freeze or thaw. The scope that was made for a box (`desktop.scopes`) is known by its name: it holds the box and
nothing else from its first instruction, so that nobody has to be looked for in it, who could be gone by then. Another
group that holds anything else than what the launcher has started is nobody's own: its figures would be others', and
freezing it would stop them. No box can change its group: none sees the file system of cgroups, and all files of it are
outside.
"""

from __future__ import annotations

import os

from sandboxer.steward import descendants
from sandboxer.words import Record

ROOT = "/sys/fs/cgroup"
LIMITS = ("memory.max", "memory.high", "pids.max", "cpu.max", "io.weight")
SIZE_MAX = 65536
SCOPE = ("app-sandboxer-", ".scope")
"""How the name of a box's scope begins and ends."""
LOOKS = 3


class Group(Record):
    """`path` below the root of cgroups, `directory` where its files are."""

    path: str
    directory: str


def path_of(pid: int) -> str:
    """A process's group in the unified hierarchy; "" where that isn't known."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read(SIZE_MAX).splitlines()
    except OSError:
        return ""
    return next((line[3:] for line in lines if line.startswith("0::/")), "")


def own(first: int, monitor: int, root: str = ROOT) -> Group | None:
    """
    The group of the box's first process, if it is the box's own, with its launcher and the companions or without.

    Args:
        monitor: the launcher's pid. root: for tests.
    """
    path = path_of(first)
    if path in ("", "/") or "/.." in path:
        return None
    group = Group(path=path, directory=root + path)
    found = members(group)
    if first not in found:
        return None
    if is_scope(path) and monitor not in found:
        return group
    # What came and went while it was looked at was nobody else's; a parent's end can make a child seem a stranger.
    for _ in range(LOOKS):
        found &= descendants.strangers(found, monitor)
        if not found:
            return group
    return None


def is_scope(path: str) -> bool:
    """Whether a group is one that was made for a box alone."""
    name = path.rpartition("/")[2]
    return name.startswith(SCOPE[0]) and name.endswith(SCOPE[1])


def members(group: Group) -> set[int]:
    """The processes in a group and those beneath it; none where it can't be read."""
    found: set[int] = set()
    for directory, _, files in os.walk(group.directory):
        if "cgroup.procs" in files:
            text = _read(os.path.join(directory, "cgroup.procs"))
            # One that this process doesn't see is 0, and nobody's.
            found |= {int(word) for word in text.split() if word.isdigit()}
    return found


def memory_bytes(group: Group) -> int | None:
    """What the kernel charges to it: anonymous memory, page cache, kernel memory; None where nobody counts."""
    text = _read(os.path.join(group.directory, "memory.current")).strip()
    return int(text) if text.isdigit() else None


def cpu_s(group: Group) -> float | None:
    """Processor time of all that ran in it."""
    for line in _read(os.path.join(group.directory, "cpu.stat")).splitlines():
        name, _, value = line.partition(" ")
        if name == "usage_usec" and value.isdigit():
            return int(value) / 1_000_000
    return None


def limits(group: Group) -> dict[str, str]:
    """What is held, by the names of the files; those that aren't there are left out."""
    found = {name: _read(os.path.join(group.directory, name)).strip() for name in LIMITS}
    return {name: value for name, value in found.items() if value}


def can_freeze(group: Group) -> bool:
    """Whether this user may."""
    return os.access(os.path.join(group.directory, "cgroup.freeze"), os.W_OK)


def set_frozen(group: Group, *, frozen: bool) -> None:
    """Order it; it takes a moment. Raises OSError."""
    with open(os.path.join(group.directory, "cgroup.freeze"), "w", encoding="ascii") as file:
        file.write("1" if frozen else "0")


def is_frozen(group: Group) -> bool:
    """Whether all of it stands still."""
    return "frozen 1" in _read(os.path.join(group.directory, "cgroup.events")).splitlines()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(SIZE_MAX)
    except OSError:
        return ""

"""
Who in a box still holds something of a mount that was taken away.

What comes in: the mounts' numbers, and the box's processes. What goes out: pids with the path that each holds, in what
way. An open file works on, whatever becomes of its mount: this tells of it. What it can't see are descriptors that are
on their way in a socket's queue, or held by io_uring alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable

from sandboxer.grants.paths import within
from sandboxer.steward import calls, descendants
from sandboxer.words import Record

HOLDERS_MAX = 64


class Holder(Record):
    """
    `how`: "file" (open, works on), "directory" (open, or a working directory), "memory" (mapped, works on), or
    "namespace" (a copy of the mount in a mount namespace that the process has made for itself).
    """

    pid: int
    program: str
    path: str
    how: str


class Before(Record):
    """
    What processes had of a place before its mount went, by names that they don't have afterwards: paths of descriptors
    by (pid, "cwd" or a number), and of what is mapped by (pid, device and inode).
    """

    opened: dict[tuple[int, str], str]
    mapped: dict[tuple[int, str], str]


def before(pids: Iterable[int], point: str) -> Before:
    """What processes have of what lies at `point` in the box."""
    opened: dict[tuple[int, str], str] = {}
    mapped: dict[tuple[int, str], str] = {}
    for pid in pids:
        for key, link in _links(pid):
            with contextlib.suppress(OSError):
                path = os.readlink(link)
                if within(path, point):
                    opened[pid, key] = path
        for where, path in _mappings(pid):
            if within(path, point):
                mapped[pid, where] = path
    return Before(opened=opened, mapped=mapped)


def holders(
    pids: Collection[int],
    ids: Collection[int],
    known: Before,
    point: str,
    lost: tuple[str, str],
    namespace: int,
) -> tuple[Holder, ...]:
    """
    Who holds what.

    Args:
        ids: numbers of the mounts that went. known: of `before`. point: where they lay. lost: device and root of the
            mount, as mountinfo had them. namespace: the box's own mount namespace.
    """
    found: list[Holder] = []
    for pid in sorted(pids):
        mine = [
            *_opened(pid, ids, known, point),
            *_still_mapped(pid, known),
            *_copies(pid, lost, namespace),
        ]
        if mine:
            name = descendants.program(pid)
            found += [Holder(pid=pid, program=name, path=path, how=how) for path, how in dict.fromkeys(mine)]
    return tuple(found[:HOLDERS_MAX])


def _links(pid: int) -> list[tuple[str, str]]:
    """The working directory, the root and each descriptor: a key, and the magic link."""
    links = [(key, f"/proc/{pid}/{key}") for key in ("cwd", "root")]
    with contextlib.suppress(OSError):  # it has ended
        links += [(number, f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    return links


def _opened(pid: int, ids: Collection[int], known: Before, point: str) -> Iterable[tuple[str, str]]:
    for key, link in _links(pid):
        with contextlib.suppress(OSError):
            mount = _mount_of(f"/proc/{pid}/fdinfo/{key}") if key.isdigit() else _mount_at(link)
            if mount in ids:
                # The kernel tells the path from the top of the mount, which lies nowhere any more.
                path = known.opened.get((pid, key)) or point + os.readlink(link).rstrip("/")
                yield path, "directory" if os.path.isdir(link) else "file"


def _mount_at(link: str) -> int:
    fd = os.open(link, os.O_PATH | os.O_CLOEXEC)
    try:
        return calls.mount_id(fd)
    finally:
        os.close(fd)


def _mount_of(path: str) -> int:
    with open(path, encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("mnt_id:"):
                return int(line.split()[1])
    return 0


def _mappings(pid: int) -> Iterable[tuple[str, str]]:
    """Device with inode, and path, of what a process has mapped."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/maps", "rb") as file:
            lines = file.read().splitlines()
        for line in lines:
            fields = line.split(None, 5)
            if len(fields) == 6 and fields[5].startswith(b"/"):
                yield f"{fields[3].decode()} {fields[4].decode()}", os.fsdecode(fields[5])


def _still_mapped(pid: int, known: Before) -> Iterable[tuple[str, str]]:
    if any(owner == pid for owner, _ in known.mapped):
        for where, _ in _mappings(pid):
            if (pid, where) in known.mapped:
                yield known.mapped[pid, where], "memory"


def _copies(pid: int, lost: tuple[str, str], namespace: int) -> Iterable[tuple[str, str]]:
    """A process in a mount namespace of its own has what was mounted when it made that."""
    with contextlib.suppress(OSError):
        if os.stat(f"/proc/{pid}/ns/mnt").st_ino == namespace:
            return
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            mounts = calls.read_mounts(file.read())
        for mount in mounts.values():
            if (mount.device, mount.root) == lost:
                yield mount.point, "namespace"

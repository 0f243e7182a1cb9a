"""
Who in a box still holds something of a mount that was taken away.

What comes in: what went, and the box's processes. What goes out: pids with the path that each holds, in what way. An
open file works on, whatever becomes of its mount: this tells of it. It is looked for when the mount is gone, and for a
second at most: the application can have as many processes and descriptors as it likes, and a grant's end waits for
none of them. What it can't see are descriptors that are on their way in a socket's queue or held by io_uring alone, and
mapped files that were deleted.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from sandboxer.steward import calls, descendants
from sandboxer.steward.child import Child
from sandboxer.words import Record

HOLDERS_MAX = 64
SCAN_S = 1.0
CHILD_S = 1.5
"""For the child that looks: reading what the kernel has to say of a process can wait for that process."""


class Holder(Record):
    """
    `how`: "file" (open, works on), "directory" (open, or a working directory), "memory" (mapped, works on), or
    "namespace" (a copy of the mount in a mount namespace that the process has made for itself).
    """

    pid: int
    program: str
    path: str
    how: str


class Removed(Record):
    """
    A mount that went: `ids` with those beneath it, `point` where it lay in the box, `source` on the host, `lost` its
    device and root as mountinfo had them.
    """

    ids: tuple[int, ...]
    point: str
    source: str
    lost: tuple[str, str]


class Held(Record):
    """`more`: how many holders are not among them. `is_whole`: everything was looked at."""

    holders: tuple[Holder, ...] = ()
    more: int = 0
    is_whole: bool = True


def holders(first: int, removed: Sequence[Removed], namespace: int) -> Held:
    """
    Who holds what, as far as can be told in `SCAN_S`.

    Args:
        first: the box's first process. namespace: the number of the box's own mount namespace.
    """
    if not any(one.ids for one in removed):
        return Held()
    try:
        found, more, is_whole = Child(partial(_work, first, removed, namespace), CHILD_S).result()
    except OSError:
        return Held(is_whole=False)
    return Held(
        holders=tuple(Holder(pid=pid, program=name, path=path, how=how) for pid, name, path, how in found),
        more=more,
        is_whole=is_whole,
    )


def _work(first: int, removed: Sequence[Removed], namespace: int) -> list[Any]:
    return list(scan(descendants.members(first), removed, namespace, time.monotonic() + SCAN_S))


def scan(
    pids: Iterable[int], removed: Sequence[Removed], namespace: int, until: float
) -> tuple[list[tuple[int, str, str, str]], int, bool]:
    """Pid, program, path and how of `HOLDERS_MAX` holders; how many more; whether it came to its end by `until`."""
    found: list[tuple[int, str, str, str]] = []
    more = 0
    for pid in sorted(pids):
        seen: set[tuple[str, str]] = set()
        for held in _of(pid, removed, namespace):
            if time.monotonic() > until:
                return found, more, False
            if held is None or held in seen:
                continue
            seen.add(held)
            if len(found) < HOLDERS_MAX:
                found.append((pid, descendants.program(pid), *held))
            else:
                more += 1
    return found, more, True


def _of(pid: int, removed: Sequence[Removed], namespace: int) -> Iterator[tuple[str, str] | None]:
    """What a process holds; None for each thing that isn't held, so that there the time can be looked at, too."""
    by_id = {number: one for one in removed for number in one.ids}
    yield from _opened(pid, by_id)
    yield from _mapped(pid, removed)
    yield from _copies(pid, removed, namespace)


def _links(pid: int) -> Iterator[tuple[str, str]]:
    """The working directory, the root and each descriptor: a key, and the magic link."""
    yield from ((key, f"/proc/{pid}/{key}") for key in ("cwd", "root"))
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:  # it has ended
        for entry in entries:
            yield entry.name, entry.path


def _opened(pid: int, removed: dict[int, Removed]) -> Iterator[tuple[str, str] | None]:
    for key, link in _links(pid):
        held = None
        with contextlib.suppress(OSError):
            mount = _mount_of(f"/proc/{pid}/fdinfo/{key}") if key.isdigit() else _mount_at(link)
            if mount in removed:
                # The kernel tells the path from the top of the mount, which lies nowhere any more.
                path = removed[mount].point + os.readlink(link).rstrip("/")
                held = path, "directory" if os.path.isdir(link) else "file"
        yield held


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


def _mapped(pid: int, removed: Sequence[Removed]) -> Iterator[tuple[str, str] | None]:
    """
    By the path from the top of the mount, as of descriptors, and the inode: outside the same file must lie there.

    What is mapped has no mount's number; a file of the same path and inode that the box sees elsewhere is its own.
    """
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb") as file:
        for line in file:
            fields = line.rstrip(b"\n").split(None, 5)
            held = None
            if len(fields) == 6 and fields[5].startswith(b"/"):
                path = os.fsdecode(fields[5]).rstrip("/")
                for one in removed:
                    with contextlib.suppress(OSError):
                        if one.ids and os.lstat(one.source.rstrip("/") + path).st_ino == int(fields[4]):
                            held = one.point + path, "memory"
            yield held


def _copies(pid: int, removed: Sequence[Removed], namespace: int) -> Iterator[tuple[str, str] | None]:
    """A process in a mount namespace of its own has what was mounted when it made that."""
    with contextlib.suppress(OSError):
        if os.stat(f"/proc/{pid}/ns/mnt").st_ino == namespace:
            return
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            mounts = calls.read_mounts(file.read())
        lost = {one.lost for one in removed}
        for mount in mounts.values():
            yield (mount.point, "namespace") if (mount.device, mount.root) in lost else None

"""
What a path of the user's means, outside: the file, directory or device node that is to be shown.

What comes in: an absolute path as it was typed, and the directories that the box may write, or could. What goes out:
the place with every link followed, and which inode is there. As in launchers/names.c, links are followed but for those
in a directory that the box may write: the application could have put them there, to something that the user never
meant.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from sandboxer.broker.rules import CHANGES, decode
from sandboxer.errors import StewardError
from sandboxer.grants.paths import within
from sandboxer.plan.ops import OpFlag, OpKind, Plan
from sandboxer.words import Record

LINKS_MAX = 40
"""The kernel's own limit (MAXSYMLINKS)."""


class Source(Record):
    """`path` is the real one; `mode` as in stat, with the type."""

    path: str
    device: int
    inode: int
    mode: int

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_block(self) -> bool:
        return stat.S_ISBLK(self.mode)

    @property
    def is_device(self) -> bool:
        return stat.S_ISCHR(self.mode) or stat.S_ISBLK(self.mode)


def writable_sources(plan: Plan) -> tuple[str, ...]:
    """The directories on the host that a plan lets the box change, its own home included, itself or by its broker."""
    rules = decode(plan.broker).paths if plan.broker else ()
    asked = (rule.root for rule in rules if rule.rights & CHANGES)
    bound = (str(op.source) for op in plan.ops if op.kind is OpKind.BIND and op.flags & OpFlag.WRITE)
    return tuple(dict.fromkeys((*bound, *asked)))


def find(path: str, writable: Sequence[str]) -> Source:
    """
    What `path` names.

    Args:
        writable: directories in which no link is followed.
    Raises:
        StewardError: nothing is there, it can't be looked at, or such a link is on the way.
    """
    try:
        fd = _walk(path, writable)
    except OSError as error:
        raise StewardError("cannot find what is to be shown", subject=f"{path}: {error.strerror}") from error
    try:
        status = os.fstat(fd)
        real = os.readlink(f"/proc/self/fd/{fd}")
        again = os.stat(real, follow_symlinks=False)
        if (again.st_dev, again.st_ino) != (status.st_dev, status.st_ino):
            raise StewardError(
                "cannot tell where a file really is", subject=f"{path}: it was moved or deleted"
            )
    except OSError as error:
        raise StewardError(
            "cannot tell where a file really is", subject=f"{path}: {error.strerror}"
        ) from error
    finally:
        os.close(fd)
    return Source(path=real, device=status.st_dev, inode=status.st_ino, mode=status.st_mode)


def _walk(path: str, writable: Sequence[str]) -> int:
    """One component at a time, so that each link can be judged before it is followed. Returns an O_PATH descriptor."""
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    here = os.open("/", flags)
    ahead, links = path.split("/")[::-1], 0
    try:
        while ahead:
            part = ahead.pop()
            if part in ("", "."):
                continue
            there = os.open(part, flags, dir_fd=here)
            if not stat.S_ISLNK(os.fstat(there).st_mode):
                os.close(here)
                here = there
                continue
            target = os.readlink("", dir_fd=there)
            os.close(there)
            links += 1
            _judge(here, part, links, path, writable)
            if target.startswith("/"):
                os.close(here)
                here = os.open("/", flags)
            ahead += target.split("/")[::-1]
        if path.endswith("/"):
            os.close(os.open(".", flags, dir_fd=here))  # ENOTDIR, as the path itself would get
    except BaseException:
        os.close(here)
        raise
    return here


def _judge(directory: int, name: str, links: int, path: str, writable: Sequence[str]) -> None:
    place = os.readlink(f"/proc/self/fd/{directory}")
    if links > LINKS_MAX:
        raise StewardError("a path has too many symbolic links", subject=path)
    if any(within(place, source) for source in writable):
        raise StewardError(
            "refuses to follow a link that the application could have made",
            subject=f"{os.path.join(place, name)}: a symbolic link in a directory that this box can write, or could",
            hint="name what the link leads to by its own path, if you mean it",
        )

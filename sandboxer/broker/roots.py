"""
The directories and files that the rules are for, opened once, before the broker confines itself.

What comes in: the table of rules. What goes out: each place with its directory's descriptor and the identity (device
and inode) of what it is for, and the identities of what is hidden or must stay where it is. Everything later is
opened beneath these descriptors, or copies of them (`own_root`): no path is resolved from the root again, so nobody can
put another directory in its place.

Abuse: a link planted where a rule's directory was (refused: no link is followed on the way to it); the one file of a
rule replaced by a link or by another file (`files` compares the identity). On file systems that take "Secret" and
"SECRET" for one name, and by hard links, hidden things have names that no rule lists: they are known by their identity
as well.
"""

from __future__ import annotations

import errno
import os

from sandboxer._kernel import lib
from sandboxer.broker.watches import Watches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandboxer.broker.verdicts import Table

NO_SYMLINKS, BENEATH, NO_MAGICLINKS = 4, 8, 2
"""RESOLVE_*. Source: openat2(2)."""
AT_FDCWD = -100
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES)
"""What a rule's directory that isn't there, or isn't one any more, gives: the rule then gives nothing."""
DEPTH_MAX = 2048

Identity = tuple[int, int]


class Ground:
    """
    What is known by its identity: what is hidden, and what must stay where it is, the rules' own directories and all
    directories above them or above something hidden. `named` are the files of rules for one file, with their paths.
    """

    __slots__ = ("fixed", "hidden", "is_stale", "named", "watches")

    def __init__(self) -> None:
        self.hidden: set[Identity] = set()
        self.fixed: set[Identity] = set()
        self.named: dict[Identity, bytes] = {}
        self.watches = Watches()
        self.is_stale = False
        """A rule's directory was wanted that has been removed, or wasn't there: another broker may find one."""


def open_roots(table: Table) -> Ground:
    """Open every place's directory. Raises OSError when that fails for another reason than that it isn't there."""
    ground = Ground()
    opened: dict[bytes, int] = {}
    for place in table.places:
        if place.root not in opened:
            opened[place.root] = _open(place.root or b"/", os.O_DIRECTORY)
            _note_above(opened[place.root], ground)
        place.fd = opened[place.root]
        if place.fd >= 0:
            place.device, place.inode = (
                identity_beneath(place.fd, place.name) if place.name else identity(place.fd)
            )
    for path in table.hidden:
        parent = _open(path[: path.rfind(b"/")] or b"/", os.O_DIRECTORY)
        if parent < 0:
            continue
        try:
            _note_above(parent, ground)
            found = identity_beneath(parent, path[path.rfind(b"/") + 1 :])
        finally:
            os.close(parent)
        if found[1]:
            ground.hidden.add(found)
    for place in table.places:
        if place.name and place.inode:
            ground.named[place.device, place.inode] = place.host
    return ground


def identity(fd: int) -> Identity:
    """Device and inode of what a descriptor is for."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def is_gone(fd: int) -> bool:
    """Whether a directory that was opened has been removed since."""
    return os.fstat(fd).st_nlink == 0


def _open(path: bytes, flags: int) -> int:
    """A descriptor to look at, -1 where there is nothing of the kind."""
    fd: int = lib.kernel_openat2(AT_FDCWD, path, os.O_PATH | flags, 0, NO_SYMLINKS | NO_MAGICLINKS)
    if fd < 0 and -fd not in _ABSENT:
        raise OSError(-fd, os.strerror(-fd), os.fsdecode(path))
    return max(fd, -1)


def identity_beneath(directory: int, name: bytes) -> Identity:
    """Of an entry itself, no link followed; (0, 0) where there is none."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:  # nothing that can be reached has this name, whatever the reason
        return 0, 0
    return status.st_dev, status.st_ino


def _note_above(fd: int, ground: Ground) -> None:
    """Add a directory and all above it to what must stay where it is."""
    if fd < 0:
        return
    here = os.dup(fd)
    try:
        for _ in range(DEPTH_MAX):
            found = identity(here)
            if found in ground.fixed:
                return
            ground.fixed.add(found)
            above = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = above
    finally:
        os.close(here)

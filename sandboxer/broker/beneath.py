"""
Finding what a path names beneath a rule's directory, to look at it.

What comes in: a place and a path from its directory. What goes out: an O_PATH descriptor, of the thing itself or of the
directory that it lies in; or an OSError. Nothing is opened for more than looking, nothing changes.

Abuse: where something beneath the rule's directory is hidden, its name alone doesn't tell (see `roots`): so the way up
from what was found is climbed, and each directory on it looked at, until the rule's own.
"""

from __future__ import annotations

import errno
import os

from sandboxer._kernel import lib
from sandboxer.broker.roots import BENEATH, DEPTH_MAX, NO_MAGICLINKS, NO_SYMLINKS, identity, identity_beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandboxer.broker.roots import Ground, Identity
    from sandboxer.broker.verdicts import Place

NO_LINKS, LINKS_BENEATH = NO_SYMLINKS | NO_MAGICLINKS | BENEATH, NO_MAGICLINKS | BENEATH
"""How paths are resolved: without any link, or with those that stay beneath the rule's directory."""
_openat2 = lib.kernel_openat2


class Replaced(Exception):
    """What a rule is for isn't any more what it was when the broker started."""


def look(place: Place, rest: bytes, ground: Ground, *, at_link: bool) -> int:
    """A descriptor to look at what a path names; `at_link`: at a link itself. Raises OSError, Replaced."""
    flags = os.O_PATH | (os.O_NOFOLLOW if at_link else 0)
    if place.hidden:
        parent, name = parent_of(place, rest, ground)
        try:
            fd = _openat2(parent, name, flags, 0, NO_LINKS)
        finally:
            os.close(parent)
    else:
        fd = _openat2(place.fd, rest, flags, 0, LINKS_BENEATH if place.follow else NO_LINKS)
    if fd < 0:
        raise OSError(-fd, "")
    try:
        _check(fd, place, ground)
    except BaseException:
        os.close(fd)
        raise
    return int(fd)


def parent_of(place: Place, rest: bytes, ground: Ground) -> tuple[int, bytes]:
    """A descriptor of the directory that a path's last component lies in, and that component. Raises OSError."""
    head, _, name = rest.rpartition(b"/")
    follow = place.follow
    fd = _openat2(
        place.fd, head or b".", os.O_PATH | os.O_DIRECTORY, 0, LINKS_BENEATH if follow else NO_LINKS
    )
    if fd < 0:
        raise OSError(-fd, "")
    try:
        if place.hidden:
            _climb(fd, place, ground)
    except BaseException:
        os.close(fd)
        raise
    return fd, name


def seen(fd: int, ground: Ground) -> tuple[int, int]:
    """The identity of what a descriptor is for, which isn't hidden; EACCES where it is."""
    found = identity(fd)
    if found in ground.hidden:
        raise OSError(errno.EACCES, "")
    return found


def leave(parent: int, name: bytes, *kept: set[Identity]) -> Identity:
    """An entry's identity; EACCES where it is one of those that stay, whatever its name is."""
    found = identity_beneath(parent, name)
    if any(found in identities for identities in kept):
        raise OSError(errno.EACCES, "")
    return found


def _check(fd: int, place: Place, ground: Ground) -> None:
    if lib.kernel_in_procfs(fd):
        raise OSError(errno.EACCES, "")
    if place.hidden:
        seen(fd, ground)
    if place.name and identity(fd) != (place.device, place.inode):
        raise Replaced


def _climb(fd: int, place: Place, ground: Ground) -> None:
    """Refuse a directory that is hidden or lies in one that is, by whatever name it was found."""
    top = identity(place.fd)
    here = os.dup(fd)
    try:
        for _ in range(DEPTH_MAX):
            if seen(here, ground) == top:
                return
            above = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = above
    finally:
        os.close(here)
    raise OSError(errno.EACCES, "")  # moved away from beneath the rule's directory while we climbed

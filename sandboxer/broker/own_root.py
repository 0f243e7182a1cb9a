"""
The broker's root directory: an empty one, in a mount namespace of its own.

What comes in: what `roots` and `log` have opened in the host's tree, in a process that the launcher has started in new
user and mount namespaces. What goes out: the same, opened through detached copies of the mounts, and a process in whose
tree there is nothing but /proc/self/fd, and which has no capability; or an OSError, and then nothing may be served.

Abuse: Landlock says nothing of connecting to a socket by its name, of changing a file's mode or times, of looking at
things or watching them. So code that has taken the broker over finds no name for any of it: `..` ends at the root of
each copy, also for whom the descriptor is sent to, and what no rule lets change lies in a copy that is read-only. What
remains to it is what a copy holds: of a rule for one file, the directory of that file to look at.
"""

from __future__ import annotations

import errno
import os
import stat

from sandboxer._kernel import lib
from sandboxer.broker.rules import CHANGES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandboxer.broker.log import Log
    from sandboxer.broker.verdicts import Table

AT_FDCWD = -100
OPEN_TREE_CLONE, AT_RECURSIVE = 1, 0x8000
"""Source: open_tree(2)."""
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
"""MOUNT_ATTR_*. Source: mount_setattr(2)."""
MS_PRIVATE = 1 << 18
NS_GET_USERNS = 0xB701
"""Source: ioctl_ns(2)."""
OWN_DESCRIPTORS = "/proc/self/fd"
"""What opening by a descriptor takes: the one thing that has a name."""


def leave(table: Table, log: Log) -> None:
    """
    Replace every descriptor of the host's tree by one of a copy, then leave that tree for an empty one, for good.

    Raises:
        OSError: a step failed, or this process isn't alone in its namespaces; `strerror` says which.
    """
    _require_own_namespaces()
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # neither do mounts of the host's arrive here any more, nor does one that can't be copied stop the copy
        _done(lib.kernel_mount_setattr(root, 1, 0, 0, MS_PRIVATE), "cannot make the broker's mounts private")
    finally:
        os.close(root)
    copy_places(table)
    for service in table.services.values():
        if service.fd >= 0:
            service.fd = _replaced(service.fd, RDONLY)
    log.move(_copy(log.directory, 0))
    _enter_empty_root()
    _done(lib.kernel_drop_capabilities(), "cannot give up the broker's capabilities")
    kept = {place.fd for place in table.places} | {log.directory}
    close_directories(kept)


def copy_places(table: Table) -> None:
    """One copy for each directory that rules are for, and a second one where some rules change it and others don't."""
    copies: dict[tuple[int, bool], int] = {}
    for place in table.places:
        if place.fd < 0:
            continue
        changes = bool(place.effective & CHANGES)
        if (place.fd, changes) not in copies:
            copies[place.fd, changes] = _copy(place.fd, 0 if changes else RDONLY)
    for fd in {fd for fd, _ in copies}:
        os.close(fd)
    for place in table.places:
        if place.fd >= 0:
            place.fd = copies[place.fd, bool(place.effective & CHANGES)]


def close_directories(kept: set[int]) -> None:
    """Close each descriptor of a directory but these: a directory leads to all above it."""
    for name in os.listdir(OWN_DESCRIPTORS):
        fd = int(name)
        try:
            found = os.fstat(fd)
        except OSError as error:
            if error.errno != errno.EBADF:  # the listing's own
                raise
            continue
        if stat.S_ISDIR(found.st_mode) and fd not in kept:
            os.close(fd)


def _require_own_namespaces() -> None:
    """Refuse to go on in the host's mount namespace, whose root would be replaced for everybody."""
    with open("/proc/self/uid_map", "rb") as file:
        mapped = file.read().split()
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        owner = _done(lib.kernel_namespace(own, NS_GET_USERNS), "cannot tell whose namespace the broker is in")
        try:
            is_own = os.fstat(owner).st_ino == os.stat("/proc/self/ns/user").st_ino
        finally:
            os.close(owner)
    finally:
        os.close(own)
    if not is_own or len(mapped) != 3 or mapped[2] != b"1":
        raise OSError(errno.EPERM, "the broker has no namespaces of its own")


def _copy(fd: int, attributes: int) -> int:
    """A detached copy of what a descriptor is for, with all that is mounted beneath."""
    is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
    flags = OPEN_TREE_CLONE | (AT_RECURSIVE if is_directory else 0)
    tree = _done(lib.kernel_open_tree(fd, b"", flags), "cannot copy the mount of what a rule is for")
    attributes |= NOSUID | NODEV | NOEXEC
    _done(
        lib.kernel_mount_setattr(tree, int(is_directory), attributes, 0, MS_PRIVATE),
        "cannot restrict the mount of what a rule is for",
    )
    return tree


def _replaced(fd: int, attributes: int) -> int:
    copy = _copy(fd, attributes)
    os.close(fd)
    return copy


def _enter_empty_root() -> None:
    """A tmpfs with a mount point for our own descriptors in it. It is attached where it covers no more than /proc."""
    failed = "cannot make the broker's root directory"
    descriptors = _done(lib.kernel_open_tree(AT_FDCWD, OWN_DESCRIPTORS.encode(), OPEN_TREE_CLONE), failed)
    try:
        root = _done(lib.kernel_new_tmpfs(), failed)
        try:
            path = ""
            for name in OWN_DESCRIPTORS[1:].split("/"):
                path += name
                os.mkdir(path, 0o700, dir_fd=root)
                path += "/"
            _done(lib.kernel_move_mount(root, AT_FDCWD, b"/proc"), failed)
            _done(lib.kernel_move_mount(descriptors, root, OWN_DESCRIPTORS[1:].encode()), failed)
            _done(lib.kernel_mount_setattr(root, 1, RDONLY | NOSUID | NODEV | NOEXEC, 0, MS_PRIVATE), failed)
            _done(lib.kernel_enter_root(root), "cannot enter the broker's root directory")
        finally:
            os.close(root)
    finally:
        os.close(descriptors)


def _done(answer: int, what: str) -> int:
    if answer < 0:
        raise OSError(-answer, f"{what}: {os.strerror(-answer)}")
    return answer

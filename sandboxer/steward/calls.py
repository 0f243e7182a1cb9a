"""
The system calls with which mounts are made and taken away, as Python knows calls: errors are OSErrors.

What comes in: descriptors and paths. What goes out: descriptors and numbers. Nothing here decides anything; no path is
resolved through a symbolic link, but by `open_as_root`.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack

from sandboxer._kernel import lib
from sandboxer.words import Record

NEW_MOUNT_NAMESPACE = 0x00020000
NEW_USER_NAMESPACE = 0x10000000
NS_GET_USERNS, NS_GET_PARENT = 0xB701, 0xB702
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 2, 4, 8, 16
OPEN_TREE_CLONE, AT_RECURSIVE = 1, 0x8000
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
"""Attributes of mounts. Source: mount_setattr(2)."""
MS_PRIVATE = 1 << 18
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8


class Mount(Record):
    """A line of /proc/PID/mountinfo. `root` is what of its file system it shows, `point` where it lies."""

    id: int
    parent: int
    device: str
    root: str
    point: str
    options: tuple[str, ...]


def open_path(directory: int, path: str, flags: int = 0) -> int:
    """An O_PATH descriptor of what lies at `path` below `directory`; a link on the way, or at the end, is ELOOP."""
    resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
    name = os.fsencode(path.lstrip("/") or ".")
    return _checked(lib.kernel_openat2(directory, name, os.O_PATH | flags, 0, resolve), path)


def open_beneath(directory: int, path: str) -> int:
    """The same, and never above `directory`."""
    resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH
    return _checked(lib.kernel_openat2(directory, os.fsencode(path), os.O_PATH, 0, resolve), path)


def open_as_root(root: int, path: str) -> int:
    """An O_PATH descriptor of what a process finds at `path` whose root is `root`: links are followed as it would."""
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
    return _checked(lib.kernel_openat2(root, os.fsencode(path), os.O_PATH, 0, resolve), path)


def namespace_parent(fd: int, request: int) -> int:
    """NS_GET_USERNS or NS_GET_PARENT of a namespace: a descriptor."""
    return _checked(lib.kernel_namespace(fd, request))


def namespace_owner(fd: int) -> int:
    """The owner of a user namespace."""
    return _checked(lib.kernel_namespace_owner(fd))


def enter(namespace: int, kind: int) -> None:
    """setns(2)."""
    _checked(lib.kernel_setns(namespace, kind))


def leave_mounts() -> None:
    """A copy of the mount namespace for this process alone."""
    _checked(lib.kernel_unshare(NEW_MOUNT_NAMESPACE))


def clone(fd: int, attributes: int, *, recursive: bool = True, clear: int = 0) -> int:
    """A detached copy of the mount at `fd`, with `attributes` on all of it, cut off from mount propagation."""
    flags = OPEN_TREE_CLONE | (AT_RECURSIVE if recursive else 0)
    tree = _checked(lib.kernel_open_tree(fd, b"", flags))
    _checked(lib.kernel_mount_setattr(tree, recursive, attributes, clear, MS_PRIVATE))
    return tree


def make_read_only(fd: int) -> None:
    """The mount whose top `fd` is, and those beneath it."""
    _checked(lib.kernel_mount_setattr(fd, True, RDONLY, 0, 0))


def attach(tree: int, directory: int, name: str = "") -> None:
    """Mount a detached tree on `name` in a directory, or on the directory itself. A link there isn't followed."""
    _checked(lib.kernel_move_mount(tree, directory, os.fsencode(name)), name)


def detach(name: str) -> None:
    """Unmount what lies at `name` in the working directory, whoever still uses it."""
    _checked(lib.kernel_umount2(os.fsencode(name), MNT_DETACH | UMOUNT_NOFOLLOW), name)


def new_tmpfs() -> int:
    """A detached one, empty."""
    return _checked(lib.kernel_new_tmpfs())


def mount_id(fd: int) -> int:
    """The mount that a descriptor was opened through."""
    return _checked(lib.kernel_mount_id(fd))


def read_mounts(content: bytes) -> dict[int, Mount]:
    """The content of a mountinfo, by the mounts' ids. Source: proc_pid_mountinfo(5)."""
    found = {}
    for line in os.fsdecode(content).splitlines():
        fields = line.split(" ")
        if len(fields) > 5:
            found[int(fields[0])] = Mount(
                id=int(fields[0]),
                parent=int(fields[1]),
                device=fields[2],
                root=_unescaped(fields[3]),
                point=_unescaped(fields[4]),
                options=tuple(fields[5].split(",")),
            )
    return found


def same_type(fd: int, *, directory: bool) -> bool:
    """Whether something of this type can be mounted on what `fd` is for."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISDIR(mode) == directory and not stat.S_ISLNK(mode)


def closing(stack: ExitStack, fd: int) -> int:
    """The descriptor, to be closed with the stack."""
    stack.callback(os.close, fd)
    return fd


def _unescaped(text: str) -> str:
    """Blanks, tabs, line ends and backslashes come as three octal digits; all else as it is."""
    first, *rest = text.split("\\")
    pieces = [os.fsencode(first)]
    for piece in rest:
        pieces += [bytes([int(piece[:3], 8)]), os.fsencode(piece[3:])]
    return os.fsdecode(b"".join(pieces))


def _checked(result: int, path: str = "") -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result), path or None)
    return result

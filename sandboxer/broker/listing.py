"""
A directory's names, a message at a time.

What comes in: a directory's descriptor and the name after which to go on. What goes out: entries in the order of their
names. However large the directory is, no more is held than two messages' worth.
"""

from __future__ import annotations

import errno
import os

from sandboxer.broker.protocol import REPLY, REPLY_SIZE_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ENTRIES_MAX = 65536
"""Entries that are looked at; a directory with more of them gives EOVERFLOW, since others would wait too long."""
_ROOM = REPLY_SIZE_MAX - REPLY.size
_MOST = _ROOM // 3
"""Entries that a message can hold: a letter, a name of one byte, a NUL."""


def page(fd: int, after: bytes, hides: Callable[[bytes, int], bool]) -> tuple[bytes, int]:
    """
    Entries as `protocol` lays them out, and 1 when more follow, else 0.

    Args:
        hides: whether an entry of that name and inode is left out.

    Raises:
        OSError
    """
    kept: list[bytes] = []
    more = 0
    with os.scandir(fd) as entries:
        for count, entry in enumerate(entries):
            if count >= ENTRIES_MAX:
                raise OSError(errno.EOVERFLOW, "")
            name = os.fsencode(entry.name)
            if name <= after or hides(name, entry.inode()):
                continue
            kept.append(name + b"\0" + _letter(entry))  # a NUL sorts before all that a name can hold
            if len(kept) > 2 * _MOST:
                kept.sort()
                del kept[_MOST:]
                more = 1
    kept.sort()
    size = 0
    for count, item in enumerate(kept):
        size += len(item)
        if size > _ROOM:
            more = 1
            del kept[count:]
            break
    return b"".join(item[-1:] + item[:-1] for item in kept), more


def _letter(entry: os.DirEntry[str]) -> bytes:
    if entry.is_file(follow_symlinks=False):
        return b"f"
    if entry.is_dir(follow_symlinks=False):
        return b"d"
    return b"l" if entry.is_symlink() else b"o"

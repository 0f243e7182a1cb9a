"""
Copies of the files that are opened outside.

What comes in: a file of the box's, as an O_PATH descriptor of the very inode that it sees. What goes out: the type of
what was copied, and the copy's path, in a directory that no box is given. The program outside never gets a path that
the application could put a link at: what was looked at is what was copied, and the copy stays as it is.

It is opened without waiting and read in a child (`child`): the application may hold a lease on it, or have it grow.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable

from sandboxer.plan import cache
from sandboxer.steward import file_types

SIZE_MAX = 256 * 1024 * 1024
TOTAL_MAX = 4 * SIZE_MAX
"""Of all copies together: older ones make room."""
KEPT_S = 24 * 3600
SPARED_S = 60
"""A copy younger than this isn't removed to make room: the program outside may be about to open it."""
TIMEOUT_S = 8.0
"""For one copy; the broker waits for ten seconds."""
BETWEEN_S = 0.05
_PIECE = 1024 * 1024


def directory(cache_home: str) -> str:
    """CACHE/sandboxer/presented, made with mode 0700 where it is missing. Raises LaunchError."""
    return cache.presented_directory(cache_home, os.getuid())


def copy(found: int, name: str, place: str, permits: Callable[[str], bool]) -> tuple[str, str]:
    """
    Copy a file if its type is permitted.

    Args:
        found: an O_PATH descriptor of a regular file. name: what it is called. place: of `directory`.
    Returns:
        The type, and the path of the copy (mode 0400, alone in a directory of mode 0700).
    Raises:
        OSError: EACCES: its type isn't permitted; EFBIG; EDQUOT: there are too many copies.
    """
    fd = _opened(found)
    try:
        size = os.fstat(fd).st_size
        _require_size(size, name)
        make_room(place, size)
        head = _read(fd, file_types.head_size())
        kind = file_types.type_of(name, head)
        if not kind or not permits(kind):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), name)
        return kind, _write(fd, head, name, place)
    finally:
        os.close(fd)


def make_room(place: str, size: int) -> None:
    """Remove copies of more than a day, and the oldest while all together are too much. Raises OSError (EDQUOT)."""
    now = time.time()
    copies = sorted(_copies(place))
    total = size + sum(length for _, length, _ in copies)
    for made, length, path in copies:
        age = now - made
        if age > KEPT_S or (total > TOTAL_MAX and age > SPARED_S):
            _remove(path)
            total -= length
    if total > TOTAL_MAX:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), place)


def _copies(place: str) -> list[tuple[float, int, str]]:
    """When each was made, its size, and its directory."""
    found = []
    for entry in os.scandir(place):
        with contextlib.suppress(OSError):  # removed meanwhile, by another box's steward
            sizes = [inner.stat(follow_symlinks=False).st_size for inner in os.scandir(entry.path)]
            found.append((entry.stat(follow_symlinks=False).st_mtime, sum(sizes), entry.path))
    return found


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        for entry in os.scandir(path):
            os.unlink(entry.path)
        os.rmdir(path)


def _opened(found: int) -> int:
    """The same file, for reading. Whoever has a lease on it is told to let go, and waited for by the child's time."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    until = time.monotonic() + TIMEOUT_S
    while True:
        try:
            fd = os.open(f"/proc/self/fd/{found}", flags)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                raise
        time.sleep(BETWEEN_S)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return fd


def _require_size(size: int, name: str) -> None:
    if size > SIZE_MAX:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)


def _read(fd: int, size: int) -> bytes:
    content = b""
    while len(content) < size and (piece := os.read(fd, size - len(content))):
        content += piece
    return content


def _write(fd: int, head: bytes, name: str, place: str) -> str:
    own = os.path.join(place, os.urandom(16).hex())
    os.mkdir(own, 0o700)
    path = os.path.join(own, name)
    try:
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
        with open(target, "wb", buffering=0) as file:
            written, piece = 0, head
            while piece:
                written += len(piece)
                _require_size(written, name)
                while piece:
                    piece = piece[file.write(piece) or 0 :]
                piece = os.read(fd, _PIECE)
    except BaseException:
        _remove(own)
        raise
    return path

"""
Connections to services outside.

What comes in: the path of a socket that a rule names. What goes out: a connected descriptor. It never waits, and never
gives out a connection to an SSH agent: that is for `relay`.

Abuse: a link or another file in the place of the socket (no link is followed, and only a socket is connected to, by its
descriptor); a service that doesn't accept (EAGAIN). What the service lets its clients do, the application can do.
"""

from __future__ import annotations

import errno
import os
import stat
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, socket
from fcntl import F_SETFL, fcntl

from sandboxer._kernel import lib
from sandboxer.broker.roots import AT_FDCWD, NO_MAGICLINKS, NO_SYMLINKS


def connect(path: bytes, *, blocking: bool = True) -> int:
    """
    A stream socket that is connected to the one at `path`; `blocking` is how it is left.

    Raises:
        OSError: ECONNREFUSED also for what is no socket.
    """
    found = lib.kernel_openat2(AT_FDCWD, path, os.O_PATH, 0, NO_SYMLINKS | NO_MAGICLINKS)
    if found < 0:
        raise OSError(-found, os.strerror(-found))
    try:
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        made = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        try:
            made.connect(f"/proc/self/fd/{found}")
            if blocking:
                fcntl(made.fileno(), F_SETFL, 0)
        except BaseException:
            made.close()
            raise
        return made.detach()
    finally:
        os.close(found)

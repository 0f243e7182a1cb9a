"""
Connections to services outside.

What comes in: the rules for sockets, once, before the broker leaves the host's tree, and later which of them is wanted.
What goes out: a connected descriptor. It never waits, never connects by a path, and never gives out a connection to an
SSH agent: that is for `relay`.

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
from sandboxer.broker.verdicts import encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandboxer.broker.rules import Service


def hold(services: Iterable[Service]) -> None:
    """Open each service's socket, to look at; what isn't there, or is no socket, keeps `fd` -1 and says why."""
    for service in services:
        found = lib.kernel_openat2(AT_FDCWD, encoded(service.path), os.O_PATH, 0, NO_SYMLINKS | NO_MAGICLINKS)
        if found >= 0 and not stat.S_ISSOCK(os.fstat(found).st_mode):
            os.close(found)
            found = -errno.ECONNREFUSED
        service.fd = max(found, -1)
        service.error = -found if found < 0 else 0


def connect(service: Service, *, blocking: bool = True) -> int:
    """
    A stream socket that is connected to a service; `blocking` is how it is left.

    Raises:
        OSError: ECONNREFUSED also for what is no socket. `is_stale` says whether another broker may find another one.
    """
    if service.fd < 0:
        service.is_stale = True
        raise OSError(service.error, os.strerror(service.error))
    made = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
    try:
        made.connect(f"/proc/self/fd/{service.fd}")
        if blocking:
            fcntl(made.fileno(), F_SETFL, 0)
    except BaseException:
        made.close()
        service.is_stale = os.fstat(service.fd).st_nlink == 0
        raise
    return made.detach()

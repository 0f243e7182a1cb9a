"""
The inotify descriptors that are handed out: how many of them still live, and how many a second.

What comes in: each descriptor before it leaves. What goes out: new ones, as long as there aren't too many. The broker
closes its own copy, and nobody tells it when the application closes the last one; but an epoll descriptor forgets a
file only then, and /proc shows what it holds.

Abuse: inotify instances are few, and shared by all programs of the user's (WATCHES_MAX); the last close of one takes
the kernel some milliseconds, in which the broker serves nobody (RATE; one that no watch could be added to isn't closed
but kept for the next request).
"""

from __future__ import annotations

import errno
import os
import time
from select import epoll

from sandboxer._kernel import lib

WATCHES_MAX = 16
"""Alive at once. The kernel gives a user 128 (fs.inotify.max_user_instances), for all programs together."""
RATE = 32
"""Made in a second."""
_SIZE = 8192


class Watches:
    """Made before the broker confines itself, since /proc can't be opened any more then."""

    __slots__ = ("_epoll", "_info", "_made", "_spare", "_window")

    def __init__(self) -> None:
        self._epoll = epoll()
        self._info = os.open(f"/proc/self/fdinfo/{self._epoll.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
        self._spare = -1
        self._window = 0.0
        self._made = 0

    def take(self) -> int:
        """
        A new inotify descriptor.

        Raises:
            OSError: EMFILE: too many are alive; EAGAIN: too many were made in this second.
        """
        now = time.monotonic()
        if now - self._window >= 1.0:
            self._window, self._made = now, 0
        if self._made >= RATE:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if self.alive() >= WATCHES_MAX:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self._made += 1
        taken, self._spare = self._spare, -1
        if taken < 0:
            taken = int(lib.kernel_inotify_init())
        if taken < 0:
            raise OSError(-taken, os.strerror(-taken))
        return taken

    def put_back(self, inotify: int) -> None:
        """One that no watch could be added to."""
        self._spare = inotify

    def add(self, inotify: int) -> None:
        """Count this descriptor from now on: it leaves."""
        self._epoll.register(inotify, 0)

    def alive(self) -> int:
        """How many are open somewhere."""
        return os.pread(self._info, _SIZE, 0).count(b"tfd:")

    def close(self) -> None:
        """Forget them."""
        self._epoll.close()
        os.close(self._info)
        if self._spare >= 0:
            os.close(self._spare)

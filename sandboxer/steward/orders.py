"""
Orders to the box's first process: start another program beside the application.

What comes in: words. What goes out: its pid, in the box. The first process forks, so that the program has every
confinement that the application has (launchers/init.c); nothing of the steward's is handed over.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Sequence

from sandboxer.errors import StewardError

SIZE_MAX = 16384
WORDS_MAX = 256
TIMEOUT_MS = 5000
_REPLY = struct.Struct("=i")


def start(orders: socket.socket | None, words: Sequence[str]) -> int:
    """
    Start a program.

    Raises:
        StewardError: it can't be started. (Whether it is there is not known: it says so itself.)
    """
    content = b"X" + b"".join(os.fsencode(word) + b"\0" for word in words)
    if len(content) > SIZE_MAX or len(words) > WORDS_MAX or any("\0" in word for word in words):
        raise StewardError("cannot tell the application of so much at once", hint="name fewer files")
    try:
        pid = _exchange(orders, content)
    except OSError as error:
        raise StewardError(
            "cannot start a program in the box", subject=f"{words[0]}: {error.strerror or error}"
        ) from error
    return pid


def _exchange(orders: socket.socket | None, content: bytes) -> int:
    if orders is None:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
    _forget(orders)
    orders.send(content, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    poll = select.poll()
    poll.register(orders, select.POLLIN)
    if not poll.poll(TIMEOUT_MS):
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    reply = orders.recv(_REPLY.size, socket.MSG_DONTWAIT)
    if len(reply) != _REPLY.size:
        raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
    pid: int = _REPLY.unpack(reply)[0]
    if pid <= 0:
        raise OSError(-pid, os.strerror(-pid))
    return pid


def _forget(orders: socket.socket) -> None:
    """Replies to what an earlier steward asked, or what took too long."""
    while True:
        try:
            if not orders.recv(_REPLY.size, socket.MSG_DONTWAIT):
                return
        except BlockingIOError:
            return

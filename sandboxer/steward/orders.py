"""
Orders to the box's first process: start another program beside the application.

What comes in: words, and for a program that somebody outside waits for its streams. What goes out: its pid, in the box.
The first process forks, so that the program has every confinement that the application has (launchers/init.c); nothing
of the steward's is handed over.
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
    return _ordered(orders, b"X", (), words, ())


def execute(
    orders: socket.socket | None,
    words: Sequence[str],
    directory: str,
    terminal: str,
    descriptors: Sequence[int],
) -> int:
    """
    Start a program that has streams.

    Args:
        directory: in the box, "" for the application's. terminal: TERM, "" for the box's own. descriptors: standard
            input, output and error, and where its status is written as "=i" when it has ended.
    Raises:
        StewardError: as `start`.
    """
    return _ordered(orders, b"E", (directory, terminal), words, descriptors)


def _ordered(
    orders: socket.socket | None,
    order: bytes,
    places: Sequence[str],
    words: Sequence[str],
    descriptors: Sequence[int],
) -> int:
    texts = (*places, *words)
    content = order + b"".join(os.fsencode(text) + b"\0" for text in texts)
    if not words or not words[0]:
        raise StewardError("there is nothing to start in the box")
    if len(content) > SIZE_MAX or len(words) > WORDS_MAX or any("\0" in text for text in texts):
        raise StewardError(
            "cannot tell the box of so much at once",
            subject=f"{len(words)} words, {len(content)} bytes: at most {WORDS_MAX} and {SIZE_MAX}",
            hint="name fewer files",
        )
    try:
        pid = _exchange(orders, content, descriptors)
    except OSError as error:
        raise StewardError(
            "cannot start a program in the box",
            subject=f"{words[0]}: {error.strerror or error}",
            hint=_HINTS.get(error.errno or 0, ""),
        ) from error
    return pid


_HINTS = {
    errno.EAGAIN: "as many as can be run in it: end some",
    errno.ETIMEDOUT: "it is stopped, perhaps: sandbox thaw, or fg in the shell that it was started from",
}


def _exchange(orders: socket.socket | None, content: bytes, descriptors: Sequence[int]) -> int:
    if orders is None:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
    _forget(orders)
    socket.send_fds(orders, [content], descriptors, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
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

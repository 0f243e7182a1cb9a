"""
Orders to the box's first process: start another program beside the application; stop all that is in the box, let it go
on.

What comes in: words, and for a program that somebody outside waits for its streams. What goes out: its pid, in the box.
The first process forks, so that the program has every confinement that the application has (launchers/orders.c);
nothing of the steward's is handed over. Where somebody waits, the order holds until a time: what was refused because it
took too long isn't begun behind his back.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Sequence

from sandboxer.errors import StewardError
from sandboxer.steward.ledger import now_ns

SIZE_MAX = 16384
WORDS_MAX = 256
TIMEOUT_MS = 5000
GRACE_MS = 1000
"""How much longer a reply is waited for than the order holds: it may be begun at the last moment."""
_RESULT = struct.Struct("=i")
_NUMBERED = struct.Struct("=iI")
_SERIAL_SIZE = 4


def start(orders: socket.socket | None, words: Sequence[str]) -> int:
    """
    Start a program.

    Raises:
        StewardError: it can't be started. (Whether it is there is not known: it says so itself.)
    """
    return _ordered(orders, b"X", (), words, ())


def freeze(orders: socket.socket | None) -> None:
    """
    Stop all that is in the box but its first process, what is just being forked as well. It is under way then, and not
    said that all of it stands still: what runs that moment may let others go on.

    Raises:
        StewardError: it can't be told.
    """
    _halt(orders, b"S\0", "cannot freeze the box")


def thaw(orders: socket.socket | None) -> None:
    """Let all of it go on. Raises as `freeze`."""
    _halt(orders, b"T\0", "cannot let the box go on")


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


def _halt(orders: socket.socket | None, content: bytes, what: str) -> None:
    try:
        _done(_exchange(orders, content, ()))
    except OSError as error:
        raise StewardError(
            what, subject=error.strerror or str(error), hint=_HINTS.get(error.errno or 0, "")
        ) from error


def _ordered(
    orders: socket.socket | None,
    order: bytes,
    places: Sequence[str],
    words: Sequence[str],
    descriptors: Sequence[int],
) -> int:
    serial = None
    texts = (*places, *words)
    if descriptors:
        serial = int.from_bytes(os.urandom(_SERIAL_SIZE), "little")
        texts = (str(serial), str(now_ns() + TIMEOUT_MS * 1_000_000), *texts)
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
        pid = _done(_exchange(orders, content, descriptors, serial))
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


def _exchange(
    orders: socket.socket | None, content: bytes, descriptors: Sequence[int], serial: int | None = None
) -> int:
    """What the order came to. Replies to earlier ones, which come late, aren't taken for its own."""
    if orders is None:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
    _forget(orders)
    socket.send_fds(orders, [content], descriptors, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    poll = select.poll()
    poll.register(orders, select.POLLIN)
    until = time.monotonic() + (TIMEOUT_MS + GRACE_MS) / 1000
    while poll.poll(max(0.0, until - time.monotonic()) * 1000):
        reply = orders.recv(_NUMBERED.size, socket.MSG_DONTWAIT)
        if not reply:
            raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
        if serial is None and len(reply) == _RESULT.size:
            return int(_RESULT.unpack(reply)[0])
        if len(reply) == _NUMBERED.size and _NUMBERED.unpack(reply)[1] == serial:
            return int(_NUMBERED.unpack(reply)[0])
        if serial is not None and len(reply) == _RESULT.size and _RESULT.unpack(reply)[0] == -errno.EINVAL:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def _done(result: int) -> int:
    """A pid, or 0 where there is none to tell of. Raises OSError."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def _forget(orders: socket.socket) -> None:
    """Replies to what an earlier steward asked, or what took too long."""
    while True:
        try:
            if not orders.recv(_NUMBERED.size, socket.MSG_DONTWAIT):
                return
        except BlockingIOError:
            return

"""
Bytes from one descriptor to another, for a program whose streams are ours to pass on.

What comes in: ways, each from a source to a sink, and the descriptor that tells the end. What goes out: the same bytes
in the same order, and what the end said. The caller's own descriptors are neither made non-blocking, which others who
have them would feel, nor closed.

When the program has ended others in the box may still have its streams, and write: what is in a stream at that moment
is passed on, and no more.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import stat
import struct
import termios
import time
from array import array
from collections.abc import Callable, Sequence

STATUS = struct.Struct("=i")
PIECE = 64 * 1024
AT_ONCE = select.PIPE_BUF
"""Bytes that can be written without waiting to whatever poll() says is ready."""
QUIET_MS = 50
"""A terminal hands on what was written some time after its writer has ended: so long without anything is the end."""
WAKING_MS = 10
LEFT_S = 1.0
LEFT_SIZE_MAX = 1 << 20
"""More than a socket, a pipe or a terminal holds, unless somebody goes on writing."""


class Way:
    """
    From `source` to `sink`. Which of the two is ours is closed at the end, so that the other side learns of it.

    `ours`: "source" or "sink", or "both", a terminal's master, which is closed by its owner. `is_output`: what is left
    in it when the program ends is still passed on.
    """

    def __init__(self, source: int, sink: int, ours: str, *, is_output: bool) -> None:
        self.source = source
        self.sink = sink
        self.is_output = is_output
        self.is_open = True
        self.is_ending = False
        self._ours = ours
        self._held = b""

    def wanted(self) -> tuple[int, int]:
        """What to wait for: a descriptor, and which event."""
        return (self.sink, select.POLLOUT) if self._held else (self.source, select.POLLIN)

    def step(self) -> None:
        """Pass on a piece, or find the end."""
        try:
            if self._held:
                self._held = self._held[os.write(self.sink, self._held[:AT_ONCE]) :]
                if self.is_ending and not self._held:
                    self.close()
                return
            self._held = os.read(self.source, PIECE)
            if not self._held:
                self.close()
        except BlockingIOError:
            return
        except OSError as error:
            # A reader that is gone; a terminal whose other side nobody holds; one that was hung up.
            if error.errno not in (errno.EPIPE, errno.EIO, errno.ECONNRESET, errno.EBADF):
                raise
            self._held = b""
            self._wake_writer()
            self.close()

    def _wake_writer(self) -> None:
        """One that waits for room in a socket would get an error at its end: one that goes on gets SIGPIPE."""
        if self._ours == "source" and _rest(self.source):
            poll = select.poll()
            poll.register(self.source, select.POLLIN)
            poll.poll(WAKING_MS)

    def take_rest(self) -> None:
        """Read what is in it now; no more comes."""
        self._held += _rest_of_terminal(self.source) if os.isatty(self.source) else _rest(self.source)
        self.is_ending = True
        if not self._held:
            self.close()

    def close(self) -> None:
        """No more passes."""
        if self.is_open:
            self.is_open = False
            if self._ours in ("source", "sink"):
                _close(self.source if self._ours == "source" else self.sink, is_source=self._ours == "source")


def _close(fd: int, *, is_source: bool) -> None:
    """Whoever writes to a socket that nobody reads is to learn of it as with a pipe, what lay unread in it or not."""
    if is_source and stat.S_ISSOCK(os.fstat(fd).st_mode):
        with socket.socket(fileno=os.dup(fd)) as one, contextlib.suppress(OSError):  # the other end is gone
            one.shutdown(socket.SHUT_RD)
    os.close(fd)


def run(ways: Sequence[Way], status: int, at_end: Callable[[], None] = lambda: None) -> int | None:
    """
    Pass on all there is until the end is told, and then what was written before.

    Args:
        status: the reading end of a pipe, on which a program's exit status comes.
        at_end: done when it has come, before the rest is passed on, for which whoever reads it may take any time.
    Returns:
        The exit status; None when the pipe was closed without one.
    """
    while True:
        ready = _wait(ways, status)
        if status in ready:
            content = os.read(status, STATUS.size)
            break
        _steps(ways, ready)
    at_end()
    left = [way for way in ways if way.is_output and way.is_open]
    for way in ways:
        if way in left:
            way.take_rest()
        else:
            way.close()
    while any(way.is_open for way in left):
        _steps(left, _wait(left, -1))
    return STATUS.unpack(content)[0] & 0xFF if len(content) == STATUS.size else None


def _steps(ways: Sequence[Way], ready: set[int]) -> None:
    for way in ways:
        if way.is_open and way.wanted()[0] in ready:
            way.step()


def _rest(source: int) -> bytes:
    """What is in a pipe or a socket."""
    count = array("i", [0])
    found = b""
    with contextlib.suppress(OSError):  # there is nobody at the other end, and nothing in it
        fcntl.ioctl(source, termios.FIONREAD, count)
        left = min(count[0], LEFT_SIZE_MAX)
        while left > 0 and (piece := os.read(source, min(left, PIECE))):
            found += piece
            left -= len(piece)
    return found


def _rest_of_terminal(master: int) -> bytes:
    """What comes until it is quiet; a second at most, and so much at most."""
    found = b""
    until = time.monotonic() + LEFT_S
    poll = select.poll()
    poll.register(master, select.POLLIN)
    with contextlib.suppress(OSError):  # nobody has its other side
        while len(found) < LEFT_SIZE_MAX and time.monotonic() < until and poll.poll(QUIET_MS):
            piece = os.read(master, PIECE)
            if not piece:
                break
            found += piece
    return found


def _wait(ways: Sequence[Way], status: int) -> set[int]:
    """The descriptors that something can be done with; what blocks a sink is waited for however long that takes."""
    poll = select.poll()
    events: dict[int, int] = {}
    for way in ways:
        if way.is_open:
            fd, event = way.wanted()
            events[fd] = events.get(fd, 0) | event
    if status >= 0:
        events[status] = select.POLLIN
    if not events:
        return set()
    for fd, event in events.items():
        poll.register(fd, event)
    with contextlib.suppress(InterruptedError):
        return {fd for fd, _ in poll.poll()}
    return set()

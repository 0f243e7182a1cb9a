"""
Bytes from one descriptor to another, for a program whose streams are ours to pass on.

What comes in: ways, each from a source to a sink, and the descriptor that tells the end. What goes out: the same bytes
in the same order, and what the end said. The caller's own descriptors are neither made non-blocking, which others who
have them would feel, nor closed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import struct
from collections.abc import Sequence

STATUS = struct.Struct("=i")
PIECE = 64 * 1024
AT_ONCE = select.PIPE_BUF
"""Bytes that can be written without waiting to whatever poll() says is ready."""
QUIET_MS = 50
"""A terminal hands on what was written some time after its writer has ended: so long without anything is the end."""


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
            self.close()

    def close(self) -> None:
        """No more passes."""
        if self.is_open:
            self.is_open = False
            if self._ours in ("source", "sink"):
                os.close(self.source if self._ours == "source" else self.sink)


def run(ways: Sequence[Way], status: int) -> int | None:
    """
    Pass on all there is until the end is told, and then what was written before.

    Args:
        status: the reading end of a pipe, on which a program's exit status comes.
    Returns:
        The exit status; None when the pipe was closed without one.
    """
    while True:
        ready = _wait(ways, status, None)
        if status in ready:
            content = os.read(status, STATUS.size)
            break
        _steps(ways, ready)
    left = [way for way in ways if way.is_output]
    while ready := _wait(
        left, -1, QUIET_MS if any(way.is_open and os.isatty(way.source) for way in left) else 0
    ):
        _steps(left, ready)
    for way in ways:
        way.close()
    return STATUS.unpack(content)[0] & 0xFF if len(content) == STATUS.size else None


def _steps(ways: Sequence[Way], ready: set[int]) -> None:
    for way in ways:
        if way.is_open and way.wanted()[0] in ready:
            way.step()


def _wait(ways: Sequence[Way], status: int, timeout_ms: int | None) -> set[int]:
    """The descriptors that something can be done with; what blocks a sink is waited for however long that takes."""
    poll = select.poll()
    events: dict[int, int] = {}
    for way in ways:
        if way.is_open:
            fd, event = way.wanted()
            events[fd] = events.get(fd, 0) | event
            if event == select.POLLOUT:
                timeout_ms = None
    if status >= 0:
        events[status] = select.POLLIN
    if not events:
        return set()
    for fd, event in events.items():
        poll.register(fd, event)
    with contextlib.suppress(InterruptedError):
        return {fd for fd, _ in poll.poll(timeout_ms)}
    return set()

"""
What the steward has been asked to open outside, until it answers.

What comes in: what may go out (`outward`), and the steward's answers. What goes out: whom to answer, with what. It
never waits; a steward that doesn't answer costs the application ANSWER_S, and nobody else anything.

Abuse: a page that opens a thousand windows (MOST in PERIOD_S, EBUSY beyond).
"""

from __future__ import annotations

import errno
import os

from sandboxer._kernel import ffi, lib
from sandboxer.broker.outward import ANSWER, ASK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandboxer.broker.verdicts import Verdict

ANSWER_S = 10.0
MOST, PERIOD_S = 5, 10.0


class Presents:
    """`steward` is the descriptor of the pair, -1 where the box has no steward."""

    __slots__ = ("_asked", "_buffer", "_next", "_pending", "steward")

    def __init__(self, steward: int) -> None:
        self.steward = steward
        self._asked: list[float] = []
        self._pending: dict[int, tuple[int, float]] = {}
        """id → the client's descriptor and when it has waited long enough."""
        # not from 0: the steward may still answer what another broker had asked
        self._next = int.from_bytes(os.urandom(4), "little")
        self._buffer = ffi.new("char[]", ANSWER.size)

    def ask(self, verdict: Verdict, client: int, now: float) -> int:
        """Ask the steward for `client`. Returns 0, or an errno to answer at once."""
        if self.steward < 0:
            return errno.EOPNOTSUPP
        self._asked = [when for when in self._asked if now - when < PERIOD_S]
        if len(self._asked) >= MOST:
            return errno.EBUSY
        self._next = (self._next + 1) & 0xFFFFFFFF
        message = ASK.pack(self._next, verdict.kind) + verdict.text
        error: int = lib.kernel_send(self.steward, message, len(message), -1)
        if error:
            return errno.EBUSY if error == -errno.EAGAIN else -error
        self._asked.append(now)
        self._pending[self._next] = (client, now + ANSWER_S)
        return 0

    def answered(self) -> list[tuple[int, int]]:
        """Clients that the steward has answered, with the errno or 0."""
        size = lib.kernel_receive(self.steward, self._buffer, ANSWER.size)
        if size == -errno.EAGAIN:
            return []
        if size in (0, -errno.ECONNRESET):  # nobody will answer any more
            self.steward = -1
            waiting = [(client, errno.EPIPE) for client, _ in self._pending.values()]
            self._pending.clear()
            return waiting
        if size != ANSWER.size:
            return []
        number, error = ANSWER.unpack(ffi.buffer(self._buffer))
        client, _ = self._pending.pop(number, (-1, 0.0))
        return [(client, error if 0 <= error < 4096 else errno.EIO)] if client >= 0 else []

    def expired(self, now: float) -> list[int]:
        """Clients that have waited long enough."""
        late = [number for number, (_, end) in self._pending.items() if end <= now]
        return [self._pending.pop(number)[0] for number in late]

    def forget(self, client: int) -> None:
        """A client has gone."""
        for number in [number for number, (waiting, _) in self._pending.items() if waiting == client]:
            del self._pending[number]

    def next_end(self) -> float | None:
        """When the first of those who wait has waited long enough."""
        return min((end for _, end in self._pending.values()), default=None)

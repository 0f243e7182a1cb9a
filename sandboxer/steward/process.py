"""
The steward's process: what it waits for.

What comes in: the words and descriptors that the launcher's monitor hands over (launchers/companions.c), and the plan.
What goes out: answers, until nothing is left to do: then it ends with status 0, and the monitor starts another when
there is. It stays as long as a grant has a deadline to keep. If it fails, it ends with another status, and the next one
goes on from the ledger.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from sandboxer.errors import FAILURE, SandboxerError, StewardError
from sandboxer.host import session
from sandboxer.host.facts import Facts
from sandboxer.plan.decode import decode
from sandboxer.plan.ops import PLAN_SIZE_MAX
from sandboxer.steward import control, streams
from sandboxer.steward.hand import Hand
from sandboxer.steward.journal import Journal, directory_of
from sandboxer.steward.ledger import Ledger, now_ns
from sandboxer.steward.outside import Outside, Refusing
from sandboxer.steward.steward import Steward

IDLE_S = 2.0
REQUEST_TIMEOUT_S = 5.0
"""How long a connection may stay without a request."""
CLIENTS_MAX = 16
RECEIVE = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
STEP_S = 1.0
"""The longest wait while a deadline is to be kept: poll's clock stands still while the machine sleeps."""


def main(directory: str, descriptors: Mapping[str, int]) -> int:
    """
    Serve. Returns the exit status.

    Args:
        directory: the box's state directory. descriptors: "control" (listening), "orders" (to the box's first
            process), "broker" (where the box has one); the plan is on standard input.
    """
    users = os.umask(0o077)
    sockets = {name: socket.socket(fileno=fd) for name, fd in descriptors.items()}
    for one in sockets.values():
        one.set_inheritable(False)
    with open(0, "rb", closefd=False) as file:
        plan = decode(file.read(PLAN_SIZE_MAX))
    journal = Journal(directory_of(session.current()), plan.app, os.path.basename(directory))
    try:
        try:
            ledger = Ledger(directory)
        except StewardError as error:  # It would be the same for the next steward: whoever asks is told.
            Service(Disabled(error), sockets["control"], Refusing(sockets.get("broker")), journal).run()
            return 0
        hand = Hand(plan, ledger, directory, os.getppid(), sockets.get("orders"))
        hand.reconcile()
        outside = Outside(hand, session.current(), sockets.get("broker"), users, journal)
        steward = Steward(hand, lambda: Facts(session.current()), journal)
        Service(steward, sockets["control"], outside, journal).run()
    except SandboxerError as error:
        journal.failed(error)
        sys.stderr.write(f"{error.render(plan.app)}\n")
        return FAILURE
    return 0


class Answers(Protocol):
    """What the loop needs of a steward; see `steward.Steward`."""

    def answer(self, request: control.Request) -> control.Answer: ...

    def execute(self, request: control.Exec, handed: Sequence[int], asker: int) -> control.Answer: ...

    def next_ns(self) -> int | None: ...

    def expire(self) -> None: ...


class Disabled:
    """A steward that can do nothing, and says why."""

    def __init__(self, error: StewardError) -> None:
        self._error = error

    def answer(self, _request: control.Request) -> control.Answer:
        return control.refusal(self._error)

    def execute(self, _request: control.Exec, _handed: Sequence[int], _asker: int) -> control.Answer:
        return control.refusal(self._error)

    def next_ns(self) -> int | None:
        return None

    def expire(self) -> None:
        """Nothing is known that could end."""


class Service:
    """The loop: connections, deadlines, what the broker passes on."""

    def __init__(
        self,
        steward: Answers,
        listener: socket.socket,
        outside: Outside | Refusing,
        journal: Journal | None = None,
    ) -> None:
        self._steward = steward
        self._journal = journal or Journal("")
        self._listener = listener
        self._outside = outside
        self._clients: dict[int, tuple[socket.socket, float]] = {}
        listener.setblocking(False)

    def run(self) -> None:
        """Until nothing has been asked for a while, and no deadline is to be kept."""
        busy = time.monotonic()
        while True:
            self._steward.expire()
            self._outside.expire()
            if self._wait():
                busy = time.monotonic()
            self._drop_silent()
            idle = not self._clients and not self._outside.is_busy() and self._steward.next_ns() is None
            if idle and time.monotonic() - busy >= IDLE_S:
                return

    def _wait(self) -> bool:
        """Serve what is there, or wait for it. Whether something was."""
        poll = select.poll()
        outside = self._outside.descriptors()
        for fd in (self._listener.fileno(), *self._clients, *outside):
            poll.register(fd, select.POLLIN)
        ready = poll.poll(self._patience_ms())
        for fd, _ in ready:
            if fd == self._listener.fileno():
                self._accept()
            elif fd in outside:
                self._outside.serve(fd)
            else:
                self._serve(fd)
        return bool(ready)

    def _patience_ms(self) -> int:
        due = self._steward.next_ns()
        if due is None:
            return int((STEP_S if self._outside.is_busy() else IDLE_S) * 1000)
        return max(0, min(int(STEP_S * 1000), -(-(due - now_ns()) // 1_000_000)))

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            client, _ = self._listener.accept()
            if len(self._clients) >= CLIENTS_MAX or not control.is_trusted(client):
                client.close()
                return
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * control.SIZE_MAX)
            self._clients[client.fileno()] = (client, time.monotonic())

    def _serve(self, fd: int) -> None:
        client, _ = self._clients.pop(fd)
        with client, contextlib.suppress(OSError):  # it doesn't wait for its answer
            content, handed, _, _ = socket.recv_fds(client, control.SIZE_MAX, streams.COUNT + 1, RECEIVE)
            try:
                if content:
                    client.send(control.encode_answer(self._answer(content, handed, control.peer(client))))
            finally:
                for received in handed:
                    os.close(received)

    def _answer(self, content: bytes, handed: Sequence[int], asker: int) -> control.Answer:
        answer: control.Answer
        request: control.Request | None = None
        try:
            request = control.decode_request(content)
            if isinstance(request, control.Exec):
                answer = self._steward.execute(request, handed, asker)
            else:
                answer = self._steward.answer(request)
        except SandboxerError as error:
            answer = control.refusal(error)
        self._journal.asked(request, answer, asker)
        return answer

    def _drop_silent(self) -> None:
        for fd, (client, since) in list(self._clients.items()):
            if time.monotonic() - since > REQUEST_TIMEOUT_S:
                client.close()
                del self._clients[fd]

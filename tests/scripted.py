"""
A broker that says what a test wants said: for the clients, which are to bear anything.

It keeps to no rule and opens nothing. Tests of what a broker grants or refuses are for the real one.
"""

from __future__ import annotations

import array
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sandboxer.broker.protocol import REPLY, REQUEST, REQUEST_SIZE_MAX, VERSION


class Request:
    """A request as it came."""

    def __init__(self, message: bytes) -> None:
        self.version, self.command, self.flags, self.argument, first, second = REQUEST.unpack_from(message)
        rest = message[REQUEST.size :]
        assert len(rest) == first + second
        self.paths = (rest[:first], rest[first:])


Answer = Callable[[socket.socket, Request], bool]
"""Answers one request; False closes the connection."""


def says(
    data: bytes = b"",
    *,
    error: int = 0,
    value: int = 0,
    fds: Sequence[int] = (),
    version: int = VERSION,
    command: int | None = None,
) -> Answer:
    """A reply, by default the right one: same command, no error."""

    def answer(client: socket.socket, request: Request) -> bool:
        said = request.command if command is None else command
        send(client, REPLY.pack(version, said, error, value) + data, fds)
        return True

    return answer


def says_bytes(message: bytes, fds: Sequence[int] = ()) -> Answer:
    """Anything at all."""

    def answer(client: socket.socket, _: Request) -> bool:
        send(client, message, fds)
        return True

    return answer


def send(client: socket.socket, message: bytes, fds: Sequence[int]) -> None:
    """One message with descriptors."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    client.sendmsg([message], rights)


def ends(_: socket.socket, __: Request) -> bool:
    """No reply: the broker has died."""
    return False


def is_silent(_: socket.socket, __: Request) -> bool:
    """No reply, and the connection stays."""
    return True


class ScriptedBroker:
    """What was asked, on how many connections. Answers are used up one by one; without any, a request ends it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: list[Answer] = []
        self.requests: list[Request] = []
        self.connections = 0
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen()
        self._clients: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def script(self, *answers: Answer) -> None:
        """Answer the next requests so."""
        self.answers.extend(answers)

    def hang_up(self) -> None:
        """Close every connection, as a broker does that has died between two requests."""
        for client in self._clients:
            client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def adopt(self, client: socket.socket) -> None:
        """Serve a connection that was made elsewhere."""
        self._serve(client)

    def end(self) -> None:
        """Stop listening, and close what is open."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for client in self._clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:  # ENOTCONN: closed already
                continue
        for thread in self._threads[1:]:
            thread.join()
        for client in self._clients:
            client.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # EINVAL: shut down
                return
            self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        self.connections += 1
        self._clients.append(client)
        thread = threading.Thread(target=self._answer, args=(client,))
        self._threads.append(thread)
        thread.start()

    def _answer(self, client: socket.socket) -> None:
        while True:
            try:
                message = client.recv(REQUEST_SIZE_MAX + 1)
            except OSError:  # ECONNRESET
                message = b""
            if not message:
                return
            self.requests.append(Request(message))
            answer = self.answers.pop(0) if self.answers else ends
            try:
                goes_on = answer(client, self.requests[-1])
            except (BrokenPipeError, ConnectionResetError):  # it waits no longer
                return
            if not goes_on:
                client.shutdown(socket.SHUT_RDWR)
                return


@contextmanager
def scripted(path: Path) -> Iterator[ScriptedBroker]:
    """A scripted broker that listens there."""
    broker = ScriptedBroker(path)
    try:
        yield broker
    finally:
        broker.end()

"""
One client of the SSH agent, and the connection to the agent that it is served through.

What comes in: readiness of either descriptor. What goes out: complete requests that `agent` lets pass, complete answers
as it leaves them. It never waits, and holds at most one request and one answer.

Abuse: a client that writes half a request, or never reads (it costs a place until it is pushed out,
and is dropped when an answer can't be sent at once); requests that are longer than a signature needs (the connection
ends).
"""

from __future__ import annotations

import errno
import os
from _socket import MSG_DONTWAIT, MSG_NOSIGNAL, socket

from sandboxer.broker import agent
from sandboxer.broker.connect import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sandboxer.broker.rules import Service

_PIECE = 16384
_FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL
_LIST_REQUEST = agent.LENGTH.pack(1) + agent.REQUEST_IDENTITIES



class Ended(Exception):
    """The client has gone, or must go."""


class Relay:
    """
    A client.

    `client` and `upstream` are descriptors to poll; `upstream` is -1 while there is no connection to the agent, and the
    client is only read while `asking` is false.
    """

    __slots__ = (
        "_answer",
        "_client",
        "_keys",
        "_note",
        "_pending",
        "_request",
        "_rule",
        "_service",
        "_upstream",
        "asking",
        "last",
        "pid",
    )

    def __init__(self, client: socket, pid: int, service: Service, note: Callable[[int, str, bytes, int, str], None]):
        self._client = client
        self._upstream: socket | None = None
        self._service = service
        self._rule = service.origin
        self._keys = agent.Keys(service.keys)
        self._note = note
        self._request = bytearray()
        self._answer = bytearray()
        self._pending = b""
        """A request to sign: with the agent, or waiting for its list, which tells the comments."""
        self.asking = ""
        """What the agent is to answer: "" (nothing), "list", "list to sign", "sign"."""
        self.pid = pid
        self.last = 0.0

    @property
    def client(self) -> int:
        return self._client.fileno()

    @property
    def upstream(self) -> int:
        return -1 if self._upstream is None else self._upstream.fileno()

    def from_client(self) -> None:
        """Take what has come from the client. Raises Ended."""
        piece = self._received(self._client)
        if piece is None:
            return
        if not piece:
            raise Ended
        self._request += piece
        self._next()

    def from_agent(self) -> None:
        """Take what has come from the agent. Raises Ended when its answer can't be handed on."""
        assert self._upstream is not None
        try:
            piece = self._received(self._upstream)
        except Ended:
            piece = b""
        if piece is None:
            return
        self._answer += piece
        try:
            message = taken(self._answer, agent.ANSWER_SIZE_MAX)
        except ValueError:
            piece = b""
            message = None
        if not piece or (message is not None and self._answer):
            self._give_up(errno.EPIPE)
        elif message is not None:
            self._answered(message)

    def close(self) -> None:
        """Close both connections."""
        self._client.close()
        self._hang_up()

    def _received(self, side: socket) -> bytes | None:
        try:
            return side.recv(_PIECE, MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            raise Ended from None

    def _next(self) -> None:
        """Serve the requests that are complete, until one has to go to the agent."""
        while not self.asking:
            try:
                request = taken(self._request, agent.REQUEST_SIZE_MAX)
            except ValueError:
                raise Ended from None
            if request is None:
                return
            kind, blob = agent.asked(request)
            if kind == agent.LIST:
                self._ask("list", _LIST_REQUEST)
            elif kind == agent.SIGN and (self._keys.named(blob) or blob in self._keys.blobs):
                self._sign(request)
            elif kind == agent.SIGN:
                self._pending = request
                self._ask("list to sign", _LIST_REQUEST)
            else:
                name = f"agent {request[0]}" if request else "agent"
                self._note(self.pid, name, b"", errno.EACCES, "")
                self._reply(agent.FAILURE)

    def _answered(self, message: bytes) -> None:
        asking, self.asking = self.asking, ""
        if asking == "list":
            self._note(self.pid, "agent list", b"", 0, self._rule)
            self._reply(self._keys.listed(message))
        elif asking == "list to sign":
            self._keys.listed(message)
            request, self._pending = self._pending, b""
            blob = agent.asked(request)[1]
            if blob in self._keys.blobs:
                self._sign(request)
            else:
                self._note(self.pid, "agent sign", agent.fingerprint(blob), errno.EACCES, "")
                self._reply(agent.FAILURE)
        elif asking == "sign":
            self._reply(agent.signed(message))
        else:  # nothing was asked: this agent can't be understood
            self._hang_up()
        self._next()

    def _sign(self, request: bytes) -> None:
        self._note(self.pid, "agent sign", agent.fingerprint(agent.asked(request)[1]), 0, self._rule)
        self._ask("sign", agent.LENGTH.pack(len(request)) + request)

    def _ask(self, what: str, message: bytes) -> None:
        """Send to the agent; it is connected to when it is first needed."""
        self.asking = what
        try:
            if self._upstream is None:
                self._upstream = socket(fileno=connect(self._service, blocking=False))
            if self._upstream.send(message, _FLAGS) != len(message):
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        except OSError as error:
            self._give_up(error.errno or errno.EIO)

    def _give_up(self, error: int) -> None:
        """The agent isn't there, or fails: so does what it was asked."""
        self._hang_up()
        if self.asking:
            self.asking, self._pending = "", b""
            self._note(self.pid, "agent", b"", error, self._rule)
            self._reply(agent.FAILURE)

    def _hang_up(self) -> None:
        self._answer.clear()
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None

    def _reply(self, message: bytes) -> None:
        whole = agent.LENGTH.pack(len(message)) + message
        try:
            if self._client.send(whole, _FLAGS) != len(whole):
                raise Ended
        except OSError:
            raise Ended from None


def taken(buffer: bytearray, most: int) -> bytes | None:
    """
    Take the first message out of a buffer, without its length; None while it isn't complete.

    Raises:
        ValueError: it is empty or longer than `most`.
    """
    if len(buffer) < agent.LENGTH.size:
        return None
    (size,) = agent.LENGTH.unpack_from(buffer)
    if not 0 < size <= most:
        raise ValueError("a message is empty or too long")
    end = agent.LENGTH.size + size
    if len(buffer) < end:
        return None
    message = bytes(buffer[agent.LENGTH.size : end])
    del buffer[:end]
    return message

"""
The broker's loop: who is served when, and how much of it.

What comes in: listening sockets, the rules with their directories, the log. What goes out: an answer to each request,
in the order in which clients become ready, one request each in turn. It waits for nobody: what can't be received or
sent at once isn't waited for.

Abuse: a client that sends nothing, or never reads (dropped when an answer doesn't fit into its queue); one that asks
without a pause (RATE a second, then it isn't read for the rest of that second); ten thousand connections (CLIENTS_MAX,
the longest idle makes room); descriptors sent along (the kernel closes them, the client is dropped); messages that are
cut or of another version (answered, then dropped).
"""

from __future__ import annotations

import errno
import os
import time
from _socket import SHUT_RDWR, SO_SNDBUF, SOL_SOCKET, socket
from select import EPOLLIN, epoll

from sandboxer._kernel import ffi, lib
from sandboxer.broker import protocol
from sandboxer.broker.beneath import Replaced
from sandboxer.broker.connect import connect
from sandboxer.broker.files import Result, carry_out
from sandboxer.broker.log import ALLOWED, DENIED, FAILED, request_name
from sandboxer.broker.messages import Malformed, Request, parse, reply
from sandboxer.broker.presents import Presents
from sandboxer.broker.relays import Relays, peer
from sandboxer.broker.verdicts import verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sandboxer.broker.log import Log
    from sandboxer.broker.roots import Ground
    from sandboxer.broker.rules import Service
    from sandboxer.broker.verdicts import Table, Verdict

CLIENTS_MAX = 64
IDLE_S = 1.0
"""A client that has asked nothing for this long makes room for another."""
RATE = 10_000
"""Requests a second, for each client."""
END_S = 30.0
"""The broker ends when it has had no client for this long."""
ACCEPTED_AT_ONCE = 16
AGAIN_S = 5.0
"""A broker that lacks something which may be there by now ends for it when it has run for this long."""
QUEUE = 32768
"""Bytes of answers that a client may leave unread, as SO_SNDBUF counts them."""
SSH_AGENT = "ssh-agent"
_MESSAGE_MAX = protocol.REQUEST_SIZE_MAX


class Client:
    """A connection that speaks `protocol`. `last` and `window` are monotonic seconds."""

    __slots__ = ("asked", "fd", "given", "last", "pid", "socket", "waiting", "window")

    def __init__(self, connection: socket, pid: int, now: float) -> None:
        self.socket = connection
        self.fd = connection.fileno()
        self.pid = pid
        self.last = self.window = now
        self.given = False
        """Connected by the launcher, which holds a copy of the descriptor."""
        self.asked = 0
        """Requests since `window`."""
        self.waiting: Verdict | None = None
        """Of a request that the steward has still to answer: nothing is read until then."""


class Server:
    """Serves until nobody needs it (`run` returns), or what a rule is for was replaced (Replaced)."""

    def __init__(self, table: Table, ground: Ground, log: Log, sockets: dict[str, int]) -> None:
        self._table = table
        self._ground = ground
        self._log = log
        self._buffer = bytearray(_MESSAGE_MAX)
        self._pointer = ffi.from_buffer(self._buffer)
        self._epoll = epoll()
        self._clients: dict[int, Client] = {}
        self._paused: list[Client] = []
        self._ready: dict[int, Callable[[], None]] = {}
        """What is called when something that is no client is readable."""
        self._presents = Presents(sockets.get("steward", -1))
        self._idle_since = self._started = time.monotonic()
        self._relays = Relays(self._epoll, table.services.get(SSH_AGENT.encode()), log)
        for name, fd in sockets.items():
            self._serve(name, fd)

    def _serve(self, name: str, fd: int) -> None:
        """Begin to poll one of the sockets that the launcher gave."""
        if name == "steward":
            self._add(fd, self._steward_answered)
        elif name == "descriptor":
            self._admit(socket(fileno=fd))
            self._clients[fd].given = True
        elif name == SSH_AGENT:
            self._add(fd, lambda: self._accept(fd, self._relays.admit))
        else:
            self._add(fd, lambda: self._accept(fd, self._admit))

    def _add(self, fd: int, ready: Callable[[], None]) -> None:
        self._ready[fd] = ready
        self._epoll.register(fd, EPOLLIN)

    def run(self) -> None:
        """
        Serve.

        Raises:
            Replaced: a rule's directory or file isn't what it was.
        """
        poll, clients, clock = self._epoll.poll, self._clients, time.monotonic
        while True:
            timeout = self._timeout(clock())
            if timeout == 0.0 and not poll(0):
                return
            for fd, _ in poll(timeout, CLIENTS_MAX):
                client = clients.get(fd)
                if client is not None:
                    self._request(client, clock())
                elif fd in self._ready:
                    self._ready[fd]()
                else:
                    self._relays.ready(fd)
            now = clock()
            if self._paused:
                self._resume(now)
            for fd in self._presents.expired(now):
                self._presented(fd, errno.ETIMEDOUT)
            self._renew(now)

    def _renew(self, now: float) -> None:
        """Raise Replaced where something was wanted that only another broker can open. It has been answered."""
        services = [service for service in self._table.services.values() if service.is_stale]
        if not services and not self._ground.is_stale:
            return
        self._ground.is_stale = False
        for service in services:
            service.is_stale = False
        given = any(client.given for client in self._clients.values())
        if now - self._started >= AGAIN_S and not given:
            raise Replaced

    def close(self) -> None:
        """For tests: a broker ends with all its connections."""
        for client in list(self._clients.values()):
            self._drop(client)
        self._relays.close()
        self._epoll.close()

    def _timeout(self, now: float) -> float | None:
        """Seconds to wait at most; 0 when it is time to end."""
        if self._paused:
            return max(0.001, min(client.window for client in self._paused) + 1.0 - now)
        if self._clients or self._relays.any:
            end = self._presents.next_end()
            return None if end is None else max(0.001, end - now)
        return max(0.0, max(self._idle_since, self._relays.idle_since) + END_S - now)

    def _accept(self, listener: int, admit: Callable[[socket], object]) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            fd = lib.kernel_accept(listener)
            if fd < 0:  # none waits; or there is no memory or descriptor for it now
                return
            admit(socket(fileno=fd))

    def _admit(self, connection: socket) -> None:
        now = time.monotonic()
        if len(self._clients) >= CLIENTS_MAX and not self._make_room(now):
            connection.close()
            return
        connection.setsockopt(SOL_SOCKET, SO_SNDBUF, QUEUE)
        client = Client(connection, peer(connection), now)
        self._clients[client.fd] = client
        self._epoll.register(client.fd, EPOLLIN)

    def _make_room(self, now: float) -> bool:
        idle = min((one for one in self._clients.values() if not one.waiting), key=lambda one: one.last, default=None)
        if idle is None or now - idle.last < IDLE_S:
            return False
        self._drop(idle)
        return True

    def _drop(self, client: Client) -> None:
        del self._clients[client.fd]
        if client in self._paused:
            self._paused.remove(client)
        self._presents.forget(client.fd)
        if client.given:
            end(client.socket)
        client.socket.close()
        self._idle_since = time.monotonic()

    def _request(self, client: Client, now: float) -> None:
        """One request of a client that is ready, or its end."""
        if client.waiting or (self._paused and client in self._paused):
            self._drop(client)  # nothing is read from it, so it has hung up
            return
        size = lib.kernel_receive(client.fd, self._pointer, _MESSAGE_MAX)
        if size <= 0:
            if size == -errno.EAGAIN:
                return
            if size == -errno.EPROTO:
                self._send(client, reply(0, errno.EPROTO))
            if client.fd in self._clients:
                self._drop(client)
            return
        client.last = now
        if now - client.window >= 1.0:
            client.window, client.asked = now, 0
        client.asked += 1
        if client.asked >= RATE:
            self._pause(client)
        try:
            request = parse(bytes(self._buffer[:size]))
        except Malformed as error:
            self._note(client.pid, request_name(error.command), b"", DENIED, error=error.error)
            if self._send(client, reply(error.command, error.error)):
                self._drop(client)
            return
        if request.command == protocol.PRESENT:
            self._present(client, request, now)
            return
        found = verdict(request, self._table)
        result = Result(found.error) if found.error else self._result(request, found)
        self._answer(client, request, found, result)

    def _result(self, request: Request, found: Verdict) -> Result:
        """Do what is allowed."""
        if request.command == protocol.HELLO:
            return Result(value=protocol.REQUEST_SIZE_MAX)
        if found.service is not None:
            try:
                return Result(fd=self._connected(found.service))
            except OSError as error:
                return Result(error.errno or errno.EIO)
        try:
            return carry_out(request, found, self._ground)
        except Replaced:
            if any(client.given for client in self._clients.values()):
                return Result(errno.ESTALE)  # who has only the one connection couldn't make another
            raise

    def _answer(self, client: Client, request: Request, found: Verdict, result: Result) -> None:
        """Log the decision, then send it: what can't be logged isn't handed out."""
        if request.command != protocol.HELLO and not self._note(
            client.pid,
            request_name(request.command),
            request.path,
            DENIED if found.error else FAILED if result.error else ALLOWED,
            to=request.second,
            flags=request.flags,
            error=result.error,
            rule=found.origin,
        ):
            if result.fd >= 0:
                os.close(result.fd)
            result = Result(errno.EIO)
        try:
            self._send(client, reply(request.command, result.error, result.value, result.data), result.fd)
        finally:
            if result.fd >= 0:
                os.close(result.fd)

    def _send(self, client: Client, message: bytes, fd: int = -1) -> bool:
        """Send at once, or drop the client: then False."""
        error = lib.kernel_send(client.fd, message, len(message), fd)
        if error == -errno.ETOOMANYREFS:  # of what it was sent before, too much is unread
            command = protocol.REPLY.unpack_from(message)[1]
            message = reply(command, errno.ETOOMANYREFS)
            error = lib.kernel_send(client.fd, message, len(message), -1)
        if error:
            self._drop(client)
        return not error

    def _note(
        self,
        pid: int,
        request: str,
        path: bytes,
        verdict: str,
        *,
        to: bytes = b"",
        flags: int = 0,
        error: int = 0,
        rule: str = "",
    ) -> bool:
        """Whether the line could be written."""
        try:
            self._log.write(pid, request, path, verdict, to=to, flags=flags, error=error, rule=rule)
        except OSError:  # a full disk, whatever the reason: the caller refuses instead
            return False
        return True

    def _pause(self, client: Client) -> None:
        """Don't read from a client for the rest of its second."""
        if client not in self._paused:
            self._paused.append(client)
            self._epoll.modify(client.fd, 0)

    def _resume(self, now: float) -> None:
        for client in [one for one in self._paused if now - one.window >= 1.0]:
            self._paused.remove(client)
            client.window, client.asked = now, 0
            self._epoll.modify(client.fd, 0 if client.waiting else EPOLLIN)

    def _present(self, client: Client, request: Request, now: float) -> None:
        """Ask the steward; the answer comes by `_presented`."""
        found = verdict(request, self._table)
        error = found.error or self._presents.ask(found, client.fd, now)
        if error:
            self._answer(client, request, found, Result(error))
            return
        if not self._note(client.pid, "present", request.path, ALLOWED, rule=found.origin):
            self._presents.forget(client.fd)
            self._send(client, reply(protocol.PRESENT, errno.EIO))
            return
        client.waiting = found
        self._epoll.modify(client.fd, 0)

    def _steward_answered(self) -> None:
        for fd, error in self._presents.answered():
            self._presented(fd, error)
        if self._presents.steward < 0:
            for fd in [fd for fd, ready in self._ready.items() if ready == self._steward_answered]:
                self._epoll.unregister(fd)
                del self._ready[fd]

    def _presented(self, fd: int, error: int) -> None:
        client = self._clients.get(fd)
        if client is None or client.waiting is None:  # it has gone meanwhile
            return
        found, client.waiting = client.waiting, None
        if error:
            self._note(client.pid, "present", found.text, FAILED, error=error, rule=found.origin)
        if self._send(client, reply(protocol.PRESENT, error)) and client not in self._paused:
            self._epoll.modify(fd, EPOLLIN)

    def _connected(self, service: Service) -> int:
        """A descriptor that is connected to a service; of an SSH agent, to a relay."""
        if service.name != SSH_AGENT:
            return connect(service)
        return self._relays.pair()


def end(connection: socket) -> None:
    """End a connection of which others hold copies."""
    try:
        connection.shutdown(SHUT_RDWR)
    except OSError as error:
        if error.errno != errno.ENOTCONN:  # the other side has ended it
            raise

"""
All clients of the SSH agent, and what is polled for them.

What comes in: connections to admit, descriptors that are ready. What goes out: nothing but what `relay` sends. It never
waits.

Abuse: more connections than RELAYS_MAX (the longest idle makes room); one that waits for the agent isn't idle, and who
fills all places so waits with them.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from _socket import AF_UNIX, SO_PEERCRED, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket, socketpair
from select import EPOLLIN

from sandboxer.broker.log import ALLOWED, DENIED, FAILED
from sandboxer.broker.relay import Ended, Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from select import epoll

    from sandboxer.broker.log import Log
    from sandboxer.broker.rules import Service

RELAYS_MAX = 16
IDLE_S = 1.0
_CREDENTIALS = struct.Struct("3i")


class Relays:
    """`service` is the rule for the agent, None where there is none: then nobody is admitted."""

    def __init__(self, poll: epoll, service: Service | None, log: Log) -> None:
        self._epoll = poll
        self._service = service
        self._log = log
        self._by_client: dict[int, Relay] = {}
        self._by_upstream: dict[int, Relay] = {}
        self.idle_since = 0.0
        """Monotonic seconds at which the last one ended."""

    @property
    def any(self) -> bool:
        """Whether there is a client."""
        return bool(self._by_client)

    def pair(self) -> int:
        """A connection to the filtered agent, for a client of the broker's. Raises OSError."""
        ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        if not self.admit(ours):
            theirs.close()
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return theirs.detach()

    def admit(self, connection: socket) -> bool:
        """Serve a connection from now on; or close it, where there is no rule or no place."""
        if self._service is None or not self._make_room():
            connection.close()
            return False
        relay = Relay(connection, peer(connection), self._service, self._note)
        relay.last = time.monotonic()
        self._by_client[relay.client] = relay
        self._epoll.register(relay.client, EPOLLIN)
        return True

    def ready(self, fd: int) -> None:
        """A descriptor is readable; it may have been closed since."""
        relay = self._by_client.get(fd) or self._by_upstream.get(fd)
        if relay is None:
            return
        before = relay.upstream
        relay.last = time.monotonic()
        try:
            if fd == relay.client:
                relay.from_client()
            else:
                relay.from_agent()
        except Ended:
            self._end(relay, before)
            return
        if relay.upstream != before:
            self._by_upstream.pop(before, None)  # closed, so that epoll has forgotten it
            if relay.upstream >= 0:
                self._by_upstream[relay.upstream] = relay
                self._epoll.register(relay.upstream, EPOLLIN)
        self._epoll.modify(relay.client, 0 if relay.asking else EPOLLIN)

    def close(self) -> None:
        """End them all."""
        for relay in list(self._by_client.values()):
            self._end(relay, relay.upstream)

    def _make_room(self) -> bool:
        if len(self._by_client) < RELAYS_MAX:
            return True
        idle = min(
            (one for one in self._by_client.values() if not one.asking), key=lambda one: one.last, default=None
        )
        if idle is None or time.monotonic() - idle.last < IDLE_S:
            return False
        self._end(idle, idle.upstream)
        return True

    def _end(self, relay: Relay, upstream: int) -> None:
        del self._by_client[relay.client]
        self._by_upstream.pop(upstream, None)
        relay.close()
        self.idle_since = time.monotonic()

    def _note(self, pid: int, request: str, key: bytes, error: int, rule: str) -> None:
        """Log a decision; what can't be logged isn't done."""
        decided = ALLOWED if not error else DENIED if error == errno.EACCES else FAILED
        try:
            self._log.write(pid, request, key, decided, error=error, rule=rule)
        except OSError:
            raise Ended from None


def peer(connection: socket) -> int:
    """The process that made a connection, as its number is out here. Source: unix(7), SO_PEERCRED."""
    credentials: bytes = connection.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[0])

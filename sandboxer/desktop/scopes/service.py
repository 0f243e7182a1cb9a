"""
The scope service: one process of a session that stays connected to the session bus, so that no start has to connect.

What comes in: the directory of running boxes' state, and a connection or a listening socket; then requests of
launchers, each for the first process of a box that is being made. What goes out: "K" and the unit that holds it, or "E"
and one line why it doesn't; the launcher lets the application start only after "K". It reads no policy, and it never
does anything for a box that runs.

The launcher starts it when nobody listens, or systemd does by sandboxer-scopes.socket. It ends when nothing was asked
for a while, or when another socket is in the place of its own, where nobody finds it any more; and in such a way that
whoever connects at that moment is either served, or refused and starts another.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import sys
from collections.abc import Mapping

from sandboxer.desktop.scopes.manager import ManagerError, Units
from sandboxer.desktop.scopes.requests import RequestError, receive
from sandboxer.errors import BusError
from sandboxer.host import session

SOCKET = "scopes"
LOCK = "scopes.lock"
IDLE_S = 600.0
LOOKS_S = 2.0
"""How often it looks whether the socket at the well-known place is still its own. While it isn't, nobody else gets the
lock, and each start pays for a service of its own."""
REQUEST_TIMEOUT_S = 5.0
"""How long a connection may stay without a request."""
CLIENTS_MAX = 64
BACKLOG = 64
ANSWER_MAX = 500
FIRST_INHERITED = 3
"""Source: sd_listen_fds(3)."""
UNUSABLE = 75
"""The exit status where the directory can't be trusted: EX_TEMPFAIL of sysexits.h."""


def main(directory: str, descriptors: Mapping[str, int]) -> int:
    """
    Serve. Returns the exit status.

    Args:
        directory: $XDG_RUNTIME_DIR/sandboxer. descriptors: "connection" and "listener", each may be missing; systemd
            passes a listener in its own way.
    """
    os.umask(0o077)
    by_systemd = _inherited(session.current().environment)
    sockets = {name: socket.socket(fileno=fd) for name, fd in {**descriptors, **by_systemd}.items()}
    for one in sockets.values():
        one.set_inheritable(False)
    try:
        place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        sys.stderr.write(f"sandboxer: the scope service cannot use {directory}: {error.strerror}\n")
        return UNUSABLE
    if not _is_private(place):
        sys.stderr.write(f"sandboxer: the scope service cannot use {directory}: it is not the user's alone\n")
        return UNUSABLE
    service = Service(directory, place, sockets.get("listener"))
    asyncio.run(service.run(sockets.get("connection"), is_unit=bool(by_systemd)))
    return 0


class Service:
    """
    Listens, serves, ends.

    Args:
        directory: as for `main`, `place` open on it. listener: one that somebody else made, and removes; None: it makes
            its own, unless another service has.
    """

    def __init__(
        self, directory: str, place: int, listener: socket.socket | None, idle_s: float = IDLE_S
    ) -> None:
        runtime = os.path.dirname(os.path.abspath(directory))
        self._units = Units(runtime)
        self._place = place
        self._listener = listener
        self._made: tuple[int, int] | None = None
        self._lock: int | None = None
        self._idle_s = idle_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy_until = 0.0

    async def run(self, connection: socket.socket | None, *, is_unit: bool) -> None:
        """
        Until nothing was asked for a while, or nobody can ask any more. `connection`: the first to serve. `is_unit`:
        systemd has started it, so that it is where it belongs.
        """
        try:
            if connection is not None:
                self._begin(connection)
            if self._listener is None:
                self._listen()
            if self._listener is not None:
                await self._serve_all(self._listener, is_unit=is_unit)
        finally:
            await self._end()

    async def _serve_all(self, listener: socket.socket, *, is_unit: bool) -> None:
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        loop.add_reader(listener.fileno(), self._accept)
        if not is_unit:
            await self._move_in()
        self._note()
        while (left := self._busy_until - loop.time()) > 0 or self._tasks:
            if self._made is not None and self._there() != self._made:
                return
            await asyncio.sleep(min(LOOKS_S, max(left, REQUEST_TIMEOUT_S if self._tasks else 0.0)))

    def _listen(self) -> None:
        """Listen at the well-known place, unless another service does: the lock tells."""
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=self._place)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return
        path = f"/proc/self/fd/{self._place}/{SOCKET}"  # the path itself may be longer than an address can be
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with contextlib.suppress(FileNotFoundError):  # what one left that was killed
                os.unlink(SOCKET, dir_fd=self._place)
            listener.bind(path)
            listener.listen(BACKLOG)
        except OSError:  # the connection is served anyway
            listener.close()
            os.close(lock)
            return
        self._listener, self._made, self._lock = listener, self._there(), lock

    def _there(self) -> tuple[int, int] | None:
        """Which file is at the well-known place."""
        try:
            found = os.stat(SOCKET, dir_fd=self._place, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    async def _move_in(self) -> None:
        """Out of the caller's unit, with which it would be ended and be counted. It serves where that fails, too."""
        with contextlib.suppress(BusError, TimeoutError):
            await self._units.move_in(os.getpid(), "sandboxer-scopes", "Scopes for boxes")

    def _note(self) -> None:
        self._busy_until = asyncio.get_running_loop().time() + self._idle_s

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            client, _ = self._listener.accept()
            if len(self._tasks) >= CLIENTS_MAX:
                client.close()
                return
            self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        self._note()
        client.setblocking(False)
        task = asyncio.create_task(self._serve(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket) -> None:
        """One request, one answer. Who asks and doesn't wait is none of our business."""
        with client:
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    await _readable(client)
                answer = await self._answer(client)
            except (TimeoutError, OSError):
                return
            if answer:
                with contextlib.suppress(OSError):
                    client.send(answer, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)

    async def _answer(self, client: socket.socket) -> bytes:
        try:
            request = receive(client)
            if request is None:
                return b""
            try:
                return b"K" + os.fsencode(await self._units.hold(request))
            finally:
                os.close(request.pidfd)
        except (RequestError, ManagerError) as error:
            line = " ".join(str(error).split())
            return b"E" + line.encode("utf-8", "replace")[:ANSWER_MAX].decode("utf-8", "ignore").encode()

    async def _end(self) -> None:
        """
        Stop listening. Whoever has connected until then is served; whoever connects later is refused (ECONNREFUSED, or
        ENOENT) and starts another service. A listener of systemd's stays open there, and starts one by itself.
        """
        if self._listener is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener.fileno())
            if self._made is not None:
                # Else systemd's socket unit, started later, has put its own in this place.
                if self._there() == self._made:
                    os.unlink(SOCKET, dir_fd=self._place)
                self._listener.shutdown(socket.SHUT_RDWR)
                with contextlib.suppress(OSError):  # EINVAL: nobody is left
                    while True:
                        self._begin(self._listener.accept()[0])
            self._listener.close()
        if self._lock is not None:
            os.close(self._lock)
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._units.close()


async def _readable(client: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(client.fileno(), _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(client.fileno())


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _inherited(environment: Mapping[str, str]) -> dict[str, int]:
    """The listener that systemd passes. Source: sd_listen_fds(3)."""
    mine = environment.get("LISTEN_PID") == str(os.getpid()) and environment.get("LISTEN_FDS") == "1"
    return {"listener": FIRST_INHERITED} if mine else {}


def _is_private(directory: int) -> bool:
    found = os.fstat(directory)
    return found.st_uid == os.getuid() and not found.st_mode & 0o077

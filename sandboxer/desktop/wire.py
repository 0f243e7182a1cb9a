"""
dbus-next 0.2.3, mended: the one module that imports it.

What comes in: a connected socket. What goes out: a connection as dbus-next's own, and the types of its messages. Mended
is: no import on Python 3.15; a full socket that ends the connection; a bus that ends while it greets, for which it
waits in a busy loop; descriptors that survive an exec, and those of calls that nobody handles, which stay open; a
socket that stays open after the end. It never decides anything: `bus` does.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import typing
from typing import Any

if not hasattr(typing, "no_type_check_decorator"):  # Python 3.15; dbus_next.service decorates with it
    typing.no_type_check_decorator = lambda decorator: decorator

from dbus_next._private.unmarshaller import Unmarshaller
from dbus_next.aio.message_bus import MessageBus, _MessageWriter
from dbus_next.constants import MessageFlag, MessageType
from dbus_next.errors import AuthError
from dbus_next.message import Message
from dbus_next.signature import Variant

__all__ = ["AuthError", "Connection", "Message", "MessageFlag", "MessageType", "Variant"]

AUTH_LINE_MAX = 16 * 1024

# dbus-next says that it has types, and has them for half of its functions: hence each "no-untyped-call" below.


class _Socket:
    """For the unmarshaller: what arrives is closed at an exec."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def recvmsg(self, size: int, space: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        return self._socket.recvmsg(size, space, socket.MSG_CMSG_CLOEXEC)


class _Writer(_MessageWriter):
    """A full socket is waited for."""

    buf: Any
    unix_fds: Any
    fut: Any

    def write_callback(self) -> None:
        try:
            while self._has_message():
                self.offset += self._send()
                if self.offset < len(self.buf):
                    return
                self.buf = None
                if not self.fut.done():
                    self.fut.set_result(None)
        except (BlockingIOError, InterruptedError):
            return  # the loop calls again
        except OSError as error:
            self.fut.cancel()  # nobody waits for it: who wants a reply waits for that
            self.bus.fail(error)

    def _has_message(self) -> bool:
        if self.buf is None:
            if self.messages.empty():
                self.loop.remove_writer(self.fd)
                return False
            content, self.unix_fds, self.fut = self.messages.get_nowait()
            self.buf, self.offset = memoryview(content), 0
        return True

    def _send(self) -> int:
        rest = self.buf[self.offset :]
        if not self.unix_fds:
            return int(self.sock.send(rest))
        rights = array.array("i", self.unix_fds)
        sent = self.sock.sendmsg([rest], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        self.unix_fds = None
        return int(sent)


class Connection(MessageBus):
    """dbus-next's connection over a socket that is connected already, with its faults mended."""

    def __init__(self, connected: socket.socket) -> None:
        self._connected_socket = connected
        super().__init__(bus_address="unix:path=/", negotiate_unix_fd=True)
        self._writer = _Writer(self)  # type: ignore[no-untyped-call]
        # An error that ends the connection is told to whoever waits: asyncio need not print it as well.
        self._disconnect_future.add_done_callback(lambda future: future.cancelled() or future.exception())

    def fail(self, error: Exception) -> None:
        """End it: `error` is what everybody who waits is told."""
        self._finalize(error)

    async def wait_ended(self) -> None:
        """Until it has ended. Raises what ended it, unless `end` did."""
        await self._disconnect_future

    def end(self) -> None:
        """End it, now."""
        self._user_disconnect = True
        self._finalize(None)

    def _setup_socket(self) -> None:
        self._sock = self._connected_socket
        self._sock.setblocking(False)
        self._stream = self._sock.makefile("rwb")
        self._fd = self._sock.fileno()

    def _create_unmarshaller(self) -> Unmarshaller:
        return Unmarshaller(self._stream, _Socket(self._sock))  # type: ignore[no-untyped-call]

    async def _auth_readline(self) -> str:
        line = b""
        while not line.endswith(b"\r\n"):
            part = await self._loop.sock_recv(self._sock, 1)
            if not part or len(line) > AUTH_LINE_MAX:
                raise EOFError
            line += part
        return line[:-2].decode("ascii", "replace")

    def _process_message(self, message: Message) -> None:
        try:
            super()._process_message(message)  # type: ignore[no-untyped-call]
        finally:
            while message.unix_fds:
                os.close(message.unix_fds.pop())

    def _finalize(self, err: Exception | None = None) -> None:
        if self._disconnected:
            return
        super()._finalize(err)  # type: ignore[no-untyped-call]
        with contextlib.suppress(OSError):  # what was still to be written
            self._stream.close()
        self._sock.close()

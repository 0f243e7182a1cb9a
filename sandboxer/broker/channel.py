"""
A client's connection to the broker: one request out, one answer in.

What comes in: a request as bytes. What goes out: the answer's bytes and what came with them, not yet looked at; or an
OSError. It finds the socket, connects when a request needs it, connects again where the broker has ended, and keeps
threads, children and interrupted calls from getting another's answer. What a request means is none of its business.
"""

from __future__ import annotations

import _socket
import _thread
import errno
import os
import struct

from sandboxer.broker.protocol import DESCRIPTOR_VARIABLE, SOCKET, VARIABLE

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Control = list[tuple[int, int, bytes]]
"""Ancillary data as recvmsg gives it."""

TIMEOUT_S = 30
"""How long an answer may take: more than what the broker itself waits for anything."""

_send_flags, _receive_flags = _socket.MSG_NOSIGNAL, _socket.MSG_CMSG_CLOEXEC

_forks = 0
"""Counts in each child: a connection has one process."""


def _note_fork() -> None:
    global _forks  # noqa: PLW0603 - what a fork changes is the process
    _forks += 1


os.register_at_fork(after_in_child=_note_fork)


def failure(number: int, path: AnyPath | None, other: AnyPath | None = None) -> OSError:
    """The OSError of an errno and the paths that it is about."""
    return OSError(number, os.strerror(number), path, None, other)


def close_all(control: Control) -> None:
    """Close every descriptor that came with an answer that isn't taken."""
    for level, kind, data in control:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            for (fd,) in struct.iter_unpack("=i", data[: len(data) // 4 * 4]):
                os.close(fd)


class Channel:
    """
    A connection that is made when it is first needed. Threads may share it; one waits for the other's answer.

    Args:
        address: the socket's path; else the descriptor that SANDBOXER_BROKER_FD names, where no process uses it yet,
            else the path in SANDBOXER_BROKER, else /run/sandboxer/broker.
    """

    __slots__ = ("_address", "_forks", "_lock", "_socket")

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._lock = _thread.allocate_lock()
        self._socket: _socket.socket | None = None
        self._forks = _forks

    def exchange(
        self, request: bytes, path: AnyPath | None, size: int, control_size: int, again: bool
    ) -> tuple[bytes, Control, int]:
        """
        Send a request and wait for its answer: data, ancillary data, flags of recvmsg(2).

        A request that never left is sent again, once; with `again`, also one that the broker ended on. Errors are those
        of `sandboxer.client.Broker`; `path` is for their text.
        """
        if self._forks != _forks:
            self._leave_to_parent()
        with self._lock:
            retried = False
            while True:
                sent = False
                try:
                    connection = self._socket or self._connected()
                    connection.send(request, _send_flags)
                    sent = True
                    data, control, flags, _ = connection.recvmsg(size, control_size, _receive_flags)
                    if data:
                        return data, control, flags
                    close_all(control)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # as the end of the connection is
                except BlockingIOError:
                    self._drop()
                    raise failure(errno.ETIMEDOUT, path) from None
                except BaseException:
                    self._drop()  # the answer that is still to come would be taken for the next one's
                    raise
                self._drop()
                if retried or (sent and not again):
                    raise failure(errno.EPIPE, path)
                retried = True

    def connect(self) -> None:
        """Connect now, where it isn't connected. OSError with the socket's path when nobody listens."""
        if self._forks != _forks:
            self._leave_to_parent()
        with self._lock:
            if self._socket is None:
                self._connected()

    def _connected(self) -> _socket.socket:
        connection = None if self._address is not None else _given_socket()
        if connection is None:
            address = self._address or os.environ.get(VARIABLE) or SOCKET
            connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
            try:
                _bound_waits(connection)
                connection.connect(address)
            except OSError as error:
                connection.close()
                number = errno.ETIMEDOUT if isinstance(error, BlockingIOError) else error.errno or errno.EINVAL
                raise failure(number, address) from None
        self._socket = connection
        return connection

    def close(self) -> None:
        """Close the connection. The next request makes another."""
        if self._forks != _forks:
            self._leave_to_parent()
        with self._lock:
            self._drop()

    def _leave_to_parent(self) -> None:
        """After a fork: the connection is the parent's, and a thread that held the lock isn't there any more."""
        self._lock = _thread.allocate_lock()
        self._forks = _forks
        self._drop()

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _bound_waits(connection: _socket.socket) -> None:
    """Let no wait be longer than TIMEOUT_S. By the kernel: Python's own time-outs cost a poll before each call."""
    limit = struct.pack("@ll", TIMEOUT_S, 0)
    connection.settimeout(None)
    connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, limit)
    connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, limit)


def _given_socket() -> _socket.socket | None:
    """
    The connected descriptor that the environment names; None where it isn't one, or another process uses it.

    Two that share a connection would take each other's answers, and nothing but convention keeps them apart: who uses
    the descriptor is its owner (F_SETOWN), and while that process lives, nobody else takes it.
    """
    word = os.environ.get(DESCRIPTOR_VARIABLE, "")
    if not (word.isascii() and word.isdecimal() and len(word) < 8):
        return None
    import fcntl

    number = int(word)
    try:
        if fcntl.fcntl(number, fcntl.F_GETOWN) != 0:
            return None
        connection = _socket.socket(fileno=number)
    except OSError:  # EBADF, ENOTSOCK: closed, or something else by now
        return None
    try:
        kind = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_TYPE)
        if connection.family == _socket.AF_UNIX and kind == _socket.SOCK_SEQPACKET:
            connection.getpeername()
            fcntl.fcntl(number, fcntl.F_SETOWN, os.getpid())
            os.set_inheritable(number, False)
            _bound_waits(connection)
            return connection
    except OSError:  # ENOTCONN, or what the box's filter refuses
        pass
    connection.detach()
    return None

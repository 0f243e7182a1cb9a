"""
What the launcher asks the scope service for, and whom the service believes.

What comes in: one message of a connection, with one descriptor. What goes out: a `Request` that is as a launcher would
make it, or a `RequestError` of one line. Whoever may ask could have the user manager do the same without this service;
so it is no way to more. Still: only this user's processes are heard, none in a user namespace of its own (a box that is
shown the socket by mistake gets nowhere), only about children of theirs, and only limits of resources are passed on.
"""

from __future__ import annotations

import array
import json
import os
import select
import socket
import struct

from sandboxer.host.manager import read
from sandboxer.words import Record

SIZE_MAX = 4096
"""Bytes; as plan.ops.SCOPE_MAX."""
APP_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-")
APP_MAX = 64
PROPERTIES = {
    "TasksMax": (1, 1 << 22),
    "MemoryMax": (1 << 20, 1 << 62),
    "MemorySwapMax": (0, 1 << 62),
    "MemoryHigh": (1 << 20, 1 << 62),
    "CPUQuotaPerSecUSec": (1_000, 1 << 40),
    "IOWeight": (1, 10_000),
}
"""Limits that can be set, each a "t", with the least and the most. Source: org.freedesktop.systemd1(5)."""


class RequestError(Exception):
    """One line for the user."""


class Request(Record):
    """
    A limit for a box. `pid` is of its first process and `pidfd` the same, which the holder closes; `monitor` is the
    launcher's.
    """

    app: str
    properties: dict[str, int]
    pidfd: int
    pid: int
    monitor: int


def receive(connection: socket.socket) -> Request | None:
    """
    The request of a connection that can be read; None: it has ended.

    Raises:
        RequestError: it is none that is heard. No descriptor is left open then.
    """
    content, descriptors = _message(connection)
    if not content and not descriptors:
        return None
    try:
        return _request(connection, content, descriptors)
    except BaseException:
        for fd in descriptors:
            os.close(fd)
        raise


def lives(pidfd: int) -> bool:
    """Whether the process of a pidfd hasn't ended: until then its number is nobody else's."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def process_of(pidfd: int) -> int:
    """
    A pidfd's process, as this namespace numbers it.

    Raises:
        RequestError: it is no pidfd, has ended, or can't be seen from here.
    """
    for line in read(f"/proc/self/fdinfo/{pidfd}").splitlines():
        name, _, value = line.partition(":")
        if name == "Pid" and int(value) > 0:
            return int(value)
    raise RequestError("the descriptor is of no process that lives")


def _request(connection: socket.socket, content: bytes, descriptors: list[int]) -> Request:
    monitor = _asker(connection)
    if len(descriptors) != 1:
        raise RequestError(f"one process is to be named, not {len(descriptors)}")
    app, properties = _limits(content)
    pid = process_of(descriptors[0])
    if _parent(pid) != monitor or not lives(descriptors[0]):
        raise RequestError("the process isn't a child of who asks")
    return Request(app=app, properties=properties, pidfd=descriptors[0], pid=pid, monitor=monitor)


def _message(connection: socket.socket) -> tuple[bytes, list[int]]:
    """What was sent, with all descriptors that came along: none is kept from an exec or is forgotten."""
    size = array.array("i").itemsize
    content, ancillary, flags, _ = connection.recvmsg(
        SIZE_MAX + 1, socket.CMSG_SPACE(4 * size), socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
    )
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % size])
    if len(content) > SIZE_MAX or flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
        for fd in descriptors:
            os.close(fd)
        raise RequestError("the request is too long")
    return content, list(descriptors)


def _asker(connection: socket.socket) -> int:
    """The process that has connected, if it is one to be heard."""
    pid, uid, _ = struct.unpack("=iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid != os.getuid() or pid <= 0:
        raise RequestError("only processes of the same user are heard")
    try:
        ours, theirs = os.stat("/proc/self/ns/user"), os.stat(f"/proc/{pid}/ns/user")
    except OSError as error:
        raise RequestError(f"cannot look at who asks: {error.strerror}") from error
    if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino):
        raise RequestError("processes in a user namespace of their own aren't heard")
    return int(pid)


def _parent(pid: int) -> int:
    for line in read(f"/proc/{pid}/status").splitlines():
        if line.startswith("PPid:"):
            return int(line[5:])
    return -1


def _limits(content: bytes) -> tuple[str, dict[str, int]]:
    try:
        data = json.loads(content)
        app, properties = data.pop("app"), data.pop("properties")
        known = not data and isinstance(app, str) and isinstance(properties, dict)
    except (ValueError, RecursionError, KeyError, AttributeError, TypeError) as error:
        raise RequestError("the request can't be understood") from error
    if not known or not 0 < len(app) <= APP_MAX or not APP_LETTERS.issuperset(app):
        raise RequestError("the request can't be understood")
    for name, value in properties.items():
        least, most = PROPERTIES.get(name, (1, 0))
        if type(value) is not int or not least <= value <= most:
            raise RequestError(f"no such limit can be set: {name[:40]!r}")
    return app, properties

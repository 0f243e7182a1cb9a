"""
The namespaces of a running box, and how a process of ours goes into them.

What comes in: the box's first process. What goes out: descriptors of its mount namespace and of the user namespace that
owns it, both verified; and what a piece of work in there returned. The steward itself never goes in: a forked child
does, does one thing, and ends.

The child is in reach of the box for that time only by the mounts that it looks up: it is in no pid namespace of the
box's. It can import nothing (the box's files would be looked at), opens nothing but by descriptors, follows no link,
and what it sends back is checked like anything from outside.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from sandboxer.errors import StewardError
from sandboxer.steward import calls, descendants

TIMEOUT_S = 15.0
PATIENCE_S = 2.0
MESSAGE_SIZE_MAX = 65536
GO = b"go"

Report = dict[str, Any]
"""What passes between the child and its parent: values that JSON has."""


class Namespace:
    """The mount namespace of a box (`mounts`) and its owner (`user`), as descriptors; `number` tells it from others."""

    def __init__(self, mounts: int, user: int) -> None:
        self.mounts = mounts
        self.user = user
        self.number = os.fstat(mounts).st_ino

    def close(self) -> None:
        os.close(self.mounts)
        os.close(self.user)


def find(first: int) -> Namespace:
    """
    The namespace of the box whose first process is `first`, by way of any other of its descendants.

    The first process can't be looked into. What a process of the box has made for itself is not the box's: it is owned
    by a user namespace below the box's, so that its parent is not ours.

    Raises:
        StewardError: no process is in it any more, or none that can be looked into.
    """
    for pid in descendants.members(first):
        try:
            found = _of(pid, first)
        except OSError:  # it has ended, or is undumpable (between fork and exec)
            continue
        if found is not None:
            return found
    raise StewardError(
        "cannot find a way into the box",
        subject="none of its processes is in the box's own mount namespace",
    )


def find_soon(first: int) -> Namespace:
    """The same, for a process that has just been forked and is about to execute a program."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return find(first)
        except StewardError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _of(pid: int, first: int) -> Namespace | None:
    opened = [os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    try:
        opened.append(os.open("ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=opened[0]))
        opened.append(calls.namespace_parent(opened[1], calls.NS_GET_USERNS))
        opened.append(calls.namespace_parent(opened[2], calls.NS_GET_PARENT))
        ours = os.stat("/proc/self/ns/user")
        parent = os.fstat(opened[3])
        if (
            descendants.belongs(opened[0], first)
            and (parent.st_dev, parent.st_ino) == (ours.st_dev, ours.st_ino)
            and calls.namespace_owner(opened[2]) == os.getuid()
            and os.fstat(opened[1]).st_ino != os.stat("/proc/self/ns/mnt").st_ino
        ):
            found = Namespace(mounts=opened[1], user=opened[2])
            del opened[1:3]
            return found
        return None
    finally:
        for fd in opened:
            os.close(fd)


class Visit:
    """
    What a piece of work in the child has: it begins outside, as the box's user namespace's owner, in a copy of the
    host's mounts; `go_in` takes it to the box's mounts.
    """

    def __init__(self, namespace: Namespace, channel: socket.socket) -> None:
        self._namespace = namespace
        self._channel = channel
        self.root = -1
        self._proc = os.open(f"/proc/{os.getpid()}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # Of the host's /proc, which the box's isn't; all else that is open here is the steward's and stays unused.
        calls.enter(namespace.user, calls.NEW_USER_NAMESPACE)
        calls.leave_mounts()
        self.host = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def go_in(self) -> None:
        """`root` is the box's then."""
        calls.enter(self._namespace.mounts, calls.NEW_MOUNT_NAMESPACE)
        self.root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def mounts(self) -> dict[int, calls.Mount]:
        """Of the namespace that the child is in."""
        fd = os.open("mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        with open(fd, "rb") as file:
            return calls.read_mounts(file.read())

    def name_of(self, fd: int) -> str:
        """The path of an open file, from the root of the namespace that the child is in."""
        return os.readlink(f"fd/{fd}", dir_fd=self._proc)

    def agree(self, report: Report) -> None:
        """Tell the parent what is about to be done, and go on when it has taken note."""
        self._channel.send(json.dumps({"before": report}).encode())
        if self._channel.recv(len(GO)) != GO:
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))


Work = Callable[[Visit], Report]
Note = Callable[[Report], None]


def visit(namespace: Namespace, work: Work, note: Note | None = None) -> Report:
    """
    Do a piece of work in a child, in the box's namespaces.

    Args:
        note: is called with what the work says by `agree`, before it goes on.
    Returns:
        What the work returned.
    Raises:
        OSError: as the work raised it; ETIMEDOUT when it took too long.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        child = os.fork()
        if child == 0:
            _be_child(namespace, work, ours, theirs)
        theirs.close()
        try:
            return _hear(ours, note)
        finally:
            os.kill(child, signal.SIGKILL)  # it is ours until it is waited for
            os.waitpid(child, 0)


def _hear(channel: socket.socket, note: Note | None) -> Report:
    while True:
        ready, _, _ = select.select([channel], [], [], TIMEOUT_S)
        if not ready:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        content = channel.recv(MESSAGE_SIZE_MAX)
        if not content:
            raise OSError(errno.EPIPE, "the process that went into the box ended without a word")
        message = json.loads(content)
        if "before" in message and note is not None:
            note(message["before"])
            channel.send(GO)
        elif "error" in message:
            raise OSError(message["error"], os.strerror(message["error"]), message["path"] or None)
        else:
            return dict(message["done"])


def _be_child(namespace: Namespace, work: Work, ours: socket.socket, theirs: socket.socket) -> NoReturn:
    status = 1
    try:
        ours.close()
        for finders in (sys.meta_path, sys.path_hooks, sys.path):
            finders.clear()
        sys.path_importer_cache.clear()
        os.umask(0)
        message: Report
        try:
            message = {"done": work(Visit(namespace, theirs))}
        except OSError as error:
            message = {"error": error.errno or errno.EIO, "path": os.fsdecode(error.filename or "")}
        theirs.send(json.dumps(message).encode())
        status = 0
    finally:
        os._exit(status)

"""
What the other rooms may ask of the host: a Protocol, so that tests can play any machine.

Every answer that can shape a plan is recorded by the implementation and comes back from `stamps`.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from sandboxer.plan.ops import Stamp
from sandboxer.words import HostPath, Record


class FileType(Enum):
    """The type of a file, links followed."""

    REGULAR = "file"
    DIRECTORY = "directory"
    SOCKET = "socket"
    CHARACTER = "character device"
    BLOCK = "block device"
    FIFO = "pipe"


class User(Record):
    """The ordinary user that the box runs as."""

    name: str
    uid: int
    gid: int
    group: str
    home: HostPath


class UserManager(Record):
    """
    The session's service manager (systemd --user), which makes control groups.

    `controllers`: those that it can give to a box ("cpu", "io", "memory", "pids"). `missing`: files of theirs that this
    kernel doesn't have ("io.weight", "memory.swap.max"), so that nothing holds what is asked for by them.
    """

    controllers: tuple[str, ...]
    missing: tuple[str, ...] = ()


class Host(Protocol):
    """This machine and this session, as far as policies can see them."""

    @property
    def user(self) -> User:
        """Who asks, from the user database; raises ResolveError when there is no home."""
        ...

    @property
    def kernel_release(self) -> str: ...

    @property
    def landlock_abi(self) -> int:
        """0 where Landlock is off or absent."""
        ...

    @property
    def user_manager(self) -> UserManager | None:
        """None where there is none that can be reached by the session bus."""
        ...

    @property
    def working_directory(self) -> str: ...

    def variable(self, name: str) -> str | None:
        """An environment variable; None when absent or empty."""
        ...

    def type_of(self, path: str) -> FileType | None:
        """The type, links followed; None when nothing is there."""
        ...

    def mode_and_owner(self, path: str) -> tuple[int, int, int] | None:
        """Permission bits, owner and group, links followed; None when nothing is there."""
        ...

    def resolve(self, path: str) -> HostPath | None:
        """The real path with every link followed; None when nothing is there."""
        ...

    def links(self, path: str) -> tuple[str, ...]:
        """The symbolic links that lie on the way to `path`, in order."""
        ...

    def read_link(self, path: str) -> str | None:
        """What the link at `path` holds, None when it is no link."""
        ...

    def read(self, path: str) -> bytes | None:
        """A small file's content (at most 64 KiB), None when it is absent or can't be read."""
        ...

    def entries(self, path: str) -> tuple[str, ...]:
        """The names in a directory, sorted; empty when it is none."""
        ...

    def sockets(self, directory: str) -> tuple[str, ...]:
        """
        The sockets in a directory and a little below, by their paths in it, sorted: a short look (`host.sockets`).

        Stamped is what was found: that nothing else has come isn't, as it would outdate a plan with each new file.
        """
        ...

    def device(self, path: str) -> tuple[int, int] | None:
        """Major and minor number of a device node."""
        ...

    def stamps(self) -> tuple[Stamp, ...]:
        """Everything that was asked so far, in the order of the first question."""
        ...

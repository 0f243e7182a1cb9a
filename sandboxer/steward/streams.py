"""
The descriptors that may be handed to a program which somebody runs in a box from outside.

What comes in: descriptors, as they came over the control socket. What goes out: the same, or StewardError. Whatever
the command that asks has open, the program gets three ends of socket pairs or of a terminal that was made for it, and
nothing that leads to a file: a descriptor is a way out of the box for as long as it is open. A file could be opened
again for writing, a directory is a root of its own, and a terminal in which somebody works can be typed into. A pipe
can be opened through /proc by any other process of the box, in the other direction too: to put words into a program's
mouth, to read what is meant for it, to keep it from ending. A socket can't, and one direction is closed for good.

That the pairs and the terminal are fresh is for the command to see to (`cli.attached`): the steward can't tell a pair
from another. What it can tell, it holds to here. The status goes by a pipe, which only the box's first process has.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Sequence

from sandboxer.errors import StewardError

COUNT = 4
STATUS = 3
"""The index of the pipe for the status; those before it are the standard streams."""
TERMINAL_MAJORS = range(136, 144)
"""Device numbers of pseudoterminals' slaves. Source: Documentation/admin-guide/devices.txt."""


def require_harmless(descriptors: Sequence[int], asker: int) -> None:
    """
    Judge what came with an Exec.

    Args:
        asker: the pid of the process that asks, whose own terminal is none of the box's.
    Raises:
        StewardError: they are not what a program in the box may have.
    """
    if len(descriptors) != COUNT:
        raise _refusal(f"{len(descriptors)} descriptors came, not {COUNT}")
    for number, fd in enumerate(descriptors):
        status = os.fstat(fd)
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        if flags & os.O_PATH:
            raise _refusal(f"descriptor {number} is a path")
        if number == STATUS:
            if not stat.S_ISFIFO(status.st_mode):
                raise _refusal("the status goes to no pipe")
            if flags & os.O_ACCMODE != os.O_WRONLY:
                raise _refusal(f"descriptor {number} is the wrong end of a pipe")
        elif stat.S_ISSOCK(status.st_mode):
            if not _is_of_pair(fd, is_input=number == 0):
                raise _refusal(f"descriptor {number} is no end of a pair, closed in one direction")
        elif not stat.S_ISCHR(status.st_mode) or os.major(status.st_rdev) not in TERMINAL_MAJORS:
            raise _refusal(f"descriptor {number} is neither of a pair of sockets nor a terminal of its own")
        elif status.st_rdev == controlling_terminal(asker):
            raise _refusal(f"descriptor {number} is the terminal in which it was asked for")


def _is_of_pair(fd: int, *, is_input: bool) -> bool:
    """Whether a socket is connected to another without a name, as socketpair(2) makes them, and passes one way only."""
    with socket.socket(fileno=os.dup(fd)) as one:
        if (one.family, one.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
            return False
        try:
            if one.getsockname() or one.getpeername():
                return False
            if is_input:
                one.send(b"", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                return False
            return not one.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except BrokenPipeError:
            return is_input
        except OSError:  # ENOTCONN; EAGAIN: something could still come
            return False


def controlling_terminal(pid: int) -> int:
    """The device number of a process's terminal; 0 where it has none, or is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return int(fields[4]) & 0xFFFFFFFF
    except (OSError, IndexError, ValueError):
        return 0


def _refusal(subject: str) -> StewardError:
    return StewardError(
        "refuses to hand a descriptor into the box", subject=subject, hint="run it by: sandbox exec"
    )

"""
The descriptors that may be handed to a program which somebody runs in a box from outside.

What comes in: descriptors, as they came over the control socket. What goes out: the same, or StewardError. Whatever
the command that asks has open, the program gets three ends of pipes or of a terminal that was made for it, and nothing
that leads to a file: a descriptor is a way out of the box for as long as it is open. A pipe can be opened again through
/proc, in the other direction too, so that it has to be one that nobody else speaks through; a file could be opened
again for writing, a directory is a root of its own, and a terminal in which somebody works can be typed into.

That the pipes and the terminal are fresh is for the command to see to (`cli.attached`): the steward can't tell a pipe
from another. What it can tell, it holds to here.
"""

from __future__ import annotations

import fcntl
import os
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
        if stat.S_ISFIFO(status.st_mode):
            wanted = os.O_RDONLY if number == 0 else os.O_WRONLY
            if flags & os.O_ACCMODE != wanted:
                raise _refusal(f"descriptor {number} is the wrong end of a pipe")
        elif number == STATUS:
            raise _refusal("the status goes to no pipe")
        elif not stat.S_ISCHR(status.st_mode) or os.major(status.st_rdev) not in TERMINAL_MAJORS:
            raise _refusal(f"descriptor {number} is neither a pipe nor a terminal of its own")
        elif status.st_rdev == controlling_terminal(asker):
            raise _refusal(f"descriptor {number} is the terminal in which it was asked for")


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

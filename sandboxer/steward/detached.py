"""
Programs that the steward starts outside, and that outlive it.

What comes in: words. What goes out: a process of nobody's: in a session of its own, without a terminal, with /dev/null
for input and output, and nothing of the steward's but its environment, which is the one that the box was started from.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence


def start(words: Sequence[str], umask: int) -> int:
    """
    Start a program that outlives this one and has nothing of it but the environment. Returns 0 or an errno.

    Args:
        umask: the program's: the user's own, not the steward's.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _become(words, writer, umask)
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, "rb") as pipe:
        said = pipe.read(8)
    return int.from_bytes(said, "little")


def _become(words: Sequence[str], writer: int, umask: int) -> None:
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(nothing, fd)
        for fd in map(int, os.listdir("/proc/self/fd")):
            if fd > 2 and fd != writer:
                try:
                    os.close(fd)
                except OSError:  # the listing's own
                    continue
        os.chdir("/")
        os.umask(umask)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which Python ignores
        os.execvp(words[0], list(words))  # noqa: S606
    except OSError as error:
        os.write(writer, (error.errno or errno.EIO).to_bytes(8, "little"))

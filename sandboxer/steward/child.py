"""
Work that could take long, in a process of its own, so that nothing else of the steward's waits for it.

What comes in: a piece of work, and for how long it may go on. What goes out: a descriptor that can be read when it is
done, and its result. Whatever the work waits for (a file that somebody holds a lease on, a file system that doesn't
answer), the child is killed at its end; the steward goes on.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

RESULT_SIZE_MAX = 4 * 1024 * 1024
_PIECE = 65536
_ended: set[int] = set()
"""Children that were killed and have not been waited for: one that hangs in the kernel ends when that lets it."""


class Child:
    """
    One piece of work that is being done. The result is of values that JSON has.

    `end` is the moment, by time.monotonic, at which it is given up.
    """

    def __init__(self, work: Callable[[], Any], seconds: float) -> None:
        _reap()
        self.end = time.monotonic() + seconds
        self._reader, writer = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            _do(work, writer, seconds)
        os.close(writer)

    def fileno(self) -> int:
        """Readable when the work is done, or the child has ended."""
        return self._reader

    def result(self) -> Any:
        """
        Wait for the end of the work, or of its time, and end the child.

        Raises:
            OSError: as the work raised it; ETIMEDOUT: it took too long.
        """
        content = b""
        try:
            while True:
                ready, _, _ = select.select([self._reader], [], [], max(0.0, self.end - time.monotonic()))
                if not ready:
                    raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
                piece = os.read(self._reader, _PIECE)
                if not piece:
                    break
                content += piece
                if len(content) > RESULT_SIZE_MAX:
                    raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        finally:
            self._close()
        if not content:
            raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
        message = json.loads(content)
        if "error" in message:
            raise OSError(message["error"], os.strerror(message["error"]))
        return message["done"]

    def _close(self) -> None:
        os.close(self._reader)
        os.kill(self._pid, signal.SIGKILL)  # it is ours until it is waited for
        _ended.add(self._pid)
        _reap()


def _reap() -> None:
    for pid in list(_ended):
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                continue
        _ended.discard(pid)


def _do(work: Callable[[], Any], writer: int, seconds: float) -> NoReturn:
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(seconds) + 2)  # for a steward that is killed meanwhile
        message: dict[str, Any]
        try:
            message = {"done": work()}
        except OSError as error:
            message = {"error": error.errno or errno.EIO}
        content = json.dumps(message).encode()
        while content:
            content = content[os.write(writer, content) :]
    finally:
        os._exit(0)

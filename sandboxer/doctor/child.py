"""
Probes, each in a child process of its own with a limit on its time.

What comes in: a piece of work, which announces its steps. What goes out: how far it came. A probe that hangs is killed
with all that it started; one that crashes is a result like any other. Nothing that a probe does to itself (namespaces,
mounts, filters) reaches this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

from sandboxer.errors import SandboxerError
from sandboxer.words import Record

Steps = Callable[[str], None]
"""Called with the name of each step before it is done."""
SIZE_MAX = 1024 * 1024
_PIECE = 65536


class Outcome(Record):
    """
    What became of a probe.

    `step` is the last one that it announced. `error` is the errno with which that failed, `text` what the error said;
    `signal` what killed the probe; `hung` that its time ran out. With none of these, `value` is the work's result.
    """

    step: str = ""
    error: int = 0
    text: str = ""
    signal: int = 0
    hung: bool = False
    value: Any = None

    @property
    def failed(self) -> bool:
        return bool(self.error or self.text or self.signal or self.hung)

    def told(self) -> str:
        """The failure in a few words: "mount: Operation not permitted"."""
        if self.hung:
            how = "no answer in time"
        elif self.signal:
            how = f"killed by {_signal_name(self.signal)}"
        else:
            how = self.text or os.strerror(self.error)
        return f"{self.step}: {how}" if self.step else how


def run(work: Callable[[Steps], Any], seconds: float) -> Outcome:
    """Do a piece of work in a child."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _do(work, writer, seconds)
    os.close(writer)
    try:
        content, hung = _read(reader, time.monotonic() + seconds)
    finally:
        os.close(reader)
    if hung:
        _kill(pid)
    _, status = os.waitpid(pid, 0)
    _kill_group(pid)
    return _outcome(content, hung=hung, status=status)


def _read(reader: int, end: float) -> tuple[bytes, bool]:
    """All that the child says, and whether its time ran out first."""
    content = b""
    while len(content) < SIZE_MAX:
        ready, _, _ = select.select([reader], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return content, True
        piece = os.read(reader, _PIECE)
        if not piece:
            break
        content += piece
    return content, False


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)  # it is ours until it is waited for
    _kill_group(pid)


def _kill_group(pid: int) -> None:
    """What the child left behind; nothing, most often."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _outcome(content: bytes, *, hung: bool, status: int) -> Outcome:
    step, last = "", {}
    for line in content.splitlines():
        try:
            last = json.loads(line)
        except ValueError:  # cut short by its end
            last = {}
        step = last.get("step", step)
    if hung:
        return Outcome(step=step, hung=True)
    if "error" in last:
        return Outcome(step=step, error=last["error"], text=last["text"])
    if "value" in last:
        return Outcome(step=step, value=last["value"])
    if os.WIFSIGNALED(status):
        return Outcome(step=step, signal=os.WTERMSIG(status))
    return Outcome(step=step, text=f"the probe ended with status {os.waitstatus_to_exitcode(status)}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _do(work: Callable[[Steps], Any], writer: int, seconds: float) -> NoReturn:
    """In the child."""

    def say(**message: Any) -> None:
        content = json.dumps(message).encode() + b"\n"
        while content:
            content = content[os.write(writer, content) :]

    status = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(seconds) + 2)  # for a doctor that is killed meanwhile
        try:
            say(value=work(lambda name: say(step=name)))
        except OSError as error:
            say(error=error.errno or 0, text=error.strerror or str(error))
        except SandboxerError as error:
            say(error=0, text=error.subject or error.what)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this probe's result
            say(error=0, text=f"{type(error).__name__}: {error}")
        status = 0
    finally:
        os._exit(status)

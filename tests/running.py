"""
Boxes that run while a test changes them by the user's commands: the real policies, the real steward.

What comes in: the session of the fixture `session`. What goes out: `RunningBox`, an application that evaluates what a
test says, and the commands for it.
"""

from __future__ import annotations

import ast
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from boxes import read_until
from conftest import run_to_end

WITHIN_S = 10.0
PYTHON = "/usr/bin/python3"
"""The system's: a box sees /usr, and no virtual environment."""
INSIDE = """
import ctypes, errno, fcntl, mmap, os, socket, stat, subprocess, sys
kept = []
def text(path):
    with open(path) as file:
        return file.read()
def put(path, content):
    with open(path, "w") as file:
        return file.write(content)
def keep(path, flags=os.O_RDONLY):
    kept.append(os.open(path, flags))
    return kept[-1]
def error(function, *words, **more):
    try:
        function(*words, **more)
    except OSError as caught:
        return errno.errorcode[caught.errno]
    return ""
print("ready", flush=True)
for line in sys.stdin:
    try:
        print(repr(eval(line)), flush=True)
    except OSError as caught:
        print(repr("error " + errno.errorcode[caught.errno]), flush=True)
"""


class RunningBox:
    """
    One box. `commands` is the environment that the user's commands have; `application` the name that they use.
    """

    def __init__(
        self, words: Sequence[str | Path], sandbox: Path, environment: Mapping[str, str], cwd: Path
    ) -> None:
        self.sandbox = sandbox
        self.environment = dict(environment)
        self.directory = cwd
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [str(word) for word in words],
            env=self.environment,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout.fileno()
        read_until(self._out, b"ready\n", 20)

    @property
    def id(self) -> str:
        """What the commands call it."""
        return str(self.process.pid)

    @property
    def state(self) -> Path:
        """Its directory."""
        (found,) = Path(self.environment["XDG_RUNTIME_DIR"]).glob(f"sandboxer/boxes/*.{self.id}")
        return found

    def eval(self, expression: str) -> Any:
        """What an expression comes to in the box; "error EACCES" for an OSError."""
        self._in.write(expression.encode() + b"\n")
        self._in.flush()
        return ast.literal_eval(read_until(self._out, b"\n").decode())

    def command(
        self, verb: str, *words: str | Path, env: Mapping[str, str] = {}
    ) -> subprocess.CompletedProcess[str]:
        """`sandbox VERB BOX WORD...`."""
        return run_to_end(
            [self.sandbox, verb, self.id, *words], env=self.environment | dict(env), cwd=self.directory
        )

    def done(self, verb: str, *words: str | Path) -> str:
        """The same where it has to work: what it prints."""
        ended = self.command(verb, *words)
        assert (0, "") == (ended.returncode, ended.stderr), ended.stderr
        return ended.stdout

    def refused(self, verb: str, *words: str | Path) -> str:
        """The same where it must not work: what it says."""
        ended = self.command(verb, *words)
        assert (125, "") == (ended.returncode, ended.stdout), ended.stdout
        return ended.stderr

    def companions(self, kind: str = "steward") -> list[int]:
        """Pids of the companions that run."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            if parent == self.process.pid and kind.encode() in words[5:6]:
                found.append(int(entry.name))
        return found

    def steward(self) -> int:
        """The pid of the steward, which must run."""
        (found,) = self.companions()
        return found

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def within(condition: Callable[[], object], what: str, seconds: float = WITHIN_S) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def openable_device() -> str | None:
    """A device node that an ordinary user may open here, and no box has by itself."""
    for name in sorted(os.listdir("/dev")):
        path = f"/dev/{name}"
        if name.startswith(("tty", "pt", "console", "vcs")) or not Path(path).is_char_device():
            continue
        if name in ("null", "zero", "full", "random", "urandom"):
            continue
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:
            continue
        return path
    return None

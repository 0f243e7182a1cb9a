"""
Boxes whose Python half is played by tests/programs/companion.py, and an application that does what a test says.

What comes in: a launcher, which is copied beside the player. What goes out: `AccompaniedBox`, with all that it can tell
of the companions that were started, and `Application`, which speaks to sockets from inside.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from boxes import HOME, PlannedBox, read_until
from conftest import PROGRAMS
from plans import listen

from sandboxer.plan.ops import Op, PlanFlag, Stamp

RULES = bytes(range(256)) * 3
BROKER = "/run/sandboxer/broker"
CODE = "from sandboxer.companion import main; main()"
WITHIN_S = 10.0
QUIET_S = 0.5
"""How long a test looks before it says that nothing happens."""

INSIDE = """
import os, socket, sys
kept = []
def ask(place, message=b"pid"):
    kind = socket.SOCK_SEQPACKET if place.endswith("broker") else socket.SOCK_STREAM
    client = socket.socket(socket.AF_UNIX, kind)
    client.settimeout({patience})
    client.connect(place)
    kept.append(client)
    return say(client, message) if message else None
def say(client, message):
    client.send(message)
    return client.recv(65536)
def descriptor(number):
    client = socket.socket(fileno=number)
    client.settimeout({patience})
    kept.append(client)
    return client
def opened():
    return [int(n) for n in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + n)
            or os.path.islink("/proc/self/fd/" + n)]
print("ready", flush=True)
for line in sys.stdin:
    try:
        print(repr(eval(line)), flush=True)
    except OSError as error:
        print(repr(f"error {{error.errno}}"), flush=True)
"""
"""The application: it evaluates lines, and prints what they come to. Its Python needs only /usr."""


class Application:
    """A box that runs, and the application in it, which evaluates expressions."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout.fileno()
        read_until(self._out, b"ready\n")

    def begin(self, expression: str) -> None:
        """Have it evaluated; the answer is to be fetched."""
        self._in.write(expression.encode() + b"\n")
        self._in.flush()

    def answer(self) -> Any:
        """What the next expression came to."""
        return ast.literal_eval(read_until(self._out, b"\n", 20).decode())

    def does(self, expression: str) -> Any:
        """What an expression comes to in the box; "error ERRNO" for an OSError."""
        self.begin(expression)
        return self.answer()

    def asks(self, message: str = "pid", place: str = BROKER) -> Any:
        """The broker's answer to a message on a new connection."""
        return self.does(f"ask({place!r}, {message.encode()!r})")

    def ends(self, status: int = 0) -> int:
        """Let it exit; returns the launcher's status."""
        self.begin(f"os._exit({status})")
        return self.process.wait(WITHIN_S)


class AccompaniedBox(PlannedBox):
    """A planned box with a broker, whose companions are played."""

    def __init__(self, launcher: str, directory: Path) -> None:
        half = directory / "half"
        (half / "started").mkdir(parents=True)
        shutil.copy(launcher, half / "sandbox")
        (half / "sandboxer").write_text(f"#!{half / 'python'}\n")
        player = (PROGRAMS / "companion.py").read_text(encoding="utf-8")
        (half / "python").write_text(f"#!/usr/bin/python3 -IS\n{player}")
        (half / "python").chmod(0o755)
        super().__init__(str(half / "sandbox"), directory / "cache")
        self.half = half

    def plan(
        self,
        *command: str,
        flags: PlanFlag = PlanFlag.PRIVATE_NETWORK,
        keep_fds: tuple[int, ...] = (),
        more: Iterable[Op] = (),
        notice: str = "",
        stamps: tuple[Stamp, ...] = (),
        without: tuple[str, ...] = (),
        home: str = HOME,
        broker: bytes = RULES,
        variables: Mapping[str, str] = {},
        parts: Mapping[str, Any] = {},
    ) -> list[str]:
        """As PlannedBox.plan, with a broker and its socket."""
        return super().plan(
            *command,
            flags=flags,
            keep_fds=keep_fds,
            more=[*([listen("broker")] if broker else []), *more],
            notice=notice,
            stamps=stamps,
            without=without,
            home=home,
            broker=broker,
            variables=variables,
            parts=parts,
        )

    def application(self, *, options: Mapping[str, Any] | None = None, **plan: Any) -> Application:
        """Start a box with the obedient application."""
        script = INSIDE.format(patience=WITHIN_S)
        words = self.plan("/usr/bin/python3", "-IS", "-c", script, **plan)
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return Application(self.start(words, **(streams | dict(options or {}))))

    def first(self, word: str, command: str) -> None:
        """What a companion does before it serves anything; "" for nothing."""
        path = self.half / f"{word}.first"
        path.write_text(command)
        if not command:
            path.unlink()

    def history(self, word: str) -> list[dict[str, Any]]:
        """How each companion of that name was started, in order."""
        files = (self.half / "started").glob(f"{word}-*.json")
        numbered = sorted(files, key=lambda file: int(file.stem.rsplit("-", 1)[1]))
        return [json.loads(file.read_text()) for file in numbered]

    def wait_for(self, word: str, count: int = 1, seconds: float = WITHIN_S) -> dict[str, Any]:
        """Wait until so many companions of that name were started; returns the last."""
        deadline = time.monotonic() + seconds
        while len(found := self.history(word)) < count:
            if time.monotonic() > deadline:
                pytest.fail(f"{len(found)} of {count} of {word} were started")
            time.sleep(0.01)
        return found[-1]

    def control(self, process: subprocess.Popen[Any], message: bytes = b"pid") -> bytes:
        """The steward's answer to a message on a new connection, as a command of the user's would send it."""
        with connected_to(self.state(process) / "control") as client:
            client.send(message)
            return client.recv(65536)

    def order(self, process: subprocess.Popen[Any], *words: str | bytes, message: bytes = b"") -> int:
        """Have the steward give an order; returns the box's first process's answer."""
        whole = message or b"X" + b"".join(os.fsencode(word) + b"\0" for word in words)
        return int(self.control(process, b"order " + whole))


@contextlib.contextmanager
def connected_to(path: Path) -> Iterator[socket.socket]:
    """A connection to a socket, however long its path is."""
    directory = os.open(path.parent, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.settimeout(WITHIN_S)
            client.connect(f"/proc/self/fd/{directory}/{path.name}")
            yield client
    finally:
        os.close(directory)


def children_of(pid: int) -> list[int]:
    """The processes that a single-threaded process has."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def status_of(pid: int) -> dict[str, str]:
    """The lines of /proc/PID/status; empty when there is no such process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    return status_of(pid).get("State", "Z")[0] in "ZX"


def wait_until_gone(pid: int, seconds: float = WITHIN_S) -> None:
    deadline = time.monotonic() + seconds
    while not is_gone(pid):
        if time.monotonic() > deadline:
            pytest.fail(f"process {pid} is still there: {status_of(pid).get('State')}")
        time.sleep(0.01)


def init_of(process: subprocess.Popen[Any]) -> int:
    """The box's first process: of the launcher's children, the one that is number 1 in a namespace of its own."""
    for child in children_of(process.pid):
        if status_of(child).get("NSpid", "").split()[-1:] == ["1"]:
            return child
    pytest.fail("the launcher has no box")


def descriptors_of(pid: int) -> dict[int, str]:
    """What a process has open."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found

"""
Boxes whose policy has a broker, started from TOML by the launcher that is installed, and an application that asks.

What comes in: the session of the fixture `session`, the lines of a policy. What goes out: `AskingBox`, a `RunningBox`
whose application has `sandboxer.client` as `client`, and can send what no client would; outside, the broker's process
and its log. Hostile programs are in tests/programs.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import shutil
import socket
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from boxes import read_until
from conftest import PROGRAMS, TREE
from running import INSIDE, PYTHON, RunningBox, within

NEEDED = ("__init__.py", "client.py", "broker/__init__.py", "broker/protocol.py", "broker/channel.py")
"""What a program in the box needs of the package."""
FOR_BOXES = ("asking", "agent_client", "flood", "grant_thief", "sockets")
"""Of tests/programs."""
OPENER = """#!/usr/bin/python3 -IS
import json, os, sys
place = {place!r}
own = "/proc/self/fd/"
fds = {{n: os.readlink(own + n) for n in os.listdir(own) if os.path.islink(own + n)}}
with open(f"{{place}}.{{os.getpid()}}", "w") as file:
    json.dump({{"words": sys.argv[1:], "environment": dict(os.environ), "fds": fds, "cwd": os.getcwd(),
               "session": os.getsid(0) == os.getpid() or os.getpgid(0)}}, file)
os.rename(f"{{place}}.{{os.getpid()}}", f"{{place}}/{{os.getpid()}}")
"""
"""A user's program for links and files: it writes down how it was started."""


class NoBox(Exception):
    """The box wasn't made; holds what was said."""


class AskingBox(RunningBox):
    """One box; `policy` is its policy's file."""

    def __init__(
        self, policy: Path, sandbox: Path, environment: Mapping[str, str], cwd: Path, settings: tuple[str, ...] = ()
    ) -> None:
        self.policy = policy
        more = [word for setting in settings for word in ("--set", setting)]
        words: list[str | Path] = [sandbox, "run", "--policy", policy, *more, "--", PYTHON, "-I", "-c", INSIDE]
        try:
            super().__init__(words, sandbox, environment, cwd)
        except pytest.fail.Exception:
            self.process.wait(10)
            assert self.process.stderr is not None
            said = self.process.stderr.read().decode(errors="replace")
            self.end()
            raise NoBox(said) from None
        place = str(package(Path(environment["HOME"])))
        self.does(f"sys.path.insert(0, {place!r})")
        self.has("asking")

    def does(self, program: str) -> None:
        """Have the application run statements; what they define stays."""
        assert self.eval(f"exec({textwrap.dedent(program)!r}, globals())") is None

    def has(self, program: str) -> None:
        """Give the application the names of a program in tests/programs."""
        self.does(f"from {program} import *")

    def eval_long(self, expression: str, seconds: float) -> Any:
        """What an expression comes to that takes its time."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(expression.encode() + b"\n")
        self.process.stdin.flush()
        return ast.literal_eval(read_until(self.process.stdout.fileno(), b"\n", seconds).decode())

    def begin_end(self) -> None:
        """Have the application exit."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    @property
    def log_file(self) -> Path:
        name = self.policy.stem
        return Path(self.environment["HOME"], ".local/state/sandboxer/broker", name, f"{name}.log")

    def log(self) -> list[dict[str, Any]]:
        """The lines of its broker's log, newest last."""
        if not self.log_file.exists():
            return []
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]

    def line(self, key: str) -> str:
        """The text that a rule has in the log: file, line, key."""
        lines = self.policy.read_text().splitlines()
        for number, line in enumerate(lines, 1):
            if line.startswith(f"{key} =") and "[broker]" in lines[:number]:
                return f"{self.policy}:{number} broker.{key}"
        raise KeyError(key)

    def broker(self) -> int:
        """The pid of the broker, which must run."""
        (found,) = self.companions("broker")
        return found

    def descriptors(self, kind: str = "broker") -> int:
        """How many descriptors a companion has open: its process is undumpable, so that only its status tells."""
        (pid,) = self.companions(kind)
        return int(status_of(pid)["FDSize"])


def status_of(pid: int) -> dict[str, str]:
    """/proc/PID/status by field."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def package(home: Path) -> Path:
    """A directory with the client of the tree under test and the tests' programs, for a box to be shown."""
    place = home / "lib"
    if not place.exists():
        for name in NEEDED:
            target = place / "sandboxer" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TREE / "sandboxer" / name, target)
        for program in FOR_BOXES:
            shutil.copy(PROGRAMS / f"{program}.py", place)
    return place


def policy_file(directory: Path, lines: str, *, name: str = "asker", more: str = "", files: str = "") -> Path:
    """A policy: `lines` are those of its [broker], `files` further ones of its [files]."""
    file = directory / f"{name}.toml"
    shown = [] if "read =" in files else ['read = ["~/lib"]']
    body = ["[files]", *shown, *textwrap.dedent(files).strip().splitlines(), "[broker]"]
    body += textwrap.dedent(lines).strip().splitlines()
    file.write_text("\n".join(['summary = "asks"', *body, *textwrap.dedent(more).strip().splitlines(), ""]))
    return file


class Opened:
    """The user's programs for links and files, and what they were started with."""

    def __init__(self, home: Path, kinds: tuple[str, ...]) -> None:
        self._place = home / "opened"
        self._place.mkdir()
        program = home / "outside" / "opener"
        program.parent.mkdir()
        program.write_text(OPENER.format(place=str(self._place)))
        program.chmod(0o755)
        applications = home / ".local/share/applications"
        applications.mkdir(parents=True, exist_ok=True)
        types = ";".join(kinds)
        (applications / "opener.desktop").write_text(
            f"[Desktop Entry]\nType=Application\nName=Opener\nExec={program} %u\nMimeType={types};\n"
        )
        defaults = "".join(f"{kind}=opener.desktop\n" for kind in kinds)
        (applications / "mimeapps.list").write_text(f"[Default Applications]\n{defaults}")

    def all(self) -> list[dict[str, Any]]:
        """How each was started."""
        return [json.loads(file.read_text()) for file in sorted(self._place.iterdir())]

    def words(self) -> list[list[str]]:
        return [one["words"] for one in self.all()]

    def one(self) -> dict[str, Any]:
        """The only one, which may have to be waited for."""
        within(self.all, "a program is started outside")
        (found,) = self.all()
        return found


@contextlib.contextmanager
def listener(path: Path, serve: Callable[[socket.socket], None], *, backlog: int = 16) -> Iterator[list[int]]:
    """A service outside: each connection is served in a thread; the list grows by the pid of each client."""
    path.parent.mkdir(parents=True, exist_ok=True)
    directory = os.open(path.parent, os.O_PATH)
    pids: list[int] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.bind(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)
        made.listen(backlog)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = made.accept()
                    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                    pids.append(int.from_bytes(credentials[:4], "little"))
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield pids
        made.shutdown(socket.SHUT_RDWR)


def echo(client: socket.socket) -> None:
    """Give back what comes, with a word before it."""
    with client:
        while data := client.recv(65536):
            client.sendall(b"heard " + data)

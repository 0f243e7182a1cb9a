"""
Running a launcher under tests/programs/stepper.c, which interferes with one chosen system call.

What comes in: the launcher's words. What goes out: `Run`, what the stepper saw and what the application reported.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sandboxer.plan import bpf, seccomp
from sandboxer.plan.ops import PlanFlag

MONITOR, INIT, APPLICATION, COMPANION = 0, 1, 2, 3
"""The stepper's numbers, in the order in which the processes come to be."""
CANNOT_FAIL = frozenset({"exit", "exit_group", "rt_sigreturn"})
LANDLOCK_CREATE_RULESET, LANDLOCK_VERSION, LANDLOCK_FILES_ABI, LANDLOCK_SCOPE_ABI = 444, 1, 3, 6
KEYCTL = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
NAMESPACES = ("user", "mnt", "pid", "ipc", "uts", "net", "cgroup")


class Call(NamedTuple):
    """One system call: the process that makes it, its place among that process's calls, its name."""

    process: int
    place: int
    name: str
    before_main: bool
    before_start: bool
    """Made before the application's program was executed, as far as the order of processes is fixed."""

    @property
    def can_fail(self) -> bool:
        return self.name not in CANNOT_FAIL


class Run(NamedTuple):
    """What happened. `status` is the monitor's, negative for a signal; `output` what the application wrote."""

    status: int
    output: str
    errors: str
    started: bool
    hit: bool
    killed: bool
    hung: bool
    calls: tuple[Call, ...]


@cache
def call_names() -> dict[int, str]:
    arch = {"x86_64": bpf.ARCH_X86_64, "aarch64": bpf.ARCH_AARCH64}[os.uname().machine]
    return dict(seccomp.names(arch))


def landlock_flags() -> PlanFlag:
    """What this kernel's Landlock can do, as a plan asks for it."""
    libc = ctypes.CDLL(None, use_errno=True)
    abi = int(libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_VERSION))
    flags = PlanFlag(0)
    if abi >= LANDLOCK_FILES_ABI:
        flags |= PlanFlag.LANDLOCK_FILES
    if abi >= LANDLOCK_SCOPE_ABI:
        flags |= PlanFlag.LANDLOCK_SCOPE
    return flags


def offers_landlock_scope() -> bool:
    return PlanFlag.LANDLOCK_SCOPE in landlock_flags()


@cache
def listener() -> socket.socket:
    """An abstract socket outside the box, open until the tests end."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"\0sandboxer-test-{os.getpid()}")
    listening.listen(64)
    return listening


def host_facts(marker: Path) -> list[str]:
    """Words for tests/programs/probe.c: what the world outside is like."""
    # in a process of its own: looking at the session keyring gives one to a process that has none
    ask = (
        f"import ctypes; print(ctypes.CDLL(None).syscall({KEYCTL}, 0, -3, 0, 0, 0))"  # KEYCTL_GET_KEYRING_ID
    )
    keyring = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, check=True
    ).stdout.strip()
    return [
        *(f"{name}={os.stat(f'/proc/self/ns/{name}').st_ino}" for name in NAMESPACES),
        f"keyring={keyring}",
        f"marker={marker}",
        f"abstract={listener().getsockname()[1:].decode()}",
    ]


class Stepper:
    """Runs one command again and again, each time with another call interfered with. Threads may share it."""

    def __init__(
        self,
        stepper: list[str],
        words: list[str],
        *,
        stdin: int,
        directory: Path,
        environment: Mapping[str, str],
    ) -> None:
        self._stepper = stepper
        self._words = words
        self._stdin = stdin
        self._directory = directory
        self._environment = environment
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def list_calls(self) -> Run:
        """An undisturbed run, and every call that was made in it."""
        return self._run("list")

    def fault(self, call: Call, error: int) -> Run:
        """That call isn't made, and returns this error."""
        return self._run("fault", call.process, call.place, error)

    def kill(self, call: Call, victim: int) -> Run:
        """Before that call, the process `victim` is killed."""
        return self._run("kill", call.process, call.place, victim)

    def _run(self, *how: str | int) -> Run:
        with self._lock:
            number = next(self._numbers)
        report = self._directory / f"stepper-{number}"
        words = [*self._stepper, str(report), *map(str, how), *self._words]
        done = subprocess.run(
            words,
            stdin=self._stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
            env=self._environment,
        )
        lines = [line.split() for line in report.read_text().splitlines()]
        report.unlink()
        kinds = {line[0] for line in lines}
        hung = "hang" in kinds
        assert hung or done.returncode == 0, done.stderr
        statuses = [int(line[2]) for line in lines if line[:2] == ["exit", str(MONITOR)]]
        return Run(
            status=os.waitstatus_to_exitcode(statuses[0]) if statuses else 0,
            output=done.stdout,
            errors=done.stderr,
            started="started" in kinds,
            hit="hit" in kinds,
            killed="killed" in kinds,
            hung=hung,
            calls=calls_of(lines),
        )


def calls_of(lines: list[list[str]]) -> tuple[Call, ...]:
    """The calls in a report. main() begins with getuid(), which neither the loader nor the C library needs."""
    found: list[Call] = []
    in_main = started = False
    for line in lines:
        started = started or line[0] == "started"
        if line[0] != "call":
            continue
        name = call_names().get(int(line[3]), line[3])
        in_main = in_main or name == "getuid"
        found.append(Call(int(line[1]), int(line[2]), name, not in_main, not started))
    return tuple(found)

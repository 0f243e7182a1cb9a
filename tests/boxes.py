"""
Boxes from plans that are written by hand, and what tests of them share.

`PlannedBox` depends on the launcher and on the plan room alone: no policy is read, no session is looked at.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import plans
import pytest

from sandboxer.plan.codec import encode
from sandboxer.plan.ops import Op, PlanFlag, Stamp
from sandboxer.words import changed

HOME = "/home/t"
"""The home in the box; nothing outside has this path."""


class PlannedBox:
    """A launcher, and a cache of its own in which `plan` puts the one plan that `words` ask for."""

    def __init__(self, launcher: str, directory: Path) -> None:
        self.launcher = launcher
        self.plans = directory / "sandboxer" / "plans"
        self.plans.mkdir(parents=True, mode=0o700)
        self.environment = {
            "HOME": str(directory),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "TERM": "xterm",
            "XDG_CACHE_HOME": str(directory),
            # for a launcher that was built with sanitizers; nothing else reads these
            "ASAN_OPTIONS": "detect_leaks=0:exitcode=99",
            "UBSAN_OPTIONS": "halt_on_error=1:exitcode=99",
        }
        self.started: list[subprocess.Popen[bytes]] = []

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
        broker: bytes = b"",
        variables: Mapping[str, str] = {},
        parts: Mapping[str, Any] = {},
    ) -> list[str]:
        """
        Store a plan; returns the words that start it. `--again` keeps the launcher from asking for another.

        `parts` are fields of the plan that few tests set.
        """
        plan = plans.small_box(
            command,
            home=home,
            flags=flags,
            keep_fds=keep_fds,
            more=more,
            without=without,
            notice=notice,
            stamps=stamps,
            broker=broker,
            variables=variables,
        )
        self.store(encode(changed(plan, **parts)))
        return [self.launcher, "--again", "t"]

    def store(self, image: bytes) -> None:
        """Make an image the plan that the launcher finds."""
        path = self.plans / plans.file_name(["app", "t"])
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(image)

    @property
    def boxes(self) -> Path:
        """Where the launcher makes the directories of running boxes."""
        return self.plans.parent / "boxes"

    def state(self, process: subprocess.Popen[Any]) -> Path:
        """The directory of a box that runs."""
        return self.boxes / f"t.{process.pid}"

    def start(self, words: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start the launcher with these words. What still runs when the test ends is killed then."""
        options.setdefault("env", self.environment)
        process: subprocess.Popen[bytes] = subprocess.Popen(words, **options)
        self.started.append(process)
        return process

    def run(self, words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run to the end, at most 20 seconds."""
        given: dict[str, Any] = {"env": self.environment, "stdin": subprocess.DEVNULL, "capture_output": True}
        done: subprocess.CompletedProcess[str] = subprocess.run(
            words, timeout=20, text=True, check=False, **(given | options)
        )
        return done

    def end(self) -> None:
        """Kill what was started and still runs."""
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def shell(self, script: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a shell script in a box without network."""
        return self.run([*self.plan("/bin/sh", "-c", script, "sh"), *words], **options)


def read_until(fd: int, wanted: bytes, seconds: float = 10) -> bytes:
    """What a descriptor gives, until it has given `wanted`. Fails when it ends or takes longer."""
    got = b""
    deadline = time.monotonic() + seconds
    while wanted not in got:
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            pytest.fail(f"waited for {wanted!r}, got {got!r}")
        try:
            piece = os.read(fd, 65536)
        except OSError as error:  # a terminal that nobody holds any more
            pytest.fail(f"waited for {wanted!r}, got {got!r} and {error}")
        if not piece:
            pytest.fail(f"waited for {wanted!r}, got {got!r} and the end")
        got += piece
    return got


def wait_for_end_of(fd: int, seconds: float = 10) -> bytes:
    """Read a pipe to its end: nobody holds its other side any more. Fails when that takes longer."""
    got = b""
    deadline = time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            pytest.fail(f"somebody still holds the pipe after {seconds} s; it gave {got!r}")
        piece = os.read(fd, 65536)
        if not piece:
            return got
        got += piece

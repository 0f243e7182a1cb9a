"""Attack: descriptors that the caller had open, and left open."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from escape.conftest import SECRETS, Attack, Boxed
from escape.kernel import Kernel

KINDS = ("file", "directory", "path only", "socket", "pipe", "memory", "process", "namespace")


def look_at(_kernel: Kernel, descriptor: str) -> None:
    os.fstat(int(descriptor))


@contextmanager
def opened(kind: str, home: Path) -> Iterator[int]:
    with ExitStack() as stack:
        if kind == "socket":
            ours, theirs = socket.socketpair()
            with ours, theirs:
                yield theirs.fileno()
            return
        descriptor = {
            "file": lambda: os.open(home / ".bash_history", os.O_RDONLY),
            "directory": lambda: os.open(home, os.O_RDONLY | os.O_DIRECTORY),
            "path only": lambda: os.open("/", os.O_PATH),
            "pipe": lambda: _end_of_pipe(stack),
            "memory": lambda: os.memfd_create("secret"),
            "process": lambda: os.pidfd_open(os.getpid()),
            "namespace": lambda: os.open("/proc/self/ns/mnt", os.O_RDONLY),
        }[kind]()
        stack.callback(os.close, descriptor)
        yield descriptor


def _end_of_pipe(stack: ExitStack) -> int:
    reading, writing = os.pipe()
    stack.callback(os.close, writing)
    return reading


@pytest.mark.parametrize("kind", KINDS)
def test_a_descriptor_of_the_callers_is_closed(attack: Attack, home: Path, kind: str) -> None:
    with opened(kind, home) as descriptor:
        attack(look_at, descriptor, refused="EBADF", pass_fds=(descriptor,))


@pytest.mark.parametrize("flags", [os.O_RDONLY | os.O_DIRECTORY, os.O_PATH], ids=["opened", "path only"])
def test_a_directory_on_standard_input_stops_the_start(
    boxed: Boxed, session: dict[str, str], home: Path, flags: int
) -> None:
    """What follows its name in /proc would be looked up outside the box."""
    command = ["cat", "/proc/self/fd/0/.ssh/id_ed25519"]
    directory = os.open(home, flags)
    outside = subprocess.run(
        command, env=session, stdin=directory, capture_output=True, text=True, check=False
    )
    inside = subprocess.run(
        boxed(*command), env=session, stdin=directory, capture_output=True, text=True, check=False
    )
    os.close(directory)
    assert outside.stdout == SECRETS[".ssh/id_ed25519"]
    assert (inside.returncode, inside.stdout) == (125, "")
    assert "directory" in inside.stderr

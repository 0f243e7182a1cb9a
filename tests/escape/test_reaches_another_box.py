"""Attack: from one box of an application to another, which has the same home."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from escape.conftest import PYTHON, Attack, Boxed
from escape.kernel import Kernel, nothing_there

HOME = ['files.home="private"']
FIRST = """
import socket, time
listener = socket.socket(socket.AF_UNIX)
listener.bind("\\0first-box")
listener.listen()
print(flush=True)
time.sleep(60)
"""


def find(_kernel: Kernel) -> str:
    """A process that isn't ours: neither this one nor the box's first."""
    for process in filter(str.isdecimal, os.listdir("/proc")):
        with open(f"/proc/{process}/cmdline", "rb") as file:
            if b"first-" + b"box" in file.read():
                return process
    raise nothing_there()


def read_shared_memory(_kernel: Kernel, name: str) -> None:
    os.stat(f"/dev/shm/{name}")


def connect(_kernel: Kernel) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0first-box")


@contextmanager
def first_box(words: list[str], session: dict[str, str]) -> Iterator[None]:
    with subprocess.Popen(words, env=session, cwd="/", stdout=subprocess.PIPE, process_group=0) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def test_the_processes_of_another_box_are_not_there(
    attack: Attack, boxed: Boxed, session: dict[str, str]
) -> None:
    """Outside, those of the first box are seen, and its socket is reached when it is not in a box."""
    with first_box(boxed(PYTHON, "-c", FIRST, settings=HOME), session):
        attack(find, refused="ENOENT", settings=HOME)


def test_the_sockets_of_another_box_are_not_there(
    attack: Attack, boxed: Boxed, session: dict[str, str]
) -> None:
    """The first one stands outside, then in a box with the machine's network."""
    host = [*HOME, 'network.access="host"']
    with first_box(boxed(PYTHON, "-c", FIRST, settings=host), session):
        attack(connect, refused="ECONNREFUSED", settings=HOME)
        attack(connect, refused="EPERM", settings=host)


def test_the_shared_memory_of_another_box_is_not_there(
    attack: Attack, session: dict[str, str], home: Path
) -> None:
    name = f"sandboxer-escape-{os.getpid()}"
    Path(f"/dev/shm/{name}").touch()
    try:
        attack(read_shared_memory, name, refused="ENOENT", settings=HOME)
    finally:
        Path(f"/dev/shm/{name}").unlink()

"""
Attack: get at what the box is ruled by: the descriptors of its first process, through which that is given orders and
tells the monitor how the application ended, and the control socket of a running box, on which the steward is spoken to.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from escape.conftest import PYTHON, Attack, Boxed, Bystander
from escape.kernel import Kernel, nothing_there

DEBUG = ['syscalls.allow=["@debug"]']
"""What a debugger's policy says: then the walls behind the filter must hold alone."""
NUMBERS = 64
"""More descriptors than the first process has."""


def take_any_descriptor(kernel: Kernel, process: str, count: str) -> str:
    """Duplicate one, whichever it is, that isn't one of the standard three."""
    pidfd, refusal = kernel.call("pidfd_open", int(process), 0), nothing_there()
    for number in range(3, int(count)):
        try:
            return os.readlink(f"/proc/self/fd/{kernel.call('pidfd_getfd', pidfd, number, 0)}")
        except OSError as error:
            refusal = error
    raise refusal


def open_any_descriptor(_kernel: Kernel, process: str, count: str) -> str:
    refusal = nothing_there()
    for number in range(3, int(count)):
        try:
            os.close(os.open(f"/proc/{process}/fd/{number}", os.O_RDONLY))
        except OSError as error:
            refusal = error
        else:
            return str(number)
    raise refusal


def list_descriptors(_kernel: Kernel, process: str) -> str:
    return " ".join(os.listdir(f"/proc/{process}/fd"))


def read_descriptor(_kernel: Kernel, process: str, number: str) -> str:
    """What kind of thing it is, and how it is open."""
    with open(f"/proc/{process}/fdinfo/{number}", encoding="ascii") as file:
        return file.read().split("\n")[0]


def connect_to_control(_kernel: Kernel, directory: str) -> str:
    """To the steward of any box, as `sandbox grant` does."""
    for name in os.listdir(directory):
        os.chdir(os.path.join(directory, name))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect("control")
        return name
    raise nothing_there()


@pytest.mark.parametrize("settings", [[], DEBUG], ids=["plain", "with @debug"])
def test_no_descriptor_of_the_first_process_can_be_taken(
    attack: Attack, bystander: Bystander, settings: list[str]
) -> None:
    first = {str(bystander.pid): "1"}
    attack(take_any_descriptor, bystander.pid, NUMBERS, instead=first, refused="EPERM", settings=settings)


def test_no_descriptor_of_the_first_process_can_be_opened_or_seen(
    attack: Attack, bystander: Bystander
) -> None:
    first = {str(bystander.pid): "1"}
    attack(open_any_descriptor, bystander.pid, NUMBERS, instead=first, refused="EACCES")
    attack(list_descriptors, bystander.pid, instead=first, refused="EACCES")
    attack(read_descriptor, bystander.pid, bystander.descriptor, instead=first, refused=("EACCES", "ENOENT"))


@pytest.fixture
def another_box(boxed: Boxed, session: dict[str, str]) -> Iterator[None]:
    """One that runs, whose steward can be spoken to from outside."""
    words = boxed(PYTHON, "-c", "import time; print(flush=True); time.sleep(60)")
    with subprocess.Popen(words, env=session, cwd="/", stdout=subprocess.PIPE, process_group=0) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.kill()


def test_no_box_finds_a_steward(attack: Attack, another_box: None, runtime_dir: Path) -> None:
    attack(connect_to_control, runtime_dir / "sandboxer" / "boxes", refused="ENOENT")


def test_nor_can_one_be_shown_where_the_stewards_are(
    boxed: Boxed, session: dict[str, str], another_box: None, runtime_dir: Path
) -> None:
    """A read-only mount is no hindrance to a connection, so that nothing is shown that holds that directory."""
    for place in (runtime_dir, runtime_dir.parent):
        words = boxed("true", settings=[f'files.read=["{place}"]'])
        done = subprocess.run(words, env=session, cwd="/", capture_output=True, text=True, check=False)
        assert 125 == done.returncode
        assert "refuses to show the directory in which the session is controlled" in done.stderr


def test_nor_when_a_file_beside_them_is_named(
    attack: Attack, another_box: None, runtime_dir: Path, boxed: Boxed, session: dict[str, str]
) -> None:
    """What lies beside a document doesn't come with it, where that is what boxes are ruled by."""
    lock = next((runtime_dir / "sandboxer" / "boxes").iterdir()) / "box"
    script = 'ls -A "$(dirname "$1")"'
    settings = ['files.documents="read"', "files.siblings=true"]
    words = [*boxed("sh", "-c", script, "sh", settings=settings), str(lock)]
    done = subprocess.run(words, env=session, capture_output=True, text=True, check=True)
    assert ["box"] == done.stdout.splitlines()

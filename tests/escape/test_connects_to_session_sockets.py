"""Attack: ask the programs of the session to act outside: the bus, systemd, agents, the display and sound servers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from escape.conftest import PYTHON, Attack, Boxed
from escape.kernel import Kernel

SOCKETS = (
    "bus",
    "systemd/private",
    "gnupg/S.gpg-agent",
    "keyring/ssh",
    "keyring/control",
    "wayland-0",
    "pulse/native",
    "pipewire-0",
    "docker.sock",
    "podman/podman.sock",
    "sway-ipc.sock",
    "sandboxer/monitor",
)
CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


def connect(_kernel: Kernel, name: str) -> None:
    """To a socket in the runtime directory, which has the same name inside, or its own there."""
    with socket.socket(socket.AF_UNIX) as client:
        os.chdir(os.path.join(os.environ["XDG_RUNTIME_DIR"], os.path.dirname(name)))
        client.connect(os.path.basename(name))


def connect_directly(_kernel: Kernel, directory: str, name: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        os.chdir(directory)
        client.connect(name)


def connect_to_port(_kernel: Kernel, port: str) -> None:
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5):
        pass


@pytest.fixture
def sockets(runtime_dir: Path, home: Path) -> Iterator[None]:
    """A server at each of the names, and at that of an agent in the home."""
    with ExitStack() as stack:
        for path in (*(runtime_dir / name for name in SOCKETS), home / ".ssh" / "agent"):
            path.parent.mkdir(parents=True, exist_ok=True)
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            directory = os.open(path.parent, os.O_PATH)
            server.bind(f"/proc/self/fd/{directory}/{path.name}")
            os.close(directory)
            server.listen(4)
        yield


@pytest.mark.parametrize("name", SOCKETS)
def test_a_socket_of_the_session_is_not_there(attack: Attack, sockets: None, name: str) -> None:
    attack(connect, name, refused="ENOENT")
    attack(connect, name, refused="ENOENT", settings=['network.access="host"'])


@pytest.mark.parametrize("name", SOCKETS)
def test_it_is_not_at_its_outside_path_either(
    attack: Attack, sockets: None, runtime_dir: Path, name: str
) -> None:
    path = runtime_dir / name
    attack(connect_directly, path.parent, path.name, refused="ENOENT")


@pytest.mark.parametrize("name", ["bus", "systemd/private"])
def test_no_grant_shows_what_runs_programs_outside(
    attack: Attack, sockets: None, runtime_dir: Path, boxed: Boxed, session: dict[str, str], name: str
) -> None:
    """Connecting needs no writable mount: neither the directory around it can be read, nor what that lies in."""
    path = runtime_dir / name
    reach = [sys.executable, "-c", CONNECT, str(path)]
    assert 0 == subprocess.run(reach, env=session, check=False).returncode, "outside it answers"
    for place in {runtime_dir, runtime_dir.parent, path.parent}:
        for key in ("files.read", "files.system"):
            words = boxed(PYTHON, *reach[1:], settings=[f'{key}=["{place}"]'])
            done = subprocess.run(words, env=session, cwd="/", capture_output=True, text=True, check=False)
            assert 125 == done.returncode, (place, done.stdout)
            assert "refuses to show the directory in which the session is controlled" in done.stderr


def test_one_directory_in_it_shows_no_other_s(attack: Attack, sockets: None, runtime_dir: Path) -> None:
    settings = [f'files.read=["{runtime_dir / "gnupg"}"]']
    for name in ("bus", "systemd/private", "keyring/ssh"):
        path = runtime_dir / name
        attack(connect_directly, path.parent, path.name, refused="ENOENT", settings=settings)


def test_an_agents_socket_in_the_home_is_not_there(attack: Attack, sockets: None, home: Path) -> None:
    attack(connect_directly, home / ".ssh", "agent", refused="ENOENT")


def test_a_port_of_the_machine_is_not_there(attack: Attack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        attack(connect_to_port, server.getsockname()[1], refused="ECONNREFUSED")

"""Attack: connect to sockets that have no file: the X server's, a session bus', a daemon's."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator

import pytest
from escape.conftest import Attack
from escape.kernel import Kernel


def connect(_kernel: Kernel, name: str, kind: str) -> None:
    with socket.socket(socket.AF_UNIX, getattr(socket, kind)) as client:
        client.connect(f"\0{name}")


def send(_kernel: Kernel, name: str) -> None:
    """Without connecting."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"attacked", f"\0{name}")


@pytest.fixture(params=["SOCK_STREAM", "SOCK_DGRAM", "SOCK_SEQPACKET"])
def listener(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    name, kind = f"/tmp/.X11-unix/{secrets.token_hex(4)}", str(request.param)
    with socket.socket(socket.AF_UNIX, getattr(socket, kind)) as server:
        server.bind(f"\0{name}")
        if kind != "SOCK_DGRAM":
            server.listen(4)
        yield name, kind


def test_a_box_with_its_own_network_finds_no_abstract_socket(
    attack: Attack, listener: tuple[str, str]
) -> None:
    attack(connect, *listener, refused="ECONNREFUSED")


def test_a_box_with_the_machines_network_may_not_connect(attack: Attack, listener: tuple[str, str]) -> None:
    """Landlock, ABI 6; where the kernel is older, `explain` says that this is open."""
    attack(connect, *listener, refused="EPERM", settings=['network.access="host"'])
    attack(connect, *listener, refused="EPERM", settings=['network.access="host"', "advanced.nested=true"])


def test_a_box_with_the_machines_network_may_not_send(attack: Attack) -> None:
    name = secrets.token_hex(8)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"\0{name}")
        attack(send, name, refused="EPERM", settings=['network.access="host"'])

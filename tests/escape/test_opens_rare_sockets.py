"""Attack: socket families and protocols in which most holes of the kernel's network code were."""

from __future__ import annotations

import errno
import socket

import pytest
from escape.conftest import Attack
from escape.kernel import NEWNET, Kernel

NETLINK, NESTED = 16, ["advanced.nested=true"]
CONFIGURES = {"firewall": 12, "IPsec": 6, "audit": 9, "connector": 11, "generic": 16, "sockets": 4}
FAMILIES = {
    "kernel crypto": (38, 5),
    "virtual machines": (40, 1),
    "packets": (17, 3),
    "keys": (15, 3),
    "CAN": (29, 3),
    "Bluetooth": (31, 3),
    "TIPC": (30, 1),
    "RDS": (21, 5),
    "AX.25": (3, 5),
    "X.25": (9, 5),
    "XDP": (44, 3),
    "SMC": (43, 1),
    "QIPCRTR": (42, 2),
    "AppleTalk": (5, 2),
    "PPP": (24, 1),
    "MCTP": (45, 2),
}
"""What it is for → its family, and a type that it has."""


def open_socket(kernel: Kernel, family: str, kind: str, protocol: str) -> None:
    kernel.call("socket", int(family), int(kind), int(protocol))


def open_as_root(kernel: Kernel, family: str, kind: str, protocol: str) -> None:
    """As root of a network namespace of its own."""
    kernel.become_root_of(NEWNET)
    kernel.call("socket", int(family), int(kind), int(protocol))


def says(family: int, kind: int, protocol: int = 0) -> str:
    """What the kernel itself says to an ordinary user."""
    try:
        socket.socket(family, kind, protocol).close()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "succeeded"


@pytest.mark.parametrize("name", [name for name, known in FAMILIES.items() if says(*known) != "EAFNOSUPPORT"])
def test_a_rare_family_is_not_there(attack: Attack, name: str) -> None:
    """Of those that this kernel has; to some it answers an ordinary user with another refusal of its own."""
    known = FAMILIES[name]
    for settings in ([], NESTED, ['network.access="host"']):
        attack(open_socket, *known, 0, outside=says(*known), refused="EAFNOSUPPORT", settings=settings)


@pytest.mark.parametrize("kind", [(17, 3), (17, 2)], ids=["raw packets", "cooked packets"])
def test_packets_are_closed_to_the_root_of_a_nested_network(attack: Attack, kind: tuple[int, int]) -> None:
    attack(open_as_root, *kind, 0, refused="EPERM")
    attack(open_as_root, *kind, 0, refused="EAFNOSUPPORT", settings=NESTED)


@pytest.mark.parametrize("name", CONFIGURES)
def test_netlink_only_tells_of_interfaces(attack: Attack, name: str) -> None:
    protocol = CONFIGURES[name]
    outside = says(NETLINK, socket.SOCK_RAW, protocol)
    for settings in ([], NESTED, ['network.access="host"']):
        attack(
            open_socket, NETLINK, 3, protocol, outside=outside, refused="EPROTONOSUPPORT", settings=settings
        )


@pytest.mark.parametrize("garbage", [0, 0xDEADBEEF00000000], ids=["plain", "garbage"])
def test_raw_sockets_need_a_capability_that_nobody_has(attack: Attack, garbage: int) -> None:
    """Outside, as root of a network of its own; inside, where that can't be made, the kernel refuses."""
    attack(open_as_root, garbage | 2, 3, 1, refused="EPERM")
    attack(
        open_socket, garbage | 2, 3, 1, outside="EPERM", refused="EPERM", settings=['network.access="host"']
    )

"""Attack: put characters into the terminal that the box was started from, as if the user had typed them."""

from __future__ import annotations

import ctypes
import fcntl
import os
import pty
import termios
from collections.abc import Iterator

import pytest
from escape.conftest import Attack
from escape.kernel import Kernel

TIOCSTI, TIOCLINUX, TIOCSETD = 0x5412, 0x541C, 0x5423
GARBAGE = 0xDEADBEEF00000000
"""In the high half of the register, which the kernel doesn't look at (CVE-2019-10063, and snapd's likewise)."""
NESTED = ["advanced.nested=true"]
LEGACY = "/proc/sys/dev/tty/legacy_tiocsti"


@pytest.fixture
def terminal() -> Iterator[int]:
    ours, theirs = pty.openpty()
    yield theirs
    os.close(ours)
    os.close(theirs)


def take_terminal() -> None:
    """Between fork and exec: the terminal on standard input becomes the controlling one."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def control(kernel: Kernel, request: str) -> None:
    """With a pointer to the character, the number of a line discipline, or the subcommand."""
    kernel.call("ioctl", 0, int(request), ctypes.create_string_buffer(bytes(8)))


def control_by_name(kernel: Kernel, path: str, request: str) -> None:
    kernel.call("ioctl", os.open(path, os.O_RDWR), int(request), ctypes.create_string_buffer(bytes(8)))


def types_outside() -> str:
    """What the kernel says: since 6.2 it may be told to refuse it to all, and then the filter still answers first."""
    try:
        with open(LEGACY, encoding="ascii") as file:
            return "succeeded" if file.read().strip() == "1" else "EIO"
    except FileNotFoundError:
        return "succeeded"


@pytest.mark.parametrize(
    "garbage", [0, GARBAGE, 1 << 32, -1 << 32], ids=["plain", "garbage", "one bit", "negative"]
)
@pytest.mark.parametrize("settings", [[], NESTED], ids=["plain", "nested"])
def test_nothing_is_typed(attack: Attack, terminal: int, garbage: int, settings: list[str]) -> None:
    attack(
        control,
        garbage | TIOCSTI,
        outside=types_outside(),
        refused="EPERM",
        stdin=terminal,
        preexec_fn=take_terminal,
        settings=settings,
    )


@pytest.mark.parametrize("path", ["/dev/tty", "/proc/self/fd/0"])
def test_nothing_is_typed_through_the_terminals_other_names(attack: Attack, terminal: int, path: str) -> None:
    attack(
        control_by_name,
        path,
        TIOCSTI,
        outside=types_outside(),
        refused=("EPERM", "ENXIO"),  # a program of exec has a socket there, which can't be opened
        stdin=terminal,
        preexec_fn=take_terminal,
        by_exec=path != "/dev/tty",  # there it has none
    )


@pytest.mark.parametrize("garbage", [0, GARBAGE], ids=["plain", "garbage"])
def test_nothing_is_pasted(attack: Attack, terminal: int, garbage: int) -> None:
    """Only text consoles know this one: outside, the kernel says so for what we have."""
    attack(control, garbage | TIOCLINUX, outside="ENOTTY", refused="EPERM", stdin=terminal)


@pytest.mark.parametrize("garbage", [0, GARBAGE], ids=["plain", "garbage"])
def test_the_terminal_keeps_its_line_discipline(attack: Attack, terminal: int, garbage: int) -> None:
    attack(control, garbage | TIOCSETD, refused="EPERM", stdin=terminal)

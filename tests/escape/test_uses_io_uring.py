"""Attack: io_uring, which makes system calls where no filter looks."""

from __future__ import annotations

import os

from escape.conftest import Attack
from escape.kernel import Kernel

SWITCH = "/proc/sys/kernel/io_uring_disabled"


def make_ring(kernel: Kernel) -> None:
    kernel.call("io_uring_setup", 4, bytes(120))


def test_no_ring_can_be_made(attack: Attack) -> None:
    """Since 6.6 the administrator can refuse it to all; the kernel says EPERM then."""
    outside = "succeeded"
    if os.path.exists(SWITCH):
        with open(SWITCH, encoding="ascii") as file:
            outside = "succeeded" if file.read().strip() == "0" else "EPERM"
    for settings in ([], ["advanced.nested=true"]):
        attack(make_ring, outside=outside, refused="ENOSYS", settings=settings)

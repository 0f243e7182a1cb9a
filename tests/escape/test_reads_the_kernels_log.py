"""Attack: read the kernel's log, which has addresses and what other programs did."""

from __future__ import annotations

from escape.conftest import Attack
from escape.kernel import Kernel

SIZE_BUFFER = 10


def ask_size(kernel: Kernel) -> None:
    """The mildest of its questions; `kernel.dmesg_restrict` refuses it to ordinary users on many machines."""
    kernel.call("syslog", SIZE_BUFFER, None, 0)


def test_the_log_is_closed(attack: Attack) -> None:
    with open("/proc/sys/kernel/dmesg_restrict", encoding="ascii") as file:
        outside = "EPERM" if file.read().strip() == "1" else "succeeded"
    attack(ask_size, outside=outside, refused="EPERM")

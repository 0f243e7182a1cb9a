"""Attack: read what /proc and /sys tell of the machine, of keys and of power use."""

from __future__ import annotations

import contextlib
import errno
import glob
import os

import pytest
from conftest import Box
from escape.conftest import Attack
from escape.kernel import Kernel, nothing_there

MASKED = (
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
)
ABSENT = (
    "/sys/firmware",
    "/sys/fs/cgroup",
    "/sys/kernel",
    "/sys/module",
    "/sys/class/net",
    "/sys/class/powercap",
    "/sys/devices/virtual/powercap",
    "/sys/devices/virtual/dmi/id",
    "/sys/bus/usb",
)


def find_original(_kernel: Kernel, path: str) -> None:
    """Whether that is the kernel's own file: not all can be opened by an ordinary user, but all can be looked at."""
    if os.stat(path).st_dev != os.stat("/proc/self").st_dev:
        raise nothing_there(errno.ENODATA)


def read_keys(kernel: Kernel) -> str:
    """Makes a key, if it may, so that there is one to be seen, then reads what /proc tells of keys."""
    with contextlib.suppress(OSError):
        kernel.call("add_key", b"user", b"escape-test", b"secret", 6, -4)
    with open("/proc/keys", encoding="ascii") as file:
        if not (keys := file.read()):
            raise nothing_there(errno.ENODATA)
    return keys.splitlines()[0]


def count(_kernel: Kernel, directory: str) -> int:
    return len(os.listdir(directory))


def read_throttling(_kernel: Kernel) -> int:
    found = glob.glob("/sys/devices/system/cpu/cpu*/thermal_throttle/*")
    if not found:
        raise nothing_there()
    return len(found)


@pytest.mark.parametrize("name", [name for name in MASKED if os.path.exists(f"/proc/{name}")])
def test_the_kernels_own_file_is_covered(attack: Attack, name: str) -> None:
    attack(find_original, f"/proc/{name}", refused="ENODATA")


def test_keys_are_not_listed(attack: Attack) -> None:
    attack(read_keys, refused="ENODATA")


@pytest.mark.parametrize("path", [path for path in ABSENT if os.path.exists(path)])
def test_that_part_of_sys_is_not_there(attack: Attack, path: str) -> None:
    attack(count, path, refused="ENOENT")


def test_counts_of_overheating_are_covered(attack: Attack, box: Box) -> None:
    """Not every processor counts them; where there are none outside, there are none inside either."""
    if glob.glob("/sys/devices/system/cpu/cpu*/thermal_throttle"):
        attack(read_throttling, refused="ENOENT")
    inside = box("sh", "-c", "cat /sys/devices/system/cpu/cpu*/thermal_throttle/*")
    assert (True, "") == (inside.returncode != 0, inside.stdout)

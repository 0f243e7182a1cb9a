"""Attack: performance counters, which tell what other programs on the processor do."""

from __future__ import annotations

from escape.conftest import Attack
from escape.kernel import Kernel


def count_instructions(kernel: Kernel) -> None:
    """A software counter of this process, without the kernel: what an ordinary user may have."""
    attributes = bytearray(128)
    attributes[0:8] = (1).to_bytes(4, "little") + (128).to_bytes(4, "little")
    attributes[8] = 1
    attributes[40] = 0b1100000
    kernel.call("perf_event_open", bytes(attributes), 0, -1, -1, 0)


def test_no_counter_can_be_opened(attack: Attack) -> None:
    """Distributions set the sysctl to 3 or 4, which the kernel hasn't: then nobody may, and is told EACCES."""
    with open("/proc/sys/kernel/perf_event_paranoid", encoding="ascii") as file:
        outside = "succeeded" if int(file.read()) <= 2 else "EACCES"
    attack(count_instructions, outside=outside, refused="EPERM")

"""Attack: BPF programs and maps, inside the kernel."""

from __future__ import annotations

import os

from escape.conftest import Attack
from escape.kernel import Kernel

MAP_LOOKUP = 1


def look_up(kernel: Kernel) -> None:
    """Of a map that doesn't exist. Making one needs a capability, so outside the kernel's own answer must do."""
    kernel.call("bpf", MAP_LOOKUP, bytes(128), 128)


def test_bpf_is_refused_before_its_arguments_are_looked_at(attack: Attack) -> None:
    """Before 5.19 the kernel itself refuses all of bpf() to ordinary users, in the filter's words."""
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    attack(look_up, outside="EINVAL" if release >= (5, 19) else "EPERM", refused="EPERM")

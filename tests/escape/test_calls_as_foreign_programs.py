"""Attack: the kernel's entrances for 32-bit programs and x32, which filters for one ABI forget."""

from __future__ import annotations

import platform

import pytest
from escape.conftest import Attack
from escape.kernel import X32, Kernel

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="this processor has one ABI only")
GETPID, MOUNT = 20, 21


def call_as_i386(kernel: Kernel, number: str) -> None:
    kernel.call_as_i386(int(number))


def call_as_x32(kernel: Kernel, number: str) -> None:
    kernel.call(X32 | int(number))


@pytest.mark.parametrize("settings", [[], ["advanced.nested=true"]], ids=["plain", "nested"])
def test_a_32_bit_call_ends_the_program(attack: Attack, settings: list[str]) -> None:
    attack(call_as_i386, GETPID, refused="SIGSYS", settings=settings)


def test_a_permitted_32_bit_abi_has_the_same_list(attack: Attack) -> None:
    """`mount`, with no addresses: the kernel says EFAULT or EPERM, where the filter isn't first."""
    attack(call_as_i386, MOUNT, outside="EFAULT", refused="EPERM", settings=['syscalls.foreign=["i386"]'])


@pytest.mark.parametrize("number", [39, 165, 520])
def test_an_x32_call_is_unknown(attack: Attack, number: int) -> None:
    """
    Most kernels are built without x32 and say ENOSYS themselves; then this shows only that the box says the same, and
    the unit tests of the filter that it doesn't depend on the kernel.
    """
    outside = "succeeded" if number == 39 and has_x32() else "ENOSYS"
    attack(call_as_x32, number, outside=outside, refused="ENOSYS")


def has_x32() -> bool:

    try:
        Kernel().call(X32 | 39)
    except OSError:
        return False
    return True

"""Attack: personality(), which turns off the kernel's protections for a program and what it starts."""

from __future__ import annotations

import pytest
from escape.conftest import Attack
from escape.kernel import Kernel

HARMFUL = {
    "addresses that can be guessed": 0x0040000,
    "code in data": 0x0400000,
    "old kernel's gaps": 0x0100000,
    "addresses from the bottom": 0x0200000,
    "sticky timeouts": 0x4000000,
}


def change(kernel: Kernel, persona: str) -> None:
    kernel.call("personality", int(persona))


@pytest.mark.parametrize("what", HARMFUL)
def test_no_protection_is_turned_off(attack: Attack, what: str) -> None:
    attack(change, HARMFUL[what], refused="EPERM")
    attack(change, HARMFUL[what] | 0xDEADBEEF00000000, refused="EPERM")

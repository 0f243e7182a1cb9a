"""Attack: userfaultfd, which stops the kernel in mid-copy for as long as the attacker likes."""

from __future__ import annotations

from escape.conftest import Attack
from escape.kernel import Kernel

USER_MODE_ONLY = 1


def handle_faults(kernel: Kernel) -> None:
    """Those of its own code: what an ordinary user may have."""
    kernel.call("userfaultfd", USER_MODE_ONLY)


def test_page_faults_cannot_be_handled(attack: Attack) -> None:
    attack(handle_faults, refused="EPERM")

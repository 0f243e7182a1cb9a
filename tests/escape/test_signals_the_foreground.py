"""
Attack: have the kernel signal whoever is in the foreground of the terminal, by O_ASYNC on a descriptor of it.

With F_SETSIG the signal is the attacker's choice, and the next line that the user types sends it. Landlock refuses the
signal where the kernel has its scopes; elsewhere only the filter does, so what is held here is the switch itself.
"""

from __future__ import annotations

import fcntl
import os
import pty

from escape.conftest import Attack
from escape.kernel import Kernel

FIOASYNC = 0x5452


def ask_by_fcntl(_kernel: Kernel) -> None:
    fd = pty.openpty()[1]
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)


def ask_by_ioctl(_kernel: Kernel) -> None:
    fcntl.ioctl(pty.openpty()[1], FIOASYNC, (1).to_bytes(4, "little"))


def test_a_terminal_does_not_signal_for_the_application(attack: Attack) -> None:
    attack(ask_by_fcntl, refused="EPERM")


def test_nor_when_asked_by_ioctl(attack: Attack) -> None:
    attack(ask_by_ioctl, refused="EPERM")

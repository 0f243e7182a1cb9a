"""Attack: change the kernel's settings, and what else /proc lets its owner write."""

from __future__ import annotations

import os

import pytest
from escape.conftest import Attack, Bystander
from escape.kernel import NEWNET, Kernel

SETTINGS = (
    "sys/kernel/core_pattern",
    "sys/kernel/modprobe",
    "sys/vm/swappiness",
    "sysrq-trigger",
    "irq",
    "bus",
    "fs",
)


def forward_packets(kernel: Kernel) -> None:
    """As root of a network namespace of its own, whose settings it may change."""
    kernel.become_root_of(NEWNET)
    with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as file:
        file.write("1")


def raise_limit(kernel: Kernel) -> None:
    """As root of a user namespace, whose limits it may change."""
    kernel.become_root_of(0)
    with open("/proc/sys/user/max_user_namespaces", "w", encoding="ascii") as file:
        file.write("1000")


def raise_limit_directly(_kernel: Kernel) -> None:
    os.open("/proc/sys/user/max_user_namespaces", os.O_WRONLY)


def touch(_kernel: Kernel, path: str) -> None:
    """Asks for a writable mount before it asks whose the file is."""
    os.utime(path)


def score(_kernel: Kernel, process: str) -> None:
    """Make another process the first that the kernel kills when memory runs out."""
    with open(f"/proc/{process}/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def test_settings_of_a_namespace_cannot_be_changed(attack: Attack) -> None:
    attack(forward_packets, refused="EPERM")


def test_settings_cannot_be_changed_by_the_root_of_a_nested_namespace(attack: Attack) -> None:
    """advanced.nested lets it become root of a network namespace, and then the mount is read-only."""
    attack(forward_packets, refused="EROFS", settings=["advanced.nested=true"])


def test_the_limit_on_namespaces_cannot_be_raised(attack: Attack) -> None:
    attack(raise_limit, refused="EPERM")
    attack(raise_limit, refused="EROFS", settings=["advanced.nested=true"])


def test_the_limit_on_namespaces_belongs_to_nobody_inside(attack: Attack) -> None:
    """Outside, an ordinary user isn't its owner either."""
    attack(raise_limit_directly, outside="EACCES", refused=("EACCES", "EROFS"))


@pytest.mark.parametrize("name", [name for name in SETTINGS if os.path.exists(f"/proc/{name}")])
def test_what_belongs_to_the_machine_is_on_a_read_only_mount(attack: Attack, name: str) -> None:
    """Outside, only its owner keeps an ordinary user from it; inside, the mount does, so root's rights don't help."""
    attack(touch, f"/proc/{name}", outside="EACCES", refused="EROFS")


def test_another_process_cannot_be_made_the_victim_of_low_memory(
    attack: Attack, bystander: Bystander
) -> None:
    attack(score, bystander.pid, refused="ENOENT")

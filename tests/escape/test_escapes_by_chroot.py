"""Attack: the classic way out of a changed root: keep a foot outside, change the root again, walk up."""

from __future__ import annotations

import os
from pathlib import Path

from escape.conftest import Attack
from escape.kernel import Kernel


def walk_out(kernel: Kernel, file: str) -> bytes:
    """As root of a user namespace, which may chroot."""
    kernel.become_root_of(0)
    directory = f"/tmp/escape-{os.getpid()}"
    os.mkdir(directory)
    above = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.chroot(directory)
    os.fchdir(above)
    for _ in range(50):
        os.chdir("..")
    os.chroot(".")
    try:
        return os.read(os.open(file, os.O_RDONLY), 100)
    finally:
        os.rmdir(directory)


def change_root(kernel: Kernel) -> None:
    kernel.call("chroot", b"/tmp")


def test_a_nested_sandbox_walks_out_to_the_boxs_root_only(attack: Attack, home: Path) -> None:
    attack(walk_out, home / ".ssh/id_ed25519", refused="ENOENT", settings=["advanced.nested=true"])


def test_without_nesting_there_is_no_chroot_at_all(attack: Attack, home: Path) -> None:
    attack(walk_out, home / ".ssh/id_ed25519", refused="EPERM")
    attack(change_root, outside="EPERM", refused="EPERM")

"""Attack: open, or make, device nodes; other terminals among them."""

from __future__ import annotations

import os
import pty
import stat
from pathlib import Path

import pytest
from escape.conftest import Attack
from escape.kernel import Kernel, nothing_there

POWERFUL = (
    "kmsg",
    "mem",
    "port",
    "kvm",
    "fuse",
    "vda",
    "sda",
    "input",
    "tty0",
    "vsock",
    "userfaultfd",
    "dri",
    "snd",
)
EXPECTED = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "console", "pts")


def find_device(_kernel: Kernel, *expected: str) -> str:
    """A device node, anywhere in /dev, that isn't one of the expected ones; and one that can be opened, if any."""
    found = []
    for directory, _, names in os.walk("/dev"):
        for name in names:
            path = os.path.join(directory, name)
            mode = os.lstat(path).st_mode
            if (
                (stat.S_ISCHR(mode) or stat.S_ISBLK(mode))
                and name not in expected
                and directory != "/dev/pts"
            ):
                found.append(path)
    if not found:
        raise nothing_there()
    return " ".join(found)


def look(_kernel: Kernel, path: str) -> None:
    os.stat(path)


def open_terminal(_kernel: Kernel, path: str) -> None:
    os.open(path, os.O_RDWR | os.O_NOCTTY)


def make_node(_kernel: Kernel, path: str) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 11))


def find_mount_with_devices(_kernel: Kernel) -> str:
    """A directory that the user may write, on a mount where device nodes work."""
    for path in ("/tmp", "/var/tmp", "/dev/shm", os.environ["HOME"], os.environ["XDG_RUNTIME_DIR"]):
        if os.access(path, os.W_OK) and not os.statvfs(path).f_flag & os.ST_NODEV:
            return path
    raise nothing_there()


def test_there_are_no_devices_but_the_harmless_ones(attack: Attack) -> None:
    attack(find_device, *EXPECTED, refused="ENOENT")


@pytest.mark.parametrize("name", [name for name in POWERFUL if os.path.exists(f"/dev/{name}")])
def test_that_device_is_not_there(attack: Attack, name: str) -> None:
    attack(look, f"/dev/{name}", refused="ENOENT")


def test_other_terminals_of_the_user_are_not_there(attack: Attack) -> None:
    ours, theirs = pty.openpty()
    try:
        attack(open_terminal, os.ttyname(theirs), refused="ENOENT")
    finally:
        os.close(ours)
        os.close(theirs)


def test_device_nodes_do_not_work_where_the_application_may_write(attack: Attack) -> None:
    attack(find_mount_with_devices, refused="ENOENT")


def test_a_device_node_cannot_be_made(attack: Attack, tmp_path: Path) -> None:
    """Outside, an ordinary user can't either: the kernel asks for a capability that no namespace gives."""
    node = tmp_path / "node"
    attack(make_node, node, instead={str(node): "/tmp/node"}, outside="EPERM", refused="EPERM")

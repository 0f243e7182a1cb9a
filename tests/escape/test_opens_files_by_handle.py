"""Attack: open files by number instead of by path, as containers were left (CVE-2014-3519 and its likes)."""

from __future__ import annotations

import ctypes
import os
import struct

from escape.conftest import Attack
from escape.kernel import Kernel

HANDLES = ['syscalls.allow=["@handles"]']


def get_handle(kernel: Kernel) -> None:
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 136)
    kernel.call("name_to_handle_at", -100, b"/usr", handle, ctypes.byref(ctypes.c_int()), 0)


def open_root(kernel: Kernel) -> None:
    """Inode 2, the root of most file systems. The kernel asks for a capability, or whether the handle makes sense."""
    handle = ctypes.create_string_buffer(struct.pack("=IiII", 8, 1, 2, 0), 16)
    kernel.call("open_by_handle_at", os.open("/usr", os.O_RDONLY), handle, os.O_RDONLY)


def test_handles_are_not_told(attack: Attack) -> None:
    attack(get_handle, refused="EPERM")


def test_handles_are_not_opened(attack: Attack) -> None:
    """Outside, the kernel refuses it to ordinary users; inside it must, too, where a policy allows the call."""
    attack(open_root, outside="EPERM", refused="EPERM")
    attack(open_root, outside="EPERM", refused="EPERM", settings=HANDLES)

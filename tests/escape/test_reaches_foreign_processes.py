"""Attack: see, signal, trace and read another program of the same user."""

from __future__ import annotations

import ctypes
import os
import re
import signal

from escape.conftest import Attack, Bystander
from escape.kernel import Kernel, nothing_there

PTRACE_SEIZE = 0x4206
DEBUG = ['syscalls.allow=["@debug"]']
"""What a debugger's policy says: then the walls behind the filter must hold alone."""


def find(_kernel: Kernel, secret: str) -> str:
    """A process that has the secret as a word. It comes backwards, not to find ourselves."""
    for process in filter(str.isdecimal, os.listdir("/proc")):
        with open(f"/proc/{process}/cmdline", "rb") as file:
            if secret[::-1].encode() in file.read():
                return process
    raise nothing_there()


def send_signal(_kernel: Kernel, process: str) -> None:
    os.kill(int(process), signal.SIGCONT)


def open_process(kernel: Kernel, process: str) -> None:
    kernel.call("pidfd_open", int(process), 0)


def seize(kernel: Kernel, process: str) -> None:
    kernel.call("ptrace", PTRACE_SEIZE, int(process), 0, 0)


def read_memory(kernel: Kernel, process: str) -> bytes:
    """The first bytes of its stack."""
    with open(f"/proc/{process}/maps", encoding="ascii", errors="replace") as file:
        address = int(re.findall(r"^([0-9a-f]+)-.*\[stack\]$", file.read(), re.MULTILINE)[0], 16)
    buffer = ctypes.create_string_buffer(16)
    here = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 16)
    there = (ctypes.c_uint64 * 2)(address, 16)
    kernel.call("process_vm_readv", int(process), here, 1, there, 1, 0)
    return bytes(buffer)


def read_memory_blindly(kernel: Kernel, process: str) -> None:
    """Without an address: outside, the kernel finds the process and then nothing at its address 0."""
    buffer = ctypes.create_string_buffer(16)
    here = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 16)
    there = (ctypes.c_uint64 * 2)(0, 16)
    kernel.call("process_vm_readv", int(process), here, 1, there, 1, 0)


def write_memory(_kernel: Kernel, process: str) -> None:
    os.open(f"/proc/{process}/mem", os.O_RDWR)


def take_descriptor(kernel: Kernel, process: str, descriptor: str) -> None:
    kernel.call("pidfd_getfd", kernel.call("pidfd_open", int(process), 0), int(descriptor), 0)


def test_no_foreign_process_is_seen(attack: Attack, bystander: Bystander) -> None:
    attack(find, bystander.secret[::-1], refused="ENOENT")


def test_no_foreign_process_gets_a_signal(attack: Attack, bystander: Bystander) -> None:
    attack(send_signal, bystander.pid, refused="ESRCH")


def test_no_foreign_process_can_be_held(attack: Attack, bystander: Bystander) -> None:
    attack(open_process, bystander.pid, refused=("ESRCH", "EINVAL"))


def test_no_foreign_process_can_be_traced(attack: Attack, bystander: Bystander) -> None:
    attack(seize, bystander.pid, refused="EPERM")
    attack(seize, bystander.pid, refused="ESRCH", settings=DEBUG)


def test_no_foreign_memory_can_be_read(attack: Attack, bystander: Bystander) -> None:
    attack(read_memory, bystander.pid, refused="ENOENT")
    attack(read_memory_blindly, bystander.pid, outside="EFAULT", refused="EPERM")
    attack(read_memory_blindly, bystander.pid, outside="EFAULT", refused="ESRCH", settings=DEBUG)


def test_no_foreign_memory_can_be_written(attack: Attack, bystander: Bystander) -> None:
    attack(write_memory, bystander.pid, refused="ENOENT")


def test_no_foreign_descriptor_can_be_taken(attack: Attack, bystander: Bystander) -> None:
    arguments = (bystander.pid, bystander.descriptor)
    attack(take_descriptor, *arguments, refused=("ESRCH", "EINVAL"))
    attack(take_descriptor, *arguments, refused=("ESRCH", "EINVAL"), settings=DEBUG)


def test_the_boxs_first_process_cannot_be_traced(attack: Attack, bystander: Bystander) -> None:
    """It isn't dumpable, which holds even where a policy lets the application trace."""
    first = {str(bystander.pid): "1"}
    attack(seize, bystander.pid, instead=first, refused="EPERM")
    attack(seize, bystander.pid, instead=first, refused="EPERM", settings=DEBUG)


def test_the_boxs_first_process_cannot_be_overwritten(attack: Attack, bystander: Bystander) -> None:
    first = {str(bystander.pid): "1"}
    attack(write_memory, bystander.pid, instead=first, refused="EACCES")
    attack(
        read_memory_blindly, bystander.pid, instead=first, outside="EFAULT", refused="EPERM", settings=DEBUG
    )

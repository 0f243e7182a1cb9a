"""
What attack programs have at hand: system calls by number, and a line that says how the attack ended.

This file isn't imported: its text is sent, with an attack's, as `python3 -c`, to run outside and inside a box. So it
needs nothing but the standard library, and the attacker is a plain program of /usr/bin.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import sys
from collections.abc import Callable

NEWNS, NEWUTS, NEWIPC, NEWUSER = 0x20000, 0x4000000, 0x8000000, 0x10000000
NEWPID, NEWNET, NEWCGROUP, NEWTIME = 0x20000000, 0x40000000, 0x2000000, 0x80
X32 = 0x40000000
"""The bit that makes a number of x86_64 one of x32."""

# Numbers on x86_64 and on aarch64; from 424 on they are the same.
NUMBERS = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clone": (56, 220),
    "clone3": (435, 435),
    "fsmount": (432, 432),
    "fsconfig": (431, 431),
    "fsopen": (430, 430),
    "getpid": (39, 172),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "keyctl": (250, 219),
    "linkat": (265, 37),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "request_key": (249, 218),
    "setns": (308, 268),
    "socket": (41, 198),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}


class Kernel:
    """The kernel, past the C library. Every refusal is an OSError."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.syscall.restype = ctypes.c_long

    def number(self, name: str) -> int:
        return NUMBERS[name][platform.machine() == "aarch64"]

    def call(self, name: str | int, *arguments: object) -> int:
        """A system call; numbers fill whole registers."""
        number = self.number(name) if isinstance(name, str) else name
        words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
        result = int(self.libc.syscall(ctypes.c_long(number), *words))
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result

    def call_as_i386(self, number: int, first: int = 0, second: int = 0, third: int = 0) -> int:
        """A system call of 32-bit programs, from this 64-bit one: int 0x80."""
        code = b"".join(
            (
                b"\x53",  # push rbx
                b"\xb8" + number.to_bytes(4, "little"),  # mov eax, number
                b"\xbb" + first.to_bytes(4, "little"),  # mov ebx, first
                b"\xb9" + second.to_bytes(4, "little"),  # mov ecx, second
                b"\xba" + third.to_bytes(4, "little"),  # mov edx, third
                b"\xcd\x80",  # int 0x80
                b"\x5b\xc3",  # pop rbx; ret
            )
        )
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(code)
        result = int(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    def become_root_of(self, flags: int) -> None:
        """New namespaces, a user namespace among them, in which this process is root, with all capabilities."""
        uid, gid = os.getuid(), os.getgid()
        self.call("unshare", flags | NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)

    def mount(self, source: str, target: str, kind: str, flags: int = 0) -> None:
        self.call("mount", source.encode(), target.encode(), kind.encode(), flags, None)


def nothing_there(code: int = errno.ENOENT) -> OSError:
    """For an attack that looks for something: it isn't there."""
    return OSError(code, os.strerror(code))


def report(attack: Callable[..., object]) -> None:
    """Run the attack with the words of the command line, and say how it ended, as the last line of the output."""
    try:
        loot = attack(Kernel(), *sys.argv[1:])
    except OSError as error:
        line = f"refused: {errno.errorcode.get(error.errno or 0, error.errno)}"
    else:
        line = "succeeded" if loot is None else f"succeeded: {loot}"
    print(f"\n{line}", flush=True)

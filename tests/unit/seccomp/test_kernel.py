"""The shipped filter in a real process: the kernel says what the simulator says."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import pickle
import signal
import sys
from collections.abc import Callable

import pytest
from filters import numbers, program, verdict

from sandboxer.plan import bpf, seccomp

pytestmark = pytest.mark.skipif(seccomp.native_arch() != bpf.ARCH_X86_64, reason="numbers of x86_64")

PR_SET_NO_NEW_PRIVS, SECCOMP_SET_MODE_FILTER, NOBODY = 38, 1, 65534
NEWUSER, CLONE_FS = 0x10000000, 0x200
HIGH = 0x1234ABCD << 32
CLIB = ctypes.CDLL(None, use_errno=True)

REFUSED: list[tuple[str | int, tuple[int, ...]]] = [
    ("ptrace", (0, 0, 0, 0)),
    ("keyctl", (0, -3, 0)),
    ("add_key", (0, 0, 0, 0, 0)),
    ("request_key", (0, 0, 0, 0)),
    ("io_uring_setup", (1, 0)),
    ("io_setup", (0, 0)),
    ("unshare", (0,)),
    ("setns", (-1, 0)),
    ("clone", (NEWUSER | CLONE_FS, 0, 0, 0, 0)),
    ("clone", (NEWUSER | CLONE_FS | HIGH, 0, 0, 0, 0)),
    ("clone3", (0, 0)),
    ("personality", (0x40000,)),
    ("personality", (0x40000 | HIGH,)),
    ("socket", (16, 3, 12)),
    ("socket", (16 | HIGH, 3, 16 | HIGH)),
    ("socket", (2, 1, 262 - 130)),
    ("ioctl", (0, 0x5412, 0)),
    ("ioctl", (0, 0x5412 | HIGH, 0)),
    ("ioctl", (0, 0x541C | 1 << 63, 0)),
    ("ioctl", (0, 0x5423, 0)),
    ("kcmp", (os.getpid(), os.getpid(), 1, 0, 0)),
    ("process_vm_readv", (os.getpid(), 0, 0, 0, 0, 0)),
    ("pidfd_getfd", (-1, 0, 0)),
    ("process_madvise", (-1, 0, 0, 0, 0)),
    ("get_mempolicy", (0, 0, 0, 0, 0)),
    ("vmsplice", (-1, 0, 0, 0)),
    ("remap_file_pages", (1, 0, 0, 0, 0)),
    ("adjtimex", (0,)),
    ("name_to_handle_at", (-1, 0, 0, 0, 0)),
    ("open_tree", (-1, 0, 0)),
    ("statmount", (0, 0, 0, 0)),
    ("lsm_list_modules", (0, 0, 0)),
    ("mount_setattr", (-1, 0, 0, 0, 0)),
]
"""Calls that a process without privileges may make outside, with arguments that do no harm there."""

ALLOWED: list[tuple[str | int, tuple[int, ...]]] = [
    ("getppid", ()),
    ("socket", (1, 1, 0)),
    ("socket", (16, 3, 0)),
    ("personality", (0xFFFFFFFF,)),
    ("personality", (0,)),
    ("kcmp", (os.getpid(), os.getpid(), 0, 0, 0)),
    ("sched_yield", ()),
    ("ioctl", (-1, 0x5401, 0)),
    ("mseal", (1, 0, 0)),
    ("memfd_create", (0, 0)),
]


def in_child(filter_: bytes | None, work: Callable[[], object]) -> object:
    """What `work` returns, in a process of its own with this filter; the signal that ended it, negative."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresuid(NOBODY, NOBODY, NOBODY)
            CLIB.prctl(4, 1, 0, 0, 0)  # dumpable again, so that kcmp on ourselves is permitted
            if filter_ is not None:
                load(filter_)
            os.write(writer, pickle.dumps(work()))
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        content = file.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return -os.WTERMSIG(status)
    assert os.WEXITSTATUS(status) == 0, "the child failed"
    return pickle.loads(content)


def load(filter_: bytes) -> None:
    buffer = ctypes.create_string_buffer(filter_, len(filter_))

    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    argument = Program(len(filter_) // 8, ctypes.addressof(buffer))
    assert CLIB.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert CLIB.syscall(numbers("x86_64")["seccomp"], SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(argument)) == 0


def call(name: str | int, arguments: tuple[int, ...]) -> str:
    """ "ok", or the errno's name."""
    number = numbers("x86_64")[name] if isinstance(name, str) else name
    ctypes.set_errno(0)
    result = CLIB.syscall(
        ctypes.c_long(number), *(ctypes.c_ulong(word & 0xFFFFFFFFFFFFFFFF) for word in arguments)
    )
    return "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def tried(calls: list[tuple[str | int, tuple[int, ...]]], filter_: bytes | None) -> list[str]:
    numbers("x86_64")
    result = in_child(filter_, lambda: [call(*each) for each in calls])
    assert isinstance(result, list), result
    return result


def test_the_kernel_refuses_what_the_simulator_refuses() -> None:
    found = tried(REFUSED, program())
    expected = [verdict(name, *arguments) for name, arguments in REFUSED]
    assert expected == found
    assert "allow" not in expected


def test_the_same_calls_get_another_answer_outside() -> None:
    """Or the test above couldn't fail. A kernel may be built without a few of them."""
    outside, inside = tried(REFUSED, None), tried(REFUSED, program())
    same = [call for call, first, second in zip(REFUSED, outside, inside, strict=True) if first == second]
    assert len(same) <= 3, same


def test_the_kernel_permits_what_the_simulator_permits() -> None:
    assert {"allow"} == {verdict(name, *arguments) for name, arguments in ALLOWED}
    assert tried(ALLOWED, None) == tried(ALLOWED, program())


def test_x32_and_numbers_to_come_dont_exist() -> None:
    strange: list[tuple[str | int, tuple[int, ...]]] = [
        (number, ()) for number in (0x40000000 | 39, 0x40000000 | 110, 472, 500, 9999)
    ]
    assert ["ENOSYS"] * 5 == tried(strange, program())


def interrupt_80() -> object:
    """getpid through int 0x80: mov eax, 20; int 0x80; ret."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)() > 0


def test_int_80_ends_the_program() -> None:
    assert -signal.SIGSYS == in_child(program(), interrupt_80)


def test_int_80_works_where_the_policy_permits_it() -> None:
    if in_child(None, interrupt_80) is not True:
        pytest.skip("this kernel has no i386")
    assert in_child(program('foreign = ["i386"]'), interrupt_80) is True


def test_programs_run_under_the_filter() -> None:
    def run() -> object:
        child = os.fork()
        if child == 0:
            os.execv(
                sys.executable,
                [
                    sys.executable,
                    "-I",
                    "-c",
                    "import threading as t; x = t.Thread(target=id, args=(1,)); x.start(); x.join()",
                ],
            )
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    if os.geteuid() == 0 and not os.access(sys.executable, os.X_OK):
        pytest.skip("the interpreter isn't for everybody")
    assert in_child(program(), run) == 0

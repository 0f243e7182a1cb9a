"""Attack: make or enter namespaces, in which the attacker has all capabilities."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator

import pytest
from escape.conftest import Attack
from escape.kernel import NEWCGROUP, NEWIPC, NEWNET, NEWNS, NEWPID, NEWTIME, NEWUSER, NEWUTS, Kernel

KINDS = {
    "user": NEWUSER,
    "mount": NEWUSER | NEWNS,
    "network": NEWUSER | NEWNET,
    "process": NEWUSER | NEWPID,
    "ipc": NEWUSER | NEWIPC,
    "host name": NEWUSER | NEWUTS,
    "cgroup": NEWUSER | NEWCGROUP,
    "time": NEWUSER | NEWTIME,
}
SIGCHLD = 17
NAMESPACES = ['syscalls.allow=["@namespaces"]']
"""Without the filter's help the kernel's limit of 0 must hold alone."""


def unshare(kernel: Kernel, flags: str) -> None:
    kernel.call("unshare", int(flags))


def clone(kernel: Kernel, flags: str) -> None:
    if kernel.call("clone", int(flags) | SIGCHLD, None, None, None, None) == 0:
        os._exit(0)


def clone_in_high_half(kernel: Kernel, flags: str) -> None:
    """Flags with garbage in the high 32 bits, which the kernel ignores."""
    if kernel.call("clone", 0x7FFFFFFF00000000 | int(flags) | SIGCHLD, None, None, None, None) == 0:
        os._exit(0)


def clone3(kernel: Kernel, flags: str) -> None:
    """Its flags lie in memory, where a filter can't see them."""
    arguments = (ctypes.c_uint64 * 8)(int(flags), 0, 0, 0, SIGCHLD, 0, 0, 0)
    if kernel.call("clone3", arguments, ctypes.sizeof(arguments)) == 0:
        os._exit(0)


def enter(kernel: Kernel, process: str) -> None:
    """Another program's user namespace, which the same user owns."""
    kernel.call("setns", os.open(f"/proc/{process}/ns/user", os.O_RDONLY), NEWUSER)


def enter_nothing(kernel: Kernel) -> None:
    kernel.call("setns", -1, 0)


@pytest.fixture
def namespaced() -> Iterator[int]:
    """A program in a user namespace of its own, outside."""
    command = ["unshare", "--user", "sh", "-c", "echo; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


@pytest.mark.parametrize("kind", KINDS)
def test_unshare_is_refused(attack: Attack, kind: str) -> None:
    attack(unshare, KINDS[kind], refused="EPERM")


@pytest.mark.parametrize("kind", ["user", "mount", "process"])
def test_clone_is_refused(attack: Attack, kind: str) -> None:
    attack(clone, KINDS[kind], refused="EPERM")
    attack(clone_in_high_half, KINDS[kind], refused="EPERM")


def test_clone3_is_not_there(attack: Attack) -> None:
    attack(clone3, NEWUSER, refused="ENOSYS")
    attack(clone3, 0, refused="ENOSYS", settings=["advanced.nested=true"])


def test_the_kernel_refuses_where_the_filter_does_not(attack: Attack) -> None:
    attack(unshare, NEWUSER, refused="ENOSPC", settings=NAMESPACES)
    attack(clone3, NEWUSER, refused="ENOSPC", settings=NAMESPACES)


def test_a_nested_sandbox_gets_no_mounts_or_host_name(attack: Attack) -> None:
    for flags in (NEWUSER | NEWNS, NEWUSER | NEWUTS, NEWUSER | NEWCGROUP, NEWUSER | NEWTIME):
        attack(unshare, flags, refused="EPERM", settings=["advanced.nested=true"])


def test_foreign_namespaces_cannot_be_entered(attack: Attack, namespaced: int) -> None:
    attack(enter, namespaced, refused="ENOENT")


def test_entering_is_refused_before_the_namespace_is_looked_at(attack: Attack) -> None:
    """A descriptor that isn't one: the kernel itself says so, the filter doesn't ask."""
    attack(enter_nothing, outside="EBADF", refused="EPERM")
    attack(enter_nothing, outside="EBADF", refused="EPERM", settings=["advanced.nested=true"])

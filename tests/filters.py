"""Filters as the shipped policies make them, and calls tried on them: for tests of system calls."""

from __future__ import annotations

import errno
import os
from functools import cache

from fakes import FakeHost

from sandboxer.grants import syscalls
from sandboxer.paths import data_dir
from sandboxer.plan import bpf, seccomp
from sandboxer.policy.effective import Effective
from sandboxer.policy.layers import load

ARCHES = {"x86_64": bpf.ARCH_X86_64, "i386": bpf.ARCH_I386, "aarch64": bpf.ARCH_AARCH64}


def shipped_host(**files: str) -> FakeHost:
    """A machine with our policies, and with these files in /etc/sandboxer ("apps__x" is apps/x.toml)."""
    host = FakeHost()
    root = data_dir("policies")
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                host.add(path, file.read())
    for name, text in files.items():
        host.add(f"/etc/sandboxer/{name.replace('__', '/').replace('_', '-')}.toml", text)
    return host


def effective(
    syscalls_table: str = "", *, nested: bool = False, extends: str = '"base"'
) -> tuple[Effective, FakeHost]:
    """A policy over the base set, with these lines in [syscalls]."""
    text = (
        f"extends = [{extends}]\n[syscalls]\n{syscalls_table}\n[advanced]\nnested = {str(nested).lower()}\n"
    )
    host = shipped_host(apps__t=text)
    return load("t", host), host


@cache
def rules(
    syscalls_table: str = "", *, nested: bool = False, extends: str = '"base"'
) -> tuple[syscalls.Rule, ...]:
    policy, host = effective(syscalls_table, nested=nested, extends=extends)
    return syscalls.rules(policy, host)


@cache
def program(syscalls_table: str = "", *, nested: bool = False, extends: str = '"base"') -> bytes:
    policy, host = effective(syscalls_table, nested=nested, extends=extends)
    return seccomp.assemble(syscalls.rules(policy, host), policy.policy.syscalls.foreign)


@cache
def numbers(abi: str) -> dict[str, int]:
    """Numbers by name."""
    arch = ARCHES.get(abi, seccomp.ARCH_X32)
    return {name: number for number, name in seccomp.names(arch).items()}


def verdict(
    name: str | int, *arguments: int, abi: str = "x86_64", filter_: bytes | None = None, nested: bool = False
) -> str:
    """What the shipped filter says to one call: "allow", an errno's name or how the program is ended."""
    code = bpf.decode(program(nested=nested) if filter_ is None else filter_)
    number = numbers(abi)[name] if isinstance(name, str) else name
    return str(bpf.run(code, number, ARCHES.get(abi, bpf.ARCH_X86_64), arguments))


def errno_name(number: int) -> str:
    return errno.errorcode[number]

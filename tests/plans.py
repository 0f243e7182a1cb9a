"""
Plans written by hand, for tests of the launcher and of the decoder: they depend on the plan room alone.

`small_box` is a box as the shipped policies make it, with what a test program needs and no more.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping

from sandboxer.plan.ops import (
    CONNECT_FIRST,
    EnvEntry,
    EnvKind,
    Op,
    OpFlag,
    OpKind,
    Plan,
    PlanFlag,
    Stamp,
    StampKind,
)
from sandboxer.words import BoxPath, HostPath, Origin

VHANGUP = {"x86_64": 153, "aarch64": 58}[os.uname().machine]
FILTERED_ERRNO = 77
"""What vhangup() answers in a box of ours, and nowhere else: how a program tells that the filter is on."""
FILTER = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x20, 0, 0, 0),  # load the number of the system call
        (0x15, 0, 1, VHANGUP),  # if it is vhangup
        (0x06, 0, 0, 0x00050000 | FILTERED_ERRNO),  # then an error
        (0x06, 0, 0, 0x7FFF0000),  # else go on
    )
)
ASKED = Origin("tests/plans.py")
HIDDEN_IN_PROC = ("acpi", "kcore", "keys", "timer_list")
SEALED_IN_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")


def op(kind: OpKind, box_path: str, source: str = "", mode: int = 0, data: bytes = b"", flags: int = 0) -> Op:
    return Op(
        kind=kind,
        box_path=BoxPath(box_path),
        source=HostPath(source),
        mode=mode,
        data=data,
        flags=OpFlag(flags),
        origin=ASKED,
    )


def bind(path: str, source: str = "", *, write: bool = False) -> Op:
    """A grant of something that exists."""
    source = source or path
    directory = OpFlag.DIRECTORY if os.path.isdir(source) else OpFlag(0)
    return op(OpKind.BIND, path, source, flags=directory | (OpFlag.WRITE if write else OpFlag(0)))


def listen(name: str, *, stream: bool = False, mode: int = 0o600) -> Op:
    """A socket of the broker's."""
    return op(OpKind.LISTEN, f"/run/sandboxer/{name}", name, mode, flags=OpFlag.STREAM if stream else 0)


def connect(path: str, number: int = CONNECT_FIRST) -> Op:
    """A descriptor of that number which is connected to the host's socket."""
    return op(OpKind.CONNECT, f"/dev/fd/{number}", path, number)


def small_root(home: str) -> list[Op]:
    """/usr, a minimal /dev and /etc, a new /proc with its masks, and the writable directories."""
    listed = [
        op(OpKind.LINK, "/bin", "usr/bin"),
        op(OpKind.DIR, "/dev", mode=0o755),
        *(
            op(OpKind.BIND, f"/dev/{name}", f"/dev/{name}", flags=OpFlag.DEVICE)
            for name in ("null", "zero", "tty")
        ),
        op(OpKind.PTS, "/dev/pts"),
        op(OpKind.LINK, "/dev/ptmx", "pts/ptmx"),
        op(OpKind.OWN, "/dev/shm", mode=0o1777),
        op(OpKind.LINK, "/dev/fd", "/proc/self/fd"),
        op(OpKind.FILE, "/etc/hostname", data=b"box\n", mode=0o644),
        op(OpKind.OWN, home, mode=0o700),
        *(
            op(OpKind.LINK, f"/{name}", f"usr/{name}")
            for name in ("lib", "lib64")
            if os.path.islink(f"/{name}")
        ),
        op(OpKind.PROC, "/proc"),
    ]
    for kind, names in ((OpKind.SEAL, SEALED_IN_PROC), (OpKind.HIDE, HIDDEN_IN_PROC)):
        listed += [op(kind, f"/proc/{name}") for name in names if os.path.exists(f"/proc/{name}")]
    return [
        *listed,
        op(OpKind.OWN, "/run", mode=0o755),
        op(OpKind.OWN, "/tmp", mode=0o1777),
        bind("/usr"),
        op(OpKind.OWN, "/var/tmp", mode=0o1777),
    ]


def small_box(
    command: Iterable[str],
    *,
    home: str,
    request: tuple[str, ...] = ("app", "t"),
    flags: PlanFlag = PlanFlag(0),
    keep_fds: tuple[int, ...] = (),
    more: Iterable[Op] = (),
    without: tuple[str, ...] = (),
    notice: str = "",
    stamps: tuple[Stamp, ...] = (),
    broker: bytes = b"",
    variables: Mapping[str, str] = {},
) -> Plan:
    """A finished plan: the operations of `small_root`, without those at the paths `without`, then `more`."""
    return Plan(
        app="t",
        request=request,
        uid=os.getuid(),
        gid=os.getgid(),
        hostname="box",
        command=tuple(command),
        notice=notice,
        home=BoxPath(home),
        flags=flags,
        keep_fds=keep_fds,
        ops=(*(one for one in small_root(home) if one.box_path not in without), *more),
        environment=(
            EnvEntry(kind=EnvKind.SET, name="HOME", value=home),
            EnvEntry(kind=EnvKind.SET, name="PATH", value="/usr/local/bin:/usr/bin:/bin"),
            EnvEntry(kind=EnvKind.PASS, name="TERM"),
            EnvEntry(kind=EnvKind.PASS_PREFIX, name="LC_"),
            *(EnvEntry(kind=EnvKind.SET, name=name, value=value) for name, value in variables.items()),
        ),
        stamps=(Stamp(kind=StampKind.ABSENT, name="/nonexistent"), *stamps),
        program=FILTER,
        broker=broker,
    )


def file_name(words: Iterable[str]) -> str:
    """The cache's name for a request: FNV-1a over its words, each with its NUL."""
    value = 0xCBF29CE484222325
    for byte in b"".join(os.fsencode(word) + b"\0" for word in words):
        value = ((value ^ byte) * 0x100000001B3) & (2**64 - 1)
    return f"{value:016x}.plan"

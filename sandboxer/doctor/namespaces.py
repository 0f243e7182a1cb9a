"""
What a box is made of, tried in the order in which the launcher does it: kernel, user namespace, ids, mounts, processes,
network.

What comes in: the machine's facts. What goes out: checks. That a user namespace can be made says nothing yet: Ubuntu
lets a program make one and then refuses what it is for, so every right is tried inside.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from sandboxer._kernel import lib
from sandboxer.doctor import causes
from sandboxer.doctor.child import Outcome, Steps
from sandboxer.doctor.finding import Check, State, Verdict, fine
from sandboxer.doctor.machine import Machine

KINDS = {
    "user": 0x10000000,
    "mnt": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
"""CLONE_NEW* of all kinds that a box has. Source: namespaces(7)."""
OPEN_TREE_CLONE, AT_RECURSIVE, MS_PRIVATE, RDONLY = 1, 0x8000, 1 << 18, 1
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40
"""Source: netdevice(7)."""
LIMIT_FILE = "/proc/sys/user/max_user_namespaces"
NO_BOX = "no box can be made: nothing starts"


def checks(machine: Machine) -> Iterator[Check]:
    """In order: each needs those before it that it names."""
    yield _check("kernel", "Linux", lambda _: None, _kernel(machine))
    yield _check("user-namespace", "user namespaces", _make, _creation(machine), "kernel")
    yield _check("id-maps", "your identity in one", enter, _rights(machine), "user-namespace")
    yield _check("mount-calls", "the new mount calls", _mount_calls, _calls(machine), "kernel")
    yield _check("mounts", "mounts in one", _mount, _rights(machine, "mnt"), "id-maps", "mount-calls")
    yield _check("processes", "processes and /proc of its own", _mount_procfs, _procfs(machine), "mounts")
    yield _check("network", "a network of its own", _raise_loopback, _rights(machine, "net"), "id-maps")
    yield _check("host-name", "a host name of its own", _name_host, _rights(machine, "uts"), "id-maps")
    yield _check("ipc", "shared memory of its own", _unshared("ipc"), _rights(machine, "ipc"), "id-maps")
    yield _check(
        "cgroup", "a cgroup view of its own", _unshared("cgroup"), _rights(machine, "cgroup"), "id-maps"
    )
    yield _check("lock", "keeping boxes from making namespaces", _lock, _locked(machine), "id-maps")
    yield _check("nested", "namespaces in a box", _nest, _nested(machine), "id-maps")
    yield _check("overlay", "overlays", _overlay, _overlaid, "mounts")


def _check(
    name: str, title: str, work: Callable[[Steps], Any], judge: Callable[[Outcome], Verdict], *needs: str
) -> Check:
    return Check(name=name, title=title, work=work, judge=judge, needs=needs)


# What is tried. Each runs in a child of its own.


def _make(step: Steps) -> None:
    step("clone3")
    _checked(lib.kernel_try_clone(KINDS["user"]))
    step("unshare")
    _checked(lib.kernel_unshare(KINDS["user"]))


def enter(step: Steps) -> None:
    """A user namespace in which one is oneself, as the launcher makes it."""
    uid, gid = os.getuid(), os.getgid()
    step("unshare")
    _checked(lib.kernel_unshare(KINDS["user"]))
    for path, text in (
        ("/proc/self/setgroups", "deny"),
        ("/proc/self/uid_map", f"{uid} {uid} 1\n"),
        ("/proc/self/gid_map", f"{gid} {gid} 1\n"),
    ):
        step(path)
        _write(path, text)


def _mount_calls(step: Steps) -> None:
    """Without rights, and on nothing: whatever they say but "no such call" is good."""
    for name, call in (
        ("fsopen", lib.kernel_new_tmpfs),
        ("open_tree", lambda: lib.kernel_open_tree(-1, b"", 0)),
        ("mount_setattr", lambda: lib.kernel_mount_setattr(-1, False, 0, 0, 0)),
        ("move_mount", lambda: lib.kernel_move_mount(-1, -1, b"")),
    ):
        step(name)
        answer = call()
        if answer < 0 and -answer in causes.ABSENT:
            _checked(answer)


def _enter_mounts(step: Steps) -> None:
    enter(step)
    step("a mount namespace")
    _checked(lib.kernel_unshare(KINDS["mnt"]))


def _mount(step: Steps) -> None:
    _enter_mounts(step)
    step("mounting a tmpfs")
    fresh = _checked(lib.kernel_new_tmpfs())
    host = os.open("/", os.O_PATH | os.O_DIRECTORY)
    step("copying a mount (open_tree)")
    copy = _checked(lib.kernel_open_tree(host, b"", OPEN_TREE_CLONE | AT_RECURSIVE))
    step("making it read-only (mount_setattr)")
    _checked(lib.kernel_mount_setattr(copy, True, RDONLY, 0, MS_PRIVATE))
    step("attaching (move_mount)")
    _checked(lib.kernel_move_mount(fresh, host, b""))
    os.mkdir("usr", dir_fd=fresh)
    _checked(lib.kernel_move_mount(copy, fresh, b"usr"))
    step("leaving the host's root (pivot_root)")
    _checked(lib.kernel_enter_root(fresh))


def _unshared(kind: str) -> Callable[[Steps], None]:
    def work(step: Steps) -> None:
        enter(step)
        step("unshare")
        _checked(lib.kernel_unshare(KINDS[kind]))

    return work


def _name_host(step: Steps) -> None:
    _unshared("uts")(step)
    step("sethostname")
    socket.sethostname("doctor")


def _raise_loopback(step: Steps) -> None:
    _unshared("net")(step)
    step("bringing up lo")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", IFF_UP | IFF_RUNNING)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, request)


def _mount_procfs(step: Steps) -> None:
    _enter_mounts(step)
    step("unshare")
    _checked(lib.kernel_unshare(KINDS["pid"]))
    step("a first process")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        answer = lib.kernel_new_procfs()
        os.write(writer, str(answer).encode())
        os._exit(0)
    os.close(writer)
    step("mounting a new /proc")
    answer = os.read(reader, 32)
    os.waitpid(child, 0)
    _checked(int(answer or -errno.ECHILD))


def _lock(step: Steps) -> None:
    enter(step)
    step(LIMIT_FILE)
    _write(LIMIT_FILE, "0")
    step("its effect")
    if lib.kernel_unshare(KINDS["user"]) != -errno.ENOSPC:
        raise OSError(errno.EPERM, "a namespace could be made all the same")


def _nest(step: Steps) -> None:
    enter(step)
    enter(lambda name: step(f"a second one: {name}"))
    step("a second one: a mount namespace")
    _checked(lib.kernel_unshare(KINDS["mnt"]))


def _overlay(step: Steps) -> None:
    _enter_mounts(step)
    step("mounting a tmpfs")
    fresh = _checked(lib.kernel_new_tmpfs())
    place = os.open(tempfile.gettempdir(), os.O_PATH | os.O_DIRECTORY)
    _checked(lib.kernel_move_mount(fresh, place, b""))
    os.fchdir(fresh)
    for name in ("lower", "upper", "work"):
        os.mkdir(name)
    step("mounting an overlay")
    _checked(lib.kernel_new_overlay(b"lower", b"upper", b"work"))


# What it means.


def _kernel(machine: Machine) -> Callable[[Outcome], Verdict]:
    def judge(outcome: Outcome) -> Verdict:
        if (0, 0) != machine.version < causes.FLOOR:
            cause = causes.of_absence(machine, "")
            return _unusable(machine.kernel, cause)
        return fine(machine.kernel)

    return judge


def _creation(machine: Machine, kind: str = "user") -> Callable[[Outcome], Verdict]:
    def judge(outcome: Outcome) -> Verdict:
        if not outcome.failed:
            return fine("can be made")
        return _unusable(outcome.told(), causes.of_creation(outcome, machine, kind))

    return judge


def _rights(machine: Machine, kind: str = "") -> Callable[[Outcome], Verdict]:
    def judge(outcome: Outcome) -> Verdict:
        if not outcome.failed:
            return fine("permitted")
        if outcome.error in causes.LIMITED and kind:
            return _unusable(outcome.told(), causes.of_creation(outcome, machine, kind))
        return _unusable(outcome.told(), causes.of_rights(outcome, machine))

    return judge


def _calls(machine: Machine) -> Callable[[Outcome], Verdict]:
    def judge(outcome: Outcome) -> Verdict:
        if not outcome.failed:
            return fine("known")
        if outcome.signal:
            return _unusable(outcome.told(), causes.of_rights(outcome, machine))
        return _unusable(outcome.told(), causes.of_absence(machine, outcome.step))

    return judge


def _procfs(machine: Machine) -> Callable[[Outcome], Verdict]:
    def judge(outcome: Outcome) -> Verdict:
        if not outcome.failed:
            return fine("permitted")
        if outcome.error in causes.LIMITED:
            return _unusable(outcome.told(), causes.of_creation(outcome, machine, "pid"))
        return _unusable(outcome.told(), causes.of_procfs(outcome, machine))

    return judge


def _locked(machine: Machine) -> Callable[[Outcome], Verdict]:
    def judge(outcome: Outcome) -> Verdict:
        if not outcome.failed:
            return fine("works")
        return _unusable(outcome.told(), causes.of_lock(outcome, machine))

    return judge


def _nested(machine: Machine) -> Callable[[Outcome], Verdict]:
    def judge(outcome: Outcome) -> Verdict:
        if not outcome.failed:
            return fine("possible")
        limited = outcome.error in causes.LIMITED
        cause = (causes.of_creation if limited else causes.of_rights)(outcome, machine)
        return Verdict(
            state=State.DEGRADED,
            found=outcome.told(),
            cause=cause.why,
            remedy=cause.remedy,
            lost="applications whose policy has nested namespaces (browsers with a sandbox of their own) don't start "
            "their own sandbox",
        )

    return judge


def _overlaid(outcome: Outcome) -> Verdict:
    if not outcome.failed:
        return fine("possible")
    return Verdict(
        state=State.NOTE,
        found=outcome.told(),
        cause="This kernel has no overlay file system, or none for ordinary users (Linux 5.11 has).",
        remedy="sudo modprobe overlay && echo overlay | sudo tee /etc/modules-load.d/overlay.conf",
        lost="nothing that this version uses",
    )


def _unusable(found: str, cause: causes.Cause) -> Verdict:
    return Verdict(state=State.UNUSABLE, found=found, cause=cause.why, remedy=cause.remedy, lost=NO_BOX)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _checked(answer: int) -> int:
    if answer < 0:
        raise OSError(-answer, os.strerror(-answer))
    return answer

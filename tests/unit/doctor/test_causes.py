"""What a refusal means on which machine, and the one remedy."""

from __future__ import annotations

import errno
import signal
from typing import Any

import pytest

from sandboxer.doctor import causes
from sandboxer.doctor.child import Outcome
from sandboxer.doctor.machine import Machine

UBUNTU = "kernel.apparmor_restrict_unprivileged_userns"
DEBIAN = "kernel.unprivileged_userns_clone"


def machine(**facts: Any) -> Machine:
    """Linux 6.8 without anything remarkable."""
    plain: dict[str, Any] = {"kernel": "6.8.0-31-generic", "sysctls": {}, "limits": {"user": 10000}}
    return Machine(**(plain | facts))


CREATION: list[tuple[str, Outcome, Machine, str, str]] = [
    (
        "the limit is 0",
        Outcome(error=errno.ENOSPC),
        machine(limits={"user": 0}),
        "user.max_user_namespaces is 0",
        "echo user.max_user_namespaces=10000 | sudo tee -a /etc/sysctl.d/90-sandboxer.conf",
    ),
    (
        "the limit is reached",
        Outcome(error=errno.ENOSPC),
        machine(limits={"user": 30000}),
        "as many user namespaces as sysctl user.max_user_namespaces (30000) allows",
        "user.max_user_namespaces=60000",
    ),
    (
        "nested too deep",
        Outcome(error=errno.ENOSPC),
        machine(uid_map="0 1000 1"),
        "around this one forbids",
        "outside",
    ),
    (
        "older kernels' errno",
        Outcome(error=errno.EUSERS),
        machine(limits={"user": 0}),
        "max_user_namespaces",
        "sysctl",
    ),
    (
        "Debian 10",
        Outcome(error=errno.EPERM),
        machine(sysctls={DEBIAN: 0}, container="a Docker container", seccomp=2),
        f"{DEBIAN} is 0",
        f"echo {DEBIAN}=1 | sudo tee -a",
    ),
    (
        "Ubuntu without the profile for the rest",
        Outcome(error=errno.EACCES),
        machine(sysctls={UBUNTU: 1, DEBIAN: 1}, label="unconfined", modules=("apparmor",)),
        "AppArmor",
        causes.INSTALL_PROFILE,
    ),
    (
        "Docker",
        Outcome(error=errno.EPERM),
        machine(seccomp=2, container="a Docker container"),
        "system-call filter of a Docker container",
        "docker run --security-opt seccomp=unconfined",
    ),
    (
        "Docker on Ubuntu",
        Outcome(error=errno.EPERM),
        machine(
            seccomp=2, container="a Docker container", sysctls={UBUNTU: 1}, label="docker-default (enforce)"
        ),
        "system-call filter of a Docker container",
        "docker run",
    ),
    (
        "Podman",
        Outcome(error=errno.EPERM),
        machine(seccomp=2, container="a Podman container"),
        "Podman",
        "podman run --security-opt seccomp=unconfined --security-opt unmask=ALL",
    ),
    (
        "a box of our own",
        Outcome(error=errno.EPERM),
        machine(seccomp=2, container="a box of sandboxer's"),
        "a box of sandboxer's",
        "start it outside a box of sandboxer's",
    ),
    (
        "SELinux",
        Outcome(error=errno.EACCES),
        machine(modules=("selinux",)),
        "SELinux",
        "sudo ausearch -m avc --raw | grep -E 'tclass=(user_namespace|cap_userns) ' | audit2allow",
    ),
    ("a chroot", Outcome(error=errno.EPERM), machine(), "chroot", "start it outside the chroot"),
    (
        "RHEL 7",
        Outcome(error=errno.EINVAL),
        machine(switched_off=True, grubby=True),
        "switched off on the kernel's command line",
        "sudo grubby --update-kernel=ALL --args=user_namespace.enable=1",
    ),
    (
        "RHEL 7 in a container",
        Outcome(error=errno.EINVAL),
        machine(switched_off=True, grubby=True, container="a Podman container"),
        "switched off on the kernel's command line",
        "outside a Podman container, add user_namespace.enable=1",
    ),
    (
        "a kernel without them",
        Outcome(error=errno.EINVAL),
        machine(user_namespaces=False),
        "built without user namespaces",
        "5.14",
    ),
    (
        "an old kernel",
        Outcome(error=errno.ENOSYS, step="clone3"),
        machine(kernel="4.19.0-26-amd64"),
        "4.19.0-26-amd64 is too old",
        "5.14",
    ),
    (
        "an old container runtime",
        Outcome(error=errno.ENOSYS, step="clone3"),
        machine(seccomp=2, container="a Docker container"),
        "filter hides clone3",
        "docker run",
    ),
    (
        "a filter that kills",
        Outcome(signal=signal.SIGSYS, step="clone3"),
        machine(seccomp=2),
        "system-call filter",
        "start it from",
    ),
    ("too many processes", Outcome(error=errno.EAGAIN), machine(), "RLIMIT_NPROC", "ulimit -u"),
    ("what nobody knows", Outcome(error=errno.EIO, step="clone3"), machine(), "clone3: ", "report this"),
]


@pytest.mark.parametrize(
    ("outcome", "on", "why", "remedy"), [row[1:] for row in CREATION], ids=[row[0] for row in CREATION]
)
def test_why_a_user_namespace_is_refused(outcome: Outcome, on: Machine, why: str, remedy: str) -> None:
    cause = causes.of_creation(outcome, on)
    assert why in cause.why
    assert remedy in cause.remedy


RIGHTS: list[tuple[str, Outcome, Machine, str, str]] = [
    (
        "Ubuntu 24.04, started without a profile",
        Outcome(error=errno.EACCES, step="/proc/self/setgroups"),
        machine(sysctls={UBUNTU: 1}, label="unconfined", modules=("lockdown", "apparmor")),
        f"sysctl {UBUNTU} is 1",
        causes.INSTALL_PROFILE,
    ),
    (
        "Ubuntu's own profile for the rest",
        Outcome(error=errno.EPERM, step="/proc/self/uid_map"),
        machine(sysctls={UBUNTU: 1}, label="unprivileged_userns (enforce)", modules=("apparmor",)),
        "AppArmor gives programs without a profile no rights",
        "apparmor_parser -r /etc/apparmor.d/sandboxer",
    ),
    (
        "a program with a profile",
        Outcome(error=errno.EPERM),
        machine(sysctls={UBUNTU: 1}, label="snap.code.code (enforce)", modules=("apparmor",)),
        "snap.code.code (enforce)",
        "userns,",
    ),
    (
        "a container's filter",
        Outcome(error=errno.EPERM, step="mounting a tmpfs"),
        machine(seccomp=2, container="a container (lxc)"),
        "filter",
        "start it outside a container (lxc)",
    ),
    (
        "Docker's profile",
        Outcome(error=errno.EACCES),
        machine(label="docker-default (enforce)", modules=("apparmor",), container="a Docker container"),
        "docker-default",
        "--security-opt apparmor=unconfined",
    ),
    (
        "a hidden call",
        Outcome(error=errno.ENOSYS, step="fsopen"),
        machine(seccomp=2),
        "hides fsopen",
        "start it",
    ),
]


@pytest.mark.parametrize(
    ("outcome", "on", "why", "remedy"), [row[1:] for row in RIGHTS], ids=[row[0] for row in RIGHTS]
)
def test_why_a_namespace_came_without_rights(outcome: Outcome, on: Machine, why: str, remedy: str) -> None:
    cause = causes.of_rights(outcome, on)
    assert why in cause.why
    assert remedy in cause.remedy


def test_a_covered_proc_is_uncovered_or_the_container_started_otherwise() -> None:
    refused = Outcome(error=errno.EPERM, step="mounting a new /proc")
    bare = causes.of_procfs(refused, machine(covered=("/proc/kcore", "/proc/a b")))
    assert "/proc/kcore" in bare.why
    assert "sudo umount /proc/kcore '/proc/a b'" == bare.remedy
    docker = causes.of_procfs(refused, machine(covered=("/proc/kcore",), container="a Docker container"))
    assert "systempaths=unconfined" in docker.remedy


def test_a_read_only_proc_sys_is_named() -> None:
    refused = Outcome(error=errno.EROFS, step="/proc/sys/user/max_user_namespaces")
    assert (
        "read-only in a Docker container"
        in causes.of_lock(refused, machine(container="a Docker container")).why
    )
    assert "sudo mount -o remount,rw /proc/sys" == causes.of_lock(refused, machine()).remedy


def test_a_remedy_is_one_line_and_never_one_that_harms() -> None:
    remedies = [causes.of_creation(row[1], row[2]).remedy for row in CREATION]
    remedies += [causes.of_rights(row[1], row[2]).remedy for row in RIGHTS]
    for remedy in remedies:
        assert "\n" not in remedy
        assert remedy
        for harm in (
            "reboot",
            "semodule",
            "audit2allow -M",
            "aa-exec",
            "chmod 4",
            "u+s",
            "--no-sandbox",
            "--privileged",
            f"{UBUNTU}=0",
            "python",
        ):
            assert harm not in remedy

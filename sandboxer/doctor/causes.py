"""
Why the kernel refused a step, and what to do about it.

What comes in: how a probe failed, what the machine says of itself. What goes out: a cause and one remedy. The order in
which causes are tried is the kernel's own order of refusing: create_user_ns() asks for the limits first, then whether
the process is in a chroot, then the security modules; a filter sees the call before all of these.

It never advises what takes more protection away than it gives: no set-uid launcher, no profile for a whole interpreter,
no restriction lifted for every program where one program's profile does.
"""

from __future__ import annotations

import errno
import shlex
import signal

from sandboxer.doctor.child import Outcome
from sandboxer.doctor.machine import Machine
from sandboxer.words import Record

FLOOR = (5, 14)
LIMIT = 10000
"""A bound on namespaces for machines that have 0."""
SETTINGS = "/etc/sysctl.d/90-sandboxer.conf"
PROFILE = "/etc/apparmor.d/sandboxer"
INSTALL_PROFILE = (
    f"sandbox doctor --apparmor-profile | sudo tee {PROFILE} >/dev/null && sudo apparmor_parser -r {PROFILE}"
)
NEXT_START = "What the remedy sets holds from the next start of the machine on."
NEW_KERNEL = "install your distribution's current kernel, Linux {}.{} or newer, and restart".format(*FLOOR)
REFUSED = (errno.EPERM, errno.EACCES)
LIMITED = (errno.ENOSPC, errno.EUSERS)
ABSENT = (errno.ENOSYS, errno.EOPNOTSUPP)


class Cause(Record):
    """Why, a sentence, and what to do, one line."""

    why: str
    remedy: str


def set_sysctl(name: str, value: int) -> str:
    """One line that sets it, now and at every start of the machine."""
    return f"echo {name}={value} | sudo tee -a {SETTINGS} && sudo sysctl -p {SETTINGS}"


def set_kernel_argument(argument: str, machine: Machine) -> str:
    """One line that adds it to the kernel's command line. It never restarts the machine."""
    if machine.container:
        return f"outside {machine.container}, add {argument} to the kernel's command line, and restart the machine"
    if machine.grubby:
        return f"sudo grubby --update-kernel=ALL --args={argument}"
    return f"""sudo sed -i 's/^GRUB_CMDLINE_LINUX="/&{argument} /' /etc/default/grub && sudo update-grub"""


def of_creation(outcome: Outcome, machine: Machine, kind: str = "user") -> Cause:
    """A namespace of this kind can't be made."""
    if outcome.error in LIMITED:
        return _limited(machine, kind)
    if outcome.error == errno.EAGAIN:
        return Cause(
            why="The limit on your processes is reached (RLIMIT_NPROC, or the tasks of a unit).",
            remedy="end programs that you don't need, or raise the limit: ulimit -u",
        )
    if outcome.error in REFUSED:
        return _refused(outcome, machine)
    if outcome.signal == signal.SIGSYS:
        return _filtered(machine)
    if outcome.error == errno.EINVAL or not machine.user_namespaces:
        return _without_user_namespaces(machine)
    if outcome.error in ABSENT:
        return of_absence(machine, "clone3")
    return _unknown(outcome)


def of_rights(outcome: Outcome, machine: Machine) -> Cause:
    """Something was refused inside a user namespace that could be made: it came without its rights."""
    if outcome.error in REFUSED:
        if machine.restricted_by_apparmor and machine.unconfined:
            return _apparmor(machine)
        if machine.seccomp:
            return _filtered(machine)
        if "apparmor" in machine.modules and not machine.unconfined:
            return _own_profile(machine)
        if machine.container:
            return Cause(why=f"It is forbidden by {machine.container}.", remedy=_out_of(machine))
        if "selinux" in machine.modules:
            return _selinux()
    if outcome.signal == signal.SIGSYS:
        return _filtered(machine)
    if outcome.error in ABSENT:
        return of_absence(machine, outcome.step or "the call")
    return _unknown(outcome)


def of_absence(machine: Machine, call: str) -> Cause:
    """The kernel says that it doesn't know a system call."""
    if (0, 0) != machine.version < FLOOR:
        return Cause(
            why=f"Linux {machine.kernel} is too old: {'.'.join(map(str, FLOOR))} is needed.",
            remedy=NEW_KERNEL,
        )
    if machine.seccomp:
        return Cause(
            why=f"A system-call filter hides {call}, as old container runtimes do with calls that they don't know.",
            remedy=_out_of(machine),
        )
    return Cause(why=f"This kernel was built without {call}.", remedy=NEW_KERNEL)


def of_procfs(outcome: Outcome, machine: Machine) -> Cause:
    """A new procfs can't be mounted in a namespace in which other file systems can."""
    if outcome.error in REFUSED and machine.covered:
        first = ", ".join(machine.covered[:3]) + (" …" if len(machine.covered) > 3 else "")
        remedy = (
            _out_of(machine)
            if machine.container
            else f"sudo umount {' '.join(shlex.quote(point) for point in machine.covered)}"
        )
        return Cause(
            why=f"Parts of /proc are covered ({first}); the kernel then allows no new one, which would show them.",
            remedy=remedy,
        )
    if outcome.error in REFUSED and machine.container:
        return Cause(
            why=f"/proc is mounted read-only, or not whole, in {machine.container}.", remedy=_out_of(machine)
        )
    return of_rights(outcome, machine)


def of_lock(outcome: Outcome, machine: Machine) -> Cause:
    """A box's own limit on namespaces can't be set."""
    if outcome.error in (errno.EROFS, errno.EACCES, errno.ENOENT) and machine.container:
        return Cause(why=f"/proc/sys is read-only in {machine.container}.", remedy=_out_of(machine))
    if outcome.error == errno.EROFS:
        return Cause(why="/proc/sys is mounted read-only.", remedy="sudo mount -o remount,rw /proc/sys")
    return of_rights(outcome, machine)


def _limited(machine: Machine, kind: str) -> Cause:
    name = f"user.max_{kind}_namespaces"
    limit = machine.limits.get(kind)
    where = " in the user namespace (container, box) that this runs in" if machine.nested else ""
    if limit == 0:
        return Cause(why=f"sysctl {name} is 0{where}: none may be made.", remedy=set_sysctl(name, LIMIT))
    if machine.nested:
        return Cause(
            why=f"A user namespace (container, box) around this one forbids more {kind} namespaces, or they are nested "
            "too deep.",
            remedy=_out_of(machine),
        )
    return Cause(
        why=f"There are as many {kind} namespaces as sysctl {name} ({limit}) allows.",
        remedy=set_sysctl(name, max(LIMIT, 2 * (limit or 0))),
    )


def _refused(outcome: Outcome, machine: Machine) -> Cause:
    if machine.sysctls.get("kernel.unprivileged_userns_clone") == 0:
        return Cause(
            why="sysctl kernel.unprivileged_userns_clone is 0: only root may make user namespaces.",
            remedy=set_sysctl("kernel.unprivileged_userns_clone", 1),
        )
    if machine.restricted_by_apparmor and machine.unconfined:
        return _apparmor(machine)
    if machine.seccomp:
        return _filtered(machine)
    if outcome.error == errno.EACCES and "selinux" in machine.modules:
        return _selinux()
    if "apparmor" in machine.modules and not machine.unconfined:
        return _own_profile(machine)
    return Cause(
        why="This runs in a chroot, in which the kernel allows no user namespaces (no setting and no filter forbids "
        "them).",
        remedy="start it outside the chroot",
    )


def _apparmor(machine: Machine) -> Cause:
    return Cause(
        why="AppArmor gives programs without a profile no rights in user namespaces "
        "(sysctl kernel.apparmor_restrict_unprivileged_userns is 1), and none is loaded for this launcher.",
        remedy=INSTALL_PROFILE,
    )


def _own_profile(machine: Machine) -> Cause:
    return Cause(
        why=f"The AppArmor profile that this runs under ({machine.label}) forbids it.",
        remedy=_out_of(machine)
        if machine.container
        else "start it outside the program that has this profile, or add the rule `userns,` to the profile",
    )


def _selinux() -> Cause:
    return Cause(
        why="SELinux's policy forbids it. The remedy prints rules that would allow it, and loads none: whatever was "
        "refused on this machine is among them, so look for the one that is meant.",
        remedy="sudo ausearch -m avc --raw | grep -E 'tclass=(user_namespace|cap_userns) ' | audit2allow",
    )


def _filtered(machine: Machine) -> Cause:
    where = machine.container or "what this was started from"
    return Cause(why=f"A system-call filter of {where} forbids it.", remedy=_out_of(machine))


def _without_user_namespaces(machine: Machine) -> Cause:
    if machine.switched_off:
        return Cause(
            why="User namespaces are switched off on the kernel's command line (user_namespace.enable). "
            f"{NEXT_START}",
            remedy=set_kernel_argument("user_namespace.enable=1", machine),
        )
    if not machine.user_namespaces:
        return Cause(why="This kernel was built without user namespaces.", remedy=NEW_KERNEL)
    return Cause(why=f"Linux {machine.kernel} doesn't know what was asked for.", remedy=NEW_KERNEL)


def _out_of(machine: Machine) -> str:
    if "Docker" in machine.container:
        return (
            "start the container with: docker run --security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined --security-opt systempaths=unconfined"
        )
    if "Podman" in machine.container:
        return (
            "start the container with: podman run --security-opt seccomp=unconfined --security-opt unmask=ALL"
        )
    if machine.container:
        return f"start it outside {machine.container}"
    return "start it from an ordinary terminal of your session, outside of containers and other sandboxes"


def _unknown(outcome: Outcome) -> Cause:
    return Cause(
        why=f"The kernel says: {outcome.told()}. Nothing that is known here explains it.",
        remedy="report this, with the output of: sandbox doctor --json",
    )

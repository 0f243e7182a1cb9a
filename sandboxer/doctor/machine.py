"""
What the system says of itself without being tried: settings, limits, security modules, containers.

What comes in: /proc and /sys. What goes out: one record. What can't be read is absent; nothing here is an error, and
nothing is judged.
"""

from __future__ import annotations

import os
import re

from sandboxer.words import Record

LIMITS = ("user", "mnt", "net", "pid", "ipc", "uts", "cgroup")
"""Kinds of namespaces that /proc/sys/user bounds."""
SYSCTLS = (
    "kernel.unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns",
    "kernel.apparmor_restrict_unprivileged_unconfined",
    "user.max_user_namespaces",
)
CONTAINERS = (
    ("/run/sandboxer", "a box of sandboxer's"),
    ("/.flatpak-info", "a flatpak"),
    ("/.dockerenv", "a Docker container"),
    ("/run/.containerenv", "a Podman container"),
    ("/run/systemd/container", "a container"),
)
INSTALLERS = (
    ("/usr/bin/apt-get", "sudo apt-get install"),
    ("/usr/bin/dnf", "sudo dnf install"),
    ("/usr/bin/zypper", "sudo zypper install"),
    ("/usr/bin/pacman", "sudo pacman -S"),
)
HARMLESS = ("/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd")
"""Mount points in /proc that the kernel made for mounting on: they hide nothing."""
WHOLE = "0 0 4294967295"
"""The uid map of the user namespace that the machine starts with."""


class Machine(Record):
    """
    The facts. Sysctls and limits that aren't there are None or left out.

    `kernel` is the release; `seccomp` the mode of this process's filter (0 none, 2 a filter); `label` this
    process's in AppArmor's words; `modules_listed`: the kernel's own list of `modules` was read, so none is
    missing; `covered` are mount points that hide parts of /proc. `user_namespaces`: the kernel was built with them;
    `switched_off`: its command line forbids them. `systemd`: that started the system; `unified`: control groups are
    of version 2. `installer` is the command that installs packages; `grubby`: there is that tool for the kernel's
    command line.
    """

    kernel: str
    sysctls: dict[str, int]
    limits: dict[str, int]
    system: str = ""
    modules: tuple[str, ...] = ()
    modules_listed: bool = False
    label: str = ""
    seccomp: int = 0
    uid_map: str = WHOLE
    container: str = ""
    covered: tuple[str, ...] = ()
    user_namespaces: bool = True
    switched_off: bool = False
    systemd: bool = True
    unified: bool = True
    installer: str = "install with your package manager:"
    grubby: bool = False

    @property
    def version(self) -> tuple[int, int]:
        """The kernel's, (0, 0) where its release doesn't begin with one."""
        found = re.match(r"(\d+)\.(\d+)", self.kernel)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def nested(self) -> bool:
        """Whether this runs in a user namespace that somebody made."""
        return " ".join(self.uid_map.split()) != WHOLE

    @property
    def restricted_by_apparmor(self) -> bool:
        """Whether AppArmor keeps programs without a profile from using user namespaces."""
        return self.sysctls.get("kernel.apparmor_restrict_unprivileged_userns") == 1

    @property
    def unconfined(self) -> bool:
        """Whether AppArmor has no profile for this process (or isn't there)."""
        return self.label.split(" ")[0] in ("", "unconfined", "unprivileged_userns")

    def facts(self) -> dict[str, object]:
        """For JSON."""
        return {
            "kernel": self.kernel,
            "system": self.system,
            "sysctls": self.sysctls,
            "namespace-limits": self.limits,
            "security-modules": list(self.modules),
            "apparmor-label": self.label,
            "seccomp": self.seccomp,
            "uid-map": " ".join(self.uid_map.split()),
            "container": self.container,
            "covered-in-proc": list(self.covered),
        }


def look(environment_container: str = "") -> Machine:
    """Read it all. `environment_container` is the variable `container`, which some set for what runs in theirs."""
    modules, listed = _modules()
    sysctls = {name: _number(f"/proc/sys/{name.replace('.', '/')}") for name in SYSCTLS}
    limits = {kind: _number(f"/proc/sys/user/max_{kind}_namespaces") for kind in LIMITS}
    return Machine(
        kernel=os.uname().release,
        system=_system(),
        sysctls={name: value for name, value in sysctls.items() if value is not None},
        limits={kind: value for kind, value in limits.items() if value is not None},
        modules=modules,
        modules_listed=listed,
        label=_text("/proc/self/attr/current").strip("\n\0"),
        seccomp=_seccomp(_text("/proc/self/status")),
        uid_map=_text("/proc/self/uid_map") or WHOLE,
        container=_container(environment_container),
        covered=covered(_text("/proc/self/mountinfo")),
        user_namespaces=os.path.exists("/proc/self/ns/user"),
        switched_off=_text("/sys/module/user_namespace/parameters/enable").strip() == "N",
        systemd=os.path.isdir("/run/systemd/system"),
        unified=os.path.exists("/sys/fs/cgroup/cgroup.controllers"),
        installer=next(
            (command for path, command in INSTALLERS if os.path.exists(path)),
            "install with your package manager:",
        ),
        grubby=any(os.path.exists(f"{place}/grubby") for place in ("/usr/sbin", "/usr/bin", "/sbin")),
    )


def covered(mounts: str) -> tuple[str, ...]:
    """Mount points in /proc, of a mountinfo. Source: proc_pid_mountinfo(5)."""
    points = [fields[4] for fields in (line.split(" ") for line in mounts.splitlines()) if len(fields) > 4]
    inside = [point for point in points if point.startswith("/proc/") and point not in HARMLESS]
    return tuple(dict.fromkeys(inside))


def _seccomp(status: str) -> int:
    found = re.search(r"^Seccomp:\s*(\d+)", status, re.MULTILINE)
    return int(found[1]) if found else 0


def _modules() -> tuple[tuple[str, ...], bool]:
    """
    Security modules that are on, and whether these are all. Without securityfs (in a container) AppArmor's and
    SELinux's own switches still tell.
    """
    listed = _text("/sys/kernel/security/lsm").strip()
    if listed:
        return tuple(listed.split(",")), True
    found = []
    if _text("/sys/module/apparmor/parameters/enabled").strip() == "Y":
        found.append("apparmor")
    if _text("/sys/fs/selinux/enforce").strip():
        found.append("selinux")
    return tuple(found), False


def _container(named: str) -> str:
    for path, what in CONTAINERS:
        if os.path.exists(path):
            return what
    return f"a container ({named})" if named else ""


def _system() -> str:
    """The distribution, as it names itself. Source: os-release(5)."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        found = re.search(r'^PRETTY_NAME="?([^"\n]*)', _text(path), re.MULTILINE)
        if found:
            return found[1]
    return ""


def _number(path: str) -> int | None:
    try:
        return int(_text(path))
    except ValueError:
        return None


def _text(path: str) -> str:
    """A small file; empty where it can't be read, for whatever reason."""
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode(errors="replace")
    except OSError:
        return ""

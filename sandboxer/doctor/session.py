"""
The session: its directories, the user manager, control groups, the session bus and what should be on it.

What comes in: the environment, the machine's facts. What goes out: checks. Sockets are connected to and no more is
said through them, but for the question which names are on the bus.
"""

from __future__ import annotations

import os
import shlex
import socket
import stat
from collections.abc import Callable, Iterator, Mapping

from sandboxer.doctor import causes
from sandboxer.doctor.child import Outcome, Steps
from sandboxer.doctor.finding import Check, State, Verdict, fine
from sandboxer.doctor.machine import Machine
from sandboxer.host import manager

NOTIFICATIONS, PORTALS, DOCUMENTS = (
    "org.freedesktop.Notifications",
    "org.freedesktop.portal.Desktop",
    "org.freedesktop.portal.Documents",
)
HARD_CONTROLLERS, SOFT_CONTROLLERS = ("memory", "pids"), ("cpu", "io")
"""Those that keep a runaway box from hurting the session, and those that make it slow only."""
RUNTIME = "runtime-directory"
"""The check on which all sockets hang that are found by XDG_RUNTIME_DIR: without it nothing can be said of them."""
Names = Callable[[str], list[str]]
"""Of a bus's address: all names that are owned or can be started. Raises OSError or a SandboxerError."""


def checks(environment: Mapping[str, str], machine: Machine, names: Names) -> Iterator[Check]:
    """In the order in which they depend on each other."""
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    address = environment.get("DBUS_SESSION_BUS_ADDRESS", "") or (
        f"unix:path={runtime}/bus" if runtime else ""
    )
    yield Check(
        name=RUNTIME,
        title="the session's directory (XDG_RUNTIME_DIR)",
        work=lambda _: look_at(runtime) if runtime.startswith("/") else None,
        judge=lambda outcome: _runtime(outcome, runtime, machine),
    )
    yield Check(
        name="state-directory",
        title="a place for plans and running boxes",
        work=lambda step: _try_directory(step, _state_place(environment)),
        judge=lambda outcome: _state(outcome, _state_place(environment)),
    )
    yield Check(
        name="user-manager",
        title="the user manager (systemd --user)",
        work=lambda step: _connect(step, f"{runtime}/systemd/private"),
        judge=lambda outcome: _manager(outcome, machine),
        needs=(RUNTIME,),
    )
    yield Check(
        name="control-groups",
        title="control groups for limits",
        work=lambda _: list(manager.controllers(runtime) or ()),
        judge=lambda outcome: _groups(outcome, machine),
        needs=("user-manager",),
    )
    yield Check(
        name="session-bus",
        title="the session bus",
        work=lambda _: names(address),
        judge=lambda outcome: _bus(outcome, address, machine),
        needs=() if environment.get("DBUS_SESSION_BUS_ADDRESS") else (RUNTIME,),
        seconds=8.0,
    )
    yield Check(
        name="notifications",
        title="desktop notifications",
        work=lambda _: names(address),
        judge=lambda outcome: _notifications(outcome, machine),
        needs=("session-bus",),
        seconds=8.0,
    )
    yield Check(
        name="portals",
        title="portals",
        work=lambda _: names(address),
        judge=lambda outcome: _portals(outcome, machine),
        needs=("session-bus",),
        seconds=8.0,
    )


def look_at(path: str) -> dict[str, int]:
    """Type, mode and owner of a directory, links not followed. Raises OSError."""
    found = os.lstat(path)
    return {
        "directory": int(stat.S_ISDIR(found.st_mode)),
        "mode": found.st_mode & 0o7777,
        "owner": found.st_uid,
    }


def _state_place(environment: Mapping[str, str]) -> str:
    """As the launcher and `plan.cache` choose it: the session's directory where it is private, else the cache."""
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        try:
            found = look_at(runtime)
        except OSError:
            found = {}
        if found.get("directory") and found["owner"] == os.getuid() and not found["mode"] & 0o077:
            return f"{runtime}/sandboxer"
    cache = environment.get("XDG_CACHE_HOME", "")
    if cache.startswith("/"):
        return f"{cache}/sandboxer"
    home = environment.get("HOME", "")
    return f"{home}/.cache/sandboxer" if home.startswith("/") else ""


def _try_directory(step: Steps, place: str) -> None:
    """Make a file there, and take it away. What is missing of the way is made, as a start would."""
    if not place:
        raise OSError(0, "neither XDG_RUNTIME_DIR nor HOME names a directory")
    step(place)
    os.makedirs(place, mode=0o700, exist_ok=True)
    trial = os.path.join(place, f".doctor.{os.getpid()}")
    os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    os.unlink(trial)
    for name in ("", "plans", "boxes"):
        path = os.path.join(place, name)
        if os.path.lexists(path):
            found = look_at(path)
            if not found["directory"] or found["owner"] != os.getuid() or (name and found["mode"] & 0o077):
                raise OSError(0, f"{path} belongs to somebody else, or others can change it")


def _connect(step: Steps, path: str) -> None:
    step(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)


def _runtime(outcome: Outcome, path: str, machine: Machine) -> Verdict:
    uid = os.getuid()
    usual = f"/run/user/{uid}"
    lost = "plans and running boxes are kept in ~/.cache; sockets of the session (Wayland, sound, bus) aren't found"
    there = os.path.isdir(usual) and os.stat(usual).st_uid == uid
    if there:
        remedy = f"export XDG_RUNTIME_DIR={usual}"
    elif machine.systemd:
        remedy = f"sudo loginctl enable-linger {uid} && export XDG_RUNTIME_DIR={usual}"
    else:
        remedy = f"sudo install -d -m 700 -o {uid} -g {os.getgid()} {usual} && export XDG_RUNTIME_DIR={usual}"
    if outcome.value is None and not outcome.failed:
        why = (
            "XDG_RUNTIME_DIR isn't set: this isn't a login session (su and sudo make none)."
            if not path
            else f"XDG_RUNTIME_DIR is {path}, which isn't absolute."
        )
        return Verdict(state=State.DEGRADED, found="not set", cause=why, remedy=remedy, lost=lost)
    if outcome.failed or not outcome.value["directory"]:
        why = f"XDG_RUNTIME_DIR names {path}, which isn't there, or is no directory."
        return Verdict(state=State.DEGRADED, found=path, cause=why, remedy=remedy, lost=lost)
    mode, owner = outcome.value["mode"], outcome.value["owner"]
    if owner != uid:
        return Verdict(
            state=State.DEGRADED,
            found=f"{path} belongs to user {owner}",
            cause=f"XDG_RUNTIME_DIR is another user's: it was kept by su or sudo. You are user {uid}.",
            remedy=remedy,
            lost=lost,
        )
    if mode & 0o077:
        return Verdict(
            state=State.DEGRADED,
            found=f"{path} has mode {mode:04o}",
            cause="Others may look into XDG_RUNTIME_DIR, or change it; it has to be 0700.",
            remedy=f"chmod 700 {shlex.quote(path)}",
            lost="plans and running boxes are kept in ~/.cache instead",
        )
    return fine(path)


def _state(outcome: Outcome, place: str) -> Verdict:
    if not outcome.failed:
        return fine(place)
    return Verdict(
        state=State.UNUSABLE,
        found=outcome.told(),
        cause="There has to be a directory that is yours alone for compiled plans and the state of running boxes.",
        remedy=f"see who made it, then remove it: ls -la {shlex.quote(place)}" if place else "export HOME=~",
        lost="no box can be made: nothing starts",
    )


def _manager(outcome: Outcome, machine: Machine) -> Verdict:
    if not outcome.failed:
        return fine("answers")
    uid = os.getuid()
    if machine.systemd:
        cause = "No user manager answers: the session was made by su or sudo, or the manager has crashed."
        remedy = f"sudo systemctl start user@{uid}.service"
    else:
        cause = "This system wasn't started by systemd, or this runs in a container without it."
        remedy = "start sandboxes in a session that systemd manages; without one rlimits hold what they can"
    return Verdict(
        state=State.DEGRADED,
        found=outcome.told(),
        cause=cause,
        remedy=remedy,
        lost="boxes have no scopes: limits on memory and cpu hold for each process only "
        "(`sandbox explain` says which); no units (`sandbox unit`)",
    )


def _groups(outcome: Outcome, machine: Machine) -> Verdict:
    given: list[str] = outcome.value or []
    missing = [name for name in HARD_CONTROLLERS + SOFT_CONTROLLERS if name not in given]
    if not outcome.failed and not missing:
        return fine(", ".join(given))
    found = outcome.told() if outcome.failed else f"{', '.join(given) or 'none'}; not {', '.join(missing)}"
    lost = f"limits of [limits] by {', '.join(missing)} aren't held, or for each process only"
    if not machine.unified:
        return Verdict(
            state=State.DEGRADED,
            found=found,
            cause="Control groups of version 2 aren't at /sys/fs/cgroup: the system uses version 1, or a "
            f"container hides them. {causes.NEXT_START}",
            remedy=causes.set_kernel_argument("systemd.unified_cgroup_hierarchy=1", machine),
            lost=lost,
        )
    settings = "/etc/systemd/system/user@.service.d/delegate.conf"
    serious = any(name in HARD_CONTROLLERS for name in missing)
    return Verdict(
        state=State.DEGRADED if serious else State.NOTE,
        found=found,
        cause=f"The user manager was not given these controllers. {causes.NEXT_START}",
        remedy="printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo install -D -m 644 "
        f"/dev/stdin {settings}",
        lost=lost,
    )


def _bus(outcome: Outcome, address: str, machine: Machine) -> Verdict:
    if not outcome.failed:
        return fine(address)
    remedy = "systemctl --user start dbus.socket" if machine.systemd else 'exec dbus-run-session -- "$SHELL"'
    return Verdict(
        state=State.DEGRADED,
        found=outcome.told(),
        cause="The session bus that the session names isn't there, or doesn't answer.",
        remedy=remedy,
        lost="boxes have no scopes, failures of starts from a menu aren't shown, and nothing that needs the bus works",
    )


def _notifications(outcome: Outcome, machine: Machine) -> Verdict:
    if not outcome.failed and NOTIFICATIONS in outcome.value:
        return fine("a service shows them")
    return Verdict(
        state=State.NOTE,
        found=outcome.told() if outcome.failed else f"nobody has the name {NOTIFICATIONS}",
        cause="No notification service runs in this session, and none can be started.",
        remedy=f"{machine.installer} dunst",
        lost="why a start from a menu failed isn't shown on the screen",
    )


def _portals(outcome: Outcome, machine: Machine) -> Verdict:
    if not outcome.failed and PORTALS in outcome.value:
        if DOCUMENTS in outcome.value:
            return fine("there")
        return Verdict(
            state=State.NOTE,
            found="there, without the document portal",
            cause="The document portal isn't installed, or can't run (it needs /dev/fuse).",
            remedy="systemctl --user restart xdg-document-portal.service",
            lost="nothing that this version uses",
        )
    return Verdict(
        state=State.NOTE,
        found=outcome.told() if outcome.failed else f"nobody has the name {PORTALS}",
        cause="No portal service is installed.",
        remedy=f"{machine.installer} xdg-desktop-portal xdg-desktop-portal-gtk",
        lost="nothing that this version uses",
    )

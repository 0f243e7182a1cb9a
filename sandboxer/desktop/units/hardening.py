"""
Settings of a unit that stand in the way of a box: which are taken off, and which forbid wrapping.

What comes in: the merged unit. What goes out: assignments that take off what the box does itself, always and from
nothing; and refusals of what it doesn't, or not in the same way, with the reason. It judges by the settings alone.

A box is made by an ordinary user: the launcher makes namespaces and mounts in them. What a unit's own sandboxing
forbids, the launcher can't do either.
"""

from __future__ import annotations

from sandboxer.desktop.units.text import TRUE, Unit
from sandboxer.words import Record

FALSE = ("", "0", "no", "n", "false", "f", "off")

REPLACED = {
    "RestrictNamespaces": (
        "no",
        "the box is made of some; the application can't make any unless its policy says so",
    ),
    "PrivateUsers": ("no", "the box has a user namespace of its own"),
    "PrivateMounts": ("no", "the box has a mount namespace of its own"),
    "PrivateTmp": ("no", "the box has a /tmp of its own"),
    "PrivateDevices": ("no", "the box has a /dev of its own"),
    "PrivatePIDs": ("no", "the box has process numbers of its own"),
    "PrivateBPF": ("no", "the box doesn't show the kernel's BPF objects"),
    "BindLogSockets": ("no", "the box doesn't show the log's sockets"),
    "PrivateIPC": ("no", "the box has an IPC namespace of its own"),
    "ProtectSystem": ("no", "the box shows the system read-only"),
    "ProtectHome": ("no", "the box has a home of its own, unless the policy says otherwise"),
    "ProtectHostname": ("no", "the box has a host name of its own"),
    "ProtectProc": ("default", "the box has a /proc of its own"),
    "ProcSubset": ("all", "the box has a /proc of its own"),
    "ProtectKernelTunables": ("no", "the box shows /proc/sys and /sys read-only, in parts"),
    "ProtectKernelModules": ("no", "the box refuses the system calls for modules"),
    "ProtectKernelLogs": ("no", "the box refuses the kernel's log"),
    "ProtectControlGroups": ("no", "the box doesn't show control groups"),
    "ProtectClock": ("no", "the box refuses to set the clock"),
    "ReadOnlyPaths": ("", "the box shows what the policy grants, and only that"),
    "ReadOnlyDirectories": ("", "the box shows what the policy grants, and only that"),
    "ReadWritePaths": ("", "the box lets be written what the policy grants, and only that"),
    "ReadWriteDirectories": ("", "the box lets be written what the policy grants, and only that"),
    "MountAPIVFS": ("no", "the box has a /proc, /sys and /dev of its own"),
}
"""What the box does at least as strictly: key → the value that takes it off, and why that is safe."""

NETWORKED = "PrivateNetwork"
"""Taken off, too: the box gets no network, whatever its policy says."""

REFUSED = {
    "SystemCallFilter": "it lacks calls that make a box, and the box's own filter permits other ones",
    "RestrictSUIDSGID": "it takes away openat2(2), by which the launcher opens all paths",
    "SystemCallLog": "it would log the calls that make the box",
    "RestrictAddressFamilies": "the launcher needs AF_UNIX and AF_INET; with both in the list it can stay",
    "RestrictFileSystems": "the box mounts file systems that it may lack",
    "InaccessiblePaths": "the box goes by its policy: hide them there (files.hide)",
    "InaccessibleDirectories": "the box goes by its policy: hide them there (files.hide)",
    "TemporaryFileSystem": "the box goes by its policy (files.hide covers a directory with an empty one)",
    "BindPaths": "the box shows files where they are outside: grant them in its policy (files.write)",
    "BindReadOnlyPaths": "the box shows files where they are outside: grant them in its policy (files.read)",
    "ExecPaths": "the box doesn't tell programs from other files",
    "NoExecPaths": "the box doesn't tell programs from other files",
    "RootDirectory": "the program would be another one than in the box",
    "RootImage": "the program would be another one than in the box",
    "MountImages": "the box doesn't mount images",
    "ExtensionImages": "the box doesn't mount images",
    "ExtensionDirectories": "the box doesn't mount extensions",
    "NetworkNamespacePath": "the box has a network namespace of its own, or the session's",
    "IPCNamespacePath": "the box has an IPC namespace of its own",
    "AppArmorProfile": "the launcher would be confined by it, and can't make a box then",
    "SELinuxContext": "the launcher would be confined by it, and can't make a box then",
    "SmackProcessLabel": "the launcher would be confined by it, and can't make a box then",
}
"""What the user has to give up by name (`--without`): key → why it can't stay."""
OFF = {"RestrictSUIDSGID": "no"}
"""What takes one of them off, where that isn't an empty value."""
NEEDED_FAMILIES = {"AF_UNIX", "AF_INET"}
"""For the sockets between a box and its launcher, and to raise the box's loopback."""


class TakenOff(Record):
    """`key` was `was`, and is set to `value`; `why` that is no loss, or by whose word."""

    key: str
    was: str
    value: str
    why: str


class Conflicts(Record):
    """`taken_off` what the drop-in resets; `refused` keys that are neither safe to reset nor given up, with reasons."""

    taken_off: tuple[TakenOff, ...]
    refused: tuple[tuple[str, str], ...]
    without_network: bool


def conflicts(unit: Unit, given_up: tuple[str, ...] = ()) -> Conflicts:
    """What of a unit's sandboxing has to go. `given_up` are keys that the user names."""
    taken: list[TakenOff] = []
    refused: list[tuple[str, str]] = []
    for key, (value, why) in REPLACED.items():
        was = " ".join(setting.value for setting in unit.values(key))
        if was.lower() not in (*FALSE, "default", "all"):
            taken.append(TakenOff(key=key, was=was, value=value, why=why))
    for key, why in REFUSED.items():
        was = " ".join(setting.value for setting in unit.values(key))
        if was.lower() in FALSE or (key == "RestrictAddressFamilies" and NEEDED_FAMILIES <= set(was.split())):
            continue
        if key in given_up:
            taken.append(TakenOff(key=key, was=was, value=OFF.get(key, ""), why="given up by --without"))
        else:
            refused.append((key, why))
    alone = unit.value(NETWORKED).lower() in TRUE
    if alone:
        why = "the box has no network either"
        taken.append(TakenOff(key=NETWORKED, was=unit.value(NETWORKED), value="no", why=why))
    return Conflicts(taken_off=tuple(taken), refused=tuple(refused), without_network=alone)

"""
How a process is confined, as /proc says of it.

What comes in: a pid. What goes out: its filter, privileges, capabilities, namespaces, limits, mounts and descriptors;
None for what can't be told, since a process may have closed itself to others of the same user. Nothing here is the
process's own word but the names of files that it has open, and where it has mounted what.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from sandboxer.steward.processes import read, status
from sandboxer.words import Record

SECCOMP = {"0": "NOT FILTERED", "1": "strict mode", "2": "filtered"}
CAPABILITIES = {
    "CapEff": "effective",
    "CapPrm": "permitted",
    "CapBnd": "bounding",
    "CapAmb": "ambient",
    "CapInh": "inheritable",
}
LIMITS = ("Max processes", "Max open files", "Max file size", "Max data size")
NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")


class Facts(Record):
    """
    `capabilities`: which set holds which, as hexadecimal masks or "none". `namespaces`: whether each is another than
    this process's; empty where that can't be told. `mounts` and `descriptors` are sentences.
    """

    pid: int
    seccomp: str
    has_no_new_privs: bool
    capabilities: Mapping[str, str]
    namespaces: Mapping[str, bool]
    limits: Mapping[str, str]
    mounts: tuple[str, ...] | None
    descriptors: tuple[str, ...] | None


def of(pid: int) -> Facts:
    """What holds for a process; of one that has ended, nothing."""
    fields = status(pid)
    filters = fields.get("Seccomp_filters", "")
    kind = SECCOMP.get(fields.get("Seccomp", ""), "not to be told")
    return Facts(
        pid=pid,
        seccomp=f"{kind}, by {filters} programs" if filters not in ("", "0", "1") else kind,
        has_no_new_privs=fields.get("NoNewPrivs") == "1",
        capabilities={
            name: fields[key] if int(fields[key], 16) else "none"
            for key, name in CAPABILITIES.items()
            if key in fields
        },
        namespaces=_namespaces(pid),
        limits=_limits(pid),
        mounts=_mounts(pid),
        descriptors=_descriptors(pid),
    )


def _namespaces(pid: int) -> dict[str, bool]:
    found = {}
    for name in NAMESPACES:
        try:
            found[name] = os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
        except OSError:
            return {}
    return found


def _limits(pid: int) -> dict[str, str]:
    """The soft limits of resources that a policy can set. Columns are of fixed width: name, soft, hard, unit."""
    found = {}
    for line in read(f"/proc/{pid}/limits").decode("ascii", "replace").splitlines():
        name = line[:25].strip()
        if name in LIMITS:
            found[name.removeprefix("Max ")] = line[26:46].strip()
    return found


def _mounts(pid: int) -> tuple[str, ...] | None:
    content = read(f"/proc/{pid}/mountinfo")
    if not content:
        return None
    told = []
    for line in os.fsdecode(content).splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")[0]
        if len(fields) >= 6:
            may = "change" if "rw" in fields[5].split(",") else "read"
            told.append(f"{_unescaped(fields[4])}: {may}; {kind}, of which {_unescaped(fields[3])}")
    return tuple(told)


def _unescaped(path: str) -> str:
    """Spaces, tabs, line ends and backslashes are octal in mountinfo."""
    for letter in (" ", "\t", "\n"):
        path = path.replace(f"\\{ord(letter):03o}", letter)
    return path.replace("\\134", "\\")


def _descriptors(pid: int) -> tuple[str, ...] | None:
    told = []
    try:
        numbers = sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    for number in numbers:
        try:
            told.append(f"{number}: {os.readlink(f'/proc/{pid}/fd/{number}')}")
        except OSError:  # closed by now
            continue
    return tuple(told)

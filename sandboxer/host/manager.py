"""
The user's service manager (systemd --user), as far as a plan depends on it.

What comes in: the session's runtime directory. What goes out: which controllers it can give to a box's control group,
or that nobody answers there. It costs one connection, which is closed at once, and starts nothing.

It connects by the C module beneath `socket`: the standard library's own costs 5 ms of a compile.
"""

from __future__ import annotations

import os
import struct
from _socket import AF_UNIX, SO_PEERCRED, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, socket

SOCKET = "systemd/private"
"""In the runtime directory; the manager listens there. Source: systemd, src/core/dbus.c, bus_init_private."""
BUS = "bus"
GROUPS = "/sys/fs/cgroup"
INIT_SCOPE = "/init.scope"
"""Where the manager itself is, in the control group that it was given."""
"""Where a manager itself is, in the control group that it was given. Source: systemd, src/core/special.h."""
CONTROLLERS = ("cpu", "io", "memory", "pids")
FILES = {"io": "io.weight", "memory": "memory.swap.max"}
"""Files that a kernel may have been built or started without, though it has their controller."""
FILE_SIZE_MAX = 4096


def controllers(runtime: str) -> tuple[str, ...] | None:
    """
    Those of CONTROLLERS that the manager of this session was given; None when nobody listens who makes control groups.

    A manager passes controllers on to the units that need them; its own cgroup.controllers says which it can pass on.
    """
    found = group(runtime)
    return given(found) if found else None


def group(runtime: str) -> str:
    """The manager's control group ("/user.slice/…/init.scope"); "" when nobody listens who makes control groups."""
    if not _is_private(runtime):  # where the launcher keeps nothing, and so finds no service for scopes
        return ""
    pid = _listener(os.path.join(runtime, SOCKET))
    found = "" if pid is None else group_of(pid)
    return found if found.endswith(INIT_SCOPE) else ""  # else what listens there makes no control groups


def given(group: str) -> tuple[str, ...]:
    """Those of CONTROLLERS in the control group of a manager that is in `group` ("/user.slice/…/init.scope")."""
    words = read(f"{GROUPS}{group.removesuffix(INIT_SCOPE)}/cgroup.controllers").split() if group else []
    return tuple(name for name in CONTROLLERS if name in words)


def missing(group: str) -> tuple[str, ...]:
    """Those of FILES that this kernel doesn't have, of controllers that the manager in `group` was given."""
    place, has = f"{GROUPS}{group.removesuffix(INIT_SCOPE)}", given(group)
    return tuple(
        file
        for controller, file in FILES.items()
        if controller in has and not os.path.exists(f"{place}/{file}")
    )


def _listener(path: str) -> int | None:
    """The process that listens on a socket, None where that isn't one of this user's. 0: one that can't be seen."""
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
    try:
        connection.connect(path)
        credentials = connection.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)
    except OSError:  # ECONNREFUSED: what a manager that has ended left; EAGAIN: one that doesn't serve
        return None
    finally:
        connection.close()
    pid, uid, _ = struct.unpack("=iII", credentials)
    return int(pid) if uid == os.getuid() else None


def group_of(pid: int) -> str:
    """
    A process's control group ("/user.slice/…/app.slice/x.scope"): in the unified hierarchy, or, where systemd uses the
    old one, in its own. "" where there is none, or no process.
    """
    groups = [line.split(":", 2)[1:] for line in read(f"/proc/{pid}/cgroup").splitlines()]
    for hierarchy in ("", "name=systemd"):
        for name, group in groups:
            if name == hierarchy and group != "/":
                return group
    return ""


def _is_private(directory: str) -> bool:
    try:
        found = os.stat(directory)
    except OSError:
        return False
    return found.st_uid == os.getuid() and not found.st_mode & 0o077


def read(path: str) -> str:
    """A small file of the kernel's, "" where it can't be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.fsdecode(os.read(fd, FILE_SIZE_MAX))
    except OSError:  # ESRCH: it has ended
        return ""
    finally:
        os.close(fd)

"""
What the kernel and the user database say. Asked at most once a compile, and only when a grant needs it.

What goes out: plain values; `facts` records them. It never changes anything.
"""

from __future__ import annotations

import os

from sandboxer.errors import ResolveError
from sandboxer.host.view import User
from sandboxer.words import HostPath

_LANDLOCK_CREATE_RULESET = 444
"""The same number on all architectures (it came after they were unified at 424)."""
_LANDLOCK_CREATE_RULESET_VERSION = 1


def release() -> str:
    """uname's release ("6.1.0-26-amd64")."""
    return os.uname().release


def landlock_abi() -> int:
    """
    The Landlock ABI version, 0 where it is off or absent.

    Source: landlock_create_ruleset(2), LANDLOCK_CREATE_RULESET_VERSION. ctypes costs 2 to 9 ms to import: ask only
    when the answer matters.
    """
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    answer = call(
        ctypes.c_long(_LANDLOCK_CREATE_RULESET),
        ctypes.c_void_p(None),
        ctypes.c_size_t(0),
        ctypes.c_uint32(_LANDLOCK_CREATE_RULESET_VERSION),
    )
    return max(0, int(answer))


def user(home: str | None) -> User:
    """
    Who runs this process.

    Args:
        home: $HOME, which goes before the user database's entry, as it does for every program.
    Raises:
        ResolveError: the user isn't in the database, or has no home directory.
    """
    import grp
    import pwd

    uid, gid = os.getuid(), os.getgid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise ResolveError(
            "cannot tell who you are",
            subject=f"user id {uid}: not in the user database",
            hint="run as a user that /etc/passwd or your directory service knows",
        ) from None
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = entry.pw_name
    path = os.path.normpath(home or entry.pw_dir or "/")
    if not path.startswith("/") or path in ("/", "//") or not os.path.isdir(path):
        raise ResolveError(
            "cannot find your home directory",
            subject=f"{path}: no such directory, or not one that can be a home",
            hint="set HOME to a directory of yours",
        )
    return User(name=entry.pw_name, uid=uid, gid=gid, group=group, home=HostPath(path))

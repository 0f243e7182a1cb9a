"""
Private homes: the directories in which applications keep their own files between runs.

What comes in: where a home is to be. What goes out: that directory, made where it was missing. It never follows a link
beneath the user's data directory, and never takes a directory that others could write.
"""

from __future__ import annotations

import contextlib
import os
import stat

from sandboxer.errors import LaunchError

LEVELS = 3
"""sandboxer/homes/NAME: what is ours beneath the data directory."""


def make_home(path: str, uid: int) -> None:
    """
    Make `path`, DATA/sandboxer/homes/NAME, with mode 0700 at each level that is ours.

    Raises:
        LaunchError: there is no room or no right to make it, or something in the way isn't the user's alone.
    """
    names: list[str] = []
    base = path
    for _ in range(LEVELS):
        base, name = os.path.split(base)
        names.insert(0, name)
    at = base
    try:
        os.makedirs(base, mode=0o700, exist_ok=True)
        opened = [os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
        try:
            for name in names:
                at = os.path.join(at, name)
                opened.append(_enter(opened[-1], name))
                _require_own(opened[-1], at, uid)
        finally:
            for fd in opened:
                os.close(fd)
    except OSError as error:
        raise LaunchError(
            "cannot make the application's private home",
            subject=f"{at}: {error.strerror or error}",
            hint='make room there, remove what is in the way, or set files.home = "ephemeral"',
        ) from error


def _enter(parent: int, name: str) -> int:
    """Make one level where it is missing, and open it."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _require_own(fd: int, path: str, uid: int) -> None:
    status = os.fstat(fd)
    if status.st_uid != uid or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise LaunchError(
            "an application's private home can't be trusted",
            subject=f"{path}: owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}",
            hint=f"give it to yourself alone: chmod 700 {path}",
        )

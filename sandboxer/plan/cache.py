"""
Where compiled plans are kept.

What comes in: a plan's image and the words that it answers. What goes out: a file that the launcher finds by the same
words, put in place whole or not at all. It never reads a plan back, and it never writes into a directory that
somebody else could have made.

The directory is $XDG_RUNTIME_DIR/sandboxer/plans, where session facts live and die, or sandboxer/plans in the user's
cache directory when there is no trustworthy XDG_RUNTIME_DIR. A file is named after its request: FNV-1a, 64 bits, over
each word's bytes and a NUL, in 16 hexadecimal digits, ".plan"; a plan that holds for one working directory goes on
with the directory's bytes and a NUL, and ends in ".d.plan". The launcher computes the same (launchers/lookup.c), and
compares the words in full, so that a collision costs a compile, not a wrong box.
"""

from __future__ import annotations

import contextlib
import os
import stat

from sandboxer.errors import LaunchError
from sandboxer.plan.ops import Plan, PlanFlag

FNV_OFFSET = 0xCBF29CE484222325
FNV_PRIME = 0x100000001B3
U64 = 2**64 - 1
PLANS_MAX = 256
SUFFIX = ".plan"
BY_DIRECTORY_SUFFIX = ".d.plan"


def directory(runtime: str | None, cache_home: str, uid: int) -> str:
    """
    The directory of plans, made with mode 0700 where it is missing.

    Args:
        runtime: $XDG_RUNTIME_DIR. cache_home: $XDG_CACHE_HOME, or its default.
    Raises:
        LaunchError: it can't be made, or it isn't the user's alone.
    """
    if runtime and is_private(runtime, uid):
        return _private(runtime, ("sandboxer", "plans"), uid)
    _make(cache_home, uid, shared=True)
    return _private(cache_home, ("sandboxer", "plans"), uid)


def filter_directory(cache_home: str, uid: int) -> str:
    """The directory of filters, which outlive sessions: made and checked in the same way."""
    _make(cache_home, uid, shared=True)
    return _private(cache_home, ("sandboxer", "filters"), uid)


def presented_directory(cache_home: str, uid: int) -> str:
    """The directory of the copies of files that are opened outside: made and checked in the same way."""
    _make(cache_home, uid, shared=True)
    return _private(cache_home, ("sandboxer", "presented"), uid)


def make_state_directory(state_home: str, uid: int) -> None:
    """
    Make STATE/sandboxer, where brokers keep their logs, with mode 0700.

    At each compile, whether a broker is wanted or not: what is there can be covered where a box would see it, and what
    appears later can't. Raises LaunchError as `directory` does.
    """
    _make(state_home, uid, shared=True)
    _make(os.path.join(state_home, "sandboxer"), uid)


def file_names(request: tuple[str, ...], working_directory: str | None) -> tuple[str, str]:
    """
    The names of a request's plan: the one that holds everywhere, and the one for a working directory.

    The second is empty without `working_directory`.
    """
    value = fnv1a(b"".join(os.fsencode(word) + b"\0" for word in request), FNV_OFFSET)
    anywhere = f"{value:016x}{SUFFIX}"
    if working_directory is None:
        return anywhere, ""
    value = fnv1a(os.fsencode(working_directory) + b"\0", value)
    return anywhere, f"{value:016x}{BY_DIRECTORY_SUFFIX}"


def fnv1a(content: bytes, value: int) -> int:
    """FNV-1a, 64 bits, going on from `value`. Source: draft-eastlake-fnv."""
    for byte in content:
        value = ((value ^ byte) * FNV_PRIME) & U64
    return value


def store(plan: Plan, image: bytes, plans: str, working_directory: str | None) -> str:
    """
    Put a plan where the launcher looks for it, and take away what it replaces: the plan of the same request that holds
    everywhere, or the one for `working_directory` (None when that has no name).

    Returns:
        The path of the file, mode 0600.
    Raises:
        LaunchError: there is no room, or no right to write.
    """
    anywhere, here = file_names(plan.request, working_directory)
    chosen, replaced = (here, anywhere) if plan.flags & PlanFlag.BY_DIRECTORY else (anywhere, here)
    path = os.path.join(plans, chosen)
    draft = os.path.join(plans, f".{chosen}.{os.getpid()}")
    try:
        _remove(draft)  # Of a process that had this number and died while it wrote.
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:
                os.fchmod(fd, 0o600)
                file.write(image)
            os.rename(draft, path)
        except BaseException:
            _remove(draft)
            raise
        if replaced:
            _remove(os.path.join(plans, replaced))
        _prune(plans, chosen)
    except OSError as error:
        raise _cannot_store(path, error) from error
    return path


def _prune(plans: str, keep: str) -> None:
    """Keep the newest plans: someone may start every program there is."""
    found = []
    with os.scandir(plans) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX) and entry.name != keep:
                try:
                    found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.path))
                except FileNotFoundError:
                    continue  # Another start replaced it in this moment.
    for _, path in sorted(found, reverse=True)[PLANS_MAX - 1 :]:
        _remove(path)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _private(base: str, names: tuple[str, ...], uid: int) -> str:
    """Directories of ours beneath `base`; the last is closed to all others, as the launcher requires."""
    for name in names:
        base = os.path.join(base, name)
        _make(base, uid, closed=name == names[-1])
    return base


def is_private(path: str, uid: int) -> bool:
    """Whether a directory is there, the user's, and closed to all others: links aren't followed."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    except OSError as error:
        raise _cannot_store(path, error) from error
    return path.startswith("/") and stat.S_ISDIR(status.st_mode) and _owned(status, uid, 0o077)


def _owned(status: os.stat_result, uid: int, forbidden: int) -> bool:
    return status.st_uid == uid and not status.st_mode & forbidden


def _make(path: str, uid: int, *, shared: bool = False, closed: bool = False) -> None:
    """
    Make a directory, or check the one that is there: others can't write in it, nor read in a `closed` one. A `shared`
    one, the user's own cache directory, may be a link and its group's.
    """
    try:
        if shared:
            os.makedirs(path, mode=0o700, exist_ok=True)
            status, forbidden = os.stat(path), 0o002
        else:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
            status, forbidden = os.lstat(path), 0o077 if closed else 0o022
    except OSError as error:
        raise _cannot_store(path, error) from error
    if not stat.S_ISDIR(status.st_mode) or not _owned(status, uid, forbidden):
        raise LaunchError(
            "the directory of plans can't be trusted",
            subject=f"{path}: owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}",
            hint=f"give it to yourself alone (chmod 700 {path}), or remove it",
        )


def _cannot_store(path: str, error: OSError) -> LaunchError:
    return LaunchError(
        "cannot store the plan",
        subject=f"{path}: {error.strerror or error}",
        hint="make room on that file system, or make the directory writable",
    )

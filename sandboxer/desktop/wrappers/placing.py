"""
Files in the user's own directories: put in place whole, kept, brought back.

What comes in: a directory, a name, bytes. What goes out: the file, or an OSError that says what is in the way. A
symbolic link at the name is a file like others: it is kept and replaced, never followed. Directories on the way may be
links, as people have who keep their settings elsewhere; what they lead to must be the user's alone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat

ABSENT = ""
STRANGE = "strange"
DRAFT = ".sandboxer-new"
DIRECTORY_MODE = 0o700
"""Source: XDG base directory specification, "Referencing this specification"."""


def missing_directories(path: str) -> list[str]:
    """The directories that would have to be made for `path` to be one, the outermost first."""
    missing: list[str] = []
    while not os.path.isdir(path) and path != os.path.dirname(path):
        missing.insert(0, path)
        path = os.path.dirname(path)
    return missing


def in_the_way(path: str) -> str:
    """What keeps `path` from becoming a directory, because it is none itself; "" for nothing."""
    return next((part for part in missing_directories(path) if os.path.lexists(part)), "")


def open_directory(path: str, *, group: int) -> int:
    """
    A descriptor of a directory that only the user can write.

    Args:
        group: that may write as well: the user's own, or -1.
    Raises:
        OSError: it isn't there; EPERM: others could put something into it.
    """
    real = os.path.realpath(path)
    fd = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(fd)
    by_group = status.st_mode & stat.S_IWGRP and status.st_gid != group
    if status.st_uid != os.getuid() or status.st_mode & stat.S_IWOTH or by_group:
        os.close(fd)
        raise OSError(errno.EPERM, "it isn't yours alone: others could write there", path)
    return fd


def look(directory: int, name: str) -> str:
    """
    What is there: a digest of a file's content, "link:TARGET", ABSENT, or STRANGE for a directory and the like.
    """
    try:
        status = os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return ABSENT
    if stat.S_ISLNK(status.st_mode):
        return f"link:{os.readlink(name, dir_fd=directory)}"
    if not stat.S_ISREG(status.st_mode):
        return STRANGE
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    with open(fd, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def put(directory: int, name: str, content: bytes, mode: int) -> None:
    """Make a file, or another in its place: no reader ever sees a part of it."""
    draft = f".{name}{DRAFT}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=directory)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(draft, flags, 0o600, dir_fd=directory)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(fd, mode)
            os.fsync(fd)
        os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=directory)
        raise


def keep(directory: int, name: str, keeping: int, kept: str) -> None:
    """
    Keep a file or link as it is, under another name in another directory; it stays where it is.

    A second name for the same file, so that owner, times and attributes are kept, too; where the two directories are on
    different file systems, a copy.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(kept, dir_fd=keeping)
    try:
        os.link(name, kept, src_dir_fd=directory, dst_dir_fd=keeping, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        _copy(directory, name, keeping, kept)


def bring_back(keeping: int, kept: str, directory: int, name: str) -> None:
    """Put what was kept in the place of what is there now."""
    try:
        os.rename(kept, name, src_dir_fd=keeping, dst_dir_fd=directory)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        draft = f".{name}{DRAFT}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=directory)
        _copy(keeping, kept, directory, draft)
        os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)


def remove(directory: int, name: str) -> None:
    """Remove a file, and a draft of it that a crash has left."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
    remove_draft(directory, name)


def remove_draft(directory: int, name: str) -> None:
    """Remove what a crash has left of a file that wasn't in place yet."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f".{name}{DRAFT}", dir_fd=directory)


def _copy(source: int, name: str, target: int, copy: str) -> None:
    shutil.copy2(f"/proc/self/fd/{source}/{name}", f"/proc/self/fd/{target}/{copy}", follow_symlinks=False)

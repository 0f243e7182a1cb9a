"""
Files that are handed over by number: `sandbox run --fd NAME=PATH`.

What comes in: a request that names files. What goes out: the same request without them, after they were opened: their
descriptors, which stay open when this process becomes the launcher, are kept, and the variable NAME holds the number.
Links on the way are followed only where the user can't make any, so that no box can have: a shell follows the others.
It never opens a directory, through which the application could leave its box, nor a device, which can act when it is
opened: a shell opens those, and --keep-fd hands them over.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING

from sandboxer.cli.request import HandedFile, Request, run_request
from sandboxer.errors import LaunchError
from sandboxer.plan.ops import BROKER_DESCRIPTOR, CONNECT_FIRST, CONNECT_MAX

if TYPE_CHECKING:
    from collections.abc import Container

FIRST = 3
LINKS_MAX = 40
"""The kernel's own limit (MAXSYMLINKS)."""
NEVER_WRITABLE = ("/", "/dev")
"""No box can write there, whoever's it is."""
RESERVED = range(BROKER_DESCRIPTOR, CONNECT_FIRST + CONNECT_MAX)
"""Numbers at which a policy may put descriptors of its own."""
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def with_open_files(request: Request) -> Request:
    """
    Open the files of a request, and ask for their descriptors instead.

    Paths are relative to the working directory. A pipe waits for its other side, as it does in a shell.

    Raises:
        LaunchError: a file can't be opened, or must not be.
    """
    words: list[str] = []
    taken = {*RESERVED, *request.keep_fds}
    for file in request.files:
        number = _opened(file, taken)
        taken.add(number)
        words += ["--keep-fd", str(number), "--set", f"environment.set.{file.name}={number}"]
    end = request.rest.index("--")
    return run_request([*request.rest[:end], *words, *request.rest[end:]], debug=request.debug)


def _opened(file: HandedFile, taken: Container[int]) -> int:
    """A file's descriptor, inherited by what this process becomes, under a number that nobody else has."""
    try:
        found = opened_path(file.path)
        try:
            kind = stat.S_IFMT(os.fstat(found).st_mode)
            if kind not in (stat.S_IFREG, stat.S_IFIFO):
                raise LaunchError(
                    "cannot hand over what is neither a file nor a pipe",
                    subject=f"{file.path}: {KINDS[kind]}",
                    hint="name files, each by itself"
                    if kind == stat.S_IFDIR
                    else "let your shell open it, and hand that over: --keep-fd 3 ... 3<> PATH",
                )
            flags = (os.O_RDWR if file.write else os.O_RDONLY) | os.O_CLOEXEC | os.O_NOCTTY
            fd = os.open(f"/proc/self/fd/{found}", flags)
        finally:
            os.close(found)
    except OSError as error:
        raise LaunchError(
            f"cannot open a file that is to be handed over for {'writing' if file.write else 'reading'}",
            subject=f"{file.path}: {error.strerror}",
            hint="make it first; --fd makes no files" if isinstance(error, FileNotFoundError) else "",
        ) from error
    number = fcntl.fcntl(fd, fcntl.F_DUPFD, FIRST)
    while number in taken:
        os.close(number)
        number = fcntl.fcntl(fd, fcntl.F_DUPFD, number + 1)
    os.close(fd)
    return number


def opened_path(path: str) -> int:
    """
    An O_PATH descriptor of what a path names: one component at a time, none of them by a link that a box may have made.

    Each link lies in a directory that is held open and that was looked at, so that nothing can come in between.
    """
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    here = os.open("/" if path.startswith("/") else ".", flags)
    ahead, links = path.split("/")[::-1], 0
    try:
        while ahead:
            part = ahead.pop()
            if part in ("", "."):
                continue
            there = os.open(part, flags, dir_fd=here)
            if stat.S_ISLNK(os.fstat(there).st_mode):
                if os.fstat(here).st_dev == os.stat("/proc").st_dev:  # the kernel's own: /dev/fd/N, <(...)
                    os.close(there)
                    there = os.open(part, os.O_PATH | os.O_CLOEXEC, dir_fd=here)
                else:
                    target = os.readlink("", dir_fd=there)
                    os.close(there)
                    links += 1
                    _judge(here, part, links, path)
                    ahead += target.split("/")[::-1]
                    there = os.open("/", flags) if target.startswith("/") else os.dup(here)
            os.close(here)
            here = there
        if path.endswith("/"):
            os.close(os.open(".", flags, dir_fd=here))  # ENOTDIR, as the path itself would get
    except BaseException:
        os.close(here)
        raise
    return _lowest(here)


def _lowest(fd: int) -> int:
    """The same under the lowest number that is free, so that a file's own becomes the next one."""
    other = os.dup(fd)
    os.close(max(fd, other))
    return min(fd, other)


def _judge(directory: int, name: str, links: int, path: str) -> None:
    if links > LINKS_MAX:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    place = os.readlink(f"/proc/self/fd/{directory}")
    is_mine = os.fstat(directory).st_uid == os.getuid() or os.access(f"/proc/self/fd/{directory}", os.W_OK)
    if is_mine and place not in NEVER_WRITABLE:
        raise LaunchError(
            "refuses to follow a link that an application could have made",
            subject=f"{os.path.join(place, name)}: a symbolic link in a directory that you can write",
            hint=f"name the file itself: realpath {path}",
        )

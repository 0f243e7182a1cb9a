"""
The broker gives up all that its rules don't need, before it reads a byte from the box and after it has left the host's
tree (`own_root`).

What comes in: the table of rules with its directories open, the log, the filter's program. What goes out: a process
that can only do what a permitted request takes; or an OSError, and then nothing may be served. Every step is checked,
and none can be left out.

Abuse: should a request take the broker over, its attacker has the user's identity, but Landlock lets it open what the
rules are for and nothing else, the filter lets it start nothing and reach nothing by network, and no process of the
user's can be traced from it or is traced into it. Two things that Landlock doesn't govern, connecting to sockets by
their names and changing modes and times, are kept from it by there being no names.
"""

from __future__ import annotations

import errno
import os
import resource
import stat

from sandboxer import process_state
from sandboxer._kernel import lib
from sandboxer.broker import rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandboxer.broker.verdicts import Place, Table

(
    EXECUTE,
    WRITE_FILE,
    READ_FILE,
    READ_DIR,
    REMOVE_DIR,
    REMOVE_FILE,
    MAKE_CHAR,
    MAKE_DIR,
    MAKE_REG,
    MAKE_SOCK,
    MAKE_FIFO,
    MAKE_BLOCK,
    MAKE_SYM,
    REFER,
    TRUNCATE,
    IOCTL_DEV,
) = (1 << bit for bit in range(16))
"""LANDLOCK_ACCESS_FS_*. Source: landlock(7)."""
FILES_ABI, NET_ABI, SCOPE_ABI = 3, 4, 6
FILES = {1: REFER - 1, 2: TRUNCATE - 1, 3: IOCTL_DEV - 1, 4: IOCTL_DEV - 1}
"""What an ABI knows of the above; later ones, all."""
NET = 0b11
"""Binding and connecting TCP."""
SCOPES = 0b11
"""Abstract unix sockets, signals."""

ACCESS = {
    rules.READ: READ_FILE,
    rules.WRITE: WRITE_FILE | TRUNCATE,
    rules.APPEND: WRITE_FILE,
    rules.CREATE: MAKE_REG,
    rules.LIST: READ_DIR,
    rules.MKDIR: MAKE_DIR,
    rules.RENAME: REFER | REMOVE_FILE | REMOVE_DIR | MAKE_REG | MAKE_DIR | MAKE_SYM,
    rules.UNLINK: REMOVE_FILE | REMOVE_DIR,
    rules.WATCH: 0,
    rules.STAT: 0,
    rules.ACCESS: 0,
    rules.READLINK: 0,
}
"""What a right takes. Looking at things is outside Landlock's rules."""
OF_A_FILE = WRITE_FILE | READ_FILE | TRUNCATE
LOG = WRITE_FILE | REMOVE_FILE | MAKE_REG

DESCRIPTORS, MEMORY, FILE_SIZE = 1024, 256 * 1024 * 1024, 16 * 1024 * 1024
"""As many descriptors as is usual: the kernel holds all those against it that the user has under way, whoever sent
them."""


def confine(table: Table, log_directory: int, program: bytes) -> None:
    """
    Confine this process, for good.

    Raises:
        OSError: a step failed, or the kernel's Landlock is missing or too old; `strerror` says which.
    """
    if not program:
        raise OSError(errno.EINVAL, "there is no system-call filter")
    limit(len(table.places))
    os.umask(0)  # the mode of what is made is the request's
    process_state.set_undumpable()
    process_state.set_no_new_privs()
    if not process_state.is_confined():
        raise OSError(errno.EPERM, "cannot set no_new_privs")
    enter_landlock(table, log_directory)
    _require(lib.kernel_load_filter(program, len(program)), "cannot load the system-call filter")


def access_of(place: Place) -> tuple[int, int]:
    """
    What a rule takes of Landlock: on its one file (0 where it has none), and on its directory. With what rules for
    directories above give: these aren't above its copy of the directory.
    """
    needed = 0
    for right, access in ACCESS.items():
        if place.effective & right:
            needed |= access
    if not place.name:
        return 0, needed
    # a file that is to be made has no inode yet that could be permitted
    creates = place.effective & rules.CREATE
    return needed & OF_A_FILE, needed if creates else needed & ~OF_A_FILE & ~READ_DIR


def limit(places: int) -> None:
    """Bound this process's resources; each place takes a descriptor. Raises OSError."""
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, DESCRIPTORS + places),
        (resource.RLIMIT_FSIZE, FILE_SIZE),
        (resource.RLIMIT_AS, MEMORY),
    ):
        hard = resource.getrlimit(kind)[1]
        lowest = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        try:
            resource.setrlimit(kind, (lowest, lowest))
        except (OSError, ValueError) as error:
            raise OSError(errno.EPERM, f"cannot limit the broker's resources: {error}") from error


def enter_landlock(table: Table, log_directory: int) -> None:
    """Whatever the rules are: where there are none for paths, only the log can be opened. Raises OSError."""
    abi = _require(lib.kernel_landlock_abi(), "the kernel has no Landlock")
    if abi < FILES_ABI and table.places:
        raise OSError(errno.EOPNOTSUPP, "rules for paths need Linux 6.2 with Landlock")
    ruleset = _require(
        lib.kernel_landlock_create(
            FILES.get(abi, 2 * IOCTL_DEV - 1), NET if abi >= NET_ABI else 0, SCOPES if abi >= SCOPE_ABI else 0
        ),
        "cannot make a Landlock ruleset",
    )
    try:
        for place in table.places:
            on_file, on_directory = access_of(place)
            if place.fd >= 0 and on_directory:
                _allow(ruleset, place.fd, on_directory)
            if place.inode and on_file:
                _allow_file(ruleset, place, on_file)
        _allow(ruleset, log_directory, LOG)
        _require(lib.kernel_landlock_restrict(ruleset), "cannot enter the Landlock domain")
    finally:
        os.close(ruleset)


def _allow(ruleset: int, fd: int, access: int) -> None:
    _require(lib.kernel_landlock_allow(ruleset, fd, access), "cannot permit what a rule is for")


def _allow_file(ruleset: int, place: Place, access: int) -> None:
    """The inode that `roots` has seen; one that has taken its name since isn't permitted, and `files` will notice."""
    try:
        fd = os.open(place.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.fd)
    except FileNotFoundError:
        return
    try:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) == (place.device, place.inode):
            _allow(ruleset, fd, access)
    finally:
        os.close(fd)


def _require(answer: int, what: str) -> int:
    if answer < 0:
        raise OSError(-answer, f"{what}: {os.strerror(-answer)}")
    return answer

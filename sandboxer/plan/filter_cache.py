"""
Filters that have been made before.

What comes in: the rules and foreign ABIs of a filter, and a directory. What goes out: its program, made anew only when
something that it depends on has changed; then pyseccomp, which takes longer to import than everything else together,
isn't needed. What an entry was made from is stored in it and compared in full. It never takes an entry that somebody
else could have written.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from typing import TYPE_CHECKING

from sandboxer import __version__
from sandboxer.errors import LaunchError, PlanError
from sandboxer.plan import bpf
from sandboxer.plan.ops import BPF_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandboxer.grants.syscalls import Rule

HEADER = struct.Struct("=8sIII")
"""Magic, bytes of inputs, bytes of program, CRC-32 of both."""
MAGIC = b"SBXBPF1\n"
SIZE_MAX = HEADER.size + 64 * 1024 + BPF_MAX * bpf.INSTRUCTION.size
LIBRARY = "libseccomp.so.2"
CODE = ("seccomp.py", "prefix.py", "bpf.py")


def program(rules: tuple[Rule, ...], foreign: tuple[str, ...], directory: str) -> bytes:
    """
    The filter for these rules: see `seccomp.assemble`.

    Args:
        directory: absolute; made with mode 0700 when it isn't there.

    Raises:
        LaunchError: the directory is somebody else's, or what was made can't be stored.
        PolicyError, ResolveError, PlanError: as from `seccomp.assemble`.
    """

    def make() -> bytes:
        from sandboxer.plan.seccomp import assemble

        return assemble(rules, foreign)

    return stored(inputs(rules, foreign), directory, make)


def stored(made_from: bytes, directory: str, make: Callable[[], bytes]) -> bytes:
    """The program that was made from `made_from` before, else what `make` makes. Directory and errors as above."""
    path = f"{directory}/filter-{zlib.crc32(made_from):08x}"
    _require_own(directory)
    found = _load(path, made_from)
    if found is not None:
        return found
    fresh = make()
    _store(path, made_from, fresh)
    return fresh


def surroundings() -> list[str]:
    """What every program depends on, as lines: the library, this machine's processor and our own code."""
    here = os.path.dirname(__file__)
    return [
        f"sandboxer {__version__}",
        f"machine {os.uname().machine}",
        *(_file_line(f"{here}/{name}") for name in CODE),
        *(_file_line(path) for path in _library_paths()),
    ]


def inputs(rules: tuple[Rule, ...], foreign: tuple[str, ...]) -> bytes:
    """All that a program depends on, as text: its surroundings, the ABIs and the rules."""
    lines = [*surroundings(), f"foreign {' '.join(sorted(foreign))}"]
    for rule in rules:
        tests = (
            f" {test.argument}&{test.mask:x} is {test.among} is-not {test.not_among} any {test.any_bit:x}"
            for test in rule.when
        )
        lines.append(f"{rule.name} {rule.errno}{''.join(tests)}")
    return "\n".join(lines).encode()


def _library_paths() -> tuple[str, ...]:
    """Where libseccomp may lie; asking the loader would take two programs' runs. A change at any place counts."""
    triplet = f"{os.uname().machine}-linux-gnu"
    directories = (f"/usr/lib/{triplet}", f"/lib/{triplet}", "/usr/lib64", "/lib64", "/usr/lib", "/lib")
    return tuple(
        f"{directory}/{LIBRARY}"
        for directory in ("/usr/local/lib", f"/usr/local/lib/{triplet}", *directories)
    )


def _file_line(path: str) -> str:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return f"{path} absent"
    except OSError as error:
        raise LaunchError(
            "cannot look at a part of sandboxer or of its libraries", subject=f"{path}: {error.strerror}"
        ) from error
    return f"{path} {status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns}"


def _require_own(directory: str) -> None:
    """Make the directory, or refuse one that others could have put files into."""
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        status = os.lstat(directory)
    except OSError as error:
        raise _cannot_store(directory, error) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise LaunchError(
            "the directory of cached filters can't be trusted",
            subject=f"{directory}: owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}",
            hint=f"remove it: rm -r {directory}",
        )


def _load(path: str, made_from: bytes) -> bytes | None:
    """The program of an entry; None where there is none, or one that isn't ours, isn't whole, or is of other inputs."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # Whatever the reason (absent, a link, no permission): what is made anew takes its place.
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            return None
        content = os.read(descriptor, SIZE_MAX + 1)
    except OSError as error:
        raise LaunchError("cannot read a cached filter", subject=f"{path}: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(content) < HEADER.size:
        return None
    magic, inputs_size, program_size, checksum = HEADER.unpack_from(content)
    rest = content[HEADER.size :]
    if magic != MAGIC or len(rest) != inputs_size + program_size or zlib.crc32(rest) != checksum:
        return None
    if rest[:inputs_size] != made_from:
        return None
    stored = rest[inputs_size:]
    try:
        bpf.decode(stored)
    except PlanError:
        return None
    return stored


def _store(path: str, made_from: bytes, fresh: bytes) -> None:
    """Put an entry in place, whole or not at all."""
    rest = made_from + fresh
    content = HEADER.pack(MAGIC, len(made_from), len(fresh), zlib.crc32(rest)) + rest
    draft = f"{path}.{os.getpid()}"
    try:
        descriptor = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.rename(draft, path)
        except BaseException:
            os.unlink(draft)
            raise
    except OSError as error:
        raise _cannot_store(path, error) from error


def _cannot_store(path: str, error: OSError) -> LaunchError:
    return LaunchError(
        "cannot store a system-call filter",
        subject=f"{path}: {error.strerror}",
        hint="make room on that file system, or make the directory writable",
    )

"""
Running boxes, as the session knows them.

What comes in: the session. What goes out: boxes whose launcher lives. What lies in their directory is believed as far
as it can be verified: the user's alone, and locked. It changes nothing but to remove what a killed launcher has left
(launchers/state.c makes these directories). Which box a word means: `naming`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator

from sandboxer.errors import StewardError
from sandboxer.host.session import Session
from sandboxer.plan.cache import is_private
from sandboxer.words import Record

CONTENT_SIZE_MAX = 8192
SETTLED_S = 10
"""A directory younger than this may belong to a launcher that hasn't locked it yet."""
FILES = ("control", "grants", ".grants", "box")
NETWORKS = ("none", "host")
HOLES_MAX = 64
TOPICS_MAX = 32
TEXT_MAX = 256
"""Characters of a fact."""
RUNTIME = "/run/user"
"""Where sessions' directories are, each named after its user's number. Source: pam_systemd(8)."""


class Box(Record):
    """
    One that runs. `id` is APP.PID; `monitor` the launcher's pid; `started` in seconds since the epoch.

    `network` is "none" or "host", `holes` are sentences, `topics` what they are about, `policy` is its name, as the
    plan had them: "" and () where the launcher wrote nothing of it.
    """

    id: str
    app: str
    monitor: int
    started: int
    directory: str
    network: str = ""
    holes: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    policy: str = ""


def boxes_directory(session: Session) -> str:
    """Where the launcher makes its state directories. It may not exist."""
    runtime = session.environment.get("XDG_RUNTIME_DIR")
    if runtime and is_private(runtime, os.getuid()):
        return os.path.join(runtime, "sandboxer", "boxes")
    return os.path.join(session.cache_home, "sandboxer", "boxes")


def directories(session: Session) -> tuple[str, ...]:
    """
    All that can hold boxes of this user: where this session's launcher makes them first, then those of sessions that
    have no XDG_RUNTIME_DIR (cron, su), or have one where this has none. They may not exist.
    """
    own = boxes_directory(session)
    found = [own]
    if not session.environment.get("XDG_RUNTIME_DIR"):
        usual = os.path.join(RUNTIME, str(os.getuid()))
        if is_private(usual, os.getuid()):
            found.append(os.path.join(usual, "sandboxer", "boxes"))
    found.append(os.path.join(session.cache_home, "sandboxer", "boxes"))
    return tuple(dict.fromkeys(found))


def all_running(session: Session) -> list[Box]:
    """
    The user's boxes that run, of all `directories`, the oldest first.

    Raises:
        StewardError: one of these isn't the user's alone; or this is root, who has none.
    """
    if os.getuid() == 0:
        raise StewardError(
            "root has no boxes",
            subject="each belongs to the user who started it, and is that user's to look at",
            hint="sudo -u NAME sandbox ps",
        )
    found = [box for directory in directories(session) for box in running(directory)]
    return sorted(found, key=_age)


def running(directory: str) -> list[Box]:
    """
    The boxes that run, the oldest first.

    Raises:
        StewardError: the directory isn't the user's alone.
    """
    try:
        boxes = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StewardError(
            "cannot look for running boxes", subject=f"{directory}: {error.strerror or error}"
        ) from error
    try:
        _require_own(boxes, directory)
        found = [box for name in sorted(os.listdir(boxes)) if (box := _look(boxes, name, directory))]
    finally:
        os.close(boxes)
    return sorted(found, key=_age)


def _age(box: Box) -> tuple[int, int]:
    return box.started, box.monitor


def _require_own(fd: int, path: str) -> None:
    status = os.fstat(fd)
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise StewardError(
            "the directory of running boxes can't be trusted",
            subject=f"{path}: owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}",
            hint="look at who changed it, then remove it",
        )


def _look(boxes: int, name: str, path: str) -> Box | None:
    """One entry. What isn't as a launcher makes it is no box, and is left alone."""
    with contextlib.ExitStack() as closing:
        try:
            directory = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=boxes)
        except OSError:  # no directory, or gone by now
            return None
        closing.callback(os.close, directory)
        status = os.fstat(directory)
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            return None
        try:
            lock = os.open(
                "box", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
            )
        except FileNotFoundError:
            _remove(boxes, name, directory)
            return None
        except OSError:  # a link, or something that the user may not read
            return None
        closing.callback(os.close, lock)
        status = os.fstat(lock)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return parse(name, os.read(lock, CONTENT_SIZE_MAX), os.path.join(path, name))
        _remove(boxes, name, directory)
        return None


def parse(name: str, content: bytes, directory: str) -> Box | None:
    """What the file `box` in the directory `name` says; None where that isn't what a launcher writes."""
    fields: dict[str, str] = {}
    several: dict[str, list[str]] = {"hole": [], "topic": []}
    for key, value in _fields(content):
        if key in several:
            several[key].append(value)
        else:
            fields.setdefault(key, value)  # the launcher's own lines come first, and hold
    app, monitor, started = fields.get("app", ""), fields.get("monitor", ""), fields.get("started", "")
    numbers = all(text.isascii() and text.isdigit() and len(text) < 20 for text in (monitor, started))
    if not app or not numbers or name != f"{app}.{monitor}":
        return None
    network = fields.get("network", "")
    return Box(
        id=name,
        app=app,
        monitor=int(monitor),
        started=int(started),
        directory=directory,
        network=network if network in NETWORKS else "",
        holes=tuple(hole[:TEXT_MAX] for hole in several["hole"][:HOLES_MAX]),
        topics=tuple(topic[:TEXT_MAX] for topic in several["topic"][:TOPICS_MAX]),
        policy=fields.get("policy", "")[:TEXT_MAX],
    )


def _fields(content: bytes) -> Iterator[tuple[str, str]]:
    for line in os.fsdecode(content).split("\n"):
        key, equals, value = line.partition("=")
        if equals:
            yield key, value


def _remove(boxes: int, name: str, directory: int) -> None:
    """Take away what a launcher left that was killed. Whatever else lies there keeps the directory."""
    if time.time() - os.fstat(directory).st_mtime < SETTLED_S:
        return
    for file in FILES:
        with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
            os.unlink(file, dir_fd=directory)
    with contextlib.suppress(OSError):  # ENOTEMPTY: somebody put something there
        os.rmdir(name, dir_fd=boxes)

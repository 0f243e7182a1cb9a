"""
Running boxes, as the session knows them.

What comes in: the directory of boxes, and a word of the command line. What goes out: boxes whose launcher lives, or
the errors that tell which there are. What lies there is believed as far as it can be verified: the user's alone, and
locked. It changes nothing but to remove what a killed launcher has left (launchers/state.c makes these directories).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Sequence

from sandboxer.errors import StewardError
from sandboxer.host.session import Session
from sandboxer.plan.cache import is_private
from sandboxer.words import Record

CONTENT_SIZE_MAX = 8192
SETTLED_S = 10
"""A directory younger than this may belong to a launcher that hasn't locked it yet."""
FILES = ("control", "grants", ".grants", "box")
LISTED_MAX = 8
NETWORKS = ("none", "host")
HOLES_MAX = 64
TEXT_MAX = 256
"""Characters of a fact."""


class Box(Record):
    """
    One that runs. `id` is APP.PID; `monitor` the launcher's pid; `started` in seconds since the epoch.

    `network` is "none" or "host", `holes` are sentences, `policy` is its name, as the plan had them: "" and () where
    the launcher wrote nothing of it.
    """

    id: str
    app: str
    monitor: int
    started: int
    directory: str
    network: str = ""
    holes: tuple[str, ...] = ()
    policy: str = ""


def boxes_directory(session: Session) -> str:
    """Where the launcher makes its state directories. It may not exist."""
    runtime = session.environment.get("XDG_RUNTIME_DIR")
    if runtime and is_private(runtime, os.getuid()):
        return os.path.join(runtime, "sandboxer", "boxes")
    return os.path.join(session.cache_home, "sandboxer", "boxes")


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
    return sorted(found, key=lambda box: (box.started, box.monitor))


def named(word: str, boxes: Sequence[Box]) -> Box:
    """
    The one that a word means: its id, its launcher's pid, or its application, when that has only one.

    Raises:
        StewardError: none, or several.
    """
    for box in boxes:
        if word in (box.id, str(box.monitor)):
            return box
    found = [box for box in boxes if box.app == word]
    if len(found) == 1:
        return found[0]
    if found:
        raise StewardError(
            f"{word} runs {len(found)} times",
            subject=listed(found),
            hint=f"name one of them ({found[-1].id})",
        )
    raise StewardError(
        "no such box runs",
        subject=f"{word}; {f'there are: {listed(boxes)}' if boxes else 'no box runs at all'}",
        hint=f"start it: sandbox {word}" if word and not word.isdigit() and "." not in word else "",
    )


def listed(boxes: Sequence[Box]) -> str:
    """For messages: the ids, the newest last, and how many more there are."""
    shown = [box.id for box in boxes[-LISTED_MAX:]]
    more = len(boxes) - len(shown)
    return ", ".join([*shown, f"and {more} older ones"] if more > 0 else shown)


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
    holes: list[str] = []
    for key, value in _fields(content):
        if key == "hole":
            holes.append(value)
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
        holes=tuple(hole[:TEXT_MAX] for hole in holes[:HOLES_MAX]),
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

"""
Files that are ours among the user's units: written, known again, and taken away so that nothing is left.

What comes in: a path beneath the user's own unit directory, and a text. What goes out: the file, sealed; or its
absence. It never overwrites or removes a file that isn't ours, or that was edited since.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from sandboxer.desktop.unwritable import remedy
from sandboxer.errors import ResolveError

SEAL = re.compile(r"# sandboxer: ([0-9a-f]{64}) ([0-9]{1,3}) ", re.ASCII)
FILE_SIZE_MAX = 1024 * 1024
TIMEOUT_S = 60
LEVELS_MAX = 8


def own_directory(variables: Mapping[str, str], home: str) -> str:
    """Where a user's own units are. Source: systemd.unit(5)."""
    config = variables.get("XDG_CONFIG_HOME", "")
    return os.path.join(config if config.startswith("/") else os.path.join(home, ".config"), "systemd/user")


def write(path: str, body: str, words: str) -> None:
    """
    Write a file of ours, over an older one of ours.

    Args:
        words: one line on what wrote it, and what takes it away.
    Raises:
        ResolveError: something else is there, or it can't be written.
    """
    there, fresh = os.path.lexists(path), 0
    if there:
        require_ours(path)
    try:
        fresh = _make_directories(os.path.dirname(path))
        _replace(path, body, _made(read(path)) if there else fresh, words)
    except OSError as error:
        _remove_directories(path, fresh)
        raise _cannot("write", path, error) from error


def create(path: str, text: str) -> None:
    """
    Write a file that is the user's own from then on: nothing of ours, not sealed.

    Raises:
        ResolveError: there is one already, or it can't be written.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "x", encoding="utf-8") as file, _removed_unless_whole(path):
            file.write(text)
            file.flush()
    except OSError as error:
        raise _cannot("write", path, error) from error


def remove(path: str) -> None:
    """
    Take away a file of ours, and the directories that were made for it, as far as they are empty.

    Raises:
        ResolveError: it isn't there, isn't ours, was edited, or can't be removed.
    """
    require_ours(path)
    made = _made(read(path))
    try:
        os.unlink(path)
        _remove_directories(path, made)
    except OSError as error:
        raise _cannot("remove", path, error) from error


def _remove_directories(path: str, made: int) -> None:
    """
    Take away the directories above `path` that were made for it, the innermost first. From one that isn't empty on, it
    is for another file of ours in there, which is removed later, to take away the rest.
    """
    for left in range(made, 0, -1):
        path = os.path.dirname(path)
        try:
            os.rmdir(path)
        except OSError:  # ENOTEMPTY: somebody uses it
            _hand_on(path, left)
            return


def _hand_on(directory: str, levels: int) -> None:
    """Have the first file of ours for which all directories below `directory` were made know of `levels` more."""
    for place, _, names in os.walk(directory):
        depth = 0 if place == directory else len(os.path.relpath(place, directory).split("/"))
        for name in sorted(names):
            path = os.path.join(place, name)
            text = read(path) if not os.path.islink(path) else ""
            seal = SEAL.match(text)
            if seal is not None and int(seal.group(2)) == depth and _digest(body_of(text)) == seal.group(1):
                words = text[seal.end() :].partition("\n")[0]
                _replace(path, body_of(text), depth + levels, words)
                return


def is_ours(path: str) -> bool:
    """Whether this wrote a file, edited or not."""
    return SEAL.match(read(path)) is not None


def require_ours(path: str) -> None:
    """Raise ResolveError unless this wrote the file as it is."""
    text = read(path)
    seal = SEAL.match(text)
    if seal is None:
        raise ResolveError(
            "refuses to touch a unit that sandboxer hasn't written",
            subject=f"{path}: {'is there already' if text else 'nothing there'}",
            hint="look at it; move it away" if text else "",
        )
    if _digest(body_of(text)) != seal.group(1):
        raise ResolveError(
            "refuses to touch a file that was edited since sandboxer wrote it",
            subject=path,
            hint="keep your lines in a drop-in of another name, then remove the file",
        )


def body_of(text: str) -> str:
    """A file's text without its seal."""
    return text.partition("\n")[2]


def read(path: str) -> str:
    """A file's text, "" where there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(FILE_SIZE_MAX)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise ResolveError("cannot read a unit", subject=f"{path}: {error.strerror or error}") from error


def link(path: str, target: str) -> None:
    """Make a symbolic link to `target`, with the directory that it is in."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.islink(path) and os.readlink(path) == target:
            return
        os.symlink(target, path)
    except OSError as error:
        raise _cannot("enable", path, error) from error


def unlink(path: str, target: str) -> None:
    """Take away a symbolic link to `target`, and its directory when that is empty then."""
    if os.path.islink(path) and os.readlink(path) == target:
        os.unlink(path)
        with contextlib.suppress(OSError):  # ENOTEMPTY: it enables other units as well
            os.rmdir(os.path.dirname(path))


def manager_runs(variables: Mapping[str, str]) -> bool:
    """Whether a user manager can be told of changes."""
    runtime = variables.get("XDG_RUNTIME_DIR", "")
    return runtime.startswith("/") and os.path.exists(os.path.join(runtime, "systemd/private"))


def tell_manager(*words: str) -> None:
    """
    `systemctl --user WORDS`.

    Raises:
        ResolveError: it failed.
    """
    _ask(*words)


def main_processes(names: Sequence[str]) -> list[tuple[str, int]]:
    """
    The services of these names that run, a template's instances among them, and the pids of their main processes.

    Raises:
        ResolveError: the manager doesn't tell.
    """
    escaped = (name.replace("\\", "\\\\").replace("@.", "@*.") if "@." in name else name for name in names)
    text = _ask("show", "--property=Id,MainPID", "--", *escaped) if names else ""
    found: list[tuple[str, int]] = []
    for block in text.split("\n\n"):
        said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        pid = said.get("MainPID", "0")
        if pid.isascii() and pid.isdigit() and int(pid):
            found.append((said.get("Id", ""), int(pid)))
    return found


def _ask(*words: str) -> str:
    command = ["systemctl", "--user", "--no-ask-password", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip()
        raise ResolveError(
            "the user manager could not be told",
            subject=f"{' '.join(command)}: {said}",
            hint="try it by hand",
        ) from error
    return done.stdout


def _replace(path: str, body: str, made: int, words: str) -> None:
    with _draft(path, f"# sandboxer: {_digest(body)} {made} {words}\n{body}") as draft:
        os.replace(draft, path)


@contextlib.contextmanager
def _draft(path: str, text: str) -> Iterator[str]:
    """A file beside `path` that holds a text, to be put in its place; nothing is left of it when that fails."""
    place, name = os.path.split(path)
    fd, draft = tempfile.mkstemp(dir=place, prefix=f".{name}.")
    with _removed_unless_whole(draft):
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        yield draft


@contextlib.contextmanager
def _removed_unless_whole(path: str) -> Iterator[None]:
    """A full disk leaves no half of a file."""
    try:
        yield
    except BaseException:
        os.unlink(path)
        raise


def _cannot(verb: str, path: str, error: OSError) -> ResolveError:
    return ResolveError(
        f"cannot {verb} a unit",
        subject=f"{path}: {error.strerror or error}",
        hint=remedy(path, error),
    )


def _make_directories(directory: str) -> int:
    """How many had to be made."""
    missing: list[str] = []
    at = directory
    while not os.path.isdir(at) and len(missing) < LEVELS_MAX:
        missing.append(at)
        at = os.path.dirname(at)
    for place in reversed(missing):
        os.mkdir(place, 0o755)
    return len(missing)


def _made(text: str) -> int:
    seal = SEAL.match(text)
    return min(int(seal.group(2)), LEVELS_MAX) if seal is not None else 0


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8", "surrogateescape")).hexdigest()

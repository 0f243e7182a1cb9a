"""
Where a user unit is: its file, and its drop-ins in the order in which they hold.

What comes in: a unit's name and the directories that the user manager looks in. What goes out: paths, and what they
hold. It changes nothing, and it doesn't ask the manager what it has loaded: what counts is what the next reload finds.

Source: systemd.unit(5), "UNIT FILE LOAD PATH".
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence

from sandboxer.errors import ResolveError, UsageError
from sandboxer.policy.layers import nearest
from sandboxer.words import Record

SUFFIX = ".service"
NAME_SIZE_MAX = 255
NAME = re.compile(r"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\@-]*)?\.service", re.ASCII)
FILE_SIZE_MAX = 1024 * 1024
MASK = "/dev/null"
LINKS_MAX = 8
TIMEOUT_S = 20
TRANSIENT = "/systemd/transient"
CLOSE = 0.8
"""How near a name has to be to what was typed: all of them end alike."""


class Found(Record):
    """
    A unit as it lies on disk.

    `name` is its own name, aliases followed; `fragment` its file; `drop_ins` those that hold, in their order; all with
    their texts.
    """

    name: str
    fragment: tuple[str, str]
    drop_ins: tuple[tuple[str, str], ...]


def checked_name(word: str) -> str:
    """
    The name of a service, ".service" added where it was left out.

    Raises:
        UsageError: it is none.
    """
    name = word if word.endswith(SUFFIX) else word + SUFFIX
    if not NAME.fullmatch(name) or len(name) > NAME_SIZE_MAX or "/" in word:
        raise UsageError(
            "that is no name of a service",
            subject=word,
            hint="a name as systemctl --user list-unit-files has it: sandbox unit wrap syncthing.service",
        )
    return name


def search_path() -> tuple[str, ...]:
    """
    The directories of the user manager, first ones first.

    Raises:
        ResolveError: systemd isn't installed, or doesn't tell.
    """
    words = ["systemd-analyze", "--user", "unit-paths"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise ResolveError(
            "cannot tell where units are",
            subject=f"{' '.join(words)}: {getattr(error, 'stderr', '') or error}".strip(),
            hint="user units need systemd",
        ) from error
    return tuple(line for line in done.stdout.splitlines() if line.startswith("/"))


def find(name: str, directories: Sequence[str], leave_out: Sequence[str] = ()) -> Found:
    """
    A service and its drop-ins.

    Args:
        leave_out: file names of drop-ins that are passed over: our own.
    Raises:
        ResolveError: there is none of that name, it is masked, made for this session only, or can't be read.
    """
    path = ""
    for _ in range(LINKS_MAX):
        path = _fragment(name, directories)
        own = _alias(path, name)
        if own == name:
            break
        name = own
    if TRANSIENT in path:
        raise ResolveError(
            "this unit was made for the session only, by a program",
            subject=path,
            hint="start it in a box in the first place: systemd-run --user -- sandbox APP",
        )
    names = [name, *_aliases(name, directories)]
    dropped = [
        (drop_in, _read(drop_in))
        for drop_in in drop_ins(names, directories)
        if _base(drop_in) not in leave_out
    ]
    return Found(name=name, fragment=(path, _read(path)), drop_ins=tuple(dropped))


def instance_of(name: str) -> tuple[str, str, str]:
    """A service's name → prefix, instance ("" for none), and the template's name ("" where it is no instance)."""
    bare = name.removesuffix(SUFFIX)
    prefix, at, instance = bare.partition("@")
    return prefix, instance, f"{prefix}@{SUFFIX}" if at and instance else ""


def drop_ins(names: Sequence[str], directories: Sequence[str]) -> list[str]:
    """Paths of all drop-ins of a unit with these names, in the order in which they hold."""
    found: dict[str, str] = {}
    for kind in [part for name in names for part in _drop_in_names(name)]:
        for directory in directories:
            place = os.path.join(directory, f"{kind}.d")
            for entry in _entries(place):
                if entry.endswith(".conf"):
                    found.setdefault(entry, os.path.join(place, entry))
    return [path for _, path in sorted(found.items()) if os.path.realpath(path) != MASK]


def _drop_in_names(name: str) -> Iterator[str]:
    """Whose drop-ins hold for a unit, the most special first: foo-bar@x.service, foo-bar@, foo-, service."""
    prefix, instance, template = instance_of(name)
    yield name
    if template:
        yield template
    rest = f"@{instance}{SUFFIX}" if template else f"@{SUFFIX}" if "@" in name else SUFFIX
    at = prefix.rstrip("-")
    while "-" in at:
        at = at[: at.rindex("-")]
        yield f"{at}-{rest}"
        if template:
            yield f"{at}-@{SUFFIX}"
        at = at.rstrip("-")
    yield SUFFIX[1:]


def _fragment(name: str, directories: Sequence[str]) -> str:
    _, _, template = instance_of(name)
    for candidate in (name, template):
        for directory in directories if candidate else ():
            path = os.path.join(directory, candidate)
            if not os.path.lexists(path):
                continue
            if os.path.realpath(path) == MASK or (os.path.isfile(path) and not os.path.getsize(path)):
                raise ResolveError(
                    "this unit is masked, so that it can't be started",
                    subject=path,
                    hint=f"systemctl --user unmask {name}",
                )
            return path
    services = {entry for place in directories for entry in _entries(place) if entry.endswith(SUFFIX)}
    near = nearest(name, sorted(services), cutoff=CLOSE)
    raise ResolveError(
        "there is no such user unit",
        subject=name,
        hint=f"did you mean {near}?" if near else "systemctl --user list-unit-files --type=service",
    )


def _alias(path: str, name: str) -> str:
    """The name of the unit that a link stands for; a link to a file elsewhere has its own name."""
    if not os.path.islink(path):
        return name
    target = _base(os.path.realpath(path))
    _, instance, template = instance_of(name)
    if target in (name, template) or not NAME.fullmatch(target):
        return name
    if target.endswith(f"@{SUFFIX}") and instance:  # an alias of a template, for this instance
        return f"{target.removesuffix(SUFFIX)}{instance}{SUFFIX}"
    return target


def _aliases(name: str, directories: Sequence[str]) -> list[str]:
    """Other names of a unit: links to it in the directories of units."""
    _, instance, template = instance_of(name)
    found = []
    for directory in directories:
        for entry in _entries(directory):
            path = os.path.join(directory, entry)
            if entry in (name, template) or not NAME.fullmatch(entry) or not os.path.islink(path):
                continue
            target = _base(os.path.realpath(path))
            if target == name:
                found.append(entry)
            elif template and target == template and entry.endswith(f"@{SUFFIX}"):
                found.append(f"{entry.removesuffix(SUFFIX)}{instance}{SUFFIX}")
    return list(dict.fromkeys(found))


def _entries(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:  # not there, or closed to the user and so to the manager
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            text = file.read(FILE_SIZE_MAX + 1)
    except OSError as error:
        raise ResolveError(
            "cannot read a file of the unit", subject=f"{path}: {error.strerror or error}"
        ) from error
    if len(text) > FILE_SIZE_MAX:
        raise ResolveError("a file of the unit is too large", subject=f"{path}: over {FILE_SIZE_MAX} letters")
    return text


def _base(path: str) -> str:
    return os.path.basename(path)

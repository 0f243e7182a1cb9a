"""
Which policy an entry belongs to: by the program that it starts, or by its name.

What comes in: an entry's id and command, the policies of this machine. What goes out: the policies that are for it, the
best one first. It starts nothing.

An entry is a policy's when the program that it starts is the policy's: it has the name of one of the policy's commands,
or is the very file that a command leads to. `env A=b program` starts `program`. What has the file of a command but
another name is another program, which finds out by its name what it is to do (busybox, wrappers that stand for many).
An entry is a policy's, too, when its id is the policy's name, whole or behind its last dot (org.gnome.Evince: evince);
so one that starts its program by a script can be wrapped. And an entry that has windows is none of a policy that shows
none: it could only fail; so python3's policy takes no application that happens to be written in Python.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from sandboxer.desktop.wrappers.exec_line import Word
from sandboxer.errors import SandboxerError
from sandboxer.grants.base import SEARCH_PATH
from sandboxer.host.installation import native_program
from sandboxer.host.view import Host
from sandboxer.policy import layers
from sandboxer.words import Record

OTHER_SANDBOXES = {"flatpak": "Flatpak", "snap": "snapd"}
OF_SNAPS = ("/snap/", "/var/lib/snapd/", "/var/snap/")
ABOUT_LOADING = ("LD_", "PYTHON", "GCONV_PATH", "LOCPATH", "MALLOC_")
"""Variables by which an entry would change the launcher and its Python, not the application."""
ALTERNATIVES = "/etc/alternatives"
SHIM_MARK = b"# Written by `sandbox install`"
HEAD_SIZE = 256


class Command(Record):
    """
    What an Exec line starts: `program` as it is named, what follows it, and the words of `env` before it.

    `variables` are the names of those that `env` sets; also of those that `environment` doesn't have.
    """

    program: str
    rest: tuple[Word, ...]
    environment: tuple[Word, ...] = ()
    variables: tuple[str, ...] = ()


class Candidate(Record):
    """A policy that entries may belong to. `program` is what it starts here, absolute; "" where it isn't installed."""

    name: str
    commands: tuple[str, ...]
    program: str
    shows_windows: bool


def candidates(host: Host) -> tuple[tuple[Candidate, ...], dict[str, SandboxerError]]:
    """All policies of applications, and why others can't be loaded."""
    found: list[Candidate] = []
    faults: dict[str, SandboxerError] = {}
    for name in layers.names("apps", host):
        try:
            policy = layers.load(name, host).policy
        except SandboxerError as error:
            faults[name] = error
            continue
        commands = policy.command or (name,)
        display, connect = policy.display, policy.broker.connect
        windows = bool(display.wayland or display.x11 or {"wayland", "x11"}.intersection(connect))
        programs = (located(command, SEARCH_PATH) for command in commands)
        program = next((path for path in programs if path), "")
        found.append(Candidate(name=name, commands=commands, program=program, shows_windows=windows))
    return tuple(found), faults


def command(words: Sequence[Word]) -> Command:
    """What a line starts, looking through `env`; that itself where it does more than set variables."""
    kept: list[Word] = []
    variables: list[str] = []
    at = 1
    if os.path.basename(words[0].text) != "env":
        return Command(program=words[0].text.replace("%%", "%"), rest=tuple(words[1:]))
    while at < len(words):
        text = words[at].text
        name, equals, _ = text.partition("=")
        if text in ("-u", "--unset") and at + 1 < len(words):
            kept += words[at : at + 2]
            at += 2
        elif text.startswith(("-u", "--unset=")):
            kept.append(words[at])
            at += 1
        elif text in ("-", "-i", "--ignore-environment", "--"):
            at += 1  # the box's environment is empty anyway, and the launcher needs the session's
        elif text.startswith("-") or not text:
            return Command(program=words[0].text, rest=tuple(words[1:]))
        elif equals:
            kept += [] if name.startswith(ABOUT_LOADING) else [words[at]]
            variables.append(name)
            at += 1
        else:
            inner = command(words[at:])
            return Command(
                program=inner.program,
                rest=inner.rest,
                environment=(*kept, *inner.environment),
                variables=(*variables, *inner.variables),
            )
    return Command(program=words[0].text, rest=tuple(words[1:]))


def located(name: str, search_path: Sequence[str]) -> str:
    """A program's absolute path, "" when it isn't installed. Our own shims are no programs."""
    if "/" in name:
        places: Sequence[str] = (name,) if name.startswith("/") else ()
    else:
        places = [f"{place}/{name}" for place in search_path if place.startswith("/")] if name else ()
    for path in places:
        if os.path.isfile(path) and os.access(path, os.X_OK) and not is_shim(path):
            return path
    return ""


def other_names(program: str, search_path: Sequence[str], alternatives: str = ALTERNATIVES) -> list[str]:
    """Names by which alternatives of the system start the same program: x-www-browser, which xdg-open falls back to."""
    real = os.path.realpath(program)
    try:
        names = sorted(os.listdir(alternatives))
    except OSError:
        return []
    chosen = [name for name in names if os.path.realpath(os.path.join(alternatives, name)) == real]
    return [name for name in chosen if os.path.realpath(located(name, search_path)) == real]


def is_shim(path: str) -> bool:
    """Whether it is one of those that `sandbox install --shims` writes."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # one that can be run and not read is none of ours
        return False
    with open(fd, "rb") as file:
        return SHIM_MARK in file.read(HEAD_SIZE)


def starts_a_box(path: str) -> bool:
    """Whether a program is the launcher, of this installation or of another."""
    real = os.path.realpath(path)
    return real == os.path.realpath(native_program()) or os.path.basename(real) in ("sandbox", "sandboxer")


def other_sandbox(path: str) -> str:
    """The name of another sandbox that this program belongs to, or ""."""
    real = os.path.realpath(path)
    if path.startswith(OF_SNAPS) or real.startswith(OF_SNAPS):
        return "snapd"
    return OTHER_SANDBOXES.get(os.path.basename(real), "")


def is_program_of(path: str, candidate: Candidate) -> bool:
    """Whether a program, by its path, is one of a policy's."""
    names = {os.path.basename(name) for name in candidate.commands}
    if os.path.basename(path) in names:
        return True
    real = os.path.realpath(path)
    if not candidate.program or real != os.path.realpath(candidate.program):
        return False
    return os.path.basename(real) in names or real == path


def is_same(path: str, candidate: Candidate) -> bool:
    """
    Whether an entry's program is what the policy starts here: the same file, or another of the system's that is one of
    the policy's commands. /usr/bin/firefox may be a script that starts /usr/lib/firefox-esr/firefox-esr, which the
    entry names itself: the commands of a policy are names of one application. A program in /opt or in the home
    directory, though of that name, is another one.
    """
    if not candidate.program or not path or not is_program_of(path, candidate):
        return False
    real, mine = os.path.realpath(path), os.path.realpath(candidate.program)
    return real == mine or (real.startswith("/usr/") and mine.startswith("/usr/"))


def is_named_for(name: str, candidate: Candidate) -> bool:
    """Whether an entry's id is a policy's name."""
    whole = name.removesuffix(".desktop").casefold()
    return candidate.name.casefold() in (whole, whole.rpartition(".")[2])


def owners(name: str, path: str, known: Sequence[Candidate]) -> list[Candidate]:
    """
    The policies that an entry belongs to, the best first: the one of its name, then that of its program's name, then
    one that starts just this program.

    Args:
        name: the entry's id. path: its program's path, "" where that can't be told.
    """
    found = []
    for candidate in known:
        mine = bool(path) and is_program_of(path, candidate)
        named = is_named_for(name, candidate)
        if mine or named:
            by_name = candidate.name == os.path.basename(path)
            rank = (not named, not by_name, not (mine and is_same(path, candidate)), candidate.name)
            found.append((rank, candidate))
    return [candidate for _, candidate in sorted(found, key=lambda ranked: ranked[0])]

"""
The user's own programs for links and files, as the desktop knows them.

What comes in: a type ("application/pdf", "x-scheme-handler/https") and one argument. What goes out: a program that is
started, in its own box where it has a policy. That is by its desktop entry, with that one argument and no other; the
entry comes from the user's and the system's directories, never from a box. What no entry is for isn't opened: the
desktop's own openers would look elsewhere (at a file's content, in a browser), by rules that nobody here has checked.

Sources: the MIME applications specification 1.0.1 (which file goes before which), the desktop entry specification 1.5
(Exec and its field codes).
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from sandboxer.errors import SandboxerError
from sandboxer.host.facts import Facts
from sandboxer.host.installation import native_program
from sandboxer.host.session import Session
from sandboxer.host.view import Host
from sandboxer.policy import layers
from sandboxer.steward import detached
from sandboxer.words import Record

DEFAULTS, ADDED, REMOVED, CACHED = (
    "Default Applications",
    "Added Associations",
    "Removed Associations",
    "MIME Cache",
)
WITH_ARGUMENT = ("%f", "%F", "%u", "%U")
LIST_SIZE_MAX = 1024 * 1024


class Handler(Record):
    """A desktop entry that can open one thing. `words` are of its Exec, with the field codes."""

    name: str
    words: tuple[str, ...]


def start(kind: str, argument: str, session: Session, umask: int) -> int:
    """
    Open a link, or a file by its path, with the user's program for its type.

    Args:
        umask: for that program.
    Returns:
        0, or an errno: ENOENT where no desktop entry is for it, EACCES where the program has a policy that can't be
        loaded, or what kept it from being started.
    """
    if argument.startswith("-") or not argument:
        return errno.EINVAL
    handler = find(kind, session)
    if handler is None:
        return errno.ENOENT
    try:
        words = own_box(handler, Facts(session), argument) or command(handler, argument)
    except SandboxerError:
        return errno.EACCES
    return detached.start(words, umask)


def find(kind: str, session: Session) -> Handler | None:
    """The user's program for a type: the default, else one that is associated with it."""
    directories = _application_directories(session)
    lists = [_sections(path) for path in _lists(session, directories)]
    caches = [_sections(os.path.join(directory, "mimeinfo.cache")) for directory in directories]
    names = [name for one in lists for name in one.get(DEFAULTS, {}).get(kind, ())]
    removed = {name for one in lists for name in one.get(REMOVED, {}).get(kind, ())}
    added = [name for one in lists for name in one.get(ADDED, {}).get(kind, ())]
    added += [name for one in caches for name in one.get(CACHED, {}).get(kind, ())]
    names += [name for name in added if name not in removed]
    found = (_entry(name, directories) for name in dict.fromkeys(names))
    return next((handler for handler in found if handler is not None), None)


def command(handler: Handler, argument: str) -> tuple[str, ...]:
    """The words of an entry with its argument in place of the first field code that takes one."""
    words: list[str] = []
    for word in handler.words:
        if word in WITH_ARGUMENT:
            as_link = word in ("%u", "%U") and argument.startswith("/")
            words.append(f"file://{quote(os.fsencode(argument))}" if as_link else argument)
        elif not (len(word) == 2 and word[0] == "%" and word[1] != "%"):
            words.append(word.replace("%%", "%"))
    return tuple(words)


def own_box(handler: Handler, host: Host, argument: str) -> tuple[str, ...]:
    """
    The words that start an entry's program in its own box; none when no policy is for it.

    A policy is for it by the entry's name, by the name of its program, or by its command; where the entry starts the
    program by another one (`env A=b prog %u`), by any of its words.

    Raises:
        SandboxerError: there is a policy of its name, and it can't be loaded: outside of a box it isn't started.
    """
    programs = programs_of(handler)
    if programs[0] in ("sandbox", "sandboxer"):
        return ()  # the entry does so itself
    known = layers.names("apps", host)
    whole = handler.name.removesuffix(".desktop")
    for name in dict.fromkeys((programs[0], whole, whole.rpartition(".")[2], *programs)):
        if name in known:
            return _words(name, layers.load(name, host).policy.second_instance, argument)
    for name in known:
        try:
            policy = layers.load(name, host).policy
        except SandboxerError:  # a policy with mistakes, of another name
            continue
        if set(programs).intersection(map(os.path.basename, policy.command)):
            return _words(name, policy.second_instance, argument)
    return ()


def programs_of(handler: Handler) -> tuple[str, ...]:
    """The names of programs that an entry's words may stand for, the one that it starts first."""
    words = [word for word in handler.words if not word.startswith(("-", "%"))]
    plain = [os.path.basename(word) for word in words if "=" not in word]
    if plain[:1] == ["env"]:
        plain = plain[1:]
    return tuple(name for name in plain if name) or (os.path.basename(handler.words[0]),)


def _words(name: str, second_instance: bool, argument: str) -> tuple[str, ...]:
    return (native_program(), *(("open",) if second_instance else ()), name, argument)


def _application_directories(session: Session) -> list[str]:
    home = session.environment.get("HOME", "")
    own = session.environment.get("XDG_DATA_HOME") or os.path.join(home, ".local/share")
    system = session.environment.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    return [os.path.join(path, "applications") for path in (own, *system.split(":")) if path.startswith("/")]


def _lists(session: Session, directories: Sequence[str]) -> Iterator[str]:
    """Files of associations, the one that goes before the others first."""
    home = session.environment.get("HOME", "")
    own = session.environment.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    system = session.environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    desktops = [
        name.lower() for name in session.environment.get("XDG_CURRENT_DESKTOP", "").split(":") if name
    ]
    for directory in (own, *system.split(":"), *directories):
        if directory.startswith("/"):
            for name in (*(f"{desktop}-mimeapps.list" for desktop in desktops), "mimeapps.list"):
                if "/" not in name:
                    yield os.path.join(directory, name)


def _sections(path: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Group → key → names; empty where there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(LIST_SIZE_MAX).splitlines()
    except OSError:
        return {}
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    group = ""
    for line in lines:
        text = line.strip()
        key, equals, value = text.partition("=")
        if text.startswith("[") and text.endswith("]"):
            group = text[1:-1]
        elif equals and not text.startswith("#"):
            names = tuple(name.strip() for name in value.split(";") if name.strip())
            found.setdefault(group, {}).setdefault(key.strip(), names)
    return found


def _entry(name: str, directories: Sequence[str]) -> Handler | None:
    """A desktop entry that can be started with an argument; None for any other."""
    from xdg.DesktopEntry import DesktopEntry
    from xdg.Exceptions import Error

    if "/" in name or not name.endswith(".desktop"):
        return None
    for directory in directories:
        for path in _spellings(directory, name):
            if not os.path.isfile(path):
                continue
            try:
                entry = DesktopEntry(path)
                if entry.getType() != "Application" or entry.getHidden() or entry.getTerminal():
                    return None
                words = tuple(shlex.split(entry.getExec()))
                tried = entry.getTryExec()
            except (Error, ValueError, UnicodeError):
                return None
            usable = words and shutil.which(words[0]) and (not tried or shutil.which(tried))
            return (
                Handler(name=name, words=words) if usable and set(WITH_ARGUMENT).intersection(words) else None
            )
    return None


def _spellings(directory: str, name: str) -> Iterator[str]:
    """A dash in an entry's name may stand for a directory."""
    yield os.path.join(directory, name)
    for index, letter in enumerate(name):
        if letter == "-":
            yield os.path.join(directory, name[:index], name[index + 1 :])

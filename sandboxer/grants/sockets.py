"""
Sockets that lie in what is granted: read-only or not, whoever is shown one can talk to the program behind it.

What comes in: the places that a line of policy grants. What goes out: what listens in them, for `explain`, or
ResolveError. It never looks into a file, nor follows a link.

Abuse: the session's bus and its service manager run any program outside the box for whoever connects. Both listen in
the runtime directory, so that no box is shown all of it, nor the directories that are theirs alone. A socket that is
granted by its own path is a hole, and so is a directory in which one is found: the look is short, and what comes later
is not seen; SECURITY.md says so.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence

from sandboxer.errors import ResolveError
from sandboxer.grants import paths
from sandboxer.grants.paths import Place
from sandboxer.grants.protected import spellings
from sandboxer.host.view import FileType, Host
from sandboxer.words import Origin

CONTROL = ("systemd", "dbus-1")
"""Directories in the runtime directory of those who start programs for whoever asks."""
QUIET = ("/usr", "/etc")
"""Where nothing listens: only root writes there, and no set-up puts sockets there."""
NAMES_MAX = 6
"""Sockets that are named; the others are counted."""


def refuse_runtime_directory(path: str, kind: FileType, origin: Origin, host: Host) -> None:
    """Raise ResolveError for a place (links followed) that is or holds the runtime directory, or lies in CONTROL."""
    for runtime in runtime_directories(host):
        if paths.within(runtime, path):
            why = (
                "the session's bus and its service manager listen there, and run any program for whoever asks"
            )
            raise _refusal(f"{path}: {'' if path == runtime else f'holds {runtime}; '}{why}", origin)
        for name in CONTROL if kind is FileType.DIRECTORY else ():
            if paths.within(path, posixpath.join(runtime, name)):
                raise _refusal(f"{path}: what listens there runs any program for whoever asks", origin)


def runtime_directories(host: Host) -> Iterator[str]:
    """Where the session's sockets are, links followed, whether anything is there or not: as it says, and as usual."""
    variable = host.variable("XDG_RUNTIME_DIR") or ""
    usual = paths.runtime_directory(host)
    for path in dict.fromkeys((posixpath.normpath(variable) if variable.startswith("/") else usual, usual)):
        yield tuple(spellings(path, host))[-1]


def listening(places: Iterable[Place], covered: Sequence[str], host: Host) -> str:
    """
    The sockets in those of the places that are directories, as a person would list them; "" where there is none.

    Args:
        covered: what is hidden from the box, links followed.
    """
    several = tuple(place for place in places if place.type is FileType.DIRECTORY)
    found = [
        _printable(name if len(several) == 1 else posixpath.join(place.written, name))
        for place in several
        if not any(paths.within(place.real, quiet) for quiet in QUIET)
        for name in host.sockets(place.real)
        if not any(paths.within(posixpath.join(place.real, name), hidden) for hidden in covered)
    ]
    more = len(found) - NAMES_MAX
    return ", ".join(found[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def _printable(name: str) -> str:
    """A box may have chosen the name: no control character of it reaches a terminal, and no line ends there."""
    return name if name.isprintable() else ascii(name)


def _refusal(subject: str, origin: Origin) -> ResolveError:
    return ResolveError(
        "refuses to show the directory in which the session is controlled",
        subject=subject,
        origin=origin,
        hint="name what is needed in it: a socket, or one program's directory",
    )

"""
The variables that a unit gives its programs: Environment=, PassEnvironment=, EnvironmentFile=.

What comes in: the merged unit and its specifiers' meanings. What goes out: names, options of `sandbox run` for the
files, or the reason why the launcher can't be started with these variables. It opens no file: each start reads them
anew, since the application may be what writes them.

systemd gives what Environment= says to the launcher, too, which runs outside the box: it must not be led by that to
what the application can change. What has programs load code, the launcher keeps from all that it starts outside.

Source: systemd.exec(5).
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator

from sandboxer.desktop.units.specifiers import UNKNOWN, Meanings
from sandboxer.desktop.units.text import Unit
from sandboxer.desktop.units.words import quoted, split
from sandboxer.errors import ResolveError
from sandboxer.words import Record

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
LINKS_MAX = 40
"""The kernel's own limit (MAXSYMLINKS)."""
PATTERN = re.compile(r"[*?\[\\]")
PASSED_BY_THE_LAUNCHER = frozenset(
    {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}
)
"""What the launcher hands on itself, or leaves out."""
LEADS_THE_LAUNCHER = {
    "HOME": "h",
    "XDG_RUNTIME_DIR": "t",
    "XDG_CONFIG_HOME": "E",
    "XDG_CACHE_HOME": "C",
    "XDG_STATE_HOME": "",
    "XDG_DATA_HOME": "",
    "XDG_CONFIG_DIRS": "",
    "MAINPID": "",
}
"""Where the launcher finds plans, policies, boxes and the main process → the specifier that says the same."""
LOADS_CODE = (
    "LD_",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "LOCPATH",
    "NLSPATH",
    "MALLOC_",
    "OPENSSL_",
    "PYTHON",
)
"""What has programs load what it names, by how it begins; see launchers/environment.c."""


class Assignment(Record):
    """A variable that the unit itself sets; `value` with its specifiers, None where it is the manager's own."""

    name: str
    value: str | None
    origin: str


def assignments(unit: Unit, meanings: Meanings) -> tuple[Assignment, ...]:
    """
    What Environment= and PassEnvironment= come to.

    Raises:
        ResolveError: only systemd can tell which variable is set.
    """
    found: list[Assignment] = []
    for key in ("Environment", "PassEnvironment"):
        for setting in unit.values(key):
            origin = f"{setting.file}:{setting.line}: {key}={setting.value}"
            for word in split(setting.value):
                name, equals, value = word.partition("=")
                if "%" in name:
                    if not meanings.is_known(name):
                        raise ResolveError("cannot tell which variable a unit sets", subject=origin)
                    expanded = meanings.expanded(name)
                    name, equals, value = (expanded, equals, value) if equals else expanded.partition("=")
                if NAME.fullmatch(name) and (equals or key == "PassEnvironment"):
                    passed = key == "PassEnvironment"
                    found.append(Assignment(name=name, value=None if passed else value, origin=origin))
    return tuple(found)


def names(assigned: tuple[Assignment, ...]) -> tuple[str, ...]:
    """Those that are let in, each once."""
    found = (item.name for item in assigned if item.name not in PASSED_BY_THE_LAUNCHER)
    return tuple(dict.fromkeys(found))


def loads_code(assigned: tuple[Assignment, ...]) -> bool:
    """Whether a program that is started with these variables loads what they name."""
    return any(item.name.startswith(LOADS_CODE) for item in assigned)


def refuse_leading(assigned: tuple[Assignment, ...], meanings: Meanings, changeable: tuple[str, ...]) -> None:
    """
    Raise ResolveError for variables by which the launcher would go to what the unit names.

    Args:
        changeable: real paths of what the application can change.
    """
    for item in assigned:
        if item.name in LEADS_THE_LAUNCHER:
            usual = meanings.known.get(LEADS_THE_LAUNCHER[item.name])
            if item.value is not None and usual is not None and meanings.expanded(item.value) == usual:
                continue
            why = "sandboxer itself would go by it, outside the box"
        elif item.name == "PATH" and item.value is not None:
            place = _unsafe(meanings.expanded(item.value).split(":"), changeable)
            if place is None:
                continue
            why = (
                f"the application could put programs into {place or 'it'}, which sandboxer would run outside"
            )
        else:
            continue
        raise ResolveError(
            f"refuses a unit that sets {item.name}",
            subject=f"{item.origin}: {why}",
            hint=f"take it out of the unit, and give the program the value: --set environment.set.{item.name}=...",
        )


def _unsafe(places: list[str], changeable: tuple[str, ...]) -> str | None:
    """The first directory that isn't safe to find programs in; one that isn't known in full never is."""
    for place in places:
        if not place.startswith("/") or UNKNOWN in place:
            return place
        if any(f"{way}/".startswith(f"{top.rstrip('/')}/") for way in _ways(place) for top in changeable):
            return place
    return None


def _ways(path: str) -> Iterator[str]:
    """Where a path leads, and each link on the way."""
    at, ahead, followed = "/", path.split("/")[::-1], 0
    while ahead and followed <= LINKS_MAX:
        part = ahead.pop()
        if part in ("", ".", ".."):
            at = os.path.dirname(at) if part == ".." else at
            continue
        place = os.path.join(at, part)
        if not os.path.islink(place):
            at = place
            continue
        yield place
        followed += 1
        target = os.readlink(place)
        at = "/" if target.startswith("/") else at
        ahead += target.split("/")[::-1]
    yield at


def file_options(unit: Unit, meanings: Meanings) -> Iterator[tuple[str, str]]:
    """
    Words of `sandbox run` for each EnvironmentFile=, its specifiers left to systemd, and what to tell of it.

    Raises:
        ResolveError: a pattern; or variables of files would have to be taken away again.
    """
    for setting in unit.values("EnvironmentFile"):
        path = setting.value.removeprefix("-")
        if not path.startswith(("/", "%")) or (
            meanings.is_known(path) and not meanings.expanded(path).startswith("/")
        ):
            continue  # systemd passes over it, too
        origin = f"{setting.file}:{setting.line}: EnvironmentFile={setting.value}"
        if PATTERN.search(path):
            raise ResolveError(
                "cannot tell which files a unit takes variables from",
                subject=f"{origin}: a pattern",
                hint="name each file in a line of its own",
            )
        if gone := unit.values("UnsetEnvironment"):
            raise ResolveError(
                "cannot take variables away that a file sets",
                subject=f"{origin}, and UnsetEnvironment={gone[-1].value}",
                hint="take them out of the file, and UnsetEnvironment= out of the unit",
            )
        yield setting.value, f"knows the variables that {path} sets when it starts"


def file_words(path: str, *, expands: bool) -> tuple[str, str]:
    """The option, as it is written into a command."""
    return "--env-file", quoted(path, expands=expands, specifiers=True)

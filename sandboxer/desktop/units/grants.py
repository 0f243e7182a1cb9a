"""
What a unit itself asks for → keys of the policy that its box has besides.

What comes in: the merged unit. What goes out: each key with its value, and with the words that tell the user of it. It
grants what the unit names as its own: the directories that systemd makes for it, the program, the variables. It never
grants more than the unit had.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from sandboxer.desktop.units.commands import (
    IN_MAIN_BOX,
    IN_OWN_BOX,
    is_plain_kill,
    is_shown,
    path_of,
    written_path,
)
from sandboxer.desktop.units.hardening import Conflicts
from sandboxer.desktop.units.specifiers import SPECIFIER, Meanings
from sandboxer.desktop.units.text import Unit
from sandboxer.desktop.units.words import commands, split
from sandboxer.errors import ResolveError

Grants = Mapping[str, tuple[object, str]]
"""Key of the policy → its value, and what it means in words; "" where that is nothing to be told of."""
DIRECTORIES = {
    "RuntimeDirectory": ("%t", "RUNTIME_DIRECTORY"),
    "StateDirectory": ("%S", "STATE_DIRECTORY"),
    "CacheDirectory": ("%C", "CACHE_DIRECTORY"),
    "LogsDirectory": ("%L", "LOGS_DIRECTORY"),
    "ConfigurationDirectory": ("%E", "CONFIGURATION_DIRECTORY"),
}
"""Key → where systemd makes it in user units, and the variable that tells. Source: systemd.exec(5)."""
CREDENTIALS = (
    "LoadCredential",
    "LoadCredentialEncrypted",
    "SetCredential",
    "SetCredentialEncrypted",
    "ImportCredential",
)
UNESCAPED = frozenset("IJPf")
"""Specifiers that may hold any character. Source: systemd.unit(5)."""
ALWAYS_KEPT = ("INVOCATION_ID", "SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS")
"""What systemd sets for the commands of each service, and what can be told to it."""


def grants(
    unit: Unit, meanings: Meanings, known: tuple[str, ...], clash: Conflicts, *, shown: tuple[str, ...]
) -> Iterator[tuple[str, tuple[object, str]]]:
    """
    The keys.

    Args:
        known: names of the variables that the unit itself sets.
        shown: directories that the policy shows by itself; "/" where it shares the working directory.
    Raises:
        ResolveError: a program that the unit names isn't there.
    """
    own: list[str] = []
    names = [*ALWAYS_KEPT, *known]
    called: list[str] = []
    for key, (base, variable) in DIRECTORIES.items():
        words = [word for setting in unit.values(key) for word in split(setting.value)]
        own += [f"{base}/{word.partition(':')[0]}" for word in words]
        if meanings.known[base[1:]].startswith(meanings.known["E"]):
            called += [word.partition(":")[0].partition("/")[0] for word in words]
        names += [variable] if words else []
    reads = []
    for key in (*IN_OWN_BOX, *IN_MAIN_BOX):
        for setting in unit.values(key):
            reads += [
                written_path(command, unit, meanings)
                for command in commands(setting.value)
                if not is_plain_kill(command) and not is_shown(command, unit, meanings)
            ]
    if any(unit.values(key) for key in CREDENTIALS):
        reads.append("?%t/credentials/%n")
        names.append("CREDENTIALS_DIRECTORY")
    if own:
        yield "files.own", (own, f"directories that systemd makes for it: {', '.join(own)}")
    if by_name := [*dict.fromkeys(name for name in called if _is_its_name(name, unit, meanings))]:
        yield "command", (by_name, "")
    if reads:
        reads = list(dict.fromkeys(reads))
        yield "files.read", (reads, f"can read {', '.join(item.removeprefix('?') for item in reads)}")
    directory = unit.value("WorkingDirectory").removeprefix("-")
    if directory and "/" not in shown and _is_of_its_own(directory, own, shown, meanings):
        yield "files.working-directory", ("read", f"can read the directory that it works in: {directory}")
    if unit.value("ExitType") == "cgroup":
        yield "lingers", (True, "goes on until its last process ends (ExitType=cgroup)")
    if clash.without_network:
        yield "network.access", ("none", "has no network (PrivateNetwork=yes)")
    search = ":".join(setting.value for setting in unit.values("ExecSearchPath"))
    if search and "PATH" not in names:
        yield "environment.set.PATH", (_literal(search), f"looks for programs in {search}")
    names = list(dict.fromkeys(names))
    told = names[len(ALWAYS_KEPT) :]
    yield "environment.keep", (names, f"knows the variables {', '.join(told)}" if told else "")


def _is_its_name(name: str, unit: Unit, meanings: Meanings) -> bool:
    """Whether a directory in ~/.config goes by the unit's name, or its program's; others may be another's."""
    programs = [
        path_of(command, unit, meanings)
        for setting in unit.values("ExecStart")
        for command in commands(setting.value)
    ]
    its = {meanings.known.get("p", ""), *map(os.path.basename, programs)}
    return meanings.is_known(name) and meanings.expanded(name) in its


def _is_of_its_own(directory: str, own: list[str], shown: tuple[str, ...], meanings: Meanings) -> bool:
    """Whether a working directory is one that can be shared: neither home nor system, and not granted already."""
    if not meanings.is_known(directory):
        return True
    path = os.path.realpath(meanings.expanded(directory)) if directory != "~" else meanings.known["h"]
    if path == "/" or (meanings.known["h"] + "/").startswith(path + "/") or not os.path.isdir(path):
        return False
    granted = [os.path.realpath(meanings.expanded(place)) for place in own if meanings.is_known(place)]
    return not any((path + "/").startswith(place + "/") for place in (*granted, *shown))


def settings(granted: Grants) -> Iterator[str]:
    """Words of --set."""
    for key, (value, _) in granted.items():
        yield f"{key}={_toml(value)}"


def _toml(value: object) -> str:
    """TOML. Literal strings, so that nothing that a specifier becomes is taken for an escape."""
    if isinstance(value, list):
        return f"[{', '.join(_literal(item) for item in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _literal(text: str) -> str:
    """What the specifiers become can't be looked at: those that undo an escape may hold a quote."""
    if "'" in text or not text.isprintable() or UNESCAPED & set(SPECIFIER.findall(text)):
        raise ResolveError("cannot write this name of the unit's into a policy", subject=text)
    return f"'{text}'"

"""
`sandbox install --serve NAME`: what D-Bus starts in place of an application, to start that in its box.

What comes in: calls of org.freedesktop.Application to the name. What goes out: the commands of the application's
wrapper, started outside as a click would have done it, and so boxed. It understands nothing else that the application
would have answered, never starts a command that isn't in a wrapper of ours, and goes when nothing of what it started
runs any more and nobody has called for a while: a service manager may end all that a service has started with it.

Source: desktop entry specification 1.5, "D-Bus Activation".
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sandboxer.desktop import bus
from sandboxer.desktop.bus import Call, Refusal, Variant
from sandboxer.desktop.wrappers import entries, refreshing, wrapper
from sandboxer.desktop.wrappers.entries import ENTRY, Kind
from sandboxer.desktop.wrappers.exec_line import Fields, exec_word, expand, is_link, split
from sandboxer.desktop.wrappers.key_file import KeyFile
from sandboxer.desktop.wrappers.programs import command
from sandboxer.desktop.wrappers.wrapper import ACTION, FROM_MENU
from sandboxer.desktop.wrappers.written import Item
from sandboxer.errors import LaunchError
from sandboxer.host.session import Session
from sandboxer.words import Record

INTERFACE = "org.freedesktop.Application"
INVALID = "org.freedesktop.DBus.Error.InvalidArgs"
TOKENS = {"desktop-startup-id": "DESKTOP_STARTUP_ID", "activation-token": "XDG_ACTIVATION_TOKEN"}
TEXT_SIZE_MAX = 4096
FILES_MAX = 1024
IDLE_S = 10.0


class Starts(Record):
    """
    What an application is started by: `commands` are Exec lines by action, "" for the entry's own.
    """

    commands: dict[str, str]
    fields: Fields
    directory: str = ""


def starts(name: str, items: Sequence[Item], launcher: str) -> Starts:
    """
    The commands for a name that was shadowed.

    Raises:
        LaunchError: nothing of ours is there for the name, or it was changed since.
    """
    service = next((item for item in items if (item.kind, item.name) == (Kind.SERVICE, name)), None)
    if service is None:
        raise _not_ours(name, "sandbox install has written no service of this name")
    entry = next((item for item in items if (item.kind, item.name) == (Kind.ENTRY, f"{name}.desktop")), None)
    if entry is None:
        words = (launcher, FROM_MENU, service.policy)
        return Starts(commands={"": f"{' '.join(map(exec_word, words))} %U"}, fields=Fields())
    content = entries.read(entry.path)
    if content is None or wrapper.digest(content) not in entry.digests:
        raise _not_ours(name, f"{entry.path} was changed since it was written")
    text = KeyFile(content)
    commands = {"": text.text(ENTRY, "Exec")}
    for group in text.groups():
        if group.startswith(ACTION):
            commands[group.removeprefix(ACTION)] = text.text(group, "Exec")
    fields = Fields(icon=text.text(ENTRY, "Icon"), name=text.text(ENTRY, "Name"), location=entry.path)
    return Starts(commands=commands, fields=fields, directory=text.text(ENTRY, "Path"))


def serve(name: str, started: Starts, session: Session, idle_s: float = IDLE_S) -> None:
    """
    Own the name, and start the application as often as it is asked for.

    Raises:
        BusError: there is no session bus, or another program owns the name.
    """
    running: list[subprocess.Popen[bytes]] = []

    def start(action: str, files: Sequence[str], platform: Mapping[str, Any]) -> None:
        environment = session.environment | tokens(platform)
        made = commands(started, action, files)
        running.extend(_started(words, environment, started.directory) for words in made)

    with bus.connect(refreshing.address_of(session)) as connection:
        connection.serve(answering(name, start))
        connection.own(name)
        while True:
            connection.run(idle_s)
            running[:] = [process for process in running if process.poll() is None]
            if not running:
                return


Start = Callable[[str, Sequence[str], Mapping[str, Any]], None]


def answering(name: str, start: Start) -> bus.Handler:
    """What answers the calls: `start(action, files, platform data)` for each that asks for a start."""
    path = "/" + name.replace(".", "/").replace("-", "_")

    def answer(call: Call) -> tuple[str, list[Any]] | None:
        if call.interface != INTERFACE:
            return None
        if call.path != path:
            raise Refusal(f"the application is at {path}", "org.freedesktop.DBus.Error.UnknownObject")
        match (call.member, call.signature):
            case ("Activate", "a{sv}"):
                start("", (), call.body[0])
            case ("Open", "asa{sv}"):
                start("", _files(call.body[0]), call.body[1])
            case ("ActivateAction", "sava{sv}"):
                start(call.body[0], (), call.body[2])
            case ("Activate" | "Open" | "ActivateAction", _):
                raise Refusal("other arguments were expected", INVALID)
            case _:
                return None
        return "", []

    return answer


def commands(started: Starts, action: str, files: Sequence[str]) -> list[list[str]]:
    """What is to be started, each a list of words. Raises Refusal."""
    line = started.commands.get(action)
    if line is None:
        raise Refusal("the application's desktop entry has no such action", INVALID)
    words = split(line)
    at = command(words)
    head = ["env", *(word.text for word in at.environment)] if at.environment else []
    fields = Fields(
        files=tuple(files),
        icon=started.fields.icon,
        name=started.fields.name,
        location=started.fields.location,
    )
    return [[*head, at.program, *rest] for rest in expand([word.text for word in at.rest], fields)]


def tokens(platform: Mapping[str, Any]) -> dict[str, str]:
    """What tells the window system on whose behalf windows appear, as variables."""
    found = {}
    for key, variable in TOKENS.items():
        value = platform.get(key)
        text = value.value if isinstance(value, Variant) else None
        if isinstance(text, str) and 0 < len(text) <= TEXT_SIZE_MAX and text.isprintable():
            found[variable] = text
    return found


def _files(links: Sequence[str]) -> Sequence[str]:
    if len(links) > FILES_MAX or not all(is_link(link) for link in links):
        raise Refusal("those are no links", INVALID)
    return links


def _started(words: Sequence[str], environment: Mapping[str, str], directory: str) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            cwd=directory or environment.get("HOME") or "/",
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "that can't be a command"
        raise Refusal(f"{os.path.basename(words[0])} can't be started: {reason}") from error


def _not_ours(name: str, why: str) -> LaunchError:
    return LaunchError(
        "cannot stand for an application on the session bus",
        subject=f"{name}: {why}",
        hint="sandbox install --check",
    )

"""
A user service, and how it is to be boxed → the drop-in that has it run so.

What comes in: the unit's files, the policy and settings that the user chose, the launcher's path. What goes out: the
drop-in's text, with all that it grants told in comments, or the reason why this unit can't run in a box. It writes
nothing, and expands nothing that systemd will expand itself.

What becomes of each command:

- ExecStart, ExecStartPre, ExecCondition, ExecStopPost: each in a box of its own, under the same policy;
- ExecStartPost, ExecReload, ExecStop: in the box of the main process, by `sandbox unit control`, with MAINPID as it is
  in there; where the main process is gone, and for Type=oneshot, in boxes of their own;
- `kill` of $MAINPID stays outside: the launcher hands signals on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator

from sandboxer.desktop.units import environment
from sandboxer.desktop.units import text as unit_text
from sandboxer.desktop.units.commands import IN_MAIN_BOX, IN_OWN_BOX, NO_COMMANDS, Lines, path_of
from sandboxer.desktop.units.files import Found
from sandboxer.desktop.units.grants import Grants, grants, settings
from sandboxer.desktop.units.hardening import Conflicts, conflicts
from sandboxer.desktop.units.named_paths import not_shown
from sandboxer.desktop.units.specifiers import Meanings
from sandboxer.desktop.units.text import Unit
from sandboxer.desktop.units.words import commands
from sandboxer.errors import ResolveError
from sandboxer.words import Record

DROP_IN = "zz-sandboxer.conf"
"""Sorts behind what `systemctl edit` and packages write: a later ExecStart= would start the program without a box."""
SECTION = "X-Sandboxer"
OF_THE_SESSION = ("dbus.service", "dbus-broker.service")
TYPES = ("simple", "exec", "notify", "notify-reload", "oneshot", "idle")


class Choice(Record):
    """What the user chose: `policy` a name or an absolute path; `settings` words of --set; `without` keys given up."""

    policy: str
    settings: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


class Wrapped(Record):
    """
    `body` is the drop-in without its seal; `grants` what it adds to the policy, `notes` what is to be known.

    `missed` are paths that its commands name, and that its box doesn't have.
    """

    body: str
    grants: tuple[str, ...]
    notes: tuple[str, ...]
    missed: tuple[str, ...]


def main_program(found: Found, meanings: Meanings) -> str:
    """The path of the first program that the unit starts, "" where it starts none."""
    unit = merged(found)
    for setting in unit.values("ExecStart"):
        for command in commands(setting.value):
            return path_of(command, unit, meanings)
    return ""


def merged(found: Found) -> Unit:
    """A unit with all its drop-ins."""
    return unit_text.merged((found.fragment, *found.drop_ins))


def wrap(
    found: Found,
    choice: Choice,
    meanings: Meanings,
    launcher: str,
    *,
    shown: tuple[str, ...],
    writable: tuple[str, ...] = ("/",),
) -> Wrapped:
    """
    The drop-in for a unit.

    Args:
        launcher: its absolute path.
        shown: paths that the policy shows by itself; "/" where it shares the working directory.
        writable: real paths of what the policy by itself lets be changed.
    Raises:
        ResolveError: a box can't hold this unit.
    """
    if found.name in OF_THE_SESSION or found.name.startswith("systemd-"):
        raise ResolveError(
            "this service is part of the session itself",
            subject=f"{found.name}: other services need what it does outside a box",
            hint="leave it outside",
        )
    unit = merged(found)
    kind = _type_of(unit)
    _refuse_later(found)
    clash = conflicts(unit, choice.without)
    if clash.refused:
        raise _in_the_way(found.name, clash)
    assigned = environment.assignments(unit, meanings)
    files = dict(environment.file_options(unit, meanings))
    granted = dict(grants(unit, meanings, environment.names(assigned), clash, shown=shown))
    changeable = (*writable, *_changeable(unit, granted, meanings, shown))
    environment.refuse_leading(assigned, meanings, changeable)
    # the user's own have no specifiers, and hold over the others
    words = (*settings(granted), *(setting.replace("%", "%%") for setting in choice.settings))
    made = Lines(
        unit,
        kind,
        meanings,
        launcher,
        choice.policy,
        words,
        files=tuple(files),
        boxes_kill=environment.loads_code(assigned),
    )
    notes = (*_notes(unit), *made.notes)
    told = (*_told(granted), *files.values())
    return Wrapped(
        body=_text(found, unit, choice, clash, told, made),
        grants=told,
        notes=notes,
        missed=not_shown(unit, meanings, [*_shown(unit, granted, meanings, shown)]),
    )


def _told(granted: Grants) -> tuple[str, ...]:
    return tuple(why for _, why in granted.values() if why)


def _changeable(unit: Unit, granted: Grants, meanings: Meanings, shown: tuple[str, ...]) -> Iterator[str]:
    """What can be changed since the unit asks for it, or is started there."""
    own = granted["files.own"][0] if "files.own" in granted else ()
    places = [*own] if isinstance(own, list) else []
    directory = unit.value("WorkingDirectory").removeprefix("-").replace("~", "%h")
    if directory and "/" in shown:
        places.append(directory)
    for place in places:
        yield os.path.realpath(meanings.expanded(place)) if meanings.is_known(place) else "/"


def _shown(unit: Unit, granted: Grants, meanings: Meanings, shown: tuple[str, ...]) -> Iterator[str]:
    """Paths that the box shows by its policy, or since the unit asks for it."""
    yield from (path for path in shown if path != "/")
    for key in ("files.own", "files.read"):
        value = granted[key][0] if key in granted else ()
        texts = [text.removeprefix("?") for text in value] if isinstance(value, list) else []
        yield from (meanings.expanded(text) for text in texts if meanings.is_known(text))
    directory = meanings.expanded(unit.value("WorkingDirectory").removeprefix("-"))
    if directory.startswith("/") and ("/" in shown or "files.working-directory" in granted):
        yield directory


def _type_of(unit: Unit) -> str:
    """The service's type. Raises ResolveError for those that no box can be."""
    kind = unit.value("Type") or ("simple" if unit.values("ExecStart") else "oneshot")
    if kind == "dbus" or unit.value("BusName"):
        raise ResolveError(
            "a service that owns a name on the session bus can't run in a box",
            subject=f"BusName={unit.value('BusName')}: no box has the session bus",
            hint="leave it outside",
        )
    if kind == "forking":
        raise ResolveError(
            "a service that goes into the background can't run in a box",
            subject="Type=forking: what it leaves behind would have to outlive the box's first process",
            hint="have it stay in the foreground: most daemons have an option for that; then Type=exec or notify",
        )
    if kind not in TYPES:
        raise ResolveError("this type of service isn't known here", subject=f"Type={kind}")
    if not any(unit.values(key) for key in (*IN_OWN_BOX, *IN_MAIN_BOX)):
        raise ResolveError("this service starts nothing", subject="it has no ExecStart=")
    for setting in unit.settings:
        known = (*IN_OWN_BOX, *IN_MAIN_BOX, *NO_COMMANDS)
        if setting.key.startswith("Exec") and setting.section == "Service" and setting.key not in known:
            raise ResolveError(
                "a command of this service would be run outside its box",
                subject=f"{setting.file}:{setting.line}: {setting.key}= isn't known here",
            )
    return kind


def _refuse_later(found: Found) -> None:
    for path, _ in found.drop_ins:
        if os.path.basename(path) > DROP_IN:
            raise ResolveError(
                "another drop-in would have the last word",
                subject=f"{path}: comes after {DROP_IN}",
                hint="give it a name that sorts before",
            )


def _in_the_way(name: str, clash: Conflicts) -> ResolveError:
    reasons = "; ".join(f"{key}=: {why}" for key, why in clash.refused)
    words = " ".join(f"--without {key}" for key, _ in clash.refused)
    return ResolveError(
        "the unit's own sandboxing is in the way of a box",
        subject=reasons,
        hint=f"give it up, where the box's policy is enough: sandbox unit wrap {name} {words}",
    )


def _notes(unit: Unit) -> Iterator[str]:
    if written := [
        setting.value for key in ("ReadWritePaths", "ReadWriteDirectories") for setting in unit.values(key)
    ]:
        yield f"the unit names what it writes ({' '.join(written)}): grant it with --set files.write=... if need be"
    if unit.value("FileDescriptorStoreMax").strip("0"):
        yield "descriptors can't be stored with systemd from inside a box (FileDescriptorStoreMax=)"
    if unit.value("KillMode") in ("process", "none"):
        yield "all that runs in the box ends with it, whatever KillMode= says"


def _text(
    found: Found,
    unit: Unit,
    choice: Choice,
    clash: Conflicts,
    granted: tuple[str, ...],
    made: Lines,
) -> str:
    lines = [f"# {found.name} runs in a box, under the policy {choice.policy}."]
    told = [*granted, *(f"--set {setting}" for setting in choice.settings)]
    lines += ["# There it has, since the unit or its user asks for it:"] if told else []
    lines += [f"#   {_comment(text)}" for text in told]
    lines += ["", "[Service]"]
    if unit.value("KillMode") in ("", "control-group"):
        lines += [
            "# the launcher hands the signal on: else the application would get it twice",
            "KillMode=mixed",
        ]
    for item in clash.taken_off:
        lines += [f"# was {_comment(item.was)}: {item.why}", f"{item.key}={item.value}"]
    lines += ["# systemd would give what they set to the launcher, too, which reads them for the box alone"]
    lines += ["EnvironmentFile="]
    if unit.values("ExecSearchPath"):
        lines += ["# its programs are named in full; what the box looks in, it is told", "ExecSearchPath="]
    for key, written in made.lines.items():
        lines.append(f"{key}=")
        lines += [f"{key}={line}" for line in written]
    lines += ["", f"[{SECTION}]", f"Policy={json.dumps(choice.policy)}"]
    lines += [f"Set={json.dumps(setting)}" for setting in choice.settings]
    lines += [f"Without={json.dumps(key)}" for key in choice.without]
    sources = [found.fragment, *found.drop_ins]
    lines += [f"Source={json.dumps([_digest(text), path])}" for path, text in sources]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    """One line."""
    return " ".join(text.split()).rstrip("\\")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def recorded(text: str) -> tuple[Choice, dict[str, str]]:
    """
    What a drop-in was made from: the choice, and the files' digests.

    Raises:
        ResolveError: it isn't one of ours.
    """
    found: dict[str, list[object]] = {}
    for setting in unit_text.settings(text, ""):
        if setting.section == SECTION:
            try:
                found.setdefault(setting.key, []).append(json.loads(setting.value))
            except ValueError:
                continue
    policies = [str(item) for item in found.get("Policy", ())]
    if not policies:
        raise ResolveError("this drop-in was not written by sandbox unit wrap")
    choice = Choice(
        policy=policies[0],
        settings=tuple(str(item) for item in found.get("Set", ())),
        without=tuple(str(item) for item in found.get("Without", ())),
    )
    pairs = [item for item in found.get("Source", ()) if isinstance(item, list) and len(item) == 2]
    sources = {str(path): str(digest) for digest, path in pairs}
    return choice, sources

"""
Wrapping services, and knowing what was wrapped: what `sandbox unit wrap`, `unwrap`, `check` and `list` do.

What comes in: a service's name and what was chosen. What goes out: its drop-in, or how it differs from what would be
written now. It reads policies and units, and writes the drop-in alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from enum import Enum

from sandboxer.cli import output, unit_running
from sandboxer.cli.output import Part, Tone, line
from sandboxer.cli.survey import Anywhere
from sandboxer.desktop.units import files as unit_files
from sandboxer.desktop.units import store as unit_store
from sandboxer.desktop.units import templates as units
from sandboxer.desktop.units import wrap as unit_wrap
from sandboxer.desktop.units.files import Found
from sandboxer.desktop.units.specifiers import Meanings, meanings
from sandboxer.desktop.units.wrap import DROP_IN, Choice, Wrapped
from sandboxer.errors import ResolveError, SandboxerError
from sandboxer.grants import paths
from sandboxer.grants.files import changeable
from sandboxer.host import session
from sandboxer.host.installation import native_program
from sandboxer.policy import layers
from sandboxer.policy.checks import check_name
from sandboxer.policy.effective import Effective
from sandboxer.words import Record, changed

TIMEOUT_S = 20


class State(Enum):
    """How a drop-in stands to what would be written now; OUTSIDE: well, but what runs was started before it."""

    CURRENT = "in a box"
    OUTSIDE = "still outside"
    STALE = "in a box, but changed since"
    BROKEN = "not to be relied on"


class Wrapping(Record):
    """One wrapped unit. `reasons` tell why it isn't current."""

    name: str
    path: str
    state: State
    policy: str
    settings: tuple[str, ...]
    grants: tuple[str, ...]
    reasons: tuple[str, ...]


def wrap_unit(
    word: str, policy: str | None, settings: Sequence[str] | None, without: Sequence[str] | None
) -> int:
    """Write a unit's drop-in; what was chosen before holds where nothing is chosen now. Returns 0."""
    found, known = _look(unit_files.checked_name(word))
    if (
        os.path.realpath(unit_wrap.main_program(found, known)) == native_program()
        or found.name in units.INSTALLED
    ):
        raise ResolveError(
            "this unit is sandboxer's own, or runs in a box already", subject=found.fragment[0]
        )
    path = drop_in_path(found.name)
    before = unit_store.read(path)
    old = unit_wrap.recorded(before)[0] if before and unit_store.is_ours(path) else None
    choice = Choice(
        policy=_policy(policy) if policy else old.policy if old else _own_policy(found, known),
        settings=tuple(settings) if settings is not None else old.settings if old else (),
        without=tuple(without) if without is not None else old.without if old else (),
    )
    wrapped = _wrapped(found, known, choice)
    unit_store.write(
        path,
        wrapped.body,
        f"written by `sandbox unit wrap`; `sandbox unit unwrap {found.name}` takes it away",
    )
    told = _reload()
    notes = list(wrapped.notes)
    if not policy and choice.policy == layers.STRICT:
        notes.insert(0, _no_policy(unit_wrap.main_program(found, known)))
    if wrapped.missed:
        notes.append(_missed(found.name, choice, wrapped.missed))
    output.show(
        [
            line(
                Part(text=found.name, tone=Tone.HEADING),
                f" will run in a box, under the policy {choice.policy}.",
            ),
            *(line(grant, indent=2) for grant in wrapped.grants),
            *(line(Part(text=note, tone=Tone.WARNING), indent=2) for note in notes),
            line(_from_when(found.name) if told else "No user manager runs here: from the next session on."),
        ]
    )
    return 0


def _no_policy(program: str) -> str:
    return (
        f"no policy is for {os.path.basename(program) or 'its program'}, so it gets no network, no display and a "
        "throw-away home; to choose one: --policy NAME"
    )


def _missed(name: str, choice: Choice, paths: Sequence[str]) -> str:
    """Of paths that are named and not shown: the command that shows them besides."""
    shown = [output.from_home(path) for path in paths]
    settings = [*choice.settings, f"files.read={json.dumps(shown, ensure_ascii=False)}"]
    words = " ".join(f"--set {shlex.quote(setting)}" for setting in settings)
    return f"not in the box: {', '.join(shown)}; if it needs them: sandbox unit wrap {name} {words}"


def _from_when(name: str) -> str:
    outside = unit_running.outside([name])
    return (
        f"It runs outside until then: {_restart(outside)}"
        if outside
        else f"From its next start on: {_restart([name])}"
    )


def _restart(names: Sequence[str]) -> str:
    return f"systemctl --user restart {' '.join(name.replace('@.', '@INSTANCE.') for name in names)}"


def unwrap_unit(word: str) -> int:
    """Take a unit's drop-in away. Returns 0."""
    name = unit_files.checked_name(word)
    path = drop_in_path(name)
    if not os.path.lexists(path):
        with contextlib.suppress(SandboxerError):  # the unit itself is gone
            name = unit_files.find(name, unit_files.search_path()).name
        path = drop_in_path(name)
    if not os.path.lexists(path):
        raise ResolveError(
            "this unit isn't wrapped", subject=f"{path}: nothing there", hint="sandbox unit list"
        )
    unit_store.remove(path)
    _reload()
    output.write(f"{name} runs outside again from its next start: {_restart([name])}\n")
    return 0


def all_wrapped(names: Sequence[str]) -> list[Wrapping]:
    """The wrapped units, by name. Raises ResolveError for a name that isn't wrapped."""
    directory = _directory()
    entries = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    there = [
        entry.removesuffix(".d")
        for entry in entries
        if entry.endswith(f"{unit_files.SUFFIX}.d")
        and os.path.lexists(os.path.join(directory, entry, DROP_IN))
    ]
    wanted = [unit_files.checked_name(name) for name in names]
    for name in wanted:
        if name not in there:
            raise ResolveError("this unit isn't wrapped", subject=name, hint="sandbox unit list")
    outside = unit_running.outside(wanted or there)
    return [_told_of_running(_compared(name), outside) for name in wanted or there]


def _told_of_running(item: Wrapping, outside: Sequence[str]) -> Wrapping:
    """What is told of a unit, with what runs of it outside."""
    names = [name for name in outside if item.name in (name, unit_files.instance_of(name)[2])]
    if not names:
        return item
    reason = f"it was started before it was wrapped: systemctl --user restart {' '.join(names)}"
    state = State.OUTSIDE if item.state is State.CURRENT else item.state
    return changed(item, state=state, reasons=(*item.reasons, reason))


def drop_in_path(name: str) -> str:
    """Where a unit's drop-in is."""
    return os.path.join(_directory(), f"{name}.d", DROP_IN)


def _compared(name: str) -> Wrapping:
    """A wrapped unit, against what would be written now."""
    path = drop_in_path(name)
    choice = Choice(policy="?")
    grants: tuple[str, ...] = ()
    try:
        text = unit_store.read(path)
        choice, sources = unit_wrap.recorded(text)
        unit_store.require_ours(path)
        found, known = _look(name)
        wrapped = _wrapped(found, known, choice)
        grants = wrapped.grants
    except SandboxerError as error:
        reason = f"{error.what}: {error.subject}" if error.subject else error.what
        return _wrapping(name, path, State.BROKEN, choice, grants, (reason,))
    if unit_store.body_of(text) == wrapped.body:
        return _wrapping(name, path, State.CURRENT, choice, grants, ())
    _, now = unit_wrap.recorded(wrapped.body)
    reasons = [f"{file} has changed" for file in sources if file in now and now[file] != sources[file]]
    reasons += [f"{file} is gone" for file in sources if file not in now]
    reasons += [f"{file} is new" for file in now if file not in sources]
    reasons = reasons or ["the launcher, a program's place or the policy has changed"]
    return _wrapping(
        name, path, State.STALE, choice, grants, (*reasons, f"to renew it: sandbox unit wrap {name}")
    )


def _wrapping(
    name: str, path: str, state: State, choice: Choice, grants: tuple[str, ...], reasons: tuple[str, ...]
) -> Wrapping:
    return Wrapping(
        name=name,
        path=path,
        state=state,
        policy=choice.policy,
        settings=choice.settings,
        grants=grants,
        reasons=reasons,
    )


def _look(name: str) -> tuple[Found, Meanings]:
    """A unit without what we wrote for it, and what its specifiers stand for."""
    found = unit_files.find(name, unit_files.search_path(), (DROP_IN,))
    user = Anywhere(session.current()).user
    variables = session.current().environment
    return found, meanings(found.name, user.name, user.uid, user.home, variables, _version())


def _wrapped(found: Found, known: Meanings, choice: Choice) -> Wrapped:
    effective = _effective(choice)
    return unit_wrap.wrap(
        found, choice, known, native_program(), shown=_shown(effective), writable=_writable(effective)
    )


def _writable(effective: Effective) -> tuple[str, ...]:
    """Real paths of what a policy by itself lets be changed; "/" where that can't be told."""
    try:
        return tuple(changeable(effective, Anywhere(session.current())))
    except ResolveError:  # nothing there: the start will tell
        return ("/",)


def _shown(effective: Effective) -> tuple[str, ...]:
    """The host paths that a policy shows by itself; "/" besides where it shares what the program is started in."""
    files = effective.policy.files
    host = Anywhere(session.current())
    shown = ["/"] if files.working_directory != "none" else []
    granted = (("read", files.read), ("write", files.write), ("own", files.own), ("system", files.system))
    for key, texts in ((f"files.{name}", texts) for name, texts in granted):
        for text in texts:
            with contextlib.suppress(ResolveError):  # nothing there: the start will tell
                shown += [place.real for place in paths.places(text, host, effective.origin(key, text))]
    return tuple(shown)


def _effective(choice: Choice) -> Effective:
    """The policy that was chosen, which has to be right."""
    host = Anywhere(session.current())
    if choice.policy.startswith("/"):
        name = os.path.basename(choice.policy).removesuffix(".toml")
        return layers.load(name, host, settings=choice.settings, file=choice.policy)
    return layers.load_app_or_set(choice.policy, host, settings=choice.settings)


def _policy(word: str) -> str:
    """What --policy names: a name, or a file by its absolute path."""
    if "/" in word or word.endswith(".toml"):
        return os.path.join(session.current().directory(), word)
    return word


def _own_policy(found: Found, known: Meanings) -> str:
    """The policy of the unit's program, by its name."""
    name = os.path.basename(unit_wrap.main_program(found, known))
    host = Anywhere(session.current())
    if check_name(name) is None and name in layers.names("apps", host):
        return name
    return layers.STRICT


def _version() -> int:
    """systemd's, 0 where it can't be told."""
    try:
        done = subprocess.run(
            ["systemctl", "--version"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    words = done.stdout.split()
    digits = words[1].partition(".")[0].partition("~")[0] if len(words) > 1 else ""
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _reload() -> bool:
    runs = unit_store.manager_runs(session.current().environment)
    if runs:
        unit_store.tell_manager("daemon-reload")
    return runs


def _directory() -> str:
    here = session.current()
    return unit_store.own_directory(here.environment, Anywhere(here).user.home)

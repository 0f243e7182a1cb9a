"""
What there is to be written for some policies: wrappers of entries and autostart entries, D-Bus services, shims.

What comes in: the machine as `entries` and `programs` see it, and what was written before. What goes out: files, each
with its place and content; and what is left alone, with the reason. It writes nothing.

What was written before is looked through: the origin of a wrapper is what would be there without it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence

from sandboxer.desktop.wrappers import entries, programs, variables, wrapper
from sandboxer.desktop.wrappers.entries import ENTRY, SERVICE, Directories, Kind, Source
from sandboxer.desktop.wrappers.exec_line import split
from sandboxer.desktop.wrappers.key_file import KeyFile
from sandboxer.desktop.wrappers.placing import ABSENT
from sandboxer.desktop.wrappers.programs import Candidate
from sandboxer.desktop.wrappers.read_back import starts_outside
from sandboxer.desktop.wrappers.wrapper import CannotWrap, Target
from sandboxer.desktop.wrappers.written import Ledger
from sandboxer.errors import SandboxerError
from sandboxer.grants.base import SEARCH_PATH
from sandboxer.host.view import Host
from sandboxer.words import Record

FILE_MODE, PROGRAM_MODE = 0o644, 0o755
BUS_NAME = re.compile(r"[A-Za-z_-][A-Za-z0-9_-]*(\.[A-Za-z_-][A-Za-z0-9_-]*)+")


class Wanted(Record):
    """A file that is to be at `path`. `origin` is the file that it is made from, `origin_digest` of its content."""

    kind: Kind
    name: str
    path: str
    policy: str
    origin: str
    origin_digest: str
    content: bytes
    mode: int
    loss: str = ""
    """What the origin does and this doesn't, in words."""


class Left(Record):
    """A file that is left alone. `boxed`: what it starts is in a sandbox all the same."""

    path: str
    policy: str
    why: str
    boxed: bool = False


class Machine:
    """
    What the decisions are made from.

    `chosen` are the names of policies that were asked for, None for all.
    """

    def __init__(self, host: Host, launcher: str, ledger: Ledger, chosen: Sequence[str] | None) -> None:
        self.host = host
        self.launcher = launcher
        self.ledger = ledger
        self.where: Directories = entries.directories(host)
        self.known: tuple[Candidate, ...]
        self.faults: dict[str, SandboxerError]
        self.known, self.faults = programs.candidates(host)
        self.chosen = chosen
        self._path = (*(host.variable("PATH") or "").split(":"), *SEARCH_PATH)
        self._activated = {service.name: service.program for service in _services(self)}

    def lookup(self, name: str) -> str:
        """A program as a desktop finds it."""
        return programs.located(name, self._path)

    def candidates(self) -> tuple[Candidate, ...]:
        """The policies that were asked for."""
        return tuple(one for one in self.known if self.chosen is None or one.name in self.chosen)

    def target(self, candidate: Candidate) -> Target:
        return Target(launcher=self.launcher, policy=candidate)

    def program_of(self, text: KeyFile) -> str:
        """
        The path of an entry's program, also where D-Bus is asked to start it; "" when it isn't installed.

        Raises:
            ValueError: the command can't be understood.
        """
        started = programs.command(split(text.text(ENTRY, "Exec")))
        if os.path.basename(started.program) == "gapplication" and len(started.rest) > 1:
            return self._activated.get(started.rest[1].text, "")
        return self.lookup(started.program)

    def original(self, source: Source) -> str:
        """Where that is which a file holds, or held before it was a wrapper; "" when there was nothing."""
        item = self.ledger.item(source.path) if source.own else None
        content = entries.read(source.path)
        if item is None or content is None or wrapper.digest(content) not in item.digests:
            return source.path
        if not item.kept:
            return ""
        target = item.kept_digest.removeprefix("link:")
        if target != item.kept_digest:
            return os.path.join(os.path.dirname(source.path), target)
        return self.ledger.kept_path(item)


class _Service(Record):
    source: Source
    name: str
    program: str
    content: bytes


def wanted(machine: Machine) -> tuple[list[Wanted], list[Left]]:
    """Everything but shims."""
    found: list[Wanted] = []
    left: list[Left] = []
    for kind in (Kind.ENTRY, Kind.AUTOSTART):
        seen: set[str] = set()
        for source in entries.sources(kind, machine.where):
            if source.name in seen and not source.own:
                continue
            original = machine.original(source)
            content = entries.start(original) if original else None
            if content is None:
                continue
            seen.add(source.name)
            verdict = _entry(source, content, machine, FILE_MODE & _mode(original))
            if isinstance(verdict, Wanted):
                found.append(verdict)
            elif verdict is not None:
                left.append(verdict)
    by_name = {one.name: one.policy for one in found if one.kind is Kind.ENTRY}
    services = (_service(service, by_name, machine) for service in _services(machine))
    found += [one for one in services if one is not None]
    return found, left


def shims(machine: Machine, directory: str) -> list[Wanted]:
    """
    Programs for the shell, under the names of the policies' commands that are installed, and of the alternatives that
    lead to them.

    Where all policies are asked for, those without windows have none: `python3` in a box would be a surprise to every
    script.
    """
    found: dict[str, Wanted] = {}
    mine = [one for one in machine.candidates() if one.shows_windows or machine.chosen is not None]
    for candidate in mine:
        for command in candidate.commands:
            program = programs.located(command, SEARCH_PATH)
            if not program:
                continue
            best = programs.owners(os.path.basename(command), program, mine)[0]
            for name in (os.path.basename(command), *programs.other_names(program, SEARCH_PATH)):
                shim = Wanted(
                    kind=Kind.SHIM,
                    name=name,
                    path=os.path.join(directory, name),
                    policy=best.name,
                    origin=program,
                    origin_digest=ABSENT,
                    content=wrapper.shim(program, machine.target(best)),
                    mode=PROGRAM_MODE,
                )
                found.setdefault(name, shim)
    return list(found.values())


def _entry(source: Source, content: bytes, machine: Machine, mode: int) -> Wanted | Left | None:
    """The wrapper of an entry, with at most this mode; None for what is no application of these policies."""
    text = KeyFile(content)
    if text.get(ENTRY, "Type") != "Application" or entries.is_true(text, "Hidden"):
        return None
    if policy := text.text(ENTRY, wrapper.POLICY):
        asked = machine.chosen is None or policy in machine.chosen
        why = "it is a wrapper that was changed since; remove it, or undo"
        return Left(path=source.path, policy=policy, why=why) if asked else None
    program, fault = "", "its program isn't installed"
    try:
        program = machine.program_of(text)
    except ValueError as error:
        fault = wrapper.not_understood(error)
    mine = programs.owners(source.name, program, machine.candidates())
    if not mine:
        return None
    candidate = _preferred(source, mine, machine)
    if why := _elsewhere(text, program):
        return Left(path=source.path, policy=candidate.name, why=why, boxed=True)
    if len(content) > entries.SIZE_MAX:
        return _left(source, candidate, f"it is larger than {entries.SIZE_MAX // 1024} KiB")
    if not program and not wrapper.is_activated_alone(text):
        return _left(source, candidate, fault)
    if not entries.is_true(text, "Terminal"):
        with_windows = [one for one in mine if one.shows_windows]
        if not with_windows:
            return _left(source, candidate, f"it has windows, and the policy {candidate.name} grants none")
        candidate = candidate if candidate.shows_windows else with_windows[0]
    try:
        made = wrapper.wrapped(content, source.path, machine.target(candidate), machine.lookup)
    except CannotWrap as error:
        return _left(source, candidate, str(error))
    if why := starts_outside(made, machine.launcher):
        return _left(source, candidate, why)
    return Wanted(
        kind=source.kind,
        name=source.name,
        path=source.place,
        policy=candidate.name,
        origin=source.path,
        origin_digest=wrapper.digest(content),
        content=made,
        mode=mode | stat.S_IRUSR,
        loss=variables.loss(text, candidate.name, machine.host),
    )


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:  # it went a moment ago
        return 0


def _preferred(source: Source, mine: Sequence[Candidate], machine: Machine) -> Candidate:
    """The policy that it was wrapped for before, else the best."""
    item = machine.ledger.item(source.place)
    return next((one for one in mine if item is not None and one.name == item.policy), mine[0])


def _elsewhere(text: KeyFile, program: str) -> str:
    """Why an entry is none of ours, though it has the name."""
    other = programs.other_sandbox(program) if program else ""
    if text.get(ENTRY, "X-Flatpak") is not None:
        other = "Flatpak"
    if text.get(ENTRY, "X-SnapInstanceName") is not None:
        other = "snapd"
    if other:
        return f"{other} starts it, in a sandbox of its own"
    return "it starts a box itself" if program and programs.starts_a_box(program) else ""


def _left(source: Source, candidate: Candidate, why: str) -> Left:
    return Left(path=source.path, policy=candidate.name, why=why)


def _services(machine: Machine) -> Iterator[_Service]:
    """The services of the session bus, of each name the one that counts."""
    seen: set[str] = set()
    for source in entries.sources(Kind.SERVICE, machine.where):
        original = machine.original(source)
        content = entries.read(original) if original else None
        text = KeyFile(content) if content is not None else None
        name = text.text(SERVICE, "Name") if text is not None else ""
        if content is None or text is None or name in seen or not BUS_NAME.fullmatch(name):
            continue
        seen.add(name)
        try:
            program = machine.lookup(programs.command(split(text.text(SERVICE, "Exec"))).program)
        except ValueError:
            program = ""
        yield _Service(source=source, name=name, program=program, content=content)


def _service(service: _Service, wrapped: dict[str, str], machine: Machine) -> Wanted | None:
    """
    What goes before a service that would start an application of these policies outside.

    Args:
        wrapped: the policies of the entries that are wrapped, by id.
    """
    policy = wrapped.get(f"{service.name}.desktop", "")
    mine = machine.candidates()
    if not policy and service.program:
        owners = programs.owners("", service.program, [one for one in mine if one.shows_windows])
        names = [one.name for one in owners]
        policy = next((name for name in names if name in wrapped.values()), next(iter(names), ""))
    if not policy:
        return None
    candidate = next(one for one in mine if one.name == policy)
    source = service.source
    place = f"{os.path.dirname(source.place)}/{service.name}.service"
    return Wanted(
        kind=Kind.SERVICE,
        name=service.name,
        path=source.place if source.own else place,
        policy=policy,
        origin=source.path,
        origin_digest=wrapper.digest(service.content),
        content=wrapper.service(service.name, source.path, machine.target(candidate)),
        mode=FILE_MODE,
    )

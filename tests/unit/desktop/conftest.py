"""A desktop of files: the user's and the system's directories, programs, policies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandboxer.desktop.wrappers import written
from sandboxer.desktop.wrappers.checking import Problem, problems
from sandboxer.desktop.wrappers.installing import Hand, Outcome, install, undo
from sandboxer.desktop.wrappers.wanted import Machine, wanted
from sandboxer.host.facts import Facts
from sandboxer.host.session import Session

POLICY = 'command = ["{command}"]\n[display]\nwayland = "if-present"\nx11 = "fallback"\n'


class Desk:
    """A home, a system's data directory and a policy `tool` for the program `tool`."""

    def __init__(self, base: Path) -> None:
        self.home, self.system, self.programs = base / "home", base / "share", base / "bin"
        self.config = base / "etc"
        self.data = self.home / ".local/share"
        for directory in (self.home, self.system, self.programs):
            directory.mkdir(mode=0o755)
        (self.home / ".local").mkdir()
        self.launcher = str(self.program("launcher"))
        self.policy("tool", str(self.program("tool")))
        self.variables = {
            "HOME": str(self.home),
            "XDG_DATA_DIRS": str(self.system),
            "XDG_CONFIG_DIRS": str(self.config),
            "PATH": f"{self.programs}:/usr/bin:/bin",
        }

    def program(self, name: str) -> Path:
        path = self.programs / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    def policy(self, name: str, command: str, text: str = POLICY) -> None:
        path = self.home / f".config/sandboxer/apps/{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        path.write_text(text.format(command=command))
        path.chmod(0o644)

    def entry(self, name: str, *lines: str, base: Path | None = None) -> Path:
        path = (base or self.system / "applications") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["[Desktop Entry]", "Type=Application", "Name=Tool", *lines, ""]))
        return path

    def service(self, name: str, command: str) -> Path:
        path = self.system / f"dbus-1/services/{name}.service"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"[D-BUS Service]\nName={name}\nExec={command}\nSystemdService={name}.service\n")
        return path

    @contextmanager
    def at_work(self, chosen: tuple[str, ...] | None = ("tool",)) -> Iterator[tuple[Machine, Hand]]:
        session = Session(self.variables, str(self.home / ".cache"))
        host = Facts(session)
        with written.opened(host) as ledger:
            yield Machine(host, self.launcher, ledger, chosen), Hand(ledger, host, session)

    def install(self, chosen: tuple[str, ...] | None = ("tool",)) -> list[Outcome]:
        with self.at_work(chosen) as (machine, hand):
            return install(wanted(machine)[0], self.launcher, hand)

    def left(self, chosen: tuple[str, ...] | None = ("tool",)) -> dict[str, str]:
        """Why each file is left alone, by its name."""
        with self.at_work(chosen) as (machine, _):
            return {os.path.basename(one.path): one.why for one in wanted(machine)[1]}

    def undo(self) -> list[Outcome]:
        with self.at_work() as (_, hand):
            return undo(hand.ledger.items, hand)

    def check(self) -> list[Problem]:
        with self.at_work() as (machine, hand):
            return list(problems(machine, *wanted(machine), hand))

    def problems(self) -> list[str]:
        return [problem.what for problem in self.check()]

    def picture(self) -> dict[str, tuple[object, ...]]:
        """All that is in the home, but for our own state: type, mode, content, time."""
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.home.rglob("*")):
            name = str(path.relative_to(self.home))
            if name.startswith((".local/state", ".cache")):
                continue
            status = path.lstat()
            if path.is_symlink():
                found[name] = ("link", os.readlink(path))
            elif path.is_dir():
                found[name] = ("directory", status.st_mode)
            else:
                found[name] = (status.st_mode, status.st_mtime_ns, path.read_bytes())
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)

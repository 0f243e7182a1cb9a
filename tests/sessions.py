"""
A real desktop session for tests: `systemd --user`, the session bus that it activates, an X server with a window
manager; all of it an ordinary user's.

How it is used (tests/desktop/conftest.py has the fixtures):

    def test_…(desktop: DesktopSession):            # reset after each test; started once, in about half a second
        done = desktop.run("gio", "launch", entry)              # in the session; .returncode .stdout .stderr
        with desktop.start("sandbox", "firefox") as process:    # until the block's end
            desktop.until(lambda: desktop.processes("firefox-esr"), "Firefox")
        desktop.home / ".local/share"               # the session's home, the same path inside and outside
        desktop.runtime / "sandboxer/boxes"         # its XDG_RUNTIME_DIR, as seen from outside
        desktop.facts(pid)                          # cgroup, namespaces, Seccomp of a process, by its number inside
        desktop.systemctl("start", "sandbox@xterm") # fails the test when it fails
        of_x_screen(kept, desktop.env)              # pictures and xdotool: from outside, with desktop.env

What runs in it has process ids, mounts, /run and a cgroup2 tree of its own: /proc/PID of a number that was said inside
is `desktop.proc / PID` outside. Standard streams and the network are those outside, and so are /tmp and /dev/shm. Boxes
work in it. There is no system bus, no logind and no journal; cgroup controllers are there only where the cgroup that
the tests run in has them. tests/machine_with_limits.py is for those.

It needs a cgroup that is the user's own, for which no user can ask the kernel: ./test makes one as root, or has the
user's manager make one, and starts pytest in it; a terminal that a desktop has started is in one anyway.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from conftest import BESIDE_PYTHON, PROGRAMS, missing, need, need_user_namespaces, run_to_end
from servers import XServer, end, running, until, x_server

NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
LASTS_S = 10.0
"""Seconds that a killed session has to be gone."""


def own_cgroup() -> Path:  # noqa: RET503  # `missing` doesn't return
    """The cgroup that this process is in, where it may make others; without one the test is skipped or fails."""
    place = next((line[3:] for line in _lines("/proc/self/cgroup") if line.startswith("0::")), "")
    for line in _lines("/proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        root, point = before.split(" ")[3:5]
        if not after.startswith("cgroup2 ") or not (place + "/").startswith(root.rstrip("/") + "/"):
            continue
        directory = Path(point) / place[len(root.rstrip("/")) :].lstrip("/")
        if os.access(directory, os.W_OK) and os.access(directory / "cgroup.procs", os.W_OK):
            return directory
    missing("desktop-session: a cgroup of the user's own (./test starts pytest in one)")


def _lines(path: str) -> list[str]:
    with suppress(FileNotFoundError):
        return Path(path).read_text().splitlines()
    return []


class DesktopSession:
    """
    A session that runs.

    `env` is the environment of a program in it, `home` its home, `x` its X server, `log` the manager's words,
    `cgroup` the root of its cgroup tree, outside.
    """

    def __init__(
        self, first: int, cgroup: Path, home: Path, env: Mapping[str, str], x: XServer, log: Path
    ) -> None:
        self.home = home
        self.env = dict(env)
        self.x = x
        self.log = log
        self.root = Path(f"/proc/{first}/root")
        self.proc = self.root / "proc"
        self.runtime = self.root / env["XDG_RUNTIME_DIR"].lstrip("/")
        self.cgroup = cgroup
        self._enter = [
            sys.executable,
            "-I",
            "-S",
            str(PROGRAMS / "in_desktop_session.py"),
            str(first),
            str(cgroup),
        ]
        self._place = (self.proc / "1/cgroup").read_text().partition("0::")[2].strip().removesuffix("/first")
        self.systemctl(
            "start", "dbus.service"
        )  # or the first reset would end the bus under everybody's hands
        self._units = self._running_units()

    def words(self, *words: str | Path, cwd: Path | None = None) -> list[str]:
        """What runs `words` in the session when it is started outside with `env`, for Popen calls of one's own."""
        return [*self._enter, str(cwd or self.home), *map(str, words)]

    def run(
        self,
        *words: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
        timeout_s: float = 30.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the session to its end; `env` is added to the session's."""
        return run_to_end(
            self.words(*words, cwd=cwd), env=self.env | dict(env or {}), stdin=stdin, timeout_s=timeout_s
        )

    def start(
        self, *words: str | Path, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """A program in the session until the block's end, its words in `log`."""
        return running(self.words(*words, cwd=cwd), env=self.env | dict(env or {}), log=log)

    def systemctl(self, *words: str | Path, status: int = 0) -> str:
        """What `systemctl --user WORDS` prints; the test fails unless it ends with `status`."""
        done = self.run("systemctl", "--user", "--no-pager", *words)
        if done.returncode != status:
            pytest.fail(f"systemctl {words}: {done.returncode}\n{done.stdout}{done.stderr}\n{self.said()}")
        return done.stdout

    def property(self, unit: str, name: str) -> str:
        """A property of a unit, as systemctl words it."""
        return self.systemctl("show", "--value", "--property", name, unit).strip()

    def said(self) -> str:
        """The end of what the manager and its services have said."""
        return self.log.read_text(errors="replace")[-4000:]

    def until(self, holds: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
        """Wait until `holds()`; else fail, with what the manager said."""
        until(holds, what, self.log, timeout_s)

    def processes(self, name: str) -> list[int]:
        """The numbers, inside, of the processes whose program has this file name."""
        found: list[int] = []
        for place in self.proc.iterdir():
            with suppress(OSError):
                if place.name.isdigit() and Path(os.readlink(place / "exe")).name == name:
                    found.append(int(place.name))
        return sorted(found)

    def facts(self, pid: int) -> dict[str, str]:
        """A process's namespaces ("user": "user:[4026…]"), "cgroup path" as it is inside, and lines of its status."""
        place = self.proc / str(pid)
        status = dict(
            line.split(":\t", 1) for line in (place / "status").read_text().splitlines() if ":\t" in line
        )
        cgroup = re.search(r"^0::(.*)$", (place / "cgroup").read_text(), re.MULTILINE)
        namespaces = {name: os.readlink(place / "ns" / name) for name in NAMESPACES}
        return status | namespaces | {"cgroup path": cgroup[1].removeprefix(self._place) if cgroup else ""}

    def in_a_box(self, pid: int) -> bool:
        """Whether a process is confined: namespaces of its own, a system call filter, no new privileges."""
        here, there = self.facts(1), self.facts(pid)
        apart = all(here[name] != there[name] for name in ("user", "mnt", "pid", "ipc"))
        return apart and there["Seccomp"] == "2" and there["NoNewPrivs"] == "1"

    def unconfined(self, pid: int) -> bool:
        """Whether a process has none of what a box has."""
        here, there = self.facts(1), self.facts(pid)
        together = all(here[name] == there[name] for name in ("user", "mnt", "pid", "ipc"))
        return together and there["Seccomp"] == "0" and there["NoNewPrivs"] == "0"

    @contextmanager
    def notifications(self, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """A notification server until the block's end: it shows what it is told, and writes it to `log`."""
        need("dunst")
        with self.start("dunst", "-print", log=log) as process:
            asked = ("busctl", "--user", "status", "org.freedesktop.Notifications")
            self.until(lambda: self.run(*asked).returncode == 0, "the notification server")
            yield process

    def reset(self) -> None:
        """End what a test has started, empty the home and what sandboxer has in the runtime directory."""
        if units := self._running_units() - self._units:
            self.run("systemctl", "--user", "kill", "--signal=KILL", *sorted(units))
            self.run("systemctl", "--user", "stop", *sorted(units))
        with suppress(FileNotFoundError):
            (self.cgroup / "terminal" / "cgroup.kill").write_text("1")
        for path in [*self.home.iterdir(), *self.runtime.glob("sandboxer*")]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        self.run("systemctl", "--user", "daemon-reload")
        self.run("systemctl", "--user", "reset-failed")

    def _running_units(self) -> set[str]:
        kinds = "--type=service,scope,socket,timer,path"
        listed = self.systemctl(
            "list-units", kinds, "--plain", "--no-legend", "--state=active,activating,reloading"
        )
        return {line.split()[0] for line in listed.splitlines() if line.strip()}


@contextmanager
def desktop_session(directory: Path) -> Iterator[DesktopSession]:
    """A session until the block's end; its files are in `directory`."""
    need_user_namespaces()
    need("systemctl")
    if not Path("/usr/lib/systemd/user/dbus.socket").exists():
        missing("dbus-user-session: the session bus as the user manager's socket")
    parent = own_cgroup()
    home, log = directory / "home", directory / "manager.log"
    home.mkdir(mode=0o700)
    runtime = f"/run/user/{os.getuid()}"
    kept = {name: os.environ[name] for name in ("LANG", "USER", "LOGNAME", "TZ") if name in os.environ}
    env = kept | {
        "HOME": str(home),
        "PATH": f"{BESIDE_PYTHON}:/usr/local/bin:/usr/bin:/bin:/usr/games",
        "SHELL": "/bin/sh",
        "NO_COLOR": "1",
        "XDG_RUNTIME_DIR": runtime,
        "XDG_DATA_HOME": str(home / ".local/share"),  # dbus-daemon goes by the user database's home, not by HOME
        "XDG_CURRENT_DESKTOP": "openbox",
        "XDG_SESSION_TYPE": "x11",
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus",
    }
    with ExitStack() as stack:
        x = stack.enter_context(x_server(directory, env))
        env |= x.env
        cgroup = stack.enter_context(_cgroup_in(parent))
        first = stack.enter_context(_first_process(cgroup, log, env))
        yield DesktopSession(first, cgroup, home, env, x, log)


@contextmanager
def _cgroup_in(parent: Path) -> Iterator[Path]:
    """A cgroup with the leaves that a session has; gone with all that is in it when the block ends."""
    cgroup = Path(tempfile.mkdtemp(prefix="desktop-", dir=parent))
    cgroup.chmod(0o755)
    for leaf in ("first", "manager", "terminal"):
        (cgroup / leaf).mkdir()
    try:
        yield cgroup
    finally:
        (cgroup / "cgroup.kill").write_text("1")
        until(
            lambda: "populated 0" in (cgroup / "cgroup.events").read_text(),
            "the session's end",
            timeout_s=LASTS_S,
        )
        for place, _, _ in os.walk(cgroup, topdown=False):
            os.rmdir(place)


@contextmanager
def _first_process(cgroup: Path, log: Path, env: Mapping[str, str]) -> Iterator[int]:
    words: Sequence[str | Path] = [sys.executable, "-I", "-S", PROGRAMS / "desktop_session.py", cgroup, log]
    # in its cgroup before the first instruction, so that this becomes the root of what it sees
    words = ["/bin/sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', str(cgroup), *words]
    reader, writer = os.pipe()
    with open(reader, "rb") as pipe, ExitStack() as stack:
        with open(writer, "wb") as out:
            process = stack.enter_context(running(words, env=env, log=log, stdout=out))
        said = pipe.readline()
        if not said.strip():
            end(process)
            what = log.read_text(errors="replace")
            missing(f"desktop-session: a user manager, which did not start:\n{what}")
        yield int(said)

"""A box's scope under a real user manager: its name, its place, who asks for it, and what happens when one ends."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from sessions import DesktopSession

SLEEP = ("sandbox", "run", "--policy", "strict", "--", "sleep", "60")
SCOPE = re.compile(r"/app\.slice/(app-sandboxer-strict-[0-9a-f]{8}\.scope)$")
SERVICE = "companion import main; main() scopes "
ASKER = """
import array, os, socket, subprocess, sys
other = [int(word) for word in sys.argv[2:]]
child = subprocess.Popen(["sleep", "60"])
one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
one.connect(os.environ["XDG_RUNTIME_DIR"] + "/sandboxer/scopes")
rights = array.array("i", [os.pidfd_open(other[0] if other else child.pid)])
content = b'{"app":"x","properties":%s}' % sys.argv[1].encode()
one.sendmsg([content], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
print(one.recv(1000).decode(), flush=True)
if os.environ.get("SHOWS"):
    subprocess.run(["systemctl", "--user", "show", "--property=" + os.environ["SHOWS"], "boxed.service"])
child.kill()
"""
"""Asks for a scope for a child of its own, or for another process, as a launcher would."""


@pytest.fixture
def boxed(desktop: DesktopSession, tmp_path: Path) -> Callable[..., str]:
    """Start a box, and look where it is; its control group shows only outside."""

    def start(*before: str) -> str:
        with desktop.start(*before, *SLEEP, log=tmp_path / "box"):
            desktop.until(
                lambda: bool(desktop.processes("sleep")), (tmp_path / "box").read_text() or "the box"
            )
            (pid,) = desktop.processes("sleep")
            found = desktop.facts(pid)["cgroup path"]
        desktop.until(lambda: not desktop.processes("sleep"), "its end")
        return found

    return start


@pytest.fixture
def scoped(boxed: Callable[..., str]) -> Callable[[], str]:
    """The same, for a scope: its name."""

    def start() -> str:
        group = boxed()
        found = SCOPE.search(group)
        assert found, group
        return found[1]

    return start


def services(desktop: DesktopSession) -> list[int]:
    """The scope services that run, by their numbers inside."""
    found = []
    for place in desktop.proc.iterdir():
        with suppress(OSError):
            words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if place.name.isdigit() and SERVICE in words:
                found.append(int(place.name))
    return found


def scopes(desktop: DesktopSession) -> list[str]:
    listed = desktop.systemctl("list-units", "--type=scope", "--plain", "--no-legend", "--state=active")
    return [line.split()[0] for line in listed.splitlines() if line.startswith("app-sandboxer-")]


def signal_inside(desktop: DesktopSession, pid: int, number: int) -> None:
    assert 0 == desktop.run("kill", f"-{number}", str(pid)).returncode


@pytest.fixture
def sleeping(desktop: DesktopSession, tmp_path: Path) -> Iterator[int]:
    """A box that runs, by its application's number inside."""
    with desktop.start(*SLEEP, log=tmp_path / "sleep"):
        desktop.until(lambda: bool(desktop.processes("sleep")), "the box")
        yield desktop.processes("sleep")[0]


def test_each_box_has_a_scope_of_its_own_that_goes_with_it(
    desktop: DesktopSession, scoped: Callable[[], str]
) -> None:
    first, second = scoped(), scoped()
    assert first != second
    desktop.until(lambda: scopes(desktop) == [], "the scopes' end")


def test_the_scope_is_known_by_the_application_and_goes_with_it(
    desktop: DesktopSession, sleeping: int
) -> None:
    (unit,) = scopes(desktop)
    assert "strict in a box" == desktop.property(unit, "Description")
    assert "app.slice" == desktop.property(unit, "Slice")
    assert desktop.property(unit, "OOMPolicy") in ("continue", ""), (
        "memory that runs out ends one process, not all"
    )
    assert desktop.facts(sleeping)["cgroup path"].endswith(f"/app.slice/{unit}")
    desktop.systemctl("stop", unit)
    desktop.until(lambda: not desktop.processes("sleep"), "the box's end")


def test_a_limit_on_tasks_holds_where_no_controller_does(desktop: DesktopSession) -> None:
    """This session's manager has no controllers: the kernel's own count holds."""
    bomb = "while :; do sleep 1000 & done"
    done = desktop.run(
        "sandbox", "run", "--set", "limits.tasks=30", "--", "sh", "-c", f"({bomb}); echo over", timeout_s=60
    )
    assert "annot fork" in done.stderr
    assert 0 == desktop.run("true").returncode


def test_one_service_stays_for_all_boxes_in_a_scope_of_its_own(
    desktop: DesktopSession, scoped: Callable[[], str]
) -> None:
    for _ in range(3):
        scoped()
    (pid,) = services(desktop)
    desktop.until(
        lambda: "/background.slice/sandboxer-scopes-" in desktop.facts(pid)["cgroup path"], "its scope"
    )
    assert 0 == (desktop.runtime / "sandboxer/scopes").stat().st_mode & 0o077
    assert "/dev/null" == os.readlink(desktop.proc / str(pid) / "fd/2")


def test_many_boxes_at_once_have_each_their_own(desktop: DesktopSession, tmp_path: Path) -> None:
    count = 12
    with ExitStack() as stack:
        for number in range(count):
            stack.enter_context(desktop.start(*SLEEP, log=tmp_path / f"log-{number}"))
        desktop.until(lambda: len(desktop.processes("sleep")) == count, f"{count} boxes")
        groups = {desktop.facts(pid)["cgroup path"] for pid in desktop.processes("sleep")}
        assert count == len(groups) == len(scopes(desktop))
        listening = [
            pid for pid in services(desktop) if "sandboxer-scopes-" in desktop.facts(pid)["cgroup path"]
        ]
        assert 1 == len(listening), "who finds the place taken serves its box and ends"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_service_that_was_ended_is_started_again(
    desktop: DesktopSession, number: int, scoped: Callable[[], str]
) -> None:
    scoped()
    (pid,) = services(desktop)
    signal_inside(desktop, pid, number)
    desktop.until(lambda: services(desktop) == [], "its end")
    scoped()
    assert pid not in services(desktop)


def test_after_its_units_came_and_went_one_service_stays_for_all_boxes_again(
    desktop: DesktopSession, scoped: Callable[[], str]
) -> None:
    scoped()
    (first,) = services(desktop)
    for action in ("install", "remove"):
        done = desktop.run("sandbox", "unit", action)
        assert 0 == done.returncode, done.stderr
    assert not (desktop.runtime / "sandboxer/scopes").exists(), "systemd takes its socket away"
    desktop.until(lambda: first not in services(desktop), "the end of who isn't found any more")
    scoped()
    (second,) = services(desktop)
    scoped()
    assert [second] == services(desktop)


@pytest.mark.parametrize(
    "event",
    [
        ("systemctl", "--user", "daemon-reexec"),
        ("systemctl", "--user", "daemon-reload"),
        ("systemctl", "--user", "restart", "dbus.service"),
    ],
    ids=lambda words: words[2],
)
def test_the_service_outlives_what_happens_to_the_manager_and_the_bus(
    desktop: DesktopSession, event: Sequence[str], scoped: Callable[[], str]
) -> None:
    scoped()
    (pid,) = services(desktop)
    desktop.run(*event)
    desktop.until(
        lambda: desktop.run("systemctl", "--user", "is-system-running").returncode in (0, 1), "the manager"
    )
    desktop.until(
        lambda: desktop.run("busctl", "--user", "status", "org.freedesktop.systemd1").returncode == 0, "bus"
    )
    scoped()
    assert [pid] == services(desktop)


def test_nobody_has_a_process_moved_that_isn_t_his_child(desktop: DesktopSession, sleeping: int) -> None:
    before = desktop.facts(sleeping)["cgroup path"]
    done = desktop.run("/usr/bin/python3", "-c", ASKER, "{}", str(sleeping))
    assert "Ethe process isn't a child of who asks" == done.stdout.strip(), done.stderr
    assert before == desktop.facts(sleeping)["cgroup path"]


def test_a_limit_that_the_kernel_doesn_t_show_is_no_limit(
    desktop: DesktopSession, scoped: Callable[[], str]
) -> None:
    """This session's manager takes such a property, and has no controller that could hold it."""
    scoped()
    done = desktop.run("/usr/bin/python3", "-c", ASKER, '{"TasksMax":77}')
    assert re.fullmatch(r"Eapp-sandboxer-x-.*\.scope: TasksMax is not there instead of 77\n", done.stdout), (
        done.stdout
    )


def test_no_box_can_be_shown_the_service_s_socket(desktop: DesktopSession, scoped: Callable[[], str]) -> None:
    scoped()
    runtime = desktop.env["XDG_RUNTIME_DIR"]
    script = f"ls -A {runtime} {runtime}/sandboxer; test -S {runtime}/sandboxer/scopes && echo REACHED"
    plain = desktop.run("sandbox", "run", "--", "sh", "-c", script)
    assert "REACHED" not in plain.stdout
    for path in (runtime, f"{runtime}/sandboxer", f"{runtime}/sandboxer/scopes"):
        done = desktop.run("sandbox", "run", "--set", f'files.read=["{path}"]', "--", "sh", "-c", script)
        assert (125, "") == (done.returncode, done.stdout), path
        assert "refuses to show" in done.stderr


def test_no_grant_has_the_manager_run_a_program_outside(desktop: DesktopSession, tmp_path: Path) -> None:
    runtime, proof = desktop.env["XDG_RUNTIME_DIR"], desktop.home / "escaped"
    bus = f"DBUS_SESSION_BUS_ADDRESS=unix:path={runtime}/bus"
    asks = ("env", bus, f"XDG_RUNTIME_DIR={runtime}", "systemd-run", "--user", "--wait", "touch", str(proof))
    for path in (runtime, f"{runtime}/systemd", "/run/user", "/run"):
        for key in ("read", "system"):
            done = desktop.run("sandbox", "run", "--set", f'files.{key}=["{path}"]', "--", *asks)
            assert not proof.exists(), (key, path)
            assert 125 == done.returncode, done.stderr
            assert "refuses to show the directory in which the session is controlled" in done.stderr
    assert 0 == desktop.run(*asks).returncode
    assert proof.exists(), "outside it does"


class TestService:
    """A box whose launcher is a service's main process stays in the service."""

    WORDS = (
        *("systemd-run", "--user", "--quiet", "--wait", "--pipe", "--collect"),
        *("--unit=boxed", "--service-type=exec"),
    )

    @pytest.fixture(autouse=True)
    def ended(self, desktop: DesktopSession) -> Iterator[None]:
        yield
        desktop.run("systemctl", "--user", "stop", "boxed.service")

    def run(self, desktop: DesktopSession, tmp_path: Path, *words: str) -> str:
        """The control group of a box that `words` start as a service."""
        desktop.systemctl("import-environment", "PATH")
        with desktop.start(*self.WORDS, *words, log=tmp_path / "service"):
            desktop.until(lambda: bool(desktop.processes("sleep")), "the box")
            (pid,) = desktop.processes("sleep")
            return desktop.facts(pid)["cgroup path"]

    def test_it_gets_no_scope(self, desktop: DesktopSession, tmp_path: Path) -> None:
        assert self.run(desktop, tmp_path, *SLEEP).endswith("/app.slice/boxed.service")

    def test_one_that_isn_t_the_main_process_gets_one(self, desktop: DesktopSession, tmp_path: Path) -> None:
        group = self.run(desktop, tmp_path, "sh", "-c", '"$@"; true', "sh", *SLEEP)
        assert SCOPE.search(group), group

    def test_its_limits_are_set_on_the_service_and_read_back(
        self, desktop: DesktopSession, scoped: Callable[[], str]
    ) -> None:
        scoped()
        asking = ("--setenv=SHOWS=TasksMax", "/usr/bin/python3", "-c", ASKER, '{"TasksMax":77}')
        done = desktop.run(*self.WORDS, *asking)
        assert "Eboxed.service: TasksMax is not there instead of 77\nTasksMax=77\n" == done.stdout, (
            done.stderr
        )


class TestUnits:
    """The service as systemd starts it."""

    @pytest.fixture(autouse=True)
    def units(self, desktop: DesktopSession) -> Iterator[None]:
        desktop.systemctl("stop", "sandboxer-scopes.socket", "sandboxer-scopes.service", status=5)
        from sandboxer.desktop.units.templates import installed_text

        place = desktop.home / ".config/systemd/user"
        place.mkdir(parents=True)
        for name in ("sandboxer-scopes.socket", "sandboxer-scopes.service"):
            python = desktop.run("sh", "-c", "command -v python3").stdout.strip()
            (place / name).write_text(installed_text(name, "/bin/false", python))
        desktop.systemctl("daemon-reload")
        desktop.systemctl("start", "sandboxer-scopes.socket")
        yield
        desktop.systemctl("stop", "sandboxer-scopes.socket", "sandboxer-scopes.service")

    def test_the_first_box_starts_it_and_it_stays_where_it_is(
        self, desktop: DesktopSession, scoped: Callable[[], str]
    ) -> None:
        assert "inactive" == desktop.property("sandboxer-scopes.service", "ActiveState")
        scoped()
        assert "active" == desktop.property("sandboxer-scopes.service", "ActiveState")
        (pid,) = services(desktop)
        assert str(pid) == desktop.property("sandboxer-scopes.service", "MainPID")
        assert desktop.facts(pid)["cgroup path"].endswith("/background.slice/sandboxer-scopes.service")

    def test_its_socket_is_the_user_s_alone_and_stays_when_it_ends(
        self, desktop: DesktopSession, scoped: Callable[[], str]
    ) -> None:
        place = desktop.runtime / "sandboxer/scopes"
        assert 0o600 == place.stat().st_mode & 0o777
        scoped()
        signal_inside(desktop, services(desktop)[0], signal.SIGKILL)
        desktop.until(lambda: services(desktop) == [], "its end")
        assert place.exists()
        desktop.systemctl("reset-failed")
        scoped()

"""The desktop session that tests run in is a real one: what other tests take for granted about it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from conftest import need
from pictures import drawn_by_lot, of_x_screen
from sessions import DesktopSession, desktop_session


def test_the_manager_runs_and_the_bus_is_its_own(desktop: DesktopSession) -> None:
    assert "running\n" == desktop.systemctl("is-system-running")
    assert "active\n" == desktop.systemctl("is-active", "dbus.socket")
    done = desktop.run(
        "busctl", "--user", "call", "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetId"
    )
    assert 0 == done.returncode, done.stderr
    assert desktop.property("dbus.service", "MainPID") in map(str, desktop.processes("dbus-daemon"))


def test_programs_in_it_are_an_ordinary_users(desktop: DesktopSession, tmp_path: Path) -> None:
    log = tmp_path / "sleep.log"
    with desktop.start("sleep", "60", log=log):
        desktop.until(lambda: desktop.processes("sleep") != [], "a program in the session")
        (pid,) = desktop.processes("sleep")
        facts = desktop.facts(pid)
        assert desktop.unconfined(pid)
        assert not desktop.in_a_box(pid)
    assert "/terminal" == facts["cgroup path"]
    assert {"0" * 16} == {facts[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
    assert [str(os.getuid())] * 4 == facts["Uid"].split()
    desktop.until(lambda: desktop.processes("sleep") == [], "its end with the block")


def test_a_transient_unit_runs_in_a_cgroup_of_its_own(desktop: DesktopSession) -> None:
    words = (
        "systemd-run",
        "--user",
        "--quiet",
        "--wait",
        "--pipe",
        "--unit=probe",
        "cat",
        "/proc/self/cgroup",
    )
    done = desktop.run(*words)
    assert 0 == done.returncode, done.stderr
    assert "0::/manager/app.slice/probe.service\n" in done.stdout
    scope = desktop.run("systemd-run", "--user", "--scope", "--unit=other", "cat", "/proc/self/cgroup")
    assert "0::/manager/app.slice/other.scope\n" in scope.stdout, scope.stderr


def test_statuses_streams_and_directories_are_passed(desktop: DesktopSession, tmp_path: Path) -> None:
    done = desktop.run("sh", "-c", "pwd; cat; echo no >&2; exit 7", cwd=tmp_path, stdin="given")
    assert (7, f"{tmp_path}\ngiven", "no\n") == (done.returncode, done.stdout, done.stderr)
    assert 127 == desktop.run("no-such-program").returncode
    assert 128 + 15 == desktop.run("sh", "-c", "kill $$").returncode


def test_a_box_runs_in_it(desktop: DesktopSession) -> None:
    script = "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status; readlink /proc/self/ns/mnt"
    done = desktop.run("sandbox", "run", "--", "sh", "-c", script)
    assert 0 == done.returncode, done.stderr
    privileges, seccomp, mounts = done.stdout.splitlines()
    assert ("NoNewPrivs:\t1", "Seccomp:\t2") == (privileges, seccomp)
    assert desktop.facts(1)["mnt"] != mounts


def test_a_window_is_seen_from_outside(desktop: DesktopSession, tmp_path: Path) -> None:
    need("xterm")
    (colour,) = drawn_by_lot(1)
    words = ("xterm", "-bg", "#{:02x}{:02x}{:02x}".format(*colour), "-e", "sleep 60")
    kept = tmp_path / "screen.png"
    with desktop.start(*words, log=tmp_path / "xterm.log"):
        desktop.until(lambda: of_x_screen(kept, desktop.env).shows([colour], 100 * 100), "the window")


def test_a_notification_is_shown_and_written_down(desktop: DesktopSession, tmp_path: Path) -> None:
    log, kept = tmp_path / "notifications", tmp_path / "screen.png"
    nothing = of_x_screen(kept, desktop.env).pixels
    with desktop.notifications(log):
        words = (
            "org.freedesktop.Notifications",
            "/org/freedesktop/Notifications",
            "org.freedesktop.Notifications",
        )
        told = ("Notify", "susssasa{sv}i", "tests", "0", "", "A summary", "and a body", "0", "0", "5000")
        done = desktop.run("busctl", "--user", "call", *words, *told)
        assert 0 == done.returncode, done.stderr
        desktop.until(lambda: "A summary" in log.read_text(), "the notification")
        assert "and a body" in log.read_text()
        desktop.until(lambda: nothing != of_x_screen(kept, desktop.env).pixels, "it on the screen")


def test_a_reset_session_is_as_new(desktop: DesktopSession) -> None:
    before = desktop.systemctl("list-units", "--type=service,scope", "--plain", "--no-legend")
    desktop.run("systemd-run", "--user", "--unit=left-over", "sleep", "600")
    desktop.run("systemd-run", "--user", "--unit=broken", "false")
    (desktop.home / ".config/left").mkdir(parents=True)
    (desktop.runtime / "sandboxer").mkdir(exist_ok=True)
    desktop.run("sh", "-c", "setsid sleep 601 >/dev/null 2>&1 &")
    desktop.until(lambda: 2 == len(desktop.processes("sleep")), "what is to be left")
    desktop.reset()
    desktop.until(lambda: desktop.processes("sleep") == [], "the end of what was left")
    assert before == desktop.systemctl("list-units", "--type=service,scope", "--plain", "--no-legend")
    assert ([], []) == (list(desktop.home.iterdir()), list(desktop.runtime.glob("sandboxer*")))


def test_a_session_starts_within_two_seconds_and_leaves_nothing(tmp_path: Path) -> None:
    start = time.monotonic()
    with desktop_session(tmp_path) as session:
        took = time.monotonic() - start
        session.run("sh", "-c", "setsid sleep 602 >/dev/null 2>&1 &")
        session.run("systemd-run", "--user", "sleep", "603")
        session.until(lambda: 2 == len(session.processes("sleep")), "what is to be left")
        cgroup = session.cgroup
        assert cgroup.exists()
    assert not cgroup.exists()
    assert not session.proc.exists()
    print(f"a desktop session was there after {took:.2f} s")
    assert took < 2

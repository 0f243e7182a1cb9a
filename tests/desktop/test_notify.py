"""What somebody sees who clicked on an icon, and nothing started: a real bus, a notification server of the test's."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import need, need_user_namespaces, run_to_end

from sandboxer.desktop import notify
from sandboxer.desktop.bus import Call, connect
from sandboxer.errors import ResolveError
from sandboxer.words import Origin

ERROR = ResolveError(
    "cannot share the Wayland socket",
    subject="/run/user/1000/<b>wayland-0</b>: no such file & more",
    origin=Origin("apps/firefox.toml", 12, "display.wayland"),
    hint="start it in a desktop session",
).render("firefox")


@pytest.fixture
def address(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A session bus with nobody on it, and the session that has it."""
    where = f"unix:path={runtime_dir}/bus"
    process = subprocess.Popen(
        [need("dbus-daemon"), "--session", "--nofork", "--print-address", f"--address={where}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", where)
        yield where
        process.kill()


@contextlib.contextmanager
def server(address: str, *capabilities: str, silent: bool = False) -> Iterator[list[Call]]:
    """A notification server; it notes what it is asked to show. A silent one never answers."""
    shown: list[Call] = []
    ready, over = threading.Event(), threading.Event()

    def work() -> None:
        with connect(address) as bus:

            def answer(call: Call) -> tuple[str, list[Any]] | None:
                if call.member == "Stop":
                    bus.stop()
                    return "", []
                if call.member == "GetCapabilities":
                    return "as", [list(capabilities)]
                if call.member == "Notify":
                    shown.append(call)
                    return "u", [7]
                return None

            bus.serve(answer)
            bus.own(notify.SERVICE)
            ready.set()
            if silent:
                over.wait(20)
            else:
                bus.run(20)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(10)
        yield shown
    finally:
        over.set()
        if not silent:
            with connect(address) as bus:
                bus.call(notify.SERVICE, notify.PATH, notify.SERVICE, "Stop")
        thread.join(10)


def test_the_failure_is_told_in_words_for_people(address: str) -> None:
    with server(address, "body") as shown:
        assert notify.show_failure("firefox", ERROR)
    (call,) = shown
    name, replaces, icon, summary, body, actions, hints, _ = call.body
    assert ("Sandboxer", 0, []) == (name, replaces, actions)
    assert "Firefox could not be started" == summary
    assert [
        "Cannot share the Wayland socket.",
        "/run/user/1000/<b>wayland-0</b>: no such file & more",
        "The policy asks for it: apps/firefox.toml:12 display.wayland",
        "What helps: start it in a desktop session",
    ] == body.split("\n")
    assert Path(icon.removeprefix("file://")).is_file()
    assert 1 == hints["urgency"].value


def test_a_server_that_obeys_markup_gets_none_of_a_files_name(address: str) -> None:
    with server(address, "body", "body-markup") as shown:
        assert notify.show_failure("firefox", ERROR)
    assert "/&lt;b&gt;wayland-0&lt;/b&gt;: no such file &amp; more" in shown[0].body[4]


def test_without_a_server_it_says_so_and_raises_nothing(address: str) -> None:
    assert address
    assert not notify.show_failure("firefox", ERROR)


def test_without_a_bus_it_says_so_and_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, runtime_dir: Path
) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime_dir))
    assert not notify.show_failure("firefox", ERROR)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={runtime_dir}/nobody")
    assert not notify.show_failure("firefox", ERROR)


def test_a_server_that_never_answers_costs_three_seconds(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "TAKES_S", 0.5)
    with server(address, silent=True):
        begun = time.monotonic()
        assert not notify.show_failure("firefox", ERROR)
        assert 0.4 < time.monotonic() - begun < 2


def test_a_bus_that_never_answers_costs_no_more(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "TAKES_S", 0.5)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={runtime_dir}/mute")
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(runtime_dir / "mute"))
        mute.listen()
        begun = time.monotonic()
        assert not notify.show_failure("firefox", ERROR)
        assert time.monotonic() - begun < 2


def words(text: str, app: str = "firefox") -> list[str]:
    return notify.wording(app, text).body.split("\n")


def test_the_last_message_is_the_one_that_is_told() -> None:
    text = "sandboxer: firefox: it has no policy\nsomething else\nsandboxer: firefox: cannot mount\n  /proc\n"
    assert ["Cannot mount.", "/proc", "More is told in a terminal by: sandbox --debug firefox"] == words(text)


def test_what_isnt_a_message_of_ours_is_told_as_it_is() -> None:
    assert "Segmentation fault." == words("Segmentation fault\n")[0]
    assert "It ended before it began, and said nothing." == words("")[0]


def test_an_application_without_a_name_is_told_of_as_well() -> None:
    told = notify.wording("", "sandboxer: there is nothing to start\n  try: sandbox --help")
    assert ("An application could not be started", "What helps: sandbox --help") == (
        told.summary,
        told.body.split("\n")[-1],
    )


def test_nothing_in_it_is_a_control_character_or_without_an_end() -> None:
    told = notify.wording(
        "a\x1b" * 500, f"sandboxer: \x1b]0;x\x07\u202e{'long ' * 5000}\n" + "  more\n" * 500
    )
    lines = told.body.split("\n")
    assert [] == [line for line in lines if len(line) > notify.LINE_LENGTH_MAX or not line.isprintable()]
    assert len(lines) <= notify.BODY_LINES_MAX
    assert len(told.summary) <= 100
    assert told.summary.isprintable()


def test_a_start_from_a_menu_that_fails_is_shown(
    sandbox_program: Path, session: dict[str, str], address: str
) -> None:
    need_user_namespaces()
    policy = Path(session["XDG_CONFIG_HOME"]) / "sandboxer/apps/painter.toml"
    policy.parent.mkdir(parents=True)
    policy.write_text('command = ["/nonexistent/painter"]\n')
    entry = "[Desktop Entry]\nType=Application\nName=Paint Brush\nExec=x\nX-Sandboxer-Policy=painter\n"
    wrapped = Path(session["XDG_DATA_HOME"]) / "applications/org.example.Painter.desktop"
    wrapped.parent.mkdir(parents=True)
    wrapped.write_text(entry)
    with server(address, "body") as shown:
        env = session | {"DBUS_SESSION_BUS_ADDRESS": address}
        done = run_to_end([sandbox_program, "--from-menu", "painter"], env=env)
        assert done.returncode in (125, 127)
        silent = run_to_end([sandbox_program, "painter"], env=env)
    assert done.stderr == silent.stderr
    (call,) = shown  # and none of a start by name: its user has read stderr
    assert "Paint Brush could not be started" == call.body[3]
    what, *rest = call.body[4].split("\n")
    assert what.removesuffix(".").lower() in done.stderr
    assert "/nonexistent/painter" in "\n".join(rest)
    assert "What helps: " in rest[-1] or "More is told" in rest[-1]


def test_what_the_launcher_itself_cant_do_is_shown_as_well(
    sandbox_program: Path, session: dict[str, str], address: str, tmp_path: Path
) -> None:
    need_user_namespaces()
    program = tmp_path / "painter"
    program.write_text("not a program")
    program.chmod(0o755)
    policy = Path(session["XDG_CONFIG_HOME"]) / "sandboxer/apps/painter.toml"
    policy.parent.mkdir(parents=True)
    policy.write_text(f'command = ["{program}"]\n[files]\nread = ["{program}"]\n')
    with server(address, "body") as shown:
        env = session | {"DBUS_SESSION_BUS_ADDRESS": address}
        done = run_to_end([sandbox_program, "--from-menu", "painter"], env=env)
    assert 126 == done.returncode
    (call,) = shown
    assert "Painter could not be started" == call.body[3]
    assert call.body[4].split("\n")[0].removesuffix(".").lower() in done.stderr.lower()

"""Which program opens a type, and with which words."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest
from fakes import FakeHost
from machines import shipped_policies

from sandboxer.host.session import Session
from sandboxer.steward import detached, handlers
from sandboxer.steward.handlers import Handler

KIND = "x-scheme-handler/https"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """Directories of its own, and nothing of this machine's."""
    variables = {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_DIRS": str(tmp_path / "etc"),
        "XDG_DATA_DIRS": str(tmp_path / "share"),
    }
    return Session(variables, str(tmp_path / "cache"))


def entry(directory: Path, name: str, *lines: str, program: str = "/bin/true %u") -> None:
    place = directory / "applications" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("\n".join(("[Desktop Entry]", "Type=Application", "Name=x", f"Exec={program}", *lines)))


def listed(path: Path, group: str, names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{path.read_text() if path.exists() else ''}[{group}]\n{KIND}={names}\n")


def found(session: Session) -> str:
    handler = handlers.find(KIND, session)
    return handler.name if handler is not None else ""


def test_the_user_s_default_goes_before_the_system_s(session: Session, tmp_path: Path) -> None:
    for name in ("mine.desktop", "system.desktop"):
        entry(tmp_path / "share", name)
    listed(tmp_path / "etc" / "mimeapps.list", "Default Applications", "system.desktop")
    assert "system.desktop" == found(session)
    listed(tmp_path / "home/.config/mimeapps.list", "Default Applications", "mine.desktop;")
    assert "mine.desktop" == found(session)


def test_the_desktop_s_own_list_goes_before_the_common_one(session: Session, tmp_path: Path) -> None:
    for name in ("a.desktop", "b.desktop"):
        entry(tmp_path / "share", name)
    listed(tmp_path / "home/.config/mimeapps.list", "Default Applications", "a.desktop")
    listed(tmp_path / "home/.config/xfce-mimeapps.list", "Default Applications", "b.desktop")
    assert "a.desktop" == found(session)
    session.environment["XDG_CURRENT_DESKTOP"] = "XFCE:Other"
    assert "b.desktop" == found(session)


def test_without_a_default_what_is_associated_counts_unless_it_was_removed(
    session: Session, tmp_path: Path
) -> None:
    for name in ("a.desktop", "b.desktop"):
        entry(tmp_path / "share", name)
    listed(tmp_path / "share/applications/mimeinfo.cache", "MIME Cache", "a.desktop;b.desktop;")
    assert "a.desktop" == found(session)
    listed(tmp_path / "home/.config/mimeapps.list", "Removed Associations", "a.desktop;")
    assert "b.desktop" == found(session)


@pytest.mark.parametrize(
    ("lines", "program"),
    [
        (("Hidden=true",), "/bin/true %u"),
        (("Terminal=true",), "/bin/true %u"),
        (("TryExec=/nonexistent",), "/bin/true %u"),
        ((), "/nonexistent %u"),
        ((), "/bin/true"),
        ((), ""),
        ((), '"unbalanced %u'),
    ],
)
def test_an_entry_that_can_not_be_used_is_passed_over(
    session: Session, tmp_path: Path, lines: tuple[str, ...], program: str
) -> None:
    entry(tmp_path / "share", "bad.desktop", *lines, program=program)
    entry(tmp_path / "share", "good.desktop")
    listed(
        tmp_path / "home/.config/mimeapps.list",
        "Default Applications",
        "bad.desktop;../x.desktop;good.desktop",
    )
    assert "good.desktop" == found(session)


def test_a_dash_in_a_name_may_be_a_directory(session: Session, tmp_path: Path) -> None:
    entry(tmp_path / "share", "kde/viewer.desktop")
    listed(tmp_path / "home/.config/mimeapps.list", "Default Applications", "kde-viewer.desktop")
    assert "kde-viewer.desktop" == found(session)


def test_without_any_entry_there_is_no_handler(session: Session) -> None:
    assert None is handlers.find(KIND, session)


@pytest.mark.parametrize(
    ("words", "argument", "expected"),
    [
        (("p", "%u"), "https://x/", ("p", "https://x/")),
        (("p", "--new", "%U", "%i", "%c", "100%%"), "/a b", ("p", "--new", "file:///a%20b", "100%")),
        (("p", "%f"), "/a b", ("p", "/a b")),
    ],
)
def test_the_argument_takes_the_place_of_the_field_code(
    words: tuple[str, ...], argument: str, expected: tuple[str, ...]
) -> None:
    assert expected == handlers.command(Handler(name="x.desktop", words=words), argument)


def test_a_program_that_has_a_policy_gets_its_own_box() -> None:
    host = FakeHost(shipped_policies())
    for name, program, application in (
        ("firefox.desktop", "/usr/bin/firefox", "firefox"),
        ("org.mozilla.firefox.desktop", "/usr/lib/x", "firefox"),
        ("x.desktop", "/usr/bin/firefox-esr", "firefox-esr"),
    ):
        words = handlers.own_box(Handler(name=name, words=(program, "%u")), host, "https://x/")
        assert (application, "https://x/") == words[-2:], name
    for wrapped in (
        ("env", "A=b", "/usr/bin/firefox-esr", "%u"),
        ("/opt/wrapper", "--", "firefox-esr", "%u"),
    ):
        words = handlers.own_box(Handler(name="x.desktop", words=wrapped), host, "https://x/")
        assert ("firefox-esr", "https://x/") == words[-2:], wrapped
    assert () == handlers.own_box(
        Handler(name="firefox.desktop", words=("env", "A=b", "sandbox", "firefox", "%u")), host, "x:"
    )
    assert () == handlers.own_box(
        Handler(name="x.desktop", words=("/usr/bin/other", "%u")), host, "https://x/"
    )
    assert () == handlers.own_box(
        Handler(name="firefox.desktop", words=("sandbox", "firefox", "%u")), host, "x:"
    )


@pytest.mark.parametrize("argument", ["", "-x", "--help"])
def test_an_argument_is_never_an_option(session: Session, argument: str) -> None:
    assert 22 == handlers.start(KIND, argument, session, 0o022)


def test_what_is_started_has_nothing_of_ours(tmp_path: Path) -> None:
    said = tmp_path / "said"
    kept = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(kept, True)
    script = (
        f"ls -l /proc/self/fd >{said}.tmp; ps -o sid=,pid=,ppid= -p $$ >>{said}.tmp; mv {said}.tmp {said}"
    )
    assert 0 == detached.start(("/bin/sh", "-c", script), 0o022)
    os.close(kept)
    deadline = time.monotonic() + 10
    while not said.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    text = said.read_text()
    assert "/etc/passwd" not in text
    assert 2 == text.count("-> /dev/null")
    session, _, parent = text.splitlines()[-1].split()
    assert (True, True) == (int(session) != os.getsid(0), int(parent) != os.getpid())


def test_a_program_that_can_not_be_started_is_an_errno() -> None:
    assert 2 == detached.start(("/nonexistent", "x"), 0o022)
    assert 13 == detached.start(("/etc/passwd", "x"), 0o022)


@pytest.mark.parametrize("name", ["viewer.desktop", "org.example.viewer.desktop", "other.desktop"])
def test_a_program_whose_policy_has_a_mistake_is_not_started_without_a_box(
    session: Session, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, ...]] = []

    def note(words: tuple[str, ...], _umask: int) -> int:
        started.append(words)
        return 0

    monkeypatch.setattr(detached, "start", note)
    (tmp_path / "home").mkdir()
    program = tmp_path / ("viewer" if name == "other.desktop" else "program")
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    entry(tmp_path / "share", name, program=f"{program} %u")
    listed(tmp_path / "etc" / "mimeapps.list", "Default Applications", name)
    assert 0 == handlers.start(KIND, "https://x/", session, 0o022)
    assert [(str(program), "https://x/")] == started
    apps = tmp_path / "home/.config/sandboxer/apps"
    apps.mkdir(parents=True)
    (apps / "viewer.toml").write_text("command = [\n")
    assert errno.EACCES == handlers.start(KIND, "https://x/", session, 0o022)
    assert 1 == len(started)


def test_what_no_entry_is_for_is_not_opened_by_a_program_that_guesses(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener = tmp_path / "xdg-open"
    opener.write_text(f"#!/bin/sh\ntouch {tmp_path}/guessed\n")
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert errno.ENOENT == handlers.start(KIND, "https://x/", session, 0o022)


def test_what_is_started_has_the_umask_that_is_said(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        script = f"umask >{tmp_path}/.said; mv {tmp_path}/.said {tmp_path}/said"
        assert 0 == detached.start(("/bin/sh", "-c", script), 0o027)
    finally:
        os.umask(before)
    deadline = time.monotonic() + 10
    while not (tmp_path / "said").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert 0o027 == int((tmp_path / "said").read_text(), 8)

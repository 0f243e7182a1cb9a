"""`sandbox install`: words, pages, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from unit.desktop.conftest import Desk

from sandboxer.cli import install
from sandboxer.cli.output import plain
from sandboxer.desktop.wrappers.installing import Outcome
from sandboxer.errors import SandboxerError, UsageError
from sandboxer.grants import protected
from sandboxer.host.facts import Facts
from sandboxer.host.session import Session


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desktop that the verb takes for the session's."""
    made = Desk(tmp_path)
    for name in (
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
        "DBUS_SESSION_BUS_ADDRESS",
        "XDG_RUNTIME_DIR",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(install, "native_program", lambda: made.launcher)
    if os.getuid() == 0:
        pytest.skip("root has no desktop")
    return made


def shown(
    desk: Desk, capsys: pytest.CaptureFixture[str], *words: str, status: int = 0
) -> dict[str, list[dict[str, str]]]:
    """What `sandbox install WORDS --json` prints."""
    capsys.readouterr()
    assert status == install.main([*words, "--json"])
    found: dict[str, list[dict[str, str]]] = json.loads(capsys.readouterr().out)
    return found


def test_installed_listed_checked_and_undone(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    origin = desk.entry("tool.desktop", "Exec=tool %U")
    path = str(desk.data / "applications/tool.desktop")
    made = {"application": "tool", "kind": "entry", "path": path, "what": "wrapped", "why": ""}
    assert [made] == shown(desk, capsys, "tool")["files"]
    listed = {"application": "tool", "kind": "entry", "path": path, "origin": str(origin), "kept": False}
    assert [listed] == shown(desk, capsys, "--list")["files"]
    assert [] == shown(desk, capsys, "--check")["problems"]
    origin.write_text(origin.read_text() + "X-New=1\n")
    (problem,) = shown(desk, capsys, "--check", status=1)["problems"]
    assert (f"{origin} has changed", "sandbox install tool") == (problem["what"], problem["hint"])
    Path(path).write_text("mine")
    (kept,) = shown(desk, capsys, "--undo", status=1)["files"]
    assert "kept" == kept["what"]


def test_what_was_named_and_stays_outside_is_told_by_the_status(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = desk.entry("tool.desktop", 'Exec=tool "%u')
    (left,) = shown(desk, capsys, "tool", status=1)["files"]
    assert ("left", "its command can't be understood: a quote isn't closed") == (left["what"], left["why"])
    desk.entry("other.desktop", "Exec=tool")
    assert {"left", "wrapped"} == {one["what"] for one in shown(desk, capsys, "tool", status=1)["files"]}
    shown(desk, capsys, "--all")
    broken.unlink()
    desk.program("flatpak")
    desk.program("sandbox")
    desk.entry("tool.desktop", "Exec=flatpak run org.example.Tool")
    desk.entry("org.example.tool.desktop", "Exec=sandbox tool")
    whys = {one["why"] for one in shown(desk, capsys, "tool")["files"] if one["what"] == "left"}
    assert {"Flatpak starts it, in a sandbox of its own", "it starts a box itself"} == whys


@pytest.mark.parametrize("words", [("tool",), ("--all",)])
def test_something_in_the_way_is_told_by_the_status(
    words: tuple[str, ...], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.entry("tool.desktop", "Exec=tool")
    desk.entry("other.desktop", "Exec=tool")
    (desk.data / "applications/tool.desktop").mkdir(parents=True)
    files = shown(desk, capsys, *words, status=1)["files"]
    assert {"tool.desktop": "left", "other.desktop": "wrapped"} == {
        os.path.basename(one["path"]): one["what"] for one in files
    }


def test_variables_that_do_not_get_into_the_box_are_named(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = desk.home / ".config/sandboxer/apps/tool.toml"
    kept = '[environment]\nkeep = ["KEPT", "MOZ_*"]\n[environment.set]\nSET = "1"\n[look]\nlocale = true\n'
    policy.write_text(policy.read_text() + kept)
    names = ("FOO", "KEPT", "MOZ_A", "MOZ_TOKEN", "SET", "LC_ALL", "NO_COLOR", "LD_PRELOAD", "PATH")
    desk.entry("tool.desktop", f"Exec=env {' '.join(f'{name}=x' for name in names)} tool")
    for what in ("wrapped", "unchanged"):
        (made,) = shown(desk, capsys, "tool")["files"]
        lost = "its box doesn't get FOO, MOZ_TOKEN, LD_PRELOAD, PATH, which the entry sets: "
        assert (what, f"{lost}see environment.keep, environment.set") == (made["what"], made["why"])
    desk.entry("tool.desktop", "Exec=env KEPT=x tool")
    assert [""] == [one["why"] for one in shown(desk, capsys, "tool")["files"]]


def test_a_policy_that_breaks_lets_nothing_out_of_its_box(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.entry("tool.desktop", "Exec=tool")
    shown(desk, capsys, "--all")
    (desk.home / ".config/sandboxer/apps/tool.toml").write_text("nonsense = 1\n")
    assert any("tool" in str(text) for text in shown(desk, capsys, "--all")["complaints"])
    assert (desk.data / "applications/tool.desktop").exists()


def test_a_wrapper_goes_with_the_application(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    origin = desk.entry("tool.desktop", "Exec=tool")
    desk.entry("other.desktop", "Exec=tool")
    shown(desk, capsys, "tool")
    origin.unlink()
    assert {"unchanged", "removed"} == {one["what"] for one in shown(desk, capsys, "tool")["files"]}
    assert not (desk.data / "applications/tool.desktop").exists()


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--all", "tool"),
        ("--undo", "--all"),
        ("--list", "tool"),
        ("--check", "--undo"),
        ("nothing",),
        ("tool",),
        ("--undo", "tool"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_hint(desk: Desk, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        install.main(list(words))
    assert caught.value.hint


def test_shims_go_only_where_no_box_can_write(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.entry("tool.desktop", "Exec=tool")
    with pytest.raises(UsageError, match="where a box may be let write"):
        install.main(["tool", "--shims-in", str(desk.home / "Downloads")])
    assert not (desk.home / "Downloads").exists()
    kinds = {
        one["kind"] for one in shown(desk, capsys, "tool", "--shims-in", str(desk.home / "bin"))["files"]
    }
    assert {"entry", "shim"} == kinds
    assert (desk.home / "bin/tool").stat().st_mode & 0o777 == 0o755


def test_a_shim_is_found_only_where_its_directory_comes_first(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.policy("sh", "sh")
    desk.entry("shell.desktop", "Exec=sh")
    shims = desk.home / ".local/bin"
    (told,) = shown(desk, capsys, "sh", "--shims")["complaints"]
    assert f"{shims} isn't in PATH" in str(told)
    assert "exec" in (shims / "sh").read_text()
    monkeypatch.setenv("PATH", f"/usr/bin:{shims}")
    (told,) = shown(desk, capsys, "sh", "--shims")["complaints"]
    assert "sh is found in /usr/bin first" in str(told)
    monkeypatch.setenv("PATH", f"{shims}:/usr/bin")
    assert [] == shown(desk, capsys, "sh", "--shims")["complaints"]
    (shims / "sh").unlink()
    (shims / "sh").write_text("mine")
    assert "left" in {one["what"] for one in shown(desk, capsys, "sh", "--shims")["files"]}
    assert "mine" == (shims / "sh").read_text()


def test_every_place_that_is_written_to_is_one_that_no_box_may_write(desk: Desk) -> None:
    host = Facts(Session(desk.variables, str(desk.home / ".cache")))
    guarded = [one.path for one in protected.protected(host)]
    for place in (
        ".local/share/applications",
        ".local/share/dbus-1/services",
        ".config/autostart",
        ".local/bin",
        ".local/state/sandboxer/desktop",
    ):
        path = str(desk.home / place)
        assert any(path == one or path.startswith(f"{one}/") for one in guarded), place


def test_root_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(SandboxerError, match="root's desktop"):
        install.main(["firefox"])


def test_a_page_says_why_something_was_left() -> None:
    from sandboxer.desktop.wrappers.entries import Kind

    left = Outcome(what="left", kind=Kind.ENTRY, path="/x.desktop", policy="tool", why="Flatpak starts it")
    text = plain(install.page(install.Report(outcomes=(left,), complaints=("log in again",))))
    assert [
        "APPLICATION  KIND  IS    FILE",
        "tool         menu  left  /x.desktop: Flatpak starts it",
        "log in again",
    ] == text.splitlines()
    assert "There is nothing to do.\n" == plain(install.page(install.Report()))

"""What `sandbox install --extras` puts into the user's directories: found there, and taken away without a trace."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import need, need_user_namespaces, run_to_end
from unit.desktop.conftest import Desk

from sandboxer.desktop import extras
from sandboxer.desktop.wrappers import refreshing
from sandboxer.desktop.wrappers.checking import Problem, problems
from sandboxer.desktop.wrappers.installing import Outcome, install, undo
from sandboxer.host.facts import Facts
from sandboxer.host.session import Session
from sandboxer.paths import data_dir

CMAKE = Path(__file__).resolve().parents[3] / "launchers/CMakeLists.txt"


def host_of(desk: Desk) -> Facts:
    return Facts(Session(desk.variables, str(desk.home / ".cache")))


def put(desk: Desk) -> list[Outcome]:
    with desk.at_work(()) as (machine, hand):
        return install(extras.wanted_files(host_of(desk)), machine.launcher, hand)


def take(desk: Desk) -> list[Outcome]:
    with desk.at_work(()) as (_, hand):
        return undo(hand.ledger.items, hand)


def check(desk: Desk) -> list[Problem]:
    with desk.at_work(()) as (machine, hand):
        return list(problems(machine, extras.wanted_files(host_of(desk)), [], hand))


def test_all_of_it_is_put_where_it_is_looked_for(desk: Desk) -> None:
    outcomes = put(desk)
    assert {"wrapped"} == {one.what for one in outcomes}
    for name, place in extras.PLACES.items():
        assert (Path(data_dir("desktop")) / name).read_bytes() == (desk.data / place).read_bytes()


def test_undoing_leaves_no_trace_and_brings_back_what_was_there(desk: Desk) -> None:
    own = desk.data / "man/man1/sandbox.1"
    own.parent.mkdir(parents=True)
    own.symlink_to("/elsewhere/sandbox.1")
    before = desk.picture()
    put(desk)
    assert not own.is_symlink()
    assert {"removed", "restored"} == {one.what for one in take(desk)}
    assert before == desk.picture()


def test_what_was_changed_since_is_told_and_kept(desk: Desk) -> None:
    put(desk)
    assert [] == check(desk)
    script = desk.data / "fish/vendor_completions.d/sandbox.fish"
    script.write_text("# mine")
    assert [(str(script), "it was changed since")] == [(one.path, one.what) for one in check(desk)]
    assert ["kept"] == [one.what for one in take(desk) if one.path == str(script)]
    assert "# mine" == script.read_text()


def test_another_version_is_noticed(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put(desk)
    newer = tmp_path / "newer"
    newer.write_text("another")
    monkeypatch.setattr(extras, "data_file", lambda _name: str(newer))
    found = check(desk)
    assert len(extras.PLACES) == len(found)
    assert {"sandbox install --extras"} == {one.hint for one in found}


def test_installers_put_the_same_below_share() -> None:
    text = CMAKE.read_text()
    for name, place in extras.PLACES.items():
        top = name.partition("/")[0]
        assert name in text or f"${{DESKTOP}}/{top}" in text, name
        assert os.path.dirname(place) in text or top in ("icons", "metainfo"), place


def test_fish_and_man_find_it(desk: Desk) -> None:
    fish, man = need("fish"), need("man")
    put(desk)
    (desk.home / ".local/bin").mkdir()
    (desk.home / ".local/bin/sandbox").touch(mode=0o755)
    env = {"HOME": str(desk.home), "PATH": f"{desk.home}/.local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    offers = subprocess.run(
        [fish, "-c", 'complete -C "sandbox expl"'], env=env, capture_output=True, text=True, check=True
    )
    assert offers.stdout.startswith("explain\t")
    page = subprocess.run([man, "-w", "sandbox"], env=env, capture_output=True, text=True, check=True)
    assert f"{desk.data}/man/man1/sandbox.1\n" == page.stdout


def test_zsh_users_are_told_what_is_left_to_them(desk: Desk) -> None:
    assert desk.variables["PATH"].startswith(f"{desk.programs}:")
    desk.program("zsh")
    (told,) = extras.left_to_the_user(host_of(desk))
    assert f"fpath=({desk.data}/zsh/site-functions $fpath)" in told
    desk.variables["PATH"] = "/nonexistent"
    assert [] == extras.left_to_the_user(host_of(desk))


def test_one_command_puts_it_there_and_one_takes_it_away(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    need_user_namespaces()
    data = Path(session["XDG_DATA_HOME"])
    done = run_to_end([sandbox_program, "install", "--extras"], env=session)
    assert (0, "") == (done.returncode, done.stderr)
    assert {data / place for place in extras.PLACES.values()} == set(find(data))
    assert 0 == run_to_end([sandbox_program, "install", "--check"], env=session).returncode
    assert 0 == run_to_end([sandbox_program, "install", "--undo", "--extras"], env=session).returncode
    assert not data.exists()


def find(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def test_a_cache_of_icons_that_was_there_is_out_of_date_afterwards(tmp_path: Path) -> None:
    theme = tmp_path / "icons/hicolor"
    theme.mkdir(parents=True)
    os.utime(theme, (1, 1))
    refreshing.outdate_icons(str(theme))
    assert theme.stat().st_mtime > 1
    refreshing.outdate_icons(str(tmp_path / "absent"))

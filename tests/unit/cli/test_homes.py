"""Private homes: made closed, never through a link, never somebody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandboxer.cli.homes import make_home
from sandboxer.errors import LaunchError

UID = os.getuid()


def home(tmp_path: Path) -> Path:
    return tmp_path / "share" / "sandboxer" / "homes" / "firefox"


def test_a_home_is_made_with_its_parents_for_its_owner_alone(tmp_path: Path) -> None:
    path = home(tmp_path)
    make_home(str(path), UID)
    make_home(str(path), UID)
    for level in (path, path.parent, path.parent.parent):
        assert 0o700 == level.stat().st_mode & 0o777


@pytest.mark.parametrize("level", ["sandboxer", "sandboxer/homes", "sandboxer/homes/firefox"])
def test_a_link_at_a_level_of_ours_is_not_followed(tmp_path: Path, level: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place = tmp_path / "share" / level
    place.parent.mkdir(parents=True, mode=0o700)
    place.symlink_to(elsewhere)
    with pytest.raises(LaunchError):
        make_home(str(home(tmp_path)), UID)
    assert [] == list(elsewhere.iterdir())


def test_the_user_s_data_directory_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "share").symlink_to(tmp_path / "disk")
    make_home(str(home(tmp_path)), UID)
    assert (tmp_path / "disk/sandboxer/homes/firefox").is_dir()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
def test_a_home_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    make_home(str(home(tmp_path)), UID)
    home(tmp_path).chmod(mode)
    with pytest.raises(LaunchError, match="can't be trusted"):
        make_home(str(home(tmp_path)), UID)


def test_a_home_of_somebody_else_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="can't be trusted"):
        make_home(str(home(tmp_path)), UID + 1)


def test_a_file_in_the_way_is_one_clear_error(tmp_path: Path) -> None:
    home(tmp_path).parent.mkdir(parents=True, mode=0o700)
    home(tmp_path).write_text("")
    with pytest.raises(LaunchError, match="private home") as caught:
        make_home(str(home(tmp_path)), UID)
    assert caught.value.hint


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    make_home(str(home(tmp_path)), UID)
    home(tmp_path).chmod(0o777)
    with pytest.raises(LaunchError):
        make_home(str(home(tmp_path)), UID)
    assert before == len(os.listdir("/proc/self/fd"))

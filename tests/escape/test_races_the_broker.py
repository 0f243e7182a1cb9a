"""
Attack: exchange what a name means while the broker is asked for it.

The application may write the directory that the rules are for, so that it can make links there, and rename without
end; what the links lead to, it can't see. The program is tests/programs/race.c.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from brokered import AskingBox
from conftest import Asking

TRIES = 200_000
FEWER = 20_000
LASTS_S = 90.0
KEYS = ("read", "write", "create", "list", "stat", "readlink", "mkdir", "rename", "unlink")
SHARED = "\n".join(f'{key} = ["~/shared"]' for key in KEYS)


@pytest.fixture
def secrets(home: Path) -> dict[str, str]:
    """What no answer may show and no request may change, and the names for it in the directory that is shared."""
    shared, outside = home / "shared", home / "outside"
    for directory in (shared / "directory", shared / "deep/deep", shared / "out/deep", outside):
        directory.mkdir(parents=True)
    (outside / "file").write_text("SECRET of the directory")
    (outside / "SECRET-name").write_text("SECRET name")
    (home / "secret").write_text("SECRET")
    (shared / "file").write_text("inside")
    (shared / "directory/file").write_text("inside")
    (shared / "link").symlink_to(home / "secret")
    (shared / "away").symlink_to(outside)
    (shared / "deep/deep/up").symlink_to("../../../secret")
    (shared / "out/deep/up").symlink_to("../../file")
    return contents(home)


def contents(home: Path) -> dict[str, str]:
    """Everything outside of the shared directory that a request could have reached."""
    files = [home / "secret", *sorted((home / "outside").rglob("*"))]
    return {str(file): file.read_text() if file.is_file() else "" for file in files}


def race(box: AskingBox, home: Path, what: str, tries: int) -> tuple[int, int, int, int]:
    """Tries, granted, refused, answers that were the secret."""
    secret = (home / "secret").stat().st_ino
    words = [f"{home}/racer", f"{home}/shared", what, str(tries), str(secret)]
    status, out, err = box.eval_long(f"run(*{words!r})", LASTS_S)
    assert (0, "") == (status, err)
    counted = [int(word) for word in out.split()]
    return counted[0], counted[1], counted[2], counted[3]


@pytest.fixture
def racing(asking: Asking, home: Path, native_program: Callable[..., Path]) -> Callable[..., AskingBox]:
    shutil.copy(native_program("race"), home / "racer")

    def start(files: str = "") -> AskingBox:
        return asking(SHARED, files=f'read = ["~/lib", "~/racer"]\nwrite = ["~/shared"]\n{files}')

    return start


def test_the_same_race_beats_a_check_before_the_opening(
    native_program: Callable[..., Path], home: Path, secrets: dict[str, str]
) -> None:
    """Outside, of a program that looks at a name and then opens it: so the exchanges are fast enough to matter."""
    words = [str(native_program("race")), f"{home}/shared", "check-then-open", str(TRIES), "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=LASTS_S)
    assert int(done.stdout.split()[3]) > 0
    assert secrets == contents(home)


@pytest.mark.timeout(200)
def test_hundreds_of_thousands_of_requests_in_a_race_never_show_the_secret(
    racing: Callable[..., AskingBox], home: Path, secrets: dict[str, str]
) -> None:
    tries, granted, refused, leaks = race(racing(), home, "read", TRIES)
    assert (True, 0) == (tries >= TRIES, leaks)
    assert granted > TRIES // 100, "the names did mean the file now and then"
    assert refused > TRIES // 100, "and something else at other times"
    assert secrets == contents(home)


@pytest.mark.parametrize("what", ["write", "stat", "list", "mkdir", "unlink", "rename"])
def test_no_other_request_leaves_the_directory_in_a_race(
    racing: Callable[..., AskingBox], home: Path, secrets: dict[str, str], what: str
) -> None:
    tries, _, refused, leaks = race(racing(), home, what, FEWER)
    assert (True, 0) == (tries >= FEWER, leaks)
    assert refused > 0
    assert secrets == contents(home)
    assert sorted(os.listdir(home / "outside")) == ["SECRET-name", "file"]


@pytest.mark.parametrize("what", ["read", "stat", "list"])
def test_what_is_hidden_is_not_reached_in_a_race(
    racing: Callable[..., AskingBox], home: Path, secrets: dict[str, str], what: str
) -> None:
    """The links lead to a hidden file and a hidden directory in the very directory that the rules are for."""
    hidden = home / "shared" / "private"
    (home / "outside").rename(hidden)
    (home / "secret").rename(hidden / "secret")
    (home / "secret").hardlink_to(hidden / "secret")
    for name, target in (("link", "private/secret"), ("away", "private")):
        (home / "shared" / name).unlink()
        (home / "shared" / name).symlink_to(target)
    box = racing('hide = ["~/shared/private"]')
    tries, granted, refused, leaks = race(box, home, what, FEWER)
    assert (True, 0) == (tries >= FEWER, leaks)
    assert refused > 0
    assert granted > 0

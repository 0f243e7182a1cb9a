"""Attack: reach a hidden directory inside a granted one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from escape.conftest import Attack
from escape.kernel import Kernel, nothing_there

SETTINGS = ['files.write=["~/shared"]', 'files.hide=["~/shared/deep/private", "~/shared/note.txt"]']


@pytest.fixture
def shared(home: Path) -> Path:
    shared = home / "shared"
    (shared / "deep" / "private").mkdir(parents=True)
    (shared / "deep" / "private" / "key").write_text("hidden")
    (shared / "note.txt").write_text("hidden")
    return shared


def read(_kernel: Kernel, path: str) -> bytes:
    if not (loot := os.read(os.open(path, os.O_RDONLY), 100)):
        raise nothing_there(errno.ENODATA)
    return loot


def move_and_read(_kernel: Kernel, old: str, new: str, file: str) -> bytes:
    os.rename(old, new)
    try:
        return os.read(os.open(file, os.O_RDONLY), 100)
    finally:
        os.rename(new, old)


def remove(_kernel: Kernel, path: str) -> None:
    os.unlink(path)


def link_and_read(_kernel: Kernel, old: str, new: str) -> bytes:
    os.link(old, new)
    return os.read(os.open(new, os.O_RDONLY), 100)


def test_a_hidden_directory_is_empty(attack: Attack, shared: Path) -> None:
    attack(read, shared / "deep" / "private" / "key", refused="ENOENT", settings=SETTINGS)


def test_a_hidden_file_is_empty(attack: Attack, shared: Path) -> None:
    attack(read, shared / "note.txt", refused="ENODATA", settings=SETTINGS)


def test_a_cover_cannot_be_moved_away(attack: Attack, shared: Path) -> None:
    place, away = shared / "deep" / "private", shared / "away"
    attack(move_and_read, place, away, away / "key", refused="EXDEV", settings=SETTINGS)


def test_the_directory_above_a_cover_cannot_be_moved_away(attack: Attack, shared: Path) -> None:
    away = shared / "away"
    attack(
        move_and_read, shared / "deep", away, away / "private" / "key", refused="EBUSY", settings=SETTINGS
    )


def test_a_covered_file_cannot_be_linked_elsewhere(attack: Attack, shared: Path) -> None:
    """Outside the link is made, so that the one for the box has another name."""
    old, new = shared / "note.txt", shared / "outside.txt"
    attack(
        link_and_read,
        old,
        new,
        instead={str(new): str(shared / "inside.txt")},
        refused="EXDEV",
        settings=SETTINGS,
    )


def test_a_covered_file_cannot_be_removed(attack: Attack, shared: Path) -> None:
    (shared / "spare.txt").write_text("for outside")
    covered = {str(shared / "spare.txt"): str(shared / "note.txt")}
    attack(remove, shared / "spare.txt", instead=covered, refused="EBUSY", settings=SETTINGS)


def test_a_hidden_directory_is_hidden_under_its_other_names(attack: Attack, shared: Path, home: Path) -> None:
    """The same directory, granted a second time through a link of the user's."""
    (home / "alias").symlink_to(shared)
    key = home / "alias" / "deep" / "private" / "key"
    attack(read, key, refused="ENOENT", settings=['files.read=["~/alias"]', *SETTINGS])


def test_a_hidden_directory_is_hidden_in_the_working_directory(attack: Attack, shared: Path) -> None:
    settings = ['files.working-directory="read"', 'files.hide=["~/shared/deep/private"]']
    attack(read, "private/key", refused="ENOENT", settings=settings, cwd=shared / "deep")


def test_a_hidden_directory_is_hidden_in_the_real_home(attack: Attack, shared: Path) -> None:
    settings = ['files.home="host"', 'files.hide=["~/shared/deep/private"]']
    attack(read, shared / "deep" / "private" / "key", refused="ENOENT", settings=settings)

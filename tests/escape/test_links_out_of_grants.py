"""Attack: a second name for a read-only file, in a place that can be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from escape.conftest import Attack
from escape.kernel import Kernel

SETTINGS = ['files.write=["~/shared"]', 'files.read=["~/Documents"]']


def link_and_write(_kernel: Kernel, file: str, directory: str) -> None:
    name = f"{directory}/{os.getpid()}"
    os.link(file, name)
    with open(name, "a", encoding="utf-8") as opened:
        opened.write("attacked")


def move(_kernel: Kernel, file: str, directory: str) -> None:
    os.rename(file, f"{directory}/moved")


def write(_kernel: Kernel, file: str) -> None:
    with open(file, "a", encoding="utf-8") as opened:
        opened.write("attacked")


def test_a_read_only_file_cannot_be_written(attack: Attack, home: Path) -> None:
    attack(write, home / "Documents/diary.txt", refused="EROFS", settings=SETTINGS)


def test_a_read_only_file_cannot_be_linked_into_a_writable_directory(attack: Attack, home: Path) -> None:
    attack(link_and_write, home / "Documents/diary.txt", home / "shared", refused="EXDEV", settings=SETTINGS)


def test_a_read_only_file_cannot_be_moved_into_a_writable_directory(attack: Attack, home: Path) -> None:
    (home / "Documents/for-outside").write_text("moved")
    attack(
        move,
        home / "Documents/for-outside",
        home / "shared",
        instead={str(home / "Documents/for-outside"): str(home / "Documents/diary.txt")},
        refused="EXDEV",
        settings=SETTINGS,
    )


@pytest.mark.parametrize("name", ["Documents", "shared"])
def test_a_granted_directory_cannot_be_swapped_for_another(attack: Attack, home: Path, name: str) -> None:
    (home / "spare").mkdir()
    attack(
        move,
        home / "spare",
        home,
        instead={str(home / "spare"): str(home / name)},
        refused="EBUSY",
        settings=SETTINGS,
    )

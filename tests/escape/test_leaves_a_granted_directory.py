"""Attack: from a granted directory up and over to what isn't granted."""

from __future__ import annotations

import os
from pathlib import Path

from escape.conftest import Attack
from escape.kernel import Kernel

SHARED = ['files.write=["~/shared"]']
KEY = ".ssh/id_ed25519"


def read(_kernel: Kernel, path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def climb_by_descriptor(_kernel: Kernel, directory: str, name: str) -> bytes:
    here = os.open(directory, os.O_PATH)
    for _ in range(30):
        here = os.open("..", os.O_PATH, dir_fd=here)
        for way in (name, f"{directory}/../{name}".lstrip("/")):
            if os.access(way, os.R_OK, dir_fd=here):
                return os.read(os.open(way, os.O_RDONLY, dir_fd=here), 100)
    raise FileNotFoundError(2, "nothing there")


def climb_after_moving(_kernel: Kernel, directory: str, name: str) -> bytes:
    """A directory that is moved while one stands in it: `..` then leads to where it was moved."""
    os.makedirs(f"{directory}/a/b")
    os.chdir(f"{directory}/a/b")
    os.rename(f"{directory}/a/b", f"{directory}/b")
    return os.read(os.open(f"../../{name}", os.O_RDONLY), 100)


def test_dot_dot_ends_at_the_box(attack: Attack, home: Path) -> None:
    attack(read, home / "shared" / ".." / KEY, refused="ENOENT", settings=SHARED)


def test_dot_dot_of_a_descriptor_ends_at_the_box(attack: Attack, home: Path) -> None:
    attack(climb_by_descriptor, home / "shared", KEY, refused="ENOENT", settings=SHARED)


def test_a_directory_that_moves_leads_nowhere_else(attack: Attack, home: Path) -> None:
    (home / "shared" / "for-box").mkdir()
    attack(
        climb_after_moving,
        home / "shared" / "outside",
        f"../{KEY}",
        instead={str(home / "shared" / "outside"): str(home / "shared" / "for-box")},
        refused="ENOENT",
        settings=SHARED,
    )

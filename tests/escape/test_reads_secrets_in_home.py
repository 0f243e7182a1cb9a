"""Attack: read the user's keys, passwords and ungranted files where they always are."""

from __future__ import annotations

import pathlib
from pathlib import Path

import pytest
from escape.conftest import SECRETS, Attack
from escape.kernel import Kernel


def read(_kernel: Kernel, path: str) -> str:
    return pathlib.Path(path).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_the_home_is_not_there(attack: Attack, home: Path, name: str) -> None:
    attack(read, home / name, refused="ENOENT")


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_not_in_the_kept_home_either(attack: Attack, home: Path, name: str) -> None:
    attack(read, home / name, refused="ENOENT", settings=['files.home="private"'])

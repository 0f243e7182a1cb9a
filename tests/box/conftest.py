"""The fixture `planned_box`: see tests/boxes.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from boxes import PlannedBox
from conftest import need_user_namespaces


@pytest.fixture(scope="session")
def launcher(request: pytest.FixtureRequest) -> str:
    """The executable under test: the one that SANDBOXER_TEST_LAUNCHER names, else the one that is installed."""
    need_user_namespaces()
    chosen = os.environ.get("SANDBOXER_TEST_LAUNCHER") or request.getfixturevalue("sandbox_program")
    return os.path.realpath(chosen)


@pytest.fixture
def planned_box(launcher: str, tmp_path: Path) -> Iterator[PlannedBox]:
    box = PlannedBox(launcher, tmp_path / "cache")
    yield box
    box.end()

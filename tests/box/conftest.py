"""
The fixtures `planned_box` (see tests/boxes.py), `accompanied_box` (see tests/companions.py) and `running_box` (see
tests/running.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from boxes import PlannedBox
from companions import AccompaniedBox
from conftest import need_user_namespaces
from running import INSIDE, PYTHON, RunningBox


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


@pytest.fixture
def accompanied_box(launcher: str, tmp_path: Path) -> Iterator[AccompaniedBox]:
    box = AccompaniedBox(launcher, tmp_path)
    yield box
    box.end()


@pytest.fixture
def running_box(
    sandbox_program: Path, session: dict[str, str], tmp_path: Path
) -> Iterator[Callable[..., RunningBox]]:
    """`running_box("files.home=private")`: a box with these settings, or by `policy`, an application's name."""
    need_user_namespaces()
    started: list[RunningBox] = []

    def start(*settings: str, policy: str = "", env: Mapping[str, str] = {}) -> RunningBox:
        words: list[str | Path] = [sandbox_program]
        if policy:
            words.append(policy)
        else:
            words.append("run")
            for setting in settings:
                words += ["--set", setting]
            words += ["--", PYTHON, "-I", "-c", INSIDE]
        started.append(RunningBox(words, sandbox_program, session | dict(env), tmp_path))
        return started[-1]

    yield start
    for box in started:
        box.end()

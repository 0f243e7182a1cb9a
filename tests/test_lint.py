"""Lint is part of the tests: each step of tests/lint, which is the one command for all of them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import BESIDE_PYTHON, need

TREE = Path(__file__).resolve().parent.parent


def lint(step: str, *programs: str) -> None:
    """Run one step of tests/lint and show what it said."""
    path = f"{BESIDE_PYTHON}:{os.environ['PATH']}"
    for program in programs:
        if not (BESIDE_PYTHON / program).exists():
            need(program)
    done = subprocess.run(
        [TREE / "tests" / "lint", step],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"tests/lint {step}:\n{done.stdout}{done.stderr}", pytrace=False)


def test_the_python_code_passes_ruff() -> None:
    lint("python", "ruff")


@pytest.mark.timeout(300)
def test_the_python_code_passes_mypy_strict() -> None:
    lint("types", "mypy")


def test_the_native_code_compiles_without_a_warning() -> None:
    lint("c", "cmake", "ninja", "gcc")


@pytest.mark.timeout(300)
def test_the_native_code_passes_the_analyzer() -> None:
    lint("analyzer", "cmake", "ninja", "gcc")


def test_the_shell_scripts_are_clean() -> None:
    lint("shell", "dash", "shellcheck")


def test_an_unknown_step_is_an_error() -> None:
    done = subprocess.run([TREE / "tests" / "lint", "spelling"], capture_output=True, text=True, check=False)
    assert 1 == done.returncode
    assert "no such step" in done.stderr

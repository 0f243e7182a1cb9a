"""What a compile imports, which is most of its time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sandboxer

COMPILE = "import sandboxer.cli.launch, sandboxer.policy.deny, sandboxer.policy.merge, sys; "


def said(words: str, *paths: Path) -> str:
    package = os.path.dirname(os.path.dirname(sandboxer.__file__))
    done = subprocess.run(
        [sys.executable, "-P", "-c", words],
        env={"PYTHONPATH": os.pathsep.join([*map(str, paths), package]), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory with a typing_extensions that can be told from all others."""
    (tmp_path / "typing_extensions.py").write_text("from typing import *\nMINE = True\n")
    return tmp_path


def test_a_compile_loads_no_typing_extensions_where_it_is_installed(elsewhere: Path) -> None:
    words = COMPILE + "print(sorted({'typing_extensions', 'inspect', 'dataclasses'} & set(sys.modules)))"
    assert "[]" == said(words, elsewhere)


def test_it_can_be_imported_afterwards(elsewhere: Path) -> None:
    assert "True" == said(COMPILE + "import typing_extensions; print(typing_extensions.MINE)", elsewhere)


def test_one_that_was_loaded_before_stays(elsewhere: Path) -> None:
    words = f"import typing_extensions; {COMPILE}print(sys.modules['typing_extensions'].MINE)"
    assert "True" == said(words, elsewhere)


def test_the_policys_types_are_understood_the_same_without_it(elsewhere: Path) -> None:
    words = "from sandboxer.policy.schema import schema; print(schema())"
    assert said("import typing_extensions; " + words, elsewhere) == said(words, elsewhere)

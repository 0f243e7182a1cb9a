"""Which words of a second start name files: as the launcher judges those of a first."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandboxer.cli import join


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a file").touch()
    (tmp_path / "-option").touch()
    (tmp_path / "directory").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("word", ["a file", "./a file", "directory/../a file", "./-option"])
def test_a_regular_file_is_one(word: str) -> None:
    assert join.names_file(word)


def test_so_is_its_uri(here: Path) -> None:
    assert join.names_file((here / "a file").as_uri())
    assert join.names_file(f"{(here / 'a file').as_uri()}#part")


@pytest.mark.parametrize(
    "word",
    ["", "-option", "--new-tab", "directory", "missing", "https://example.org/a", "file://other/a", "a\0b"],
)
def test_all_else_stays_as_it_is(word: str) -> None:
    assert not join.names_file(word)

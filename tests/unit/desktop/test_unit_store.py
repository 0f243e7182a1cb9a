"""Files of ours among the user's units: nothing foreign is touched, nothing is left behind."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from sandboxer.desktop.units import store as unit_store
from sandboxer.errors import ResolveError


def test_what_was_written_goes_with_the_directories_that_were_made(tmp_path: Path) -> None:
    path = tmp_path / "a/b/c.conf"
    unit_store.write(str(path), "text\n", "by a test")
    unit_store.write(str(path), "newer\n", "by a test")
    assert "newer\n" == unit_store.body_of(path.read_text())
    unit_store.remove(str(path))
    assert [] == list(tmp_path.iterdir())


def test_a_directory_that_somebody_uses_stays(tmp_path: Path) -> None:
    path = tmp_path / "a/b/c.conf"
    unit_store.write(str(path), "text\n", "by a test")
    (tmp_path / "a/other").write_text("")
    unit_store.remove(str(path))
    assert [tmp_path / "a/other"] == list((tmp_path / "a").iterdir())


@pytest.mark.parametrize("text", ["[Service]\n", "", "# sandboxer: nothing of ours\n"])
def test_a_foreign_file_is_neither_overwritten_nor_removed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.conf"
    path.write_text(text)
    with pytest.raises(ResolveError, match="hasn't written"):
        unit_store.write(str(path), "x", "by a test")
    with pytest.raises(ResolveError, match="hasn't written"):
        unit_store.remove(str(path))
    assert text == path.read_text()


def test_an_edited_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "c.conf"
    unit_store.write(str(path), "text\n", "by a test")
    path.write_text(path.read_text() + "edited\n")
    with pytest.raises(ResolveError, match="edited"):
        unit_store.remove(str(path))
    assert path.exists()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_in_whatever_order_files_go_the_last_one_takes_the_directories(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    paths = [tmp_path / "a/b/one.service", tmp_path / "a/b/x.d/c.conf", tmp_path / "a/b/y.d/c.conf"]
    for path in paths:
        unit_store.write(str(path), "text\n", "by a test")
    for index in order:
        unit_store.remove(str(paths[index]))
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_can_not_be_written_whole_leaves_nothing_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_words: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fchmod", fail)
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ResolveError, match="cannot write a unit") as caught:
        unit_store.write(str(tmp_path / "a/b/c.conf"), "text\n", "by a test")
    assert caught.value.hint
    assert [] == list(tmp_path.iterdir())


def test_a_unit_of_the_users_own_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a/sandbox-x.service"
    unit_store.create(str(path), "text\n")
    assert "text\n" == path.read_text()
    with pytest.raises(ResolveError, match="cannot write a unit") as caught:
        unit_store.create(str(path), "other\n")
    assert "in the way" in caught.value.hint
    assert "text\n" == path.read_text()
    with pytest.raises(UnicodeEncodeError):
        unit_store.create(str(tmp_path / "b.service"), "half \udcff")
    assert not (tmp_path / "b.service").exists()


def test_the_main_processes_of_services_and_instances_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def show(command: list[str], **_how: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        text = "MainPID=12\nId=a.service\n\nMainPID=0\nId=b.service\n\nMainPID=34\nId=c\\x2d@x.service\n"
        return subprocess.CompletedProcess(command, 0, text, "")

    monkeypatch.setattr(subprocess, "run", show)
    assert [] == unit_store.main_processes([])
    found = unit_store.main_processes(["a.service", "b.service", "c\\x2d@.service"])
    assert [("a.service", 12), ("c\\x2d@x.service", 34)] == found
    assert ["--", "a.service", "b.service", "c\\\\x2d@*.service"] == asked[0][-4:]

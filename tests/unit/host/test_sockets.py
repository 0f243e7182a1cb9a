"""Sockets in a directory: a short look finds them, is bounded, and follows nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sandboxer.host import sockets
from sandboxer.host.facts import Facts
from sandboxer.host.session import Session


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Sockets at four depths, and what is none."""
    place = tmp_path / "place"
    (place / "a/b/c").mkdir(parents=True)
    (place / "file").touch()
    os.mkfifo(place / "pipe")
    outside = tmp_path / "outside"
    outside.mkdir()
    (place / "link").symlink_to(outside)
    with ExitStack() as stack:
        for directory in (place, place / "a", place / "a/b", place / "a/b/c", outside):
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            fd = os.open(directory, os.O_PATH)
            server.bind(f"/proc/self/fd/{fd}/s")
            os.close(fd)
        yield place


def test_those_in_it_and_a_little_below_are_found(place: Path) -> None:
    assert ("a/b/s", "a/s", "s") == sockets.find(str(place))


def test_a_look_is_bounded_and_near_ones_come_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (place / "a/b" / f"file{number}").touch()
    monkeypatch.setattr(sockets, "ENTRIES_MAX", 8)
    found = sockets.find(str(place))
    assert {"s", "a/s"} <= set(found)


def test_no_more_directories_are_opened_than_it_may(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    look = sockets._look

    def looks(directory: str, name: str, most: int, found: list[str], deeper: list[str]) -> int:
        opened.append(name)
        return look(directory, name, most, found, deeper)

    monkeypatch.setattr(sockets, "_look", looks)
    for number in range(30):
        (place / f"z{number}").mkdir()
    monkeypatch.setattr(sockets, "DIRECTORIES_MAX", 5)
    assert ("a/s", "s") == sockets.find(str(place))
    assert 5 == len(opened)


def test_what_is_no_directory_or_not_there_holds_none(place: Path) -> None:
    assert () == sockets.find(str(place / "file")) == sockets.find(str(place / "nothing"))


def test_a_plan_depends_on_those_that_were_found_and_on_no_other_file(place: Path) -> None:
    host = Facts(Session({"HOME": str(place)}, str(place)))
    assert ("a/b/s", "a/s", "s") == host.sockets(str(place))
    names = {stamp.name for stamp in host.stamps()}
    assert {str(place / name) for name in ("s", "a/s", "a/b/s")} <= names
    assert str(place / "file") not in names

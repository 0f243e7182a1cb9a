"""What may come along with an Exec: ends of pipes and a terminal of its own, and nothing that leads anywhere else."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandboxer.errors import StewardError
from sandboxer.steward import streams


@pytest.fixture
def kept() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def pipe(kept: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for fd in ends:
        kept.callback(os.close, fd)
    return ends


def opened(kept: contextlib.ExitStack, path: str | Path, flags: int) -> int:
    fd = os.open(path, flags)
    kept.callback(os.close, fd)
    return fd


def test_pipes_are_harmless_in_their_direction(kept: contextlib.ExitStack) -> None:
    reading, writing = pipe(kept)
    streams.require_harmless((reading, writing, writing, writing), os.getpid())
    for wrong in (
        (writing, writing, writing, writing),
        (reading, reading, writing, writing),
        (reading, writing, writing, reading),
    ):
        with pytest.raises(StewardError, match="wrong end"):
            streams.require_harmless(wrong, os.getpid())


def test_a_terminal_is_harmless_unless_it_is_the_one_in_use(
    kept: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, slave = os.openpty()
    kept.callback(os.close, master)
    kept.callback(os.close, slave)
    _, writing = pipe(kept)
    streams.require_harmless((slave, slave, slave, writing), os.getpid())
    with pytest.raises(StewardError, match="neither a pipe nor a terminal"):
        streams.require_harmless((master, slave, slave, writing), os.getpid())
    with pytest.raises(StewardError, match="the status goes to no pipe"):
        streams.require_harmless((slave, slave, slave, slave), os.getpid())
    monkeypatch.setattr(streams, "controlling_terminal", lambda _pid: os.fstat(slave).st_rdev)
    with pytest.raises(StewardError, match="terminal in which it was asked for"):
        streams.require_harmless((slave, slave, slave, writing), os.getpid())


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_files_directories_devices_sockets_and_paths_are_refused_everywhere(
    kept: contextlib.ExitStack, tmp_path: Path, place: int
) -> None:
    reading, writing = pipe(kept)
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    one = kept.enter_context(socket.socket(socket.AF_UNIX))
    bad = [
        opened(kept, tmp_path / "file", os.O_RDWR),
        opened(kept, tmp_path, os.O_RDONLY | os.O_DIRECTORY),
        opened(kept, tmp_path, os.O_PATH),
        opened(kept, tmp_path / "fifo", os.O_PATH),
        opened(kept, tmp_path / "fifo", os.O_RDWR),
        opened(kept, "/dev/null", os.O_RDWR),
        one.fileno(),
    ]
    for fd in bad:
        given = [reading, writing, writing, writing]
        given[place] = fd
        with pytest.raises(StewardError):
            streams.require_harmless(given, os.getpid())


@pytest.mark.parametrize("count", [0, 3, 5])
def test_as_many_as_are_wanted_have_to_come(kept: contextlib.ExitStack, count: int) -> None:
    _, writing = pipe(kept)
    with pytest.raises(StewardError):
        streams.require_harmless([writing] * count, os.getpid())

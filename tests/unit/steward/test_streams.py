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


def pair(kept: contextlib.ExitStack, *, is_input: bool) -> int:
    theirs, ours = socket.socketpair()
    kept.enter_context(ours)
    kept.enter_context(theirs).shutdown(socket.SHUT_WR if is_input else socket.SHUT_RD)
    return theirs.fileno()


def test_ends_of_pairs_are_harmless_in_their_direction(kept: contextlib.ExitStack) -> None:
    reading, writing = pair(kept, is_input=True), pair(kept, is_input=False)
    told, told_to = pipe(kept)[1], pipe(kept)[0]
    streams.require_harmless((reading, writing, writing, told), os.getpid())
    both, _ = (kept.enter_context(one).fileno() for one in socket.socketpair())
    for wrong in (
        (writing, writing, writing, told),
        (reading, reading, writing, told),
        (both, writing, writing, told),
        (reading, writing, both, told),
        (reading, writing, writing, told_to),
        (reading, writing, writing, writing),
        (told_to, writing, writing, told),
        (reading, told, writing, told),
    ):
        with pytest.raises(StewardError, match="refuses to hand a descriptor into the box"):
            streams.require_harmless(wrong, os.getpid())


def test_a_connection_to_something_with_a_name_is_refused(kept: contextlib.ExitStack, tmp_path: Path) -> None:
    """A session bus is one: to send nothing through it is no reason to hand it over."""
    writing = pair(kept, is_input=False)
    listener = kept.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(tmp_path / "bus"))
    listener.listen()
    client = kept.enter_context(socket.socket(socket.AF_UNIX))
    client.connect(str(tmp_path / "bus"))
    accepted = kept.enter_context(listener.accept()[0])
    for one in (client, accepted):
        one.shutdown(socket.SHUT_WR)
        with pytest.raises(StewardError, match="no end of a pair"):
            streams.require_harmless((one.fileno(), writing, writing, pipe(kept)[1]), os.getpid())


def test_a_terminal_is_harmless_unless_it_is_the_one_in_use(
    kept: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, slave = os.openpty()
    kept.callback(os.close, master)
    kept.callback(os.close, slave)
    _, writing = pipe(kept)
    streams.require_harmless((slave, slave, slave, writing), os.getpid())
    with pytest.raises(StewardError, match="neither of a pair of sockets nor a terminal"):
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
    reading, writing = pair(kept, is_input=True), pair(kept, is_input=False)
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
        given = [reading, writing, writing, pipe(kept)[1]]
        given[place] = fd
        with pytest.raises(StewardError):
            streams.require_harmless(given, os.getpid())


@pytest.mark.parametrize("count", [0, 3, 5])
def test_as_many_as_are_wanted_have_to_come(kept: contextlib.ExitStack, count: int) -> None:
    _, writing = pipe(kept)
    with pytest.raises(StewardError):
        streams.require_harmless([writing] * count, os.getpid())

"""Orders as the box's first process reads them, here played by a thread (the real one: tests/box/test_exec.py)."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from sandboxer.errors import StewardError
from sandboxer.steward import orders


class First:
    """Takes one order, keeps what came, and answers."""

    def __init__(self, answer: int) -> None:
        self.ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.content = b""
        self.handed: list[int] = []
        self._answer = answer
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        self.content, self.handed, _, _ = socket.recv_fds(self._theirs, 65536, 8)
        self._theirs.send(struct.pack("=i", self._answer))

    def end(self) -> None:
        self.ours.close()
        self._theirs.close()
        for fd in self.handed:
            os.close(fd)


@pytest.fixture
def first() -> Iterator[First]:
    one = First(7)
    yield one
    one.end()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def test_a_program_with_streams_is_ordered_with_four_descriptors(first: First, pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    pid = orders.execute(
        first.ours, ("ls", "", "-l\udcff"), "/tmp", "xterm", (reading, writing, writing, writing)
    )
    assert (7, b"E/tmp\0xterm\0ls\0\0-l\xff\0") == (pid, first.content)
    assert 4 == len(first.handed)
    assert os.fstat(reading).st_ino == os.fstat(first.handed[0]).st_ino


def test_a_program_without_streams_is_ordered_as_ever(first: First) -> None:
    assert 7 == orders.start(first.ours, ("ls", "-l"))
    assert (b"Xls\0-l\0", []) == (first.content, first.handed)


@pytest.mark.parametrize("words", [(), ("",), ("a\0b",), ("a", "b" * 16384), tuple("a" * 257)])
def test_what_pid_1_would_not_take_is_not_sent(first: First, words: tuple[str, ...]) -> None:
    with pytest.raises(StewardError):
        orders.execute(first.ours, words, "", "", ())
    orders.start(first.ours, ("sentinel",))
    assert b"Xsentinel\0" == first.content


def test_too_many_at_once_is_said_so() -> None:
    first = First(-errno.EAGAIN)
    with pytest.raises(StewardError) as refused:
        orders.execute(first.ours, ("ls",), "", "", ())
    first.end()
    assert "as many as can be run in it: end some" == refused.value.hint

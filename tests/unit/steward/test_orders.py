"""Orders as the box's first process reads them, here played by a thread (the real one: tests/box/test_exec.py)."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from sandboxer.errors import StewardError
from sandboxer.steward import orders
from sandboxer.steward.ledger import now_ns

NS = 1_000_000_000


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
        if self.content[:1] == b"E":
            serial = int(self.content[1:].split(b"\0")[0])
            for late in (struct.pack("=iI", 99, serial ^ 1), struct.pack("=i", 98)):
                self._theirs.send(late)
            self._theirs.send(struct.pack("=iI", self._answer, serial))
        else:
            self._theirs.send(struct.pack("=iI", 97, 7))
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
    """It has a number and holds until a time; replies to others, which come late, aren't taken for its own."""
    reading, writing = pipe
    before = now_ns()
    pid = orders.execute(
        first.ours, ("ls", "", "-l\udcff"), "/tmp", "xterm", (reading, writing, writing, writing)
    )
    serial, deadline, rest = first.content[1:].split(b"\0", 2)
    assert (7, b"/tmp\0xterm\0ls\0\0-l\xff\0") == (pid, rest)
    assert 0 <= int(serial) < 1 << 32
    assert 4 * NS < int(deadline) - before <= orders.TIMEOUT_MS * 1_000_000 + 4 * NS
    assert 4 == len(first.handed)
    assert os.fstat(reading).st_ino == os.fstat(first.handed[0]).st_ino


def test_a_program_without_streams_is_ordered_as_ever(first: First) -> None:
    assert 7 == orders.start(first.ours, ("ls", "-l"))
    assert (b"Xls\0-l\0", []) == (first.content, first.handed)


@pytest.mark.parametrize("words", [(), ("",), ("a\0b",), ("a", "b" * 16384), tuple("a" * 257)])
def test_what_pid_1_would_not_take_is_not_sent(first: First, words: tuple[str, ...]) -> None:
    with pytest.raises(StewardError):
        orders.execute(first.ours, words, "", "", ())
    assert 7 == orders.start(first.ours, ("sentinel",))
    assert b"Xsentinel\0" == first.content


def test_too_many_at_once_is_said_so(pipe: tuple[int, int]) -> None:
    first = First(-errno.EAGAIN)
    with pytest.raises(StewardError) as refused:
        orders.execute(first.ours, ("ls",), "", "", (pipe[0], *[pipe[1]] * 3))
    first.end()
    assert "as many as can be run in it: end some" == refused.value.hint


@pytest.mark.parametrize(("order", "content"), [(orders.freeze, b"S\0"), (orders.thaw, b"T\0")])
def test_all_are_stopped_or_let_go_on_by_one_order(
    order: Callable[[socket.socket | None], None], content: bytes
) -> None:
    first, bad = First(0), First(-errno.EPERM)
    order(first.ours)
    assert (content, []) == (first.content, first.handed)
    with pytest.raises(StewardError):
        order(bad.ours)
    first.end()
    bad.end()


def test_one_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "TIMEOUT_MS", 10)
    monkeypatch.setattr(orders, "GRACE_MS", 10)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, pytest.raises(StewardError, match="cannot freeze the box"):
        orders.freeze(ours)

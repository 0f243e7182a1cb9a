"""Bytes pass whole and in order, whoever is slow or goes away."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
import tty
from pathlib import Path

from sandboxer.cli import relay
from sandboxer.cli.relay import Way

MUCH = os.urandom(1 << 20)


def ended(status: int | None) -> int:
    """The reading end of a pipe that says so at once."""
    reading, writing = os.pipe()
    if status is not None:
        os.write(writing, struct.pack("=i", status))
    os.close(writing)
    return reading


def test_all_that_was_written_before_the_end_is_passed_on(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.write(writing, MUCH[:60000])
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT, 0o600)
    assert 3 == relay.run([Way(reading, out, "source", is_output=True)], ended(3))
    assert MUCH[:60000] == (tmp_path / "out").read_bytes()
    os.close(writing)
    os.close(out)


def test_a_box_that_ends_says_nothing() -> None:
    assert relay.run([], ended(None)) is None


def test_much_passes_both_ways_at_once(tmp_path: Path) -> None:
    """As through `cat`: neither side waits for the other for ever."""
    (tmp_path / "in").write_bytes(MUCH)
    source, out = os.open(tmp_path / "in", os.O_RDONLY), os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    status_read, status_write = os.pipe()
    for ours in (to_write, from_read):
        os.set_blocking(ours, False)

    def cat() -> None:
        while piece := os.read(to_read, 1000):
            os.write(from_write, piece)
        os.close(from_write)
        os.write(status_write, struct.pack("=i", 0))

    thread = threading.Thread(target=cat)
    thread.start()
    ways = [Way(source, to_write, "sink", is_output=False), Way(from_read, out, "source", is_output=True)]
    assert 0 == relay.run(ways, status_read)
    thread.join()
    assert MUCH == (tmp_path / "out").read_bytes()
    for fd in (source, out, to_read, status_read, status_write):
        os.close(fd)


def test_a_reader_that_goes_away_closes_the_way_and_the_program_learns_of_it() -> None:
    reading, writing = os.pipe()
    gone, sink = os.pipe()
    os.close(gone)
    os.write(writing, b"x" * 10)
    way = Way(reading, sink, "source", is_output=True)
    way.step()
    way.step()
    assert not way.is_open
    try:
        os.write(writing, b"x")
    except BrokenPipeError:
        pass
    else:
        raise AssertionError("somebody still reads")
    os.close(writing)
    os.close(sink)


def test_the_caller_s_descriptors_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"text")
    source = os.open(tmp_path / "in", os.O_RDONLY)
    reading, writing = os.pipe()
    relay.run([Way(source, writing, "sink", is_output=False)], ended(0))
    assert os.get_blocking(source)
    os.close(source)
    os.close(reading)


def test_whoever_goes_on_writing_after_the_end_keeps_nobody(tmp_path: Path) -> None:
    """What was in the stream at the end is passed on, and the caller's terminal and signals are given back before."""
    ours, theirs = socket.socketpair()
    theirs.sendall(b"x")
    stop = threading.Event()

    def flood() -> None:
        with contextlib.suppress(OSError):
            while not stop.is_set():
                theirs.sendall(MUCH[:65536])

    thread = threading.Thread(target=flood)
    thread.start()
    sink, given_back = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT, 0o600), threading.Event()
    os.set_blocking(ours.fileno(), False)
    began = time.monotonic()
    assert 7 == relay.run([Way(ours.detach(), sink, "source", is_output=True)], ended(7), given_back.set)
    assert time.monotonic() - began < 5
    assert given_back.is_set()
    assert b"x" == (tmp_path / "out").read_bytes()[:1]
    stop.set()
    thread.join()
    theirs.close()
    os.close(sink)


def test_a_flooded_terminal_is_left_after_a_second(tmp_path: Path) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    stop = threading.Event()

    def flood() -> None:
        os.set_blocking(slave, False)
        while not stop.is_set():
            with contextlib.suppress(OSError):
                os.write(slave, MUCH[:4096])

    thread = threading.Thread(target=flood)
    thread.start()
    sink = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT, 0o600)
    began = time.monotonic()
    assert 7 == relay.run([Way(master, sink, "both", is_output=True)], ended(7))
    assert time.monotonic() - began < 5
    stop.set()
    thread.join()
    for fd in (master, slave, sink):
        os.close(fd)


def test_a_slow_reader_gets_all_that_was_written_before_the_end() -> None:
    """However long it takes: the program has ended, and nobody in the box can make it longer."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    sent = theirs.send(MUCH[:150000])
    os.set_blocking(ours.fileno(), False)
    reading, sink = os.pipe()
    got = b""

    def read() -> None:
        nonlocal got
        time.sleep(1.5)
        while piece := os.read(reading, 65536):
            got += piece

    thread = threading.Thread(target=read)
    thread.start()
    assert 0 == relay.run([Way(ours.detach(), sink, "source", is_output=True)], ended(0))
    os.close(sink)
    thread.join()
    assert MUCH[:sent] == got
    os.close(reading)
    theirs.close()

"""A compositor is asked by the wire format, and what answers may be anything."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sandboxer.doctor.compositor import SECURITY_CONTEXT, Unspoken, interfaces


def message(sender: int, opcode: int, body: bytes = b"") -> bytes:
    return struct.pack("=II", sender, (8 + len(body)) << 16 | opcode) + body


def announced(number: int, interface: str) -> bytes:
    name = interface.encode() + b"\0"
    padded = name + b"\0" * (-len(name) % 4)
    return message(2, 0, struct.pack("=II", number, len(name)) + padded + struct.pack("=I", 1))


@contextmanager
def compositor(answer: bytes, *, in_pieces_of: int = 4096) -> Iterator[socket.socket]:
    """The client's end of a connection to one that reads two requests and says this."""
    ours, theirs = socket.socketpair()
    asked: list[bytes] = []

    def serve() -> None:
        with theirs:
            asked.append(theirs.recv(24, socket.MSG_WAITALL))
            for at in range(0, len(answer), in_pieces_of):
                theirs.sendall(answer[at : at + in_pieces_of])

    thread = threading.Thread(target=serve)
    thread.start()
    ours.settimeout(5)
    try:
        with ours:
            yield ours
    finally:
        thread.join(5)
    assert [message(1, 1, struct.pack("=I", 2)) + message(1, 0, struct.pack("=I", 3))] == asked


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_what_it_offers_is_read_however_it_arrives(size: int) -> None:
    answer = announced(1, "wl_compositor") + announced(2, SECURITY_CONTEXT) + message(3, 0, bytes(4))
    with compositor(answer, in_pieces_of=size) as connection:
        assert ["wl_compositor", SECURITY_CONTEXT] == interfaces(connection)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "ended the connection"),
        (announced(1, "wl_compositor"), "ended the connection"),
        (message(1, 0, bytes(12)), "refuses"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no compositor"),
        (struct.pack("=II", 2, 0), "no compositor"),
        (message(2, 0), "no compositor"),
    ],
    ids=["nothing", "half", "error", "http", "size 0", "empty global"],
)
def test_what_is_no_compositor_is_told(answer: bytes, said: str) -> None:
    with compositor(answer) as connection, pytest.raises(Unspoken, match=said):
        interfaces(connection)

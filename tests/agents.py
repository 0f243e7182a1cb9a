"""
An SSH agent for tests: two keys that are no keys, signatures that are none, and a record of what it was asked.

What comes in: a path to listen on. What goes out: `Agent`, with the key blobs, their fingerprints, and each message
that has reached it. Source of the protocol: draft-miller-ssh-agent.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from brokered import listener

COMMENTS = ("user@work", "user@home")
FAILURE, SUCCESS = b"\x05", b"\x06"


class Agent:
    """Its keys, and the messages that it has received, without their lengths."""

    def __init__(self) -> None:
        self.blobs = tuple(text(b"ssh-ed25519") + text(bytes([number]) * 32) for number in (1, 2))
        self.fingerprints = tuple(
            "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=") for blob in self.blobs
        )
        self.received: list[bytes] = []

    def serve(self, client: socket.socket) -> None:
        """Answer as an agent that refuses nothing."""
        with client, contextlib.suppress(ConnectionError):
            while (message := self._receive(client)) is not None:
                self.received.append(message)
                answer = self._answer(message)
                client.sendall(text(answer))

    def _receive(self, client: socket.socket) -> bytes | None:
        head = client.recv(4, socket.MSG_WAITALL)
        if len(head) < 4:
            return None
        (size,) = struct.unpack(">I", head)
        return client.recv(size, socket.MSG_WAITALL)

    def _answer(self, message: bytes) -> bytes:
        if message == b"\x0b":
            keys = b"".join(text(blob) + text(name.encode()) for blob, name in zip(self.blobs, COMMENTS, strict=True))
            return b"\x0c" + struct.pack(">I", len(self.blobs)) + keys
        if message[:1] == b"\x0d":
            (size,) = struct.unpack_from(">I", message, 1)
            data = message[5 + size + 4 : -4]
            return b"\x0e" + text(b"signed " + data)
        return SUCCESS


def text(content: bytes) -> bytes:
    """A string as the protocol has it."""
    return struct.pack(">I", len(content)) + content


@contextlib.contextmanager
def agent(path: Path) -> Iterator[Agent]:
    """An agent that listens at `path`."""
    made = Agent()
    with listener(path, made.serve):
        yield made

"""
What an SSH agent may be asked: a pure filter of its protocol.

What comes in: messages of draft-miller-ssh-agent, without their length. What goes out: which of them may pass, and the
agent's list with only the keys that the rule names. It sends nothing.

Abuse: a key can be used for any signature as long as the box runs, for any host that knows it (constraints that a
client could set are refused with all else: extensions, adding, removing, locking); the comments of the permitted keys
are told; an agent that asks before it signs shows no hint of who asks.
"""

from __future__ import annotations

import sys
from binascii import b2a_base64
from struct import Struct

# What hashlib falls back on without OpenSSL, which would take 4 MB.
if sys.version_info >= (3, 12):
    from _sha2 import sha256
else:
    from _sha256 import sha256  # type: ignore[import-not-found]  # typeshed has none

FAILURE = b"\x05"
REQUEST_IDENTITIES = b"\x0b"
IDENTITIES_ANSWER, SIGN_REQUEST, SIGN_RESPONSE = 12, 13, 14
"""SSH_AGENT_FAILURE, SSH_AGENTC_…: section 5.1."""
REQUEST_SIZE_MAX = 64 * 1024
ANSWER_SIZE_MAX = 256 * 1024
"""Bytes; OpenSSH's agent takes 256 KiB, a signature needs the data that is signed and some hundreds more."""
LENGTH = Struct(">I")

LIST, SIGN, REFUSE = range(3)


class Keys:
    """The keys that a rule names, by fingerprint or by comment, and which of the agent's these turned out to be."""

    __slots__ = ("_names", "blobs")

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = frozenset(name.encode("utf-8", "surrogateescape") for name in names)
        self.blobs: frozenset[bytes] = frozenset()
        """Public keys that the agent has listed and that are named."""

    def named(self, blob: bytes, comment: bytes = b"") -> bool:
        """Whether a rule names a key."""
        return fingerprint(blob) in self._names or (comment != b"" and comment in self._names)

    def listed(self, answer: bytes) -> bytes:
        """The agent's list with the named keys alone, which are remembered; a failure where it isn't one."""
        kept = []
        try:
            if answer[0] != IDENTITIES_ANSWER:
                return FAILURE
            count, at = number(answer, 1)
            for _ in range(count):
                blob, at = string(answer, at)
                comment, at = string(answer, at)
                if self.named(blob, comment):
                    kept.append((blob, comment))
        except (IndexError, ValueError):
            return FAILURE
        self.blobs = frozenset(blob for blob, _ in kept)
        parts = [bytes((IDENTITIES_ANSWER,)), LENGTH.pack(len(kept))]
        for item in kept:
            for value in item:
                parts += [LENGTH.pack(len(value)), value]
        return b"".join(parts)


def asked(request: bytes) -> tuple[int, bytes]:
    """LIST, SIGN with the public key that is to sign, or REFUSE."""
    if request == REQUEST_IDENTITIES:
        return LIST, b""
    if request[:1] == bytes((SIGN_REQUEST,)):
        try:
            blob, at = string(request, 1)
            _, at = string(request, at)
        except ValueError:
            return REFUSE, b""
        if len(request) == at + LENGTH.size and blob:
            return SIGN, blob
    return REFUSE, b""


def signed(answer: bytes) -> bytes:
    """The agent's answer to a request to sign, as it may pass."""
    return answer if answer[:1] == bytes((SIGN_RESPONSE,)) else FAILURE


def string(message: bytes, at: int) -> tuple[bytes, int]:
    """A string and where it ends. Raises ValueError when the message is too short."""
    size, start = number(message, at)
    if size > len(message) - start:
        raise ValueError("a message is cut short")
    return message[start : start + size], start + size


def number(message: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends. Raises ValueError when the message is too short."""
    end = at + LENGTH.size
    if end > len(message):
        raise ValueError("a message is cut short")
    return int(LENGTH.unpack_from(message, at)[0]), end


def fingerprint(blob: bytes) -> bytes:
    """As `ssh-add -l` prints it: SHA256:… without padding."""
    return b"SHA256:" + b2a_base64(sha256(blob).digest(), newline=False).rstrip(b"=")

"""
Requests out of bytes, replies into bytes.

What comes in: one message as it was received. What goes out: a `Request` whose lengths hold; or `Malformed`, after
which the connection is closed. What a request asks for isn't looked at here: see `verdicts`.
"""

from __future__ import annotations

import errno

from sandboxer.broker.protocol import REPLY, REQUEST, VERSION

_HEADER = REQUEST.size
_unpack = REQUEST.unpack_from
_pack = REPLY.pack


class Malformed(Exception):
    """`error` is for the reply, `command` what the message gives as its command, 0 when it is too short for one."""

    def __init__(self, error: int, command: int = 0) -> None:
        super().__init__(errno.errorcode[error])
        self.error = error
        self.command = command


class Request:
    """The fields of `protocol.REQUEST`; `second` is empty where there is none."""

    __slots__ = ("argument", "command", "flags", "path", "second")

    def __init__(self, command: int, flags: int, argument: int, path: bytes, second: bytes) -> None:
        self.command = command
        self.flags = flags
        self.argument = argument
        self.path = path
        self.second = second


def parse(message: bytes) -> Request:
    """
    A message's fields.

    Raises:
        Malformed: EPROTO, its lengths contradict its size; EPROTONOSUPPORT, it is of another version.
    """
    size = len(message)
    if size < _HEADER:
        raise Malformed(errno.EPROTO)
    version, command, flags, argument, first, second = _unpack(message)
    if version != VERSION:
        raise Malformed(errno.EPROTONOSUPPORT, command)
    if size != _HEADER + first + second:
        raise Malformed(errno.EPROTO, command)
    middle = _HEADER + first
    return Request(command, flags, argument, message[_HEADER:middle], message[middle:])


def reply(command: int, error: int = 0, value: int = 0, data: bytes = b"") -> bytes:
    """The message that answers `command`."""
    return _pack(VERSION, command, error, value) + data

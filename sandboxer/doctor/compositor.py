"""
What a Wayland compositor offers: asked by the wire format, without a library.

What comes in: a connected socket. What goes out: names of global interfaces. It asks for the registry and for one
answer after it, and binds nothing. Source: the protocol's chapter 4 ("Wire Format") and wl_display, wl_registry.
"""

from __future__ import annotations

import socket
import struct

DISPLAY, REGISTRY, CALLBACK = 1, 2, 3
"""Object ids: the first is given, the others are ours to choose."""
SYNC, GET_REGISTRY = 0, 1
"""wl_display's requests."""
ERROR, GLOBAL, DONE = 0, 0, 0
"""Events of wl_display, wl_registry and wl_callback."""
SECURITY_CONTEXT = "wp_security_context_manager_v1"
_HEADER = struct.Struct("=II")
SIZE_MAX = 1 << 20


class Unspoken(Exception):
    """What answers doesn't speak the protocol, or refuses."""


def interfaces(connection: socket.socket) -> list[str]:
    """
    The interfaces that the compositor offers this client.

    Raises:
        Unspoken: it ended the connection, or said what no compositor says.
        OSError: the connection failed, or its time ran out.
    """
    connection.sendall(_request(DISPLAY, GET_REGISTRY, REGISTRY) + _request(DISPLAY, SYNC, CALLBACK))
    found: list[str] = []
    content = b""
    while True:
        while (size := _size(content)) and len(content) >= size:
            message, content = content[:size], content[size:]
            sender, word = _HEADER.unpack_from(message)
            kind = (sender, word & 0xFFFF)
            if kind == (REGISTRY, GLOBAL):
                found.append(_interface(message))
            elif kind == (CALLBACK, DONE):
                return found
            elif kind == (DISPLAY, ERROR):
                raise Unspoken("the compositor refuses this client")
        piece = connection.recv(65536)
        if not piece:
            raise Unspoken("the compositor ended the connection")
        content += piece
        if len(content) > SIZE_MAX:
            raise Unspoken("what answers is no compositor")


def _request(object_id: int, opcode: int, new_id: int) -> bytes:
    return _HEADER.pack(object_id, 12 << 16 | opcode) + struct.pack("=I", new_id)


def _size(content: bytes) -> int:
    """The first message's size; 0 where not even its header is there."""
    if len(content) < _HEADER.size:
        return 0
    size = int(_HEADER.unpack_from(content)[1]) >> 16
    if size < _HEADER.size or size % 4:
        raise Unspoken("what answers is no compositor")
    return size


def _interface(message: bytes) -> str:
    """wl_registry.global: a number, a counted string with its NUL, a version."""
    try:
        (length,) = struct.unpack_from("=I", message, 12)
    except struct.error:
        raise Unspoken("what answers is no compositor") from None
    return message[16 : 16 + length].rstrip(b"\0").decode(errors="replace")

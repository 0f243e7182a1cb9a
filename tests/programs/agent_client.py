"""For an application in a box: what it can send to an SSH agent. Needs `socket`, `struct` and `os`."""

import os
import socket
import struct


def text(content):
    return struct.pack(">I", len(content)) + content


def agent(timeout=10):
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(timeout)
    made.connect(os.environ["SSH_AUTH_SOCK"])
    return made


def reply(made):
    """The next message; b"" at the end."""
    try:
        head = made.recv(4, socket.MSG_WAITALL)
        return made.recv(struct.unpack(">I", head)[0], socket.MSG_WAITALL) if len(head) == 4 else b""
    except ConnectionResetError:
        return b""


def told(content, made=None):
    """The answer to a message, on a connection of its own unless there is one."""
    made = made or agent()
    made.sendall(text(content))
    return reply(made)


def strings(content, at):
    while at < len(content):
        (size,) = struct.unpack_from(">I", content, at)
        yield content[at + 4 : at + 4 + size]
        at += 4 + size


def identities(made=None):
    """Pairs of a public key and its comment."""
    answer = told(b"\x0b", made)
    assert answer[:1] == b"\x0c", answer
    (count,) = struct.unpack_from(">I", answer, 1)
    found = list(strings(answer, 5))
    assert 2 * count == len(found)
    return [(found[index], found[index + 1].decode()) for index in range(0, len(found), 2)]


def sign(blob, data, made=None):
    """The signature; None when it is refused."""
    answer = told(b"\x0d" + text(blob) + text(data) + struct.pack(">I", 0), made)
    return next(strings(answer, 1)) if answer[:1] == b"\x0e" else None

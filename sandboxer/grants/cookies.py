"""
X authority files: find the one entry of a display, and write it anew for a box.

What comes in: the bytes of an Xauthority file. What goes out: at most one entry. Nothing else of the file is kept, and
what can't be parsed is no cookie. Source: the format as libXau reads it (XauReadAuth): five fields, big-endian; the
family is a number, the others are counted strings.
"""

from __future__ import annotations

import struct

from sandboxer.words import Record

FAMILY_LOCAL = 256
FAMILY_WILD = 65535
PROTOCOL = b"MIT-MAGIC-COOKIE-1"
_U16 = struct.Struct(">H")


class Cookie(Record):
    """One entry. `number` is the display's, in digits, or empty for any."""

    family: int
    address: bytes
    number: bytes
    name: bytes
    data: bytes


def find_cookie(content: bytes, number: int, machine: bytes) -> Cookie | None:
    """
    The entry that a client here would use for local display `number`.

    An entry for any address, or for this machine's name, goes before one that was made under another name (machines
    get new names while a session lasts).
    """
    best: Cookie | None = None
    for cookie in entries(content):
        if cookie.name != PROTOCOL or cookie.number not in (b"", str(number).encode()):
            continue
        if cookie.family == FAMILY_WILD or (cookie.family == FAMILY_LOCAL and cookie.address == machine):
            return cookie
        if cookie.family == FAMILY_LOCAL and best is None:
            best = cookie
    return best


def entries(content: bytes) -> list[Cookie]:
    """All entries, up to the first that is cut short."""
    found: list[Cookie] = []
    at = 0
    try:
        while at < len(content):
            (family,) = _U16.unpack_from(content, at)
            at += _U16.size
            fields: list[bytes] = []
            for _ in range(4):
                (size,) = _U16.unpack_from(content, at)
                at += _U16.size
                if at + size > len(content):
                    return found
                fields.append(content[at : at + size])
                at += size
            address, number, name, data = fields
            found.append(Cookie(family=family, address=address, number=number, name=name, data=data))
    except struct.error:
        pass  # Cut short, as an X server's own reader takes it.
    return found


def rewritten(cookie: Cookie, number: int) -> bytes:
    """The entry as a box needs it: for display `number`, and for any host name, since the box has another."""
    fields = (b"", str(number).encode(), cookie.name, cookie.data)
    return _U16.pack(FAMILY_WILD) + b"".join(_U16.pack(len(field)) + field for field in fields)

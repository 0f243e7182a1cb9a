"""
What may be opened outside, as a pure check, and the messages about it between broker and steward.

What comes in: a link, a path or a file: URI, as the application wrote it, and the rules. What goes out: whether it may
go out, and as what. Both sides make the check; the steward doesn't believe the broker. Neither starts anything here.

Abuse: a link that a program takes for an option or a command (it begins with a letter and has no blank, quote or
control character); a scheme that names a file or a program (only those in the rules, `file` is always a file);
`file://` with a host or with `..` in it; a file whose type the handler executes (the steward looks at the type of the
file that it has opened, and passes that very file). What a link says reaches whoever serves it: it is a way out for
what the application knows.
"""

from __future__ import annotations

import errno
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandboxer.broker.rules import Outward

ASK = struct.Struct("=II")
"""broker → steward: id, kind; the text follows, without a NUL: a link, or a path in the box."""
ANSWER = struct.Struct("=Ii")
"""steward → broker: id, errno or 0."""
LINK, FILE = 1, 2
TEXT_SIZE_MAX = 4095

_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz")
_SCHEME = _LETTERS | frozenset(b"0123456789+-.")
_LINK = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?#[]@!$&()*+,;=%"
)
"""RFC 3986, section 2, without the apostrophe."""
_HEX = frozenset(b"0123456789abcdefABCDEF")
_LOCAL = (b"", b"localhost")


class Outcome:
    """`error` is 0 where `text` may be opened outside as `kind` (LINK or FILE); `origin` is the rule's."""

    __slots__ = ("error", "kind", "origin", "text")

    def __init__(self, error: int, kind: int = 0, text: bytes = b"", origin: str = "") -> None:
        self.error = error
        self.kind = kind
        self.text = text
        self.origin = origin


def check(rules: tuple[Outward, ...], text: bytes) -> Outcome:
    """
    Whether `text` may be opened outside.

    A path is judged here only for how it is written: that some rule is for files, and in the steward, whether one is
    for its type (`permits`). EINVAL: neither a link nor a path, EACCES: no rule.
    """
    if not text or len(text) > TEXT_SIZE_MAX:
        return Outcome(errno.EINVAL)
    if text[0] == 47:
        return _file(rules, text)
    scheme, colon, rest = text.partition(b":")
    scheme = scheme.lower()
    if not colon or not scheme or scheme[0] not in _LETTERS or not _SCHEME.issuperset(scheme):
        return Outcome(errno.EINVAL)
    if scheme == b"file":
        path = path_of(rest)
        return _file(rules, path) if path else Outcome(errno.EINVAL)
    if not rest or not _LINK.issuperset(rest):
        return Outcome(errno.EINVAL)
    name = scheme.decode("ascii")
    for rule in rules:
        if rule.kind == "link" and rule.value == name:
            return Outcome(0, LINK, scheme + b":" + rest, rule.origin)
    return Outcome(errno.EACCES)


def permits(rules: tuple[Outward, ...], mime_type: str) -> Outward | None:
    """The rule for files of a type ("application/pdf"), by itself or by its group ("application/*")."""
    group, slash, _ = mime_type.partition("/")
    group += f"{slash}*"
    for rule in rules:
        if rule.kind == "file" and rule.value in (mime_type, group):
            return rule
    return None


def path_of(rest: bytes) -> bytes:
    """The path in what follows "file:" of a URI (RFC 8089); b"" when there is none on this machine."""
    if rest.startswith(b"//"):
        host, slash, path = rest[2:].partition(b"/")
        if host.lower() not in _LOCAL or not slash:
            return b""
        rest = b"/" + path
    if not rest.startswith(b"/") or b"?" in rest or b"#" in rest:
        return b""
    pieces = rest.split(b"%")
    decoded = pieces[:1]
    for piece in pieces[1:]:
        if len(piece) < 2 or not _HEX.issuperset(piece[:2]):
            return b""
        decoded.append(bytes((int(piece[:2], 16),)) + piece[2:])
    return b"".join(decoded)


def _file(rules: tuple[Outward, ...], path: bytes) -> Outcome:
    parts = path.split(b"/")
    if 0 in path or len(path) < 2 or {b"", b".", b".."}.intersection(parts[1:]):
        return Outcome(errno.EINVAL)
    for rule in rules:
        if rule.kind == "file":
            return Outcome(0, FILE, path, rule.origin)
    return Outcome(errno.EACCES)

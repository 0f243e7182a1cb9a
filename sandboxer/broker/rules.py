"""
The broker's rules, and how they travel.

What comes in: what `grants.broker` resolved. What goes out: bytes that lie in the plan, and the same records again in
the broker. Plain classes and struct, not the records of other rooms: the broker is to stay small, and msgspec alone
would be a third of it. `verdict` is in `verdicts.py`; nothing here looks at the machine.
"""

from __future__ import annotations

import struct

READ, WRITE, APPEND, CREATE, STAT, ACCESS, READLINK, LIST, MKDIR, RENAME, UNLINK, WATCH = (1 << n for n in range(12))

KEYS = {
    "read": READ | STAT | ACCESS | READLINK,
    "write": WRITE | STAT | ACCESS,
    "append": APPEND | STAT | ACCESS,
    "create": CREATE,
    "stat": STAT,
    "access": ACCESS,
    "readlink": READLINK,
    "list": LIST,
    "mkdir": MKDIR,
    "rename": RENAME,
    "unlink": UNLINK,
    "watch": WATCH,
}
"""Key of `[broker]` → the rights that it gives on each path in its list."""

CHANGES = WRITE | APPEND | CREATE | MKDIR | RENAME | UNLINK
"""Rights with which something outside changes."""


class Rule:
    """
    One path that a policy gives rights on.

    `path` is what the box calls it (absolute, normalised); `root` the host directory that is opened for it, every link
    resolved; `name` the one file in `root` that the rule is for, or "" when it is for everything beneath `root`.
    `follow`: symbolic links that stay beneath `root` may be followed; never where something in it is hidden.
    """

    __slots__ = ("follow", "name", "origin", "path", "rights", "root")

    def __init__(self, *, path: str, root: str, name: str, rights: int, follow: bool, origin: str) -> None:
        self.path = path
        self.root = root
        self.name = name
        self.rights = rights
        self.follow = follow
        self.origin = origin


class Service:
    """
    A socket that the broker connects to by `name` ("pulseaudio"). `path` is on the host.

    `keys`: of an SSH agent, the keys that may be used, as "SHA256:…" or their comment; empty for other services.

    The rest is for who connects (`connect`), and doesn't travel: `fd` is the socket's O_PATH descriptor, -1 where there
    was none when the broker started; `error` is why. `is_stale`: it was wanted, and has been removed since or wasn't
    there.
    """

    __slots__ = ("error", "fd", "is_stale", "keys", "name", "origin", "path")

    def __init__(self, *, name: str, path: str, origin: str, keys: tuple[str, ...] = ()) -> None:
        self.name = name
        self.path = path
        self.origin = origin
        self.keys = keys
        self.fd = -1
        self.error = 0
        self.is_stale = False


class Outward:
    """
    What may be opened outside: `kind` "link" with a scheme ("https"), or "file" with a type ("application/pdf",
    "image/*").
    """

    __slots__ = ("kind", "origin", "value")

    def __init__(self, *, kind: str, value: str, origin: str) -> None:
        self.kind = kind
        self.value = value
        self.origin = origin


class Rules:
    """
    All that the broker of one application goes by.

    `hidden`: host paths, links resolved, that no rule reaches (`files.hide`). `log`: the directory for logs, on the
    host; its own lies in `log`/`app`. `program`: the broker's own seccomp program, an array of struct sock_filter.
    """

    __slots__ = ("app", "hidden", "log", "outward", "paths", "program", "services")

    def __init__(
        self,
        *,
        app: str,
        log: str,
        paths: tuple[Rule, ...] = (),
        hidden: tuple[str, ...] = (),
        services: tuple[Service, ...] = (),
        outward: tuple[Outward, ...] = (),
        program: bytes = b"",
    ) -> None:
        self.app = app
        self.log = log
        self.paths = paths
        self.hidden = hidden
        self.services = services
        self.outward = outward
        self.program = program


_COUNT = struct.Struct("=I")
MAGIC = b"SBXRULE1"


class _Writer:
    def __init__(self) -> None:
        self.parts: list[bytes] = [MAGIC]

    def number(self, value: int) -> None:
        self.parts.append(_COUNT.pack(value))

    def data(self, value: bytes) -> None:
        self.parts.append(_COUNT.pack(len(value)) + value)

    def text(self, value: str) -> None:
        self.data(value.encode("utf-8", "surrogateescape"))


class _Reader:
    def __init__(self, content: bytes) -> None:
        if content[: len(MAGIC)] != MAGIC:
            raise ValueError("these are no rules of a broker")
        self.content = content
        self.at = len(MAGIC)

    def number(self) -> int:
        if self.at + _COUNT.size > len(self.content):
            raise ValueError("the rules are cut short")
        value: int = _COUNT.unpack_from(self.content, self.at)[0]
        self.at += _COUNT.size
        return value

    def data(self) -> bytes:
        size = self.number()
        if self.at + size > len(self.content):
            raise ValueError("the rules are cut short")
        self.at += size
        return self.content[self.at - size : self.at]

    def text(self) -> str:
        return self.data().decode("utf-8", "surrogateescape")

    def texts(self) -> tuple[str, ...]:
        return tuple(self.text() for _ in range(self.number()))


def encode(rules: Rules) -> bytes:
    """Rules → the bytes that the launcher hands to the broker."""
    writer = _Writer()
    writer.text(rules.app)
    writer.text(rules.log)
    writer.number(len(rules.paths))
    for rule in rules.paths:
        for text in (rule.path, rule.root, rule.name, rule.origin):
            writer.text(text)
        writer.number(rule.rights)
        writer.number(rule.follow)
    writer.number(len(rules.hidden))
    for path in rules.hidden:
        writer.text(path)
    writer.number(len(rules.services))
    for service in rules.services:
        for text in (service.name, service.path, service.origin):
            writer.text(text)
        writer.number(len(service.keys))
        for key in service.keys:
            writer.text(key)
    writer.number(len(rules.outward))
    for item in rules.outward:
        for text in (item.kind, item.value, item.origin):
            writer.text(text)
    writer.data(rules.program)
    return b"".join(writer.parts)


def decode(content: bytes) -> Rules:
    """
    The bytes → rules.

    Raises:
        ValueError: they aren't what `encode` made.
    """
    reader = _Reader(content)
    app, log = reader.text(), reader.text()
    paths = []
    for _ in range(reader.number()):
        path, root, name, origin = (reader.text() for _ in range(4))
        rights, follow = reader.number(), bool(reader.number())
        paths.append(Rule(path=path, root=root, name=name, rights=rights, follow=follow, origin=origin))
    hidden = reader.texts()
    services = []
    for _ in range(reader.number()):
        name, path, origin = (reader.text() for _ in range(3))
        services.append(Service(name=name, path=path, origin=origin, keys=reader.texts()))
    outward = []
    for _ in range(reader.number()):
        kind, value, origin = (reader.text() for _ in range(3))
        outward.append(Outward(kind=kind, value=value, origin=origin))
    rules = Rules(
        app=app,
        log=log,
        paths=tuple(paths),
        hidden=hidden,
        services=tuple(services),
        outward=tuple(outward),
        program=reader.data(),
    )
    if reader.at != len(content):
        raise ValueError("the rules go on after their end")
    return rules

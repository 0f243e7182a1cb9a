"""
Plan → bytes, in the layout that the launcher reads.

What comes in: a finished Plan. What goes out: its image, format 3, or PlanError when a table or a path passes a limit.
It never decides anything, and it never decodes: the only decoder is the C one.

Format 3, little-endian. A header of 240 bytes, then the sections ops, environment, stamps, command, request, program,
strings, data, each at the next multiple of 8; what lies between is zero. The image ends with the data.
The broker's rules and what the scope service is told lie in the data, and the header says where.
"""

from __future__ import annotations

import os
import struct

from sandboxer.errors import PlanError
from sandboxer.plan import ops
from sandboxer.plan.ops import EnvKind, OpFlag, OpKind, Plan, PlanFlag
from sandboxer.words import Origin

HEADER_SIZE = 240
ALIGNMENT = 8
INSTRUCTION_SIZE = 8
NAME_MAX = 255
DESCRIPTOR_MAX = 1023
LISTENER_NAME_MAX = 32
LISTENER_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")

_HEADER = struct.Struct("<8s5I16I16I4I2I2I2I12x4Q")
_OP = struct.Struct("<HH7I")
_ENV = struct.Struct("<4I")
_STAMP = struct.Struct("<4I6Q")
_U32_MAX = 2**32 - 1
_U64_MAX = 2**64 - 1


class Strings:
    """The strings section: each text once, NUL-terminated, the empty one first."""

    def __init__(self) -> None:
        self._offsets: dict[bytes, int] = {b"": 0}
        self._bytes = bytearray(b"\0")

    def offset(self, text: str) -> int:
        """Where `text` begins, relative to the section; it is added when new."""
        encoded = os.fsencode(text)
        known = self._offsets.get(encoded)
        if known is not None:
            return known
        if b"\0" in encoded:
            raise PlanError("cannot put a text with a NUL byte into a plan", subject=repr(text))
        start = len(self._bytes)
        self._offsets[encoded] = start
        self._bytes += encoded + b"\0"
        return start

    def image(self) -> bytes:
        return bytes(self._bytes)


def encode(plan: Plan) -> bytes:
    """
    Lay a plan out as the bytes that the launcher reads.

    Returns:
        The image, at most PLAN_SIZE_MAX bytes. String and data offsets count from the start of their section.
    Raises:
        PlanError: a table, a path or the whole exceeds its limit in `plan/ops.py`.
    """
    check(plan)
    strings = Strings()
    data = bytearray()
    places: dict[bytes, int] = {b"": 0}

    def place(content: bytes) -> int:
        if content not in places:
            places[content] = len(data)
            data.extend(content)
        return places[content]

    text = strings.offset
    ops_image = b"".join(
        _OP.pack(
            op.kind,
            op.flags,
            op.mode,
            text(op.box_path),
            text(op.source),
            place(op.data),
            len(op.data),
            text(str(op.origin)),
            0,
        )
        for op in plan.ops
    )
    environment = b"".join(_ENV.pack(e.kind, text(e.name), text(e.value), 0) for e in plan.environment)
    stamps = b"".join(
        _STAMP.pack(
            s.kind,
            text(s.name),
            text(s.value),
            s.mode,
            s.device,
            s.inode,
            s.size,
            s.mtime_ns,
            s.ctime_ns,
            0,
        )
        for s in plan.stamps
    )
    command = b"".join(struct.pack("<I", text(word)) for word in plan.command)
    request = b"".join(struct.pack("<I", text(word)) for word in plan.request)
    tail = (text(plan.app), text(plan.hostname), text(plan.notice), text(plan.home))
    parts = (place(plan.broker), len(plan.broker), place(plan.scope), len(plan.scope), text(plan.facts))
    limits = dict(plan.limits)
    values = (sum(1 << kind for kind in limits), *(limits.get(kind, 0) for kind in ops.LimitKind))

    image = bytearray(HEADER_SIZE)
    table: list[int] = []
    for content, count in (
        (ops_image, len(plan.ops)),
        (environment, len(plan.environment)),
        (stamps, len(plan.stamps)),
        (command, len(plan.command)),
        (request, len(plan.request)),
        (plan.program, len(plan.program) // INSTRUCTION_SIZE),
        (strings.image(), len(strings.image())),
        (bytes(data), len(data)),
    ):
        image += bytes(-len(image) % ALIGNMENT)
        table += (len(image), count)
        image += content
    if len(image) > ops.PLAN_SIZE_MAX:
        raise PlanError(
            "cannot store the plan: it is too large",
            subject=f"{len(image)} bytes, of {ops.PLAN_SIZE_MAX} that the launcher takes",
            hint="grant directories instead of many single files",
        )
    fds = plan.keep_fds + (0,) * (ops.KEEP_FDS_MAX - len(plan.keep_fds))
    head = (len(image), int(plan.flags), plan.uid, plan.gid, len(plan.keep_fds))
    _HEADER.pack_into(image, 0, ops.MAGIC, *head, *fds, *table, *tail, *parts, *values)
    return bytes(image)


def check(plan: Plan) -> None:
    """Raise PlanError when the decoder would refuse this plan: the same limits, said in words."""
    for what, count, limit in (
        ("mount operations", len(plan.ops), ops.OPS_MAX),
        ("environment variables", len(plan.environment), ops.ENV_MAX),
        ("stamps", len(plan.stamps), ops.STAMPS_MAX),
        ("words in the command", len(plan.command), ops.ARGV_MAX),
        ("words in the request", len(plan.request), ops.ARGV_MAX),
        ("kept descriptors", len(plan.keep_fds), ops.KEEP_FDS_MAX),
        ("filter instructions", len(plan.program) // INSTRUCTION_SIZE, ops.BPF_MAX),
    ):
        if count > limit:
            raise PlanError(f"too many {what} for one plan", subject=f"{count}, where {limit} is the limit")
    if len(plan.program) % INSTRUCTION_SIZE:
        raise PlanError("the system-call filter is broken", subject=f"{len(plan.program)} bytes")
    for op in plan.ops:
        _check_path(op.box_path, op.origin)
        if op.kind in (OpKind.BIND, OpKind.LINK) and not op.source:
            raise PlanError(f"cannot {op.kind.name.lower()} nothing", subject=op.box_path, origin=op.origin)
        if op.kind is OpKind.BIND:
            _check_path(op.source, op.origin)
        if len(os.fsencode(op.source)) >= ops.PATH_SIZE_MAX:
            raise PlanError("a path is too long", subject=op.source, origin=op.origin)
        if op.kind is not OpKind.CONNECT and not 0 <= op.mode <= 0o1777:
            raise PlanError("a mode makes no sense", subject=f"{op.box_path}: {op.mode:o}", origin=op.origin)
    _check_sockets(plan)
    _check_session(plan)
    for entry in plan.environment:
        if not entry.name or "=" in entry.name or (entry.value and entry.kind is not EnvKind.SET):
            raise PlanError("an environment variable can't be named so", subject=repr(entry.name))
    for stamp in plan.stamps:
        if len(os.fsencode(stamp.name)) >= ops.PATH_SIZE_MAX:
            raise PlanError("a path is too long", subject=stamp.name)
        numbers = (stamp.device, stamp.inode, stamp.size, stamp.mtime_ns, stamp.ctime_ns)
        if not 0 <= stamp.mode <= _U32_MAX or any(not 0 <= number <= _U64_MAX for number in numbers):
            raise PlanError("a file's times or numbers can't be kept in a plan", subject=stamp.name)
    if list(plan.keep_fds) != sorted(set(plan.keep_fds)) or not all(
        3 <= fd <= DESCRIPTOR_MAX for fd in plan.keep_fds
    ):
        raise PlanError(
            "a descriptor can't be kept",
            subject=" ".join(map(str, plan.keep_fds)),
            hint=f"--keep-fd takes numbers from 3 to {DESCRIPTOR_MAX}",
        )
    _check_path(plan.home, Origin("built in"))
    if not plan.request or not plan.program:
        raise PlanError("a plan needs a request and a system-call filter")
    if plan.uid == 0 or plan.gid == 0:
        raise PlanError("a box can't be root's", hint="start it as an ordinary user")
    for what, name, limit in (("application", plan.app, 128), ("host name", plan.hostname, 64)):
        if not 0 < len(os.fsencode(name)) <= limit:
            raise PlanError(f"the {what}'s name is empty or too long", subject=repr(name))


def _check_sockets(plan: Plan) -> None:
    """What the broker listens on, and what is connected before the application starts."""
    listeners = [op for op in plan.ops if op.kind is OpKind.LISTEN]
    connections = [op for op in plan.ops if op.kind is OpKind.CONNECT]
    for op in listeners:
        if not 0 < len(op.source) <= LISTENER_NAME_MAX or not LISTENER_LETTERS.issuperset(op.source):
            raise PlanError(
                "a socket of the broker's has no proper name", subject=repr(op.source), origin=op.origin
            )
        if op.mode > 0o777 or op.flags & ~OpFlag.STREAM:
            raise PlanError("a socket of the broker's makes no sense", subject=op.box_path, origin=op.origin)
    for number, op in enumerate(connections, start=ops.CONNECT_FIRST):
        _check_path(op.source, op.origin)
        if op.mode != number or op.box_path != f"/dev/fd/{number}" or op.flags:
            raise PlanError(
                "a connected descriptor has the wrong number", subject=op.box_path, origin=op.origin
            )
    for what, count, limit in (
        ("sockets to listen on", len(listeners), ops.LISTEN_MAX),
        ("sockets to connect to", len(connections), ops.CONNECT_MAX),
    ):
        if count > limit:
            raise PlanError(f"too many {what} for one plan", subject=f"{count}, where {limit} is the limit")
    if bool(plan.broker) != bool(listeners):
        raise PlanError("a broker needs a socket, and its socket a broker")
    with_descriptor = bool(plan.flags & PlanFlag.BROKER_DESCRIPTOR)
    if with_descriptor and not plan.broker:
        raise PlanError("a descriptor of the broker's needs a broker")
    taken = {*range(ops.CONNECT_FIRST, ops.CONNECT_FIRST + len(connections))}
    if with_descriptor:
        taken.add(ops.BROKER_DESCRIPTOR)
    if clash := taken.intersection(plan.keep_fds):
        raise PlanError(
            "a descriptor can't be kept: the policy puts another in its place",
            subject=f"--keep-fd {min(clash)}",
            hint="hand it over under another number",
        )


def _check_session(plan: Plan) -> None:
    """What the session learns of the box, and the limits."""
    facts = os.fsencode(plan.facts)
    if len(facts) >= ops.FACTS_MAX or (plan.facts and not plan.facts.endswith("\n")):
        raise PlanError(
            "what is to be known of the box is too long, or isn't lines", subject=f"{len(facts)} bytes"
        )
    if len(plan.scope) > ops.SCOPE_MAX:
        raise PlanError(
            "what the scope service is to be told is too long", subject=f"{len(plan.scope)} bytes"
        )
    kinds = [kind for kind, _ in plan.limits]
    if kinds != sorted(set(kinds)) or any(not 0 <= value <= _U64_MAX for _, value in plan.limits):
        raise PlanError("a limit makes no sense", subject=repr(plan.limits))


def _check_path(path: str, origin: Origin) -> None:
    """Paths are absolute and normalised: no empty, `.` or `..` component, no slash at the end; never / itself."""
    parts = path[1:].split("/")
    if len(os.fsencode(path)) >= ops.PATH_SIZE_MAX or any(
        len(os.fsencode(part)) > NAME_MAX for part in parts
    ):
        raise PlanError("a path is too long", subject=path, origin=origin)
    if not path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise PlanError("a path isn't absolute and normalised", subject=repr(path), origin=origin)

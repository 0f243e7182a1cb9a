"""
Resolved → Plan: build.

What comes in: grants, each with its operations and variables, the filter, and the request's words. What goes out: one
Plan whose operations are sorted by path (parents first), each once. It asks nobody, and it never makes a choice
between two grants that contradict each other: that is an error which names both lines.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sandboxer.errors import ResolveError
from sandboxer.plan.facts import facts
from sandboxer.plan.ops import EnvEntry, EnvKind, Op, OpFlag, OpKind, Plan, PlanFlag, Stamp, StampKind
from sandboxer.resolve import Resolved
from sandboxer.words import BoxPath, HostPath, changed

if TYPE_CHECKING:
    from sandboxer.broker.rules import Rules

COVERS = (OpKind.BIND, OpKind.OWN, OpKind.PROC, OpKind.PTS, OpKind.HIDE)
"""Kinds that put something else over what was at their path."""
MADE = (OpKind.OWN, OpKind.DIR, OpKind.FILE, OpKind.LINK, OpKind.PROC, OpKind.PTS, OpKind.LISTEN)
"""Kinds that need a file system of the box's own beneath them."""


def build(
    resolved: Resolved,
    program: bytes,
    request: tuple[str, ...],
    stamps: tuple[Stamp, ...],
    *,
    keep_fds: tuple[int, ...] = (),
    flags: PlanFlag = PlanFlag(0),
    broker_program: bytes = b"",
) -> Plan:
    """
    The plan for one request.

    Args:
        stamps: all that the host was asked, `Host.stamps()`, taken after everything else. keep_fds, flags: from the
        command line. broker_program: the broker's own filter, where the box has a broker.
    Raises:
        ResolveError: two grants contradict each other.
    """
    flags |= resolved.flags
    if any(stamp.kind is StampKind.DIRECTORY for stamp in stamps):
        flags |= PlanFlag.BY_DIRECTORY
    return Plan(
        app=resolved.app,
        request=request,
        uid=resolved.user.uid,
        gid=resolved.user.gid,
        hostname=resolved.hostname,
        command=resolved.command,
        notice=resolved.notice,
        home=resolved.home,
        flags=flags,
        keep_fds=tuple(sorted(set(keep_fds))),
        ops=anchored(ordered(tuple(op for grant in resolved.grants for op in grant.ops)), resolved.home),
        environment=variables(tuple(entry for grant in resolved.grants for entry in grant.environment)),
        stamps=stamps,
        program=program,
        broker=b"" if resolved.broker is None else _rules(resolved.broker, broker_program),
        limits=resolved.limits,
        scope=resolved.scope,
        facts=facts(resolved, flags),
    )


def _rules(rules: Rules, program: bytes) -> bytes:
    """The broker's rules with its filter, as they travel."""
    from sandboxer.broker.rules import Rules, encode

    return encode(
        Rules(
            app=rules.app,
            log=rules.log,
            paths=rules.paths,
            hidden=rules.hidden,
            services=rules.services,
            outward=rules.outward,
            program=program,
        )
    )


def ordered(ops: tuple[Op, ...]) -> tuple[Op, ...]:
    """Sorted by path, parents before children and what makes a place before what covers it; merged; without excess."""
    places: dict[str, list[Op]] = {}
    for op in sorted(ops, key=lambda op: (op.box_path.split("/"), op.kind)):
        here = places.setdefault(op.box_path, [])
        if here and here[-1].kind is op.kind:
            here[-1] = _merged(here[-1], op)
        else:
            here.append(op)
    kept: dict[str, list[Op]] = {}
    for path, here in places.items():
        above = _above(path, kept)
        kept[path] = [op for op in _at_one_place(here) if not _excess(op, above)]
        for op in kept[path]:
            _refuse_inside(op, above)
    return tuple(op for here in kept.values() for op in here)


def anchored(ops: tuple[Op, ...], home: BoxPath) -> tuple[Op, ...]:
    """
    Sorted operations, with each directory mounted on itself that lies, in something writable of the user's, on the
    way to what is hidden or granted otherwise.

    The application could move such a directory and make an empty one in its place, on which the cover would lie at
    the next start; a mount point can't be moved from inside. In a private home, which is what a writable `home` is,
    it may move what it likes: nothing of the user's is there.
    """
    places = {op.box_path for op in ops}
    above: list[Op] = []
    done: list[Op] = []
    for op in ops:
        while above and not op.box_path.startswith(above[-1].box_path + "/"):
            above.pop()
        if above and op.kind in (OpKind.HIDE, OpKind.BIND):
            done += _anchors(op, above[-1], home, places)
        done.append(op)
        if op.kind is OpKind.BIND and OpFlag.DIRECTORY in op.flags:
            above.append(op)
    return tuple(done)


def _anchors(op: Op, base: Op, home: BoxPath, places: set[BoxPath]) -> Iterator[Op]:
    """Each directory between a bind and something in it that isn't a place of its own, which it becomes."""
    if OpFlag.WRITE not in base.flags or base.box_path == home:
        return
    way = ""
    for part in op.box_path[len(base.box_path) + 1 :].split("/")[:-1]:
        way += f"/{part}"
        place = BoxPath(base.box_path + way)
        if place not in places:
            places.add(place)
            source = HostPath(base.source.rstrip("/") + way)
            yield changed(base, box_path=place, source=source, origin=op.origin)


def variables(entries: tuple[EnvEntry, ...]) -> tuple[EnvEntry, ...]:
    """
    Each name once, the last entry for it, in the order of names; then the patterns, which give what no name has given.
    """
    last: dict[tuple[bool, str], EnvEntry] = {}
    for entry in entries:
        by_pattern = entry.kind in (EnvKind.PASS_PREFIX, EnvKind.KEEP_OUT)
        last[(by_pattern, f"{entry.kind if by_pattern else ''}{entry.name}")] = entry
    return tuple(last[key] for key in sorted(last))


def _merged(one: Op, other: Op) -> Op:
    """Two operations of a kind at a path: a write beats a read, the more private mode holds, else they must agree."""
    if one.source != other.source or one.data != other.data:
        raise _contradiction(one, other)
    if one.kind is OpKind.BIND:
        either = one.flags | other.flags
        both = one.flags & other.flags
        flags = (either & ~OpFlag.NOEXEC) | (both & OpFlag.NOEXEC)
        stronger = other if other.flags & ~one.flags & (OpFlag.WRITE | OpFlag.DEVICE) else one
        return changed(stronger, flags=flags)
    return changed(one, mode=one.mode & other.mode)


def _at_one_place(here: list[Op]) -> list[Op]:
    """At one path at most one thing, and perhaps a cover or a seal over it."""
    things = [op for op in here if op.kind not in (OpKind.HIDE, OpKind.SEAL)]
    if len(things) > 1 and things[0].kind is OpKind.DIR and things[1].kind in (OpKind.OWN, OpKind.BIND):
        here = [op for op in here if op is not things[0]]
        things = things[1:]
    if len(things) > 1:
        raise _contradiction(things[0], things[1])
    return here


def _above(path: str, kept: dict[str, list[Op]]) -> Op | None:
    """The operation whose file system a path lies in: the nearest one above it that covers."""
    while path != "/":
        path = posixpath.dirname(path)
        for op in reversed(kept.get(path, ())):
            if op.kind in COVERS:
                return op
    return None


def _excess(op: Op, above: Op | None) -> bool:
    """Whether a bind shows only what the one above shows there already, in the same way."""
    if op.kind is not OpKind.BIND or above is None or above.kind is not OpKind.BIND:
        return False
    there = above.source.rstrip("/") + op.box_path[len(above.box_path) :]
    same = OpFlag.WRITE | OpFlag.DEVICE | OpFlag.NOEXEC
    return op.source == there and op.flags & same == above.flags & same


def _refuse_inside(op: Op, above: Op | None) -> None:
    """What the box makes itself must not lie in something of the host's: it would be made there, or opened from it."""
    if above is None:
        return
    if above.kind is OpKind.HIDE and op.kind is not OpKind.HIDE:
        raise ResolveError(
            "a policy grants something inside what it hides",
            subject=f"{op.box_path}: granted by {op.origin}",
            origin=above.origin,
            hint="take away one of them",
        )
    if above.kind is OpKind.BIND and op.kind in MADE:
        raise ResolveError(
            "cannot grant a directory in which each box has things of its own",
            subject=f"{above.box_path}: holds {op.box_path}",
            origin=above.origin,
            hint="name what is needed in it instead",
        )


def _contradiction(one: Op, other: Op) -> ResolveError:
    return ResolveError(
        "two grants contradict each other",
        subject=f"{one.box_path}: {one.kind.name} {one.source or 'of the box'} by {one.origin}, "
        f"{other.kind.name} {other.source or 'of the box'} by {other.origin}",
        origin=other.origin,
        hint="take away one of them",
    )

"""
Policy and machine → what the box gets: resolve.

What comes in: an Effective policy and a Host. What goes out: a Resolved record with every grant and everything
withheld, paths placed where the box will have them, or ResolveError. It never writes anything, and it asks the machine
only through the Host, which remembers what was asked.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sandboxer.errors import NoProgramError, ResolveError
from sandboxer.grants import (
    base,
    broker,
    bus,
    devices,
    display,
    environment,
    files,
    landlock,
    limits,
    look,
    network,
    proc,
    sound,
    syscalls,
    terminal,
)
from sandboxer.grants.grant import Grant, Withheld
from sandboxer.grants.paths import within
from sandboxer.host.view import FileType, Host, User
from sandboxer.plan.ops import LimitKind, Op, OpFlag, OpKind, PlanFlag
from sandboxer.policy import layers
from sandboxer.policy.effective import Effective
from sandboxer.words import BUILT_IN, BoxPath, Record, changed

if TYPE_CHECKING:
    from sandboxer.broker.rules import Rules

ROOMS = (
    base,
    proc,
    landlock,
    files,
    display,
    sound,
    bus,
    devices,
    terminal,
    look,
    network,
    broker,
    environment,
    limits,
)
"""Every permission, in the order of effect: where two set one variable, the later holds."""
LINKS_MAX = 40


class Resolved(Record):
    """
    All that a plan is built from, but the filter.

    `command` is what goes before the user's words: the program with its first words, for `sandbox run` at most what
    starts a program; `notice` one line for each start, or empty;
    `broker` what the broker goes by, without its own filter, None where the box has none; `limits` and `scope` as the
    plan has them.
    """

    app: str
    hostname: str
    home: BoxPath
    user: User
    command: tuple[str, ...]
    notice: str
    flags: PlanFlag
    grants: tuple[Grant, ...]
    withheld: tuple[Withheld, ...]
    broker: Rules | None = None
    limits: tuple[tuple[LimitKind, int], ...] = ()
    scope: bytes = b""


def resolve(effective: Effective, host: Host, *, command_given: bool = False) -> Resolved:
    """
    What the policy comes to on this machine.

    Args:
        command_given: the user names the program (`sandbox run -- CMD`), so that the policy's isn't looked for.
    Raises:
        ResolveError: the policy asks for what isn't there, contradicts itself, or grants what no box may have.
    """
    found = [*_all(effective, host)]
    grants = placed([item for item in found if isinstance(item, Grant)], host)
    withheld = [item for item in found if isinstance(item, Withheld)]
    for item in files.hidden(effective, host, tuple(grants)):
        if isinstance(item, Grant):
            grants.append(item)
        else:
            withheld.append(item)
    flags = PlanFlag(0)
    for grant in grants:
        flags |= grant.flags
    if not command_given and bus.finds_the_first(effective, host):
        flags |= PlanFlag.JOINS
    return Resolved(
        app=effective.name,
        hostname=base.host_name(effective, host),
        home=BoxPath(host.user.home),
        user=host.user,
        command=bus.command_prefix(effective, host)
        + (() if command_given else _command(effective, grants, host)),
        notice="" if effective.found else _no_policy(effective),
        flags=flags,
        grants=tuple(grants),
        withheld=tuple(withheld),
        broker=broker.rules_of(effective, host, grants),
        limits=limits.of_processes(effective, host),
        scope=limits.scope(effective, host),
    )


def _all(effective: Effective, host: Host) -> Iterator[Grant | Withheld]:
    for room in ROOMS:
        yield from room.grants(effective, host)
    yield from syscalls.grants(effective)


def _no_policy(effective: Effective) -> str:
    name = effective.name
    return (
        f"sandboxer: {name}: no policy, so it gets no network, no display and a throw-away home; "
        f"write ~/.config/sandboxer/apps/{name}.toml to grant more (start from: sandbox explain {name})"
    )


def placed(grants: list[Grant], host: Host) -> list[Grant]:
    """
    The grants with each box path as the box itself will resolve it.

    A bound directory may hold links, on the way to or at the very place of another grant: that grant goes to where
    the link leads, as the link would lead there. The launcher follows none.

    Raises:
        ResolveError: such a link lies in a directory that the application can write.
    """
    links = {
        str(op.box_path): str(op.source) for grant in grants for op in grant.ops if op.kind is OpKind.LINK
    }
    binds = {
        str(op.box_path): op
        for grant in grants
        for op in grant.ops
        if op.kind is OpKind.BIND and op.flags & OpFlag.DIRECTORY
    }
    moved: list[Grant] = []
    for grant in grants:
        ops = tuple(_placed(op, links, binds, host) for op in grant.ops)
        moved.append(grant if ops == grant.ops else changed(grant, ops=ops))
    return moved


def _placed(op: Op, links: dict[str, str], binds: dict[str, Op], host: Host) -> Op:
    if op.kind in (OpKind.LINK, OpKind.CONNECT):
        return op
    at, ahead, followed = "/", str(op.box_path).split("/")[::-1], 0
    while ahead:
        part = ahead.pop()
        if part in ("", "."):
            continue
        if part == "..":
            at = posixpath.dirname(at)
            continue
        place = posixpath.join(at, part)
        target = links.get(place) if ahead or op.kind is not OpKind.FILE else None
        if target is None:
            target = _link_in_bind(place, op, binds, host)
        if target is None:
            at = place
            continue
        followed += 1
        if followed > LINKS_MAX:
            raise ResolveError("a path has too many symbolic links", subject=op.box_path, origin=op.origin)
        at = "/" if target.startswith("/") else at
        ahead += target.split("/")[::-1]
    return op if at == op.box_path else changed(op, box_path=BoxPath(at))


def _link_in_bind(place: str, op: Op, binds: dict[str, Op], host: Host) -> str | None:
    """What the link at a place in the box holds, if it is one that comes with a bound directory."""
    above = place
    while above != "/":
        above = posixpath.dirname(above)
        cover = binds.get(above)
        if cover is None:
            continue
        if cover.origin == BUILT_IN and op.origin == BUILT_IN:
            return None
        inside = posixpath.join(cover.source, posixpath.relpath(place, above))
        target = host.read_link(inside)
        if target is not None and cover.flags & OpFlag.WRITE:
            raise ResolveError(
                "refuses to follow a link that the application could have made",
                subject=f"{inside}: a symbolic link where the box needs a place for {op.box_path}",
                origin=op.origin,
                hint="remove the link",
            )
        return target
    return None


def _command(effective: Effective, grants: list[Grant], host: Host) -> tuple[str, ...]:
    """The first of the policy's programs that is installed, by its absolute path, and the policy's first words."""
    names = effective.policy.command or (effective.name,)
    unseen = ""
    for name in names:
        for path in (
            (name,) if name.startswith("/") else tuple(f"{place}/{name}" for place in base.SEARCH_PATH)
        ):
            if host.type_of(path) is not FileType.REGULAR:
                continue
            real = host.resolve(path)
            if real is not None and _shown(real, grants):
                return (path, *effective.policy.arguments)
            unseen = unseen or f"{path}: leads to {real}, which the policy doesn't grant"
    if unseen:
        raise ResolveError(
            f"{effective.name} is installed where the box can't see it",
            subject=unseen,
            origin=effective.origin("command", names[0]),
            hint="add its directory to files.system",
        )
    searched = f"not found in {', '.join(base.SEARCH_PATH)}"
    if not effective.found:
        near = layers.nearest(effective.name, layers.names("apps", host), cutoff=0.7)
        raise NoProgramError(
            f"{effective.name} isn't installed, and no policy has its name",
            subject=searched,
            hint=f"did you mean {near}?"
            if near
            else "install it, or start another program: sandbox run -- COMMAND",
        )
    raise ResolveError(
        f"{effective.name} isn't installed",
        subject=searched if names == (effective.name,) else f"{' or '.join(names)}: {searched}",
        origin=effective.origin("command", names[0]) if effective.policy.command else None,
        hint=f"install it, or start another program: sandbox run --policy {effective.name} -- COMMAND",
    )


def _shown(real: str, grants: list[Grant]) -> bool:
    """Whether the box shows a host file somewhere."""
    return any(op.kind is OpKind.BIND and within(real, op.source) for grant in grants for op in grant.ops)

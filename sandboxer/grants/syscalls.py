"""
Which system calls are refused, from `[syscalls]`, `advanced.nested` and the groups in policies/deny/.

What comes in: the Effective policy and the Host (for the groups' files). What goes out: rules, from which
`plan.seccomp` makes the filter, and grants that say what a policy opens. It never asks whether a name is a system call
of this machine: only the library that makes the filter knows, see `plan.seccomp`.

Abuse: an opened group, a foreign ABI or nested namespaces let an application reach more of the kernel, whose faults
are the way out of every box.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from sandboxer.errors import PolicyError
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.plan.ops import PlanFlag
from sandboxer.policy.deny import Condition, read_groups
from sandboxer.policy.layers import names as layer_names
from sandboxer.words import Origin, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sandboxer.host.view import Host
    from sandboxer.policy.deny import Group
    from sandboxer.policy.effective import Effective

DENY, ALLOW, FOREIGN, NESTED = "syscalls.deny", "syscalls.allow", "syscalls.foreign", "advanced.nested"


class Rule(Record):
    """
    One refusal: call `name` gets `errno` where all of `when` hold; always, when it is empty.

    `origin` is the policy's line, `group` the group that it named ("" for a bare name), `reason` and `source` the
    group's words on it.
    """

    name: str
    errno: int
    when: tuple[Condition, ...]
    origin: Origin
    group: str
    reason: str
    source: tuple[str, ...]


def rules(effective: Effective, host: Host) -> tuple[Rule, ...]:
    """
    Every refusal that holds, sorted by name. Where a call is refused always, its conditions are left out.

    Raises:
        PolicyError: a group doesn't exist or can't be understood; what is to be allowed is in no group.
    """
    policy = effective.policy
    wanted = dict.fromkeys(
        item[1:] for item in policy.syscalls.deny + policy.syscalls.allow if item.startswith("@")
    )
    groups = read_groups(tuple(wanted), host)
    denied: dict[str, list[Rule]] = {}
    for item in policy.syscalls.deny:
        origin = effective.origin(DENY, item)
        if item.startswith("@"):
            group = _group(item, groups, host, origin)
            found = _rules_of(group, origin, nested=policy.advanced.nested)
        else:
            found = [_bare(item, groups, origin)]
        for rule in found:
            denied.setdefault(rule.name, []).append(rule)
    for item in policy.syscalls.allow:
        origin = effective.origin(ALLOW, item)
        if item.startswith("@"):
            for name in _names_of(_group(item, groups, host, origin)):
                denied.pop(name, None)
        elif denied.pop(item, None) is None:
            _require_known(item, host, origin)
    return tuple(rule for name in sorted(denied) for rule in _essential(denied[name]))


def grants(effective: Effective) -> Iterator[Grant | Withheld]:
    """What is opened beyond the deny list, each with its line; and that there is a list."""
    policy = effective.policy
    for item in policy.syscalls.allow:
        called = f"the system calls of {item}" if item.startswith("@") else f"the system call {item}"
        yield _hole(f"may use {called}", effective.origin(ALLOW, item), "taken off the list of refused ones")
    for abi in policy.syscalls.foreign:
        words = f"may make system calls as {abi} programs do"
        yield _hole(
            words, effective.origin(FOREIGN, abi), "a second way into the kernel, rarely used and less tested"
        )
    if policy.advanced.nested:
        yield Grant(
            topic="system calls",
            words="may make namespaces for a sandbox of its own",
            weight=Weight.HOLE,
            origin=effective.origin(NESTED),
            detail="inside them it has capabilities, which opens more of the kernel to attack",
            flags=PlanFlag.NESTED_NAMESPACES,
        )
    else:
        yield Withheld(topic="system calls", words="no namespaces of its own")
    if policy.syscalls.deny:
        count = sum(item.startswith("@") for item in policy.syscalls.deny)
        words = f"no dangerous or rarely needed system calls ({count} groups of them are refused)"
        yield Withheld(topic="system calls", words=words)
    else:
        yield _hole("may use every system call", effective.origin(DENY), "no list of refused ones holds")


def _hole(words: str, origin: Origin, detail: str) -> Grant:
    return Grant(topic="system calls", words=words, weight=Weight.HOLE, origin=origin, detail=detail)


def _group(item: str, groups: Mapping[str, Group], host: Host, origin: Origin) -> Group:
    if (group := groups.get(item[1:])) is not None:
        return group
    raise unknown_group(item, host, origin)


def unknown_group(item: str, host: Host, origin: Origin) -> PolicyError:
    """The error for a line that names "@GROUP" where there is none of that name."""
    from difflib import get_close_matches

    known = layer_names("deny", host)
    near = get_close_matches(item[1:], known, n=1)
    return PolicyError(
        "a policy names a group of system calls that doesn't exist",
        subject=f'"{item}": no layer has deny/{item[1:]}.toml',
        origin=origin,
        hint=f'write "@{near[0]}"' if near else f"the groups are {', '.join('@' + name for name in known)}",
    )


def _rules_of(group: Group, origin: Origin, *, nested: bool) -> list[Rule]:
    return [
        Rule(
            name=name,
            errno=call.number,
            when=call.when,
            origin=origin,
            group=group.name,
            reason=call.reason,
            source=call.source,
        )
        for call in group.calls
        if not (nested and call.unless == "nested")
        for name in call.names
    ]


def _bare(name: str, groups: Mapping[str, Group], origin: Origin) -> Rule:
    """A call that a policy refuses by its own name: always, with the errno of a group that refuses it always."""
    for group in groups.values():
        for call in group.calls:
            if name in call.names and not call.when:
                return Rule(
                    name=name,
                    errno=call.number,
                    when=(),
                    origin=origin,
                    group="",
                    reason=call.reason,
                    source=call.source,
                )
    return Rule(
        name=name,
        errno=errno.EPERM,
        when=(),
        origin=origin,
        group="",
        reason="The policy refuses it.",
        source=(),
    )


def _essential(found: list[Rule]) -> list[Rule]:
    """One call's rules without those that another one makes idle; the first one's errno holds."""
    for rule in found:
        if not rule.when:
            return [rule]
    distinct: dict[tuple[Condition, ...], Rule] = {}
    for rule in found:
        distinct.setdefault(rule.when, rule)
    return list(distinct.values())


def _names_of(group: Group) -> set[str]:
    return {name for call in group.calls for name in call.names}


def _require_known(name: str, host: Host, origin: Origin) -> None:
    """Allowing what isn't refused changes nothing, so the only fault it can be is a misspelt name."""
    known: set[str] = set()
    for group in read_groups(layer_names("deny", host), host).values():
        known |= _names_of(group)
    if name in known:
        return
    from difflib import get_close_matches

    near = get_close_matches(name, sorted(known), n=1)
    raise PolicyError(
        "a policy allows a system call that no group refuses",
        subject=f'"{name}" is in no file of deny/',
        origin=origin,
        hint=f'write "{near[0]}"' if near else "take it out: it is allowed already",
    )

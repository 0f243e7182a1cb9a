"""
What a plan says of the box that was made from it, for whoever looks at the running box.

What comes in: the plan. What goes out: its flags, limits and the broker's rules in words, as many as fit into an
answer. It says nothing of what is so by now: that is for /proc and the cgroup to say (`cli.inspect`).
"""

from __future__ import annotations

import os

from sandboxer.broker.rules import KEYS, decode
from sandboxer.plan.ops import Plan, PlanFlag
from sandboxer.steward.control import BrokerRule, Inspected

ROOM = 64 * 1024
"""Bytes for rules: an answer has twice as many."""


def of(plan: Plan) -> Inspected:
    """The account. Words that chose the plan are kept to what an answer can hold."""
    found = _rules(plan)
    kept: list[BrokerRule] = []
    left = ROOM
    for rule in found:
        left -= len(os.fsencode(rule.what + rule.origin)) * 2 + 100
        if left < 0:
            break
        kept.append(rule)
    return Inspected(
        request=plan.request,
        command=plan.command,
        flags=tuple((flag.name or "").lower() for flag in PlanFlag if flag in plan.flags),
        limits=tuple((kind.name.lower(), value) for kind, value in plan.limits),
        rules=tuple(kept),
        hidden=decode(plan.broker).hidden[:64] if plan.broker else (),
        more_rules=len(found) - len(kept),
    )


def _rules(plan: Plan) -> list[BrokerRule]:
    if not plan.broker:
        return []
    rules = decode(plan.broker)
    found = [BrokerRule(may=names(rule.rights), what=rule.path, origin=rule.origin) for rule in rules.paths]
    found += [BrokerRule(may=("connect",), what=one.name, origin=one.origin) for one in rules.services]
    return found + [
        BrokerRule(may=("present",), what=f"{one.kind} {one.value}", origin=one.origin)
        for one in rules.outward
    ]


def names(rights: int) -> tuple[str, ...]:
    """Rights by the keys of `[broker]`, those that come with another left out."""
    whole = [key for key, meant in KEYS.items() if rights & meant == meant]
    return tuple(
        key
        for key in whole
        if not any(KEYS[key] & KEYS[other] == KEYS[key] and KEYS[key] != KEYS[other] for other in whole)
    )

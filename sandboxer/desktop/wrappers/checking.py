"""
`sandbox install --check`: whether what was written still holds.

What comes in: the ledger, and what would be written now. What goes out: what is wrong, each in words with what to do.
It changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from sandboxer.desktop.wrappers.entries import Kind
from sandboxer.desktop.wrappers.installing import Hand
from sandboxer.desktop.wrappers.placing import ABSENT
from sandboxer.desktop.wrappers.wanted import Left, Machine, Wanted
from sandboxer.desktop.wrappers.wrapper import digest
from sandboxer.desktop.wrappers.written import Item
from sandboxer.words import Record


class Problem(Record):
    """What is wrong with one file, and what to do about it."""

    path: str
    policy: str
    what: str
    hint: str


def problems(
    machine: Machine, wanted: Sequence[Wanted], left: Sequence[Left], hand: Hand
) -> Iterator[Problem]:
    """
    All of them.

    Args:
        machine: on which the policies of the ledger's items were asked for; wanted, left: what it came to.
    """
    now = {one.path: one for one in wanted}
    why_left = {one.path: one.why for one in left}
    known = {candidate.name for candidate in machine.known}
    for item in machine.ledger.items:
        if item.kind is Kind.CACHE:
            continue
        if what := _wrong(item, hand):
            yield _problem(item, what)
        elif item.kind is Kind.EXTRA:
            if item.path not in now or digest(now[item.path].content) != item.digests[0]:
                yield _problem(item, "another one comes with this version of sandboxer")
        elif item.policy in machine.faults:
            hint = f"sandbox check {item.policy}"
            what = f"its policy can't be loaded: {machine.faults[item.policy].what}"
            yield Problem(path=item.path, policy=item.policy, what=what, hint=hint)
        elif item.policy not in known:
            hint = f"sandbox install --undo {item.policy}"
            yield Problem(path=item.path, policy=item.policy, what="its policy is gone", hint=hint)
        elif what := _outdated(item, now.get(item.path), why_left):
            yield _problem(item, what)
    there = {item.path for item in machine.ledger.items}
    for one in wanted:
        if one.path not in there:
            yield Problem(
                path=one.path,
                policy=one.policy,
                what=f"{one.origin} is new, and starts it outside of its box",
                hint=f"sandbox install {one.policy}",
            )


def _wrong(item: Item, hand: Hand) -> str:
    """What is wrong with the file itself."""
    there = hand.look(item.path)
    if there == ABSENT:
        return "it was removed"
    if there not in item.digests:
        return "it was changed since"
    if not (os.path.isfile(item.launcher) and os.access(item.launcher, os.X_OK)):
        return f"the launcher that it starts is gone: {item.launcher}"
    return ""


def _outdated(item: Item, now: Wanted | None, why_left: dict[str, str]) -> str:
    """What is wrong with it by what there is to be wrapped today."""
    if item.kind is Kind.SHIM:
        return "" if os.path.exists(item.origin) else f"{item.origin} is gone"
    if now is None:
        if not item.kept and not os.path.exists(item.origin):
            return f"{item.origin} is gone"
        return why_left.get(item.origin, f"{item.origin} isn't this policy's any more")
    if now.origin != item.origin:
        return f"{now.origin} counts now, not {item.origin}"
    if now.origin_digest != item.origin_digest:
        return f"{item.origin} has changed"
    if now.policy != item.policy or digest(now.content) != item.digests[0]:
        return "it would be written otherwise today"
    return ""


def _problem(item: Item, what: str) -> Problem:
    named = "--extras" if item.kind is Kind.EXTRA else item.policy
    return Problem(path=item.path, policy=item.policy, what=what, hint=f"sandbox install {named}")

"""
Policies in, plans out, as text: a change of either shows as a diff of the files beside this one.

After a change that is meant: UPDATE_GOLDEN=1 pytest tests/golden, and read the diff.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import machines
import pytest
from fakes import FakeHost

from sandboxer.broker.rules import Rules, decode
from sandboxer.cli.plan_page import right_names
from sandboxer.host.installation import broker_client
from sandboxer.plan.build import build
from sandboxer.plan.ops import OpKind, Plan, PlanFlag
from sandboxer.policy.layers import load
from sandboxer.resolve import resolve

HERE = Path(__file__).parent
LINE = re.compile(r":[0-9]+")
SHOWN_BYTES = 200
SESSIONS = (machines.wayland, machines.x11, machines.nvidia)


def dump(plan: Plan) -> Iterator[str]:
    """One line for each thing that the launcher will do; of an origin only what a comment more doesn't change."""
    yield f"app {plan.app}, host name {plan.hostname}, user {plan.uid}:{plan.gid}, home {plan.home}"
    yield f"command {' '.join(plan.command)}"
    yield f"notice {plan.notice or '-'}"
    yield "limits " + " ".join(f"{kind.name}={value}" for kind, value in plan.limits)
    yield f"scope {plan.scope.decode() or '-'}"
    yield "flags " + " ".join(flag.name or "?" for flag in PlanFlag if flag in plan.flags)
    yield ""
    for op in plan.ops:
        words = [op.kind.name, str(op.box_path)]
        if op.source:
            words.append(f"<- {'sandbox-broker' if op.source == broker_client() else op.source}")
        if op.kind in (OpKind.DIR, OpKind.FILE, OpKind.OWN, OpKind.LISTEN):
            words.append(f"{op.mode:04o}")
        words += [flag.name or "?" for flag in type(op.flags) if flag in op.flags]
        if op.kind is OpKind.FILE:
            words.append(repr(op.data[:SHOWN_BYTES]))
        yield " ".join(words) + f"    ({f'{op.origin.file} {op.origin.key}'.rstrip()})"
    yield ""
    for entry in plan.environment:
        yield f"{entry.kind.name} {entry.name}" + (f"={entry.value}" if entry.value else "")
    if plan.broker:
        yield ""
        yield from dump_rules(decode(plan.broker))


def dump_rules(rules: Rules) -> Iterator[str]:
    """What the broker goes by; of an origin as above."""
    yield f"broker of {rules.app}, logs to {rules.log}, never {' '.join(rules.hidden)}"
    for rule in rules.paths:
        place = f"{rule.path} <- {rule.root} {rule.name or '*'} {'links' if rule.follow else 'no links'}"
        yield f"{' '.join(right_names(rule.rights))} {place}    ({LINE.sub('', rule.origin)})"
    for service in rules.services:
        keys = " ".join(service.keys)
        yield f"connect {service.name} <- {service.path} {keys}    ({LINE.sub('', service.origin)})"
    for item in rules.outward:
        yield f"present {item.kind} {item.value}    ({LINE.sub('', item.origin)})"


@pytest.mark.parametrize(
    ("app", "session"),
    [
        *((app, session) for app in ("firefox", "foo") for session in SESSIONS),
        ("reader", machines.library),
    ],
)
def test_a_plan_is_as_it_was_reviewed(app: str, session: Callable[[], FakeHost]) -> None:
    host = session()
    host.add("/usr/bin/foo", "")
    plan = build(resolve(load(app, host), host), b"\0" * 8, ("app", app), ())
    text = "\n".join(dump(plan)) + "\n"
    golden = HERE / f"{app}-{session.__name__}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert golden.read_text() == text

"""What the verbs that look say of a broker: sentences, secrets, and the rules in the plan."""

from __future__ import annotations

import json

import machines
from fakes import FakeHost

from sandboxer.cli import plan_page
from sandboxer.cli.explain import explained
from sandboxer.cli.output import plain
from sandboxer.cli.request import Request
from sandboxer.plan.build import build
from sandboxer.plan.ops import OpKind, Plan
from sandboxer.policy import layers
from sandboxer.resolve import resolve
from sandboxer.words import changed

POLICY = """
[files]
hide = ["~/Downloads/private"]
[broker]
read = ["~/Downloads", "~/.ssh"]
append = ["~/diary"]
connect = ["ssh-agent"]
ssh-agent-keys = ["me@laptop"]
links = ["https"]
descriptor = true
"""
REQUEST = Request(words=("app", "foo"), rest=(), policy="foo")


def host() -> FakeHost:
    return machines.machine(
        {
            "/home/ann/.config/sandboxer/apps/foo.toml": POLICY,
            "/home/ann/Downloads/private": "",
            "/home/ann/diary": "",
            "/usr/bin/foo": "",
            "/srv/agent": machines.SOCKET,
        },
        {"SSH_AUTH_SOCK": "/srv/agent"},
    )


def plan() -> Plan:
    here = host()
    return build(
        resolve(layers.load("foo", here), here), b"\0" * 8, ("app", "foo"), (), broker_program=b"\0" * 24
    )


def test_holes_come_first_and_a_secret_is_one_through_the_broker_too() -> None:
    blocks, values = explained(REQUEST, host())
    text = plain(blocks)
    holes = text[text.index("Holes,") : text.index("\n\n", text.index("Holes,"))]
    assert "may ask for files in ~/.ssh to read, one at a time" in holes
    assert "keys to other machines" in holes
    assert "can log in and sign with your SSH key me@laptop" in holes
    assert "can send out what it reads, in https links" in holes
    assert "may ask for files in ~/Downloads" not in holes
    assert "may ask for files in ~/Downloads to read, one at a time  [~/.config/sandboxer/apps/foo.toml:5" in text
    grants = values["grants"]
    assert isinstance(grants, list)
    assert {"broker.read", "broker.links", "broker.descriptor"} <= {grant["origin"]["key"] for grant in grants}


def test_the_plan_s_page_tells_sockets_and_every_rule_with_its_line() -> None:
    text = plain(plan_page.page(plan(), 4096))
    assert "/run/sandboxer/broker" in text
    assert "the broker listens, as ssh-agent (stream, mode 0600)" in text
    assert "Broker (5 rules), confined by a filter of 3 instructions" in text
    lines = [line.split("  ") for line in text.splitlines()]
    told = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    origin = "[~/.config/sandboxer/apps/foo.toml:{} broker.{}]".format
    assert ["read", "/home/ann/Downloads", "the same, all beneath, no links", origin(5, "read")] in told
    assert ["append", "/home/ann/diary", "the same, that file, no links", origin(6, "append")] in told
    assert ["connect", "ssh-agent", "/srv/agent (me@laptop)", origin(7, "connect")] in told
    assert ["present", "link", "https", origin(9, "links")] in told
    assert ["never", "/home/ann/Downloads/private"] in told


def test_a_connection_is_told_by_what_it_is_connected_to() -> None:
    here = machines.wayland({"/usr/bin/foo": ""})
    effective = layers.load("foo", here, settings=("display.wayland=one-connection",))
    page = plain(plan_page.page(build(resolve(effective, here), b"\0" * 8, ("app", "foo"), ()), 1))
    assert "connect  /dev/fd/100" in page.replace("   ", "  ")
    assert f"connected to {machines.RUNTIME}/wayland-0" in page


def test_json_holds_the_rules() -> None:
    values = json.loads(json.dumps(plan_page.facts(plan(), 4096)))
    broker = values["broker"]
    assert "/home/ann/.local/state/sandboxer/broker" == broker["log"]
    assert ["/home/ann/Downloads/private"] == broker["hidden"]
    assert {
        "path": "/home/ann/diary",
        "root": "/home/ann",
        "name": "diary",
        "rights": ["append"],
        "follows-links": False,
        "origin": "~/.config/sandboxer/apps/foo.toml:6 broker.append",
    } in broker["paths"]
    assert [("ssh-agent", ["me@laptop"])] == [(item["name"], item["keys"]) for item in broker["services"]]
    assert [("link", "https")] == [(item["kind"], item["value"]) for item in broker["outward"]]


def test_a_plan_without_a_broker_says_so() -> None:
    bare = changed(plan(), broker=b"", ops=tuple(op for op in plan().ops if op.kind is not OpKind.LISTEN))
    assert plan_page.facts(bare, 1)["broker"] is None
    assert "Broker" not in plain(plan_page.page(bare, 1))

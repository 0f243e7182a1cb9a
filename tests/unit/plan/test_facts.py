"""What the session learns of a box comes from its plan, in lines that can be told apart whatever files are called."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from sandboxer.grants.grant import Grant, Weight
from sandboxer.host.view import User
from sandboxer.plan.facts import HOLE_MAX, TOPICS_SIZE_MAX, facts
from sandboxer.plan.ops import FACTS_MAX, PlanFlag
from sandboxer.resolve import Resolved
from sandboxer.steward import boxes
from sandboxer.words import BUILT_IN, BoxPath, HostPath, changed

HEAD = "app=a\nmonitor=7\nstarted=12\n"
TEXTS = st.text(max_size=400)


def resolved(*holes: str, notice: str = "", app: str = "a") -> Resolved:
    grants = [Grant(topic="t", words=words, weight=Weight.HOLE, origin=BUILT_IN) for words in holes]
    grants.append(Grant(topic="t", words="reads /usr", weight=Weight.ACCESS, origin=BUILT_IN))
    return Resolved(
        app=app,
        hostname="a",
        home=BoxPath("/home/u"),
        user=User(name="u", uid=1, gid=1, group="u", home=HostPath("/home/u")),
        command=(),
        notice=notice,
        flags=PlanFlag(0),
        grants=tuple(grants),
        withheld=(),
    )


def parsed(text: str) -> boxes.Box:
    box = boxes.parse("a.7", os.fsencode(HEAD + text), "/d")
    assert box is not None
    return box


def test_the_holes_the_network_and_the_policy_are_told() -> None:
    text = facts(resolved("X11", "the network"), PlanFlag(0))
    assert "network=host\npolicy=a\ntopic=t\nhole=X11\nhole=the network\n" == text
    assert "network=none\npolicy=strict\n" == facts(resolved(notice="none"), PlanFlag.PRIVATE_NETWORK)


def test_topics_are_told_once_and_leave_room_for_holes() -> None:
    grants = [
        Grant(topic=topic, words=f"about {topic}", weight=Weight.HOLE, origin=BUILT_IN)
        for topic in (
            "display",
            "system calls",
            "display",
            *(f"{number}\n{'x' * 100}" for number in range(40)),
        )
    ]
    text = facts(changed(resolved(), grants=tuple(grants)), PlanFlag(0))
    box = parsed(text)
    assert ("display", "system calls", "0?xxx") == (*box.topics[:2], box.topics[2][:5])
    assert len({*box.topics}) == len(box.topics)
    assert sum(len(f"topic={topic}\n") for topic in box.topics) <= TOPICS_SIZE_MAX
    assert "about display" == box.holes[0]


def test_a_hole_is_told_once() -> None:
    assert ("X11",) == parsed(facts(resolved("X11", "X11"), PlanFlag(0))).holes


@given(st.lists(TEXTS, max_size=60), TEXTS.filter(bool))
def test_whatever_the_words_are_they_fit_and_come_back_as_holes(holes: list[str], app: str) -> None:
    text = facts(resolved(*holes, app=app), PlanFlag(0))
    box = parsed(text)
    assert len(os.fsencode(text)) < FACTS_MAX
    assert text.endswith("\n")
    assert (7, 12, "host") == (box.monitor, box.started, box.network)
    assert len(box.holes) == len([line for line in text.split("\n") if line.startswith("hole=")])
    assert all(hole.isprintable() and len(hole) <= HOLE_MAX for hole in box.holes)


def test_holes_that_there_is_no_room_for_are_counted() -> None:
    box = parsed(facts(resolved(*(f"{number} {'x' * 200}" for number in range(40))), PlanFlag(0)))
    assert f"and {40 - len(box.holes) + 1} more" == box.holes[-1]

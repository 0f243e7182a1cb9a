"""What the steward makes of an Exec: the words, the place and the terminal that pid 1 is told, or a refusal."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import unit_plans

from sandboxer.broker.rules import KEYS
from sandboxer.host.view import Host
from sandboxer.plan.ops import Plan
from sandboxer.steward import inspected
from sandboxer.steward.control import Exec, Executed, Refused, Tell
from sandboxer.steward.hand import Hand
from sandboxer.steward.steward import Steward
from sandboxer.words import changed


class Told:
    """In place of a Hand: notes what it is told to run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ledger = SimpleNamespace(is_frozen=False)
        self.told: list[tuple[tuple[str, ...], str, str]] = []

    def execute(self, words: Sequence[str], directory: str, terminal: str, handed: Sequence[int]) -> int:
        assert 4 == len(handed)
        self.told.append((tuple(words), directory, terminal))
        return 9


@pytest.fixture
def handed() -> Iterator[tuple[int, ...]]:
    reading, writing = os.pipe()
    one, other = socket.socketpair()
    with one, other:
        one.shutdown(socket.SHUT_WR)
        other.shutdown(socket.SHUT_RD)
        yield one.fileno(), other.fileno(), other.fileno(), writing
    os.close(reading)
    os.close(writing)


def steward(hand: Told) -> Steward:
    return Steward(cast("Hand", hand), lambda: cast("Host", None))


@pytest.fixture
def hand() -> Told:
    plan = changed(unit_plans.PLAN, request=("app", "a"), command=("/usr/bin/a", "--first"))
    return Told(plan)


def test_words_are_run_as_they_are_or_follow_the_application_s_command(
    hand: Told, handed: tuple[int, ...]
) -> None:
    for request in (
        Exec(words=("ls",), directory="/d", terminal="xterm-256color"),
        Exec(words=("x",), again=True),
    ):
        assert Executed(pid=9) == steward(hand).execute(request, handed, os.getpid())
    assert [(("ls",), "/d", "xterm-256color"), (("/usr/bin/a", "--first", "x"), "", "")] == hand.told


@pytest.mark.parametrize(
    "request_",
    [
        Exec(words=("ls",), terminal="x=y"),
        Exec(words=("ls",), terminal="../../evil"),
        Exec(words=("ls",), terminal="x" * 65),
        Exec(words=("ls",), directory="relative"),
    ],
)
def test_what_is_no_terminal_or_no_place_is_refused(
    hand: Told, handed: tuple[int, ...], request_: Exec
) -> None:
    assert isinstance(steward(hand).execute(request_, handed, os.getpid()), Refused)
    assert [] == hand.told


def test_a_command_s_box_has_no_application_to_start_again(hand: Told, handed: tuple[int, ...]) -> None:
    hand.plan = changed(hand.plan, request=("run",), command=())
    assert isinstance(steward(hand).execute(Exec(words=("x",), again=True), handed, os.getpid()), Refused)


def test_without_descriptors_nothing_is_run(hand: Told, tmp_path: Path) -> None:
    assert isinstance(steward(hand).answer(Exec(words=("ls",))), Refused)
    with (tmp_path / "file").open("w") as file:
        assert isinstance(
            steward(hand).execute(Exec(words=("ls",)), [file.fileno()] * 4, os.getpid()), Refused
        )
    assert [] == hand.told


def test_nothing_is_run_in_a_frozen_box(hand: Told, handed: tuple[int, ...]) -> None:
    """Its first process goes on, and would start it."""
    hand.ledger.is_frozen = True
    assert isinstance(steward(hand).execute(Exec(words=("ls",)), handed, os.getpid()), Refused)
    assert isinstance(steward(hand).answer(Tell(words=("x",))), Refused)
    assert [] == hand.told


def test_the_plan_is_told_of() -> None:
    told = inspected.of(changed(unit_plans.PLAN, request=("app", "a")))
    assert (("app", "a"), (), 0) == (told.request, told.rules, told.more_rules)
    assert ("read",) == inspected.names(KEYS["read"])
    assert ("stat",) == inspected.names(KEYS["stat"])

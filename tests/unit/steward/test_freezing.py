"""A box with a control group of its own is frozen by it; by signals: tests/box/test_running_boxes.py."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandboxer.errors import StewardError
from sandboxer.steward import control, descendants, freezing, processes, stillness
from sandboxer.steward.boxes import Box
from sandboxer.steward.cgroups import Group
from sandboxer.steward.control import Freeze, Thaw
from sandboxer.steward.processes import Found
from sandboxer.steward.stillness import Look
from sandboxer.words import changed

NOBODY = 2**22 + 1
"""No process has this number."""
BOX = Box(id="a.7", app="a", monitor=NOBODY + 1, started=1, directory="/d")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a group, which does nothing by itself."""
    (tmp_path / "cgroup.procs").write_text(f"{NOBODY}\n")
    (tmp_path / "cgroup.freeze").write_text("0")
    (tmp_path / "cgroup.events").write_text("frozen 0\n")
    found = Found(
        first=NOBODY, application=0, members=(NOBODY,), group=Group(path="/x", directory=str(tmp_path))
    )
    monkeypatch.setattr(processes, "find", lambda _box: found)
    monkeypatch.setattr(processes, "send", lambda *_: pytest.fail("a signal was sent"))
    return tmp_path


def test_its_group_is_told_and_waited_for(place: Path) -> None:
    (place / "cgroup.events").write_text("frozen 1\n")
    assert (1, "cgroup") == freezing.freeze(BOX)
    assert "1" == (place / "cgroup.freeze").read_text()
    assert freezing.is_frozen(BOX, processes.find(BOX))


def test_one_that_does_not_come_to_a_halt_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "WITHIN_S", 0.05)
    with pytest.raises(StewardError, match="cannot freeze the box"):
        freezing.freeze(BOX)
    assert "0" == (place / "cgroup.freeze").read_text()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[control.Request]:
    """What a steward is asked for, that does all of it."""
    found: list[control.Request] = []

    def ask(_box: Box, request: control.Request) -> control.Answer:
        found.append(request)
        return control.Halted()

    monkeypatch.setattr(control, "ask", ask)
    return found


def test_thawing_covers_both_ways(place: Path, asked: list[control.Request]) -> None:
    """Whichever it was frozen by: the group may have become its own since."""
    (place / "cgroup.freeze").write_text("1")
    assert 1 == freezing.thaw(BOX)
    assert ("0", [Thaw()]) == ((place / "cgroup.freeze").read_text(), asked)


def test_a_group_that_the_launcher_is_in_is_not_frozen(place: Path, asked: list[control.Request]) -> None:
    """Nobody could ask for the end, and a service manager would wait for its main process."""
    (place / "cgroup.procs").write_text(f"{NOBODY}\n{BOX.monitor}\n")
    assert (1, "signals") == freezing.freeze(BOX)
    assert ("0", Freeze()) == ((place / "cgroup.freeze").read_text(), asked[0])


STILL = Look(threads=((11, 11, "T", b"5"),), is_whole=True)


@pytest.mark.parametrize(
    ("looks", "by_orders"),
    [
        ([STILL, STILL], 1),
        ([changed(STILL, threads=((11, 11, "R", b"5"),)), STILL, STILL], 2),
        ([changed(STILL, is_whole=False), STILL, STILL], 2),
        (
            [
                STILL,
                changed(STILL, threads=((11, 11, "T", b"6"),)),
                changed(STILL, threads=((11, 11, "T", b"6"),)),
            ],
            1,
        ),
        ([STILL, changed(STILL, is_whole=False), changed(STILL, threads=()), changed(STILL, threads=())], 2),
    ],
)
def test_it_stands_still_when_nothing_has_run_between_two_looks_that_lack_nobody(
    place: Path,
    asked: list[control.Request],
    monkeypatch: pytest.MonkeyPatch,
    looks: list[Look],
    by_orders: int,
) -> None:
    monkeypatch.setattr(freezing, "_has_group", lambda *_: False)
    left = iter(looks)
    monkeypatch.setattr(stillness, "look", lambda _first: next(left))
    freezing.freeze(BOX)
    assert [Freeze(), *[Freeze(again=True)] * (by_orders - 1)] == asked
    assert [] == list(left)


def test_what_may_run_unseen_is_not_said_to_stand_still(
    place: Path, asked: list[control.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that starts another and ends is in no listing: the count of those that were started tells of it."""
    monkeypatch.setattr(freezing, "WITHIN_S", 0.05)
    monkeypatch.setattr(freezing, "_has_group", lambda *_: False)
    monkeypatch.setattr(stillness, "look", lambda _first: changed(STILL, is_whole=False))
    with pytest.raises(StewardError, match="cannot freeze the box"):
        freezing.freeze(BOX)
    assert Thaw() == asked[-1]


def test_a_listing_during_which_something_was_started_is_not_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def listed() -> dict[int, int]:
        subprocess.run(["/bin/true"], check=True)
        return {}

    monkeypatch.setattr(descendants, "parents", listed)
    assert not stillness.look(NOBODY).is_whole


def test_a_listing_tells_of_all_threads() -> None:
    """Also of those whose process' first one has ended."""
    code = """
import ctypes, threading, time
def go_on():
    print("ready", flush=True)
    time.sleep(60)
threading.Thread(target=go_on, daemon=True).start()
ctypes.CDLL(None).pthread_exit(None)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        while processes.state_of(process.pid) != "Z":
            time.sleep(0.01)
        found = stillness.look(os.getpid())
        states = [state for pid, _, state, _ in found.threads if pid == process.pid]
        process.kill()
    assert ["S", "Z"] == sorted(states)
    assert not found.is_still(with_waiting=True)

"""Grants that reach their end go at once, all of them; who still holds something of them is asked after that."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import cast

import pytest
from plans import small_box

from sandboxer.steward import calls, holders
from sandboxer.steward.child import Child
from sandboxer.steward.hand import Hand
from sandboxer.steward.holders import Held, Removed
from sandboxer.steward.ledger import Grant, Ledger
from sandboxer.steward.steward import Steward


class Played:
    """A box that isn't there: what is done to it is only noted."""

    def __init__(self, ledger: Ledger) -> None:
        self.plan = small_box(["true"], home="/home/ann")
        self.ledger = ledger
        self.done: list[str] = []

    def take(self, grant: Grant) -> tuple[Removed, tuple[Grant, ...]]:
        self.ledger.remove(grant.number)
        self.done.append(f"take {grant.number}")
        return Removed(ids=(grant.mount,), point=grant.path, source=grant.source, lost=("", "")), ()

    def holders(self, removed: list[Removed]) -> Held:
        self.done.append(f"look for holders of {len(removed)}")
        return Held(more=2, is_whole=False)


def grant(number: int) -> Grant:
    return Grant(
        number=number,
        kind="grant",
        source=f"/s{number}",
        path=f"/p{number}",
        write=False,
        device=False,
        mount=number,
        deadline_ns=1,
    )


def test_all_that_is_due_goes_before_anybody_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(str(tmp_path))
    for number in (1, 2, 3):
        ledger.add(grant(number))
    played = Played(ledger)
    Steward(cast("Hand", played), lambda: pytest.fail("no host is needed")).expire()
    assert ["take 1", "take 2", "take 3", "look for holders of 3"] == played.done
    said = capsys.readouterr().err
    assert "still held by 2 more, perhaps others" in said


def mine(directory: Path) -> Removed:
    """As if the mount that a directory lies on had been taken away."""
    fd = os.open(directory, os.O_PATH)
    try:
        number = calls.mount_id(fd)
    finally:
        os.close(fd)
    return Removed(ids=(number,), point="/box", source="/", lost=("", ""))


def test_holders_are_found_and_the_search_ends_when_its_time_does(tmp_path: Path) -> None:
    (tmp_path / "held").write_text("words")
    removed = mine(tmp_path)
    namespace = os.stat("/proc/self/ns/mnt").st_ino
    with open(tmp_path / "held", encoding="ascii"):
        found, _, whole = holders.scan([os.getpid()], [removed], namespace, time.monotonic() + 20)
        cut = holders.scan([os.getpid()], [removed], namespace, time.monotonic() - 1)
    assert whole
    assert any(path.endswith("/held") and how == "file" for _, _, path, how in found)
    assert ([], 0, False) == cut


def test_no_more_holders_are_told_than_fit_and_the_rest_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holders, "HOLDERS_MAX", 3)
    files = [tmp_path / f"{number}" for number in range(10)]
    opened = [os.open(file, os.O_CREAT | os.O_RDWR) for file in files]
    try:
        namespace = os.stat("/proc/self/ns/mnt").st_ino
        found, more, _ = holders.scan([os.getpid()], [mine(tmp_path)], namespace, time.monotonic() + 20)
    finally:
        for fd in opened:
            os.close(fd)
    assert 3 == len(found)
    assert more >= 7


def test_a_child_that_takes_too_long_is_ended() -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        Child(lambda: time.sleep(30), 0.2).result()
    assert time.monotonic() - begun < 5
    assert [1, "x"] == Child(lambda: (1, "x"), 5.0).result()
    with pytest.raises(FileNotFoundError):
        Child(lambda: os.stat("/nonexistent/x").st_ino, 5.0).result()

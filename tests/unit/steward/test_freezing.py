"""A box with a control group of its own is frozen by it; by signals: tests/box/test_running_boxes.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandboxer.errors import StewardError
from sandboxer.steward import freezing, processes
from sandboxer.steward.boxes import Box
from sandboxer.steward.cgroups import Group
from sandboxer.steward.processes import Found

NOBODY = 2**22 + 1
"""No process has this number."""
BOX = Box(id="a.7", app="a", monitor=7, started=1, directory="/d")


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
    assert freezing.is_frozen(processes.find(BOX))


def test_one_that_does_not_come_to_a_halt_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "WITHIN_S", 0.05)
    with pytest.raises(StewardError, match="cannot freeze the box"):
        freezing.freeze(BOX)
    assert "0" == (place / "cgroup.freeze").read_text()


def test_thawing_covers_both_ways(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever it was frozen by: the group may have become its own since."""
    sent: list[int] = []
    monkeypatch.setattr(processes, "send", lambda _pid, _first, number: sent.append(number))
    (place / "cgroup.freeze").write_text("1")
    assert 1 == freezing.thaw(BOX)
    assert ("0", [18]) == ((place / "cgroup.freeze").read_text(), sent)


def test_a_group_that_the_launcher_is_in_is_not_frozen(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could ask for the end, and a service manager would wait for its main process."""
    (place / "cgroup.procs").write_text(f"{NOBODY}\n{BOX.monitor}\n")
    sent: list[int] = []
    monkeypatch.setattr(processes, "send", lambda _pid, _first, number: sent.append(number))
    assert (1, "signals") == freezing.freeze(BOX)
    assert ("0", [19]) == ((place / "cgroup.freeze").read_text(), sent)

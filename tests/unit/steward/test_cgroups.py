"""A box's control group is its own only if nothing else is in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandboxer.steward import cgroups, descendants
from sandboxer.steward.cgroups import Group


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cgroups, "path_of", lambda _pid: "/app.slice/app-sandboxer-x.scope")
    place = tmp_path / "app.slice/app-sandboxer-x.scope"
    (place / "inner").mkdir(parents=True)
    (place / "cgroup.procs").write_text("11\n12\n")
    (place / "inner" / "cgroup.procs").write_text("13\n")
    (place / "memory.current").write_text("4096\n")
    (place / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (place / "pids.max").write_text("max\n")
    (place / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    (place / "cgroup.freeze").write_text("0")
    return tmp_path


def test_a_scope_of_a_box_is_known_by_its_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes and goes in it: a box that forks all the time has it nevertheless."""
    monkeypatch.setattr(descendants, "parents", lambda: pytest.fail("somebody was looked for"))
    assert cgroups.own(11, 7, str(root)) is not None
    assert cgroups.own(99, 7, str(root)) is None


def test_a_group_with_others_in_it_is_not_the_box_s(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one with the launcher, 12, in it, those that are gone are nobody else's."""
    monkeypatch.setattr(descendants, "parents", lambda: {11: 12, 12: 1, 13: 1})
    assert cgroups.own(11, 12, str(root)) is None
    monkeypatch.setattr(descendants, "parents", lambda: {11: 12, 12: 1})
    assert cgroups.own(11, 12, str(root)) is not None


@pytest.mark.parametrize("path", ["", "/", "/../other"])
def test_the_root_and_what_is_above_are_nobody_s(
    root: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(cgroups, "path_of", lambda _pid: path)
    assert cgroups.own(11, 7, str(root)) is None


def test_figures_and_limits_are_the_kernel_s(root: Path) -> None:
    group = cgroups.own(11, 7, str(root))
    assert group is not None
    assert (4096, 2.5, {"pids.max": "max"}) == (
        cgroups.memory_bytes(group),
        cgroups.cpu_s(group),
        cgroups.limits(group),
    )


def test_freezing_is_an_order_and_frozen_is_what_the_kernel_says(root: Path) -> None:
    group = cgroups.own(11, 7, str(root))
    assert group is not None
    assert cgroups.can_freeze(group)
    cgroups.set_frozen(group, frozen=True)
    assert "1" == Path(group.directory, "cgroup.freeze").read_text()
    assert not cgroups.is_frozen(group)
    Path(group.directory, "cgroup.events").write_text("populated 1\nfrozen 1\n")
    assert cgroups.is_frozen(group)


def test_what_is_not_there_is_not_counted(tmp_path: Path) -> None:
    group = Group(path="/x", directory=str(tmp_path / "x"))
    assert (None, None, {}, False, set()) == (
        cgroups.memory_bytes(group),
        cgroups.cpu_s(group),
        cgroups.limits(group),
        cgroups.is_frozen(group),
        cgroups.members(group),
    )


def test_the_path_is_of_the_unified_hierarchy() -> None:
    found = cgroups.path_of(os.getpid())
    assert found == "" or found.startswith("/")
    assert "" == cgroups.path_of(2**22 + 1)

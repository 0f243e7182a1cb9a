"""Whether there is a user manager, and what it can give: without it, with one that has ended, with another user's."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandboxer.host import manager
from sandboxer.host.facts import Facts
from sandboxer.host.session import Session
from sandboxer.plan.ops import StampKind


@pytest.fixture
def listening(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory in which this process plays the manager and the bus."""
    monkeypatch.setattr(manager, "group_of", {os.getpid(): "/manager/init.scope"}.__getitem__)
    (runtime_dir / "systemd").mkdir()
    with socket.socket(socket.AF_UNIX) as private, socket.socket(socket.AF_UNIX) as bus:
        for one, name in ((private, "systemd/private"), (bus, "bus")):
            one.bind(str(runtime_dir / name))
            one.listen()
        yield runtime_dir


def facts(runtime: Path) -> Facts:
    return Facts(Session({"XDG_RUNTIME_DIR": str(runtime), "HOME": str(runtime)}, str(runtime)))


def test_a_manager_is_known_by_its_process_s_control_group(
    listening: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "given", {"/manager/init.scope": ("pids",)}.__getitem__)
    assert ("pids",) == manager.controllers(str(listening))


@pytest.mark.parametrize("group", ["", "/", "/user.slice/session-1.scope"])
def test_what_listens_there_and_makes_no_control_groups_is_none(
    listening: Path, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    monkeypatch.setattr(manager, "group_of", {os.getpid(): group}.__getitem__)
    assert manager.controllers(str(listening)) is None
    assert facts(listening).user_manager is None


def test_where_nobody_listens_there_is_none(runtime_dir: Path) -> None:
    assert manager.controllers(str(runtime_dir)) is None
    (runtime_dir / "systemd").mkdir()
    with socket.socket(socket.AF_UNIX) as ended:
        ended.bind(str(runtime_dir / "systemd/private"))
        ended.listen()
    assert manager.controllers(str(runtime_dir)) is None
    assert facts(runtime_dir).user_manager is None


def test_a_runtime_directory_that_others_may_enter_has_none(listening: Path) -> None:
    listening.chmod(0o755)
    assert manager.controllers(str(listening)) is None


def test_without_a_session_bus_there_is_none(listening: Path) -> None:
    assert facts(listening).user_manager is not None
    (listening / "bus").unlink()
    assert facts(listening).user_manager is None


def test_a_manager_that_starts_or_ends_makes_a_plan_stale(listening: Path) -> None:
    host = facts(listening)
    assert host.user_manager is not None
    stamps = {stamp.name: stamp for stamp in host.stamps()}
    socket_path = str(listening / "systemd/private")
    assert StampKind.FILE is stamps[socket_path].kind, "its socket is made anew when it starts again"
    assert os.stat(socket_path).st_ino == stamps[socket_path].inode
    assert StampKind.TYPE is stamps[str(listening / "bus")].kind
    (listening / "systemd/private").unlink()
    without = facts(listening)
    assert without.user_manager is None
    assert (StampKind.ABSENT, socket_path) in [(stamp.kind, stamp.name) for stamp in without.stamps()]


def test_the_runtime_directory_itself_is_not_stamped_since_it_changes_all_the_time(listening: Path) -> None:
    host = facts(listening)
    assert host.user_manager is not None
    before = host.stamps()
    (listening / "anything").touch()
    after = facts(listening)
    assert after.user_manager is not None
    assert before == after.stamps()


def test_controllers_are_those_of_the_manager_s_own_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those of the group it is in, nor of app.slice, to which it passes on what is needed."""
    group = tmp_path / "user.slice/user@1000.service"
    group.mkdir(parents=True)
    (group / "cgroup.controllers").write_text("cpuset cpu memory pids\n")
    monkeypatch.setattr(manager, "GROUPS", str(tmp_path))
    assert ("cpu", "memory", "pids") == manager.given("/user.slice/user@1000.service/init.scope")
    assert () == manager.given("/elsewhere/init.scope")
    assert () == manager.given("")


def test_no_compile_pays_for_the_socket_module() -> None:
    import subprocess
    import sys

    script = "import sys, sandboxer.host.manager; print('socket' in sys.modules, '_socket' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "False True\n" == done.stdout


@pytest.mark.parametrize(
    ("controllers", "files", "missing"),
    [
        ("cpu io memory pids", ("io.weight", "memory.swap.max"), ()),
        ("cpu io memory pids", (), ("io.weight", "memory.swap.max")),
        ("io memory", ("memory.swap.max",), ("io.weight",)),
        ("pids", (), ()),
    ],
)
def test_files_that_the_kernel_was_built_without_are_known(
    listening: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    controllers: str,
    files: tuple[str, ...],
    missing: tuple[str, ...],
) -> None:
    monkeypatch.setattr(manager, "GROUPS", str(tmp_path))
    (tmp_path / "manager").mkdir()
    (tmp_path / "manager/cgroup.controllers").write_text(controllers)
    for name in files:
        (tmp_path / "manager" / name).touch()
    found = facts(listening).user_manager
    assert found is not None
    assert (tuple(sorted(controllers.split())), missing) == (tuple(sorted(found.controllers)), found.missing)

"""The real host: answers, and the stamps that they leave."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sandboxer.errors import ResolveError
from sandboxer.host import facts as module
from sandboxer.host.facts import FILE_SIZE_MAX, Facts
from sandboxer.host.installation import native_program, program_files
from sandboxer.host.session import Session
from sandboxer.host.view import FileType
from sandboxer.plan.ops import Stamp, StampKind


def facts(**environment: str) -> Facts:
    return Facts(Session(environment, "/nowhere"))


def stamp(host: Facts, name: str | Path) -> Stamp:
    (found,) = (one for one in host.stamps() if one.name == str(name))
    return found


def test_a_variable_is_stamped_with_its_value() -> None:
    host = facts(DISPLAY=":0")
    assert ":0" == host.variable("DISPLAY")
    assert (StampKind.ENV, ":0") == (stamp(host, "DISPLAY").kind, stamp(host, "DISPLAY").value)


def test_an_absent_variable_is_stamped_as_absent() -> None:
    host = facts()
    assert host.variable("DISPLAY") is None
    assert StampKind.ENV_ABSENT is stamp(host, "DISPLAY").kind


def test_a_variable_that_is_empty_counts_as_absent_and_is_stamped_so() -> None:
    host = facts(DISPLAY="")
    assert host.variable("DISPLAY") is None
    assert StampKind.ENV_ABSENT is stamp(host, "DISPLAY").kind


def test_a_type_alone_is_stamped_as_a_type(tmp_path: Path) -> None:
    host = facts()
    assert FileType.DIRECTORY is host.type_of(str(tmp_path))
    assert StampKind.TYPE is stamp(host, tmp_path).kind


def test_what_is_read_is_stamped_with_all_that_tells_a_change(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"text")
    host = facts()
    host.type_of(str(file))
    assert b"text" == host.read(str(file))
    status, found = file.stat(), stamp(host, file)
    assert StampKind.FILE is found.kind
    assert (status.st_dev, status.st_ino, 4, status.st_mtime_ns, status.st_ctime_ns) == (
        found.device,
        found.inode,
        found.size,
        found.mtime_ns,
        found.ctime_ns,
    )


def test_a_file_that_was_just_written_is_read_only_after_the_clock_of_file_times_moved_on(
    tmp_path: Path,
) -> None:
    file = tmp_path / "file"
    host = facts()
    file.write_bytes(b"one")
    host.read(str(file))
    assert time.time_ns() - file.stat().st_mtime_ns >= module.TICK_NS


def test_a_link_is_stamped_and_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/../there")
    host = facts()
    assert str(tmp_path / "there") == host.resolve(str(tmp_path / "link"))
    assert (str(tmp_path / "link"),) == host.links(str(tmp_path / "link"))
    assert "there/../there" == host.read_link(str(tmp_path / "link"))
    assert StampKind.FILE is stamp(host, tmp_path / "link").kind
    assert StampKind.TYPE is stamp(host, tmp_path / "there").kind


def test_a_directory_on_the_way_is_stamped_unless_it_is_roots(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "file").write_text("")
    host = facts()
    host.type_of(str(inner / "file"))
    names = {one.name for one in host.stamps()}
    assert str(inner / "file") in names
    assert {path for path in map(str, [inner, *inner.parents]) if path in names} == {
        str(path) for path in [inner, *inner.parents] if path.stat().st_uid != 0
    }


def test_what_every_kernel_shows_is_not_stamped_unless_it_is_missing() -> None:
    host = facts()
    assert host.type_of("/proc/sys") is FileType.DIRECTORY
    assert host.type_of("/dev/null") is FileType.CHARACTER
    assert host.type_of("/proc/no-such-name") is None
    host.type_of("/proc/1")
    virtual = {one.name: one.kind for one in host.stamps() if one.name.startswith(("/proc", "/dev", "/sys"))}
    assert {"/proc/no-such-name": StampKind.ABSENT, "/proc/1": StampKind.TYPE} == virtual


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped policies of an installed package."""
    policies = tmp_path / "package" / "policies"
    (policies / "sets").mkdir(parents=True)
    (policies / "sets" / "base.toml").write_text("")
    monkeypatch.setattr(module, "installed_policies", lambda: str(policies))
    return policies


def test_an_installed_policy_is_stamped_by_its_directory(installed: Path) -> None:
    host = facts()
    assert b"" == host.read(f"{installed}/sets/base.toml")
    assert host.type_of(f"{installed}/sets/base.d") is None
    assert host.type_of(f"{installed}/sets") is FileType.DIRECTORY
    beneath = {one.name: one.kind for one in host.stamps() if one.name.startswith(str(installed))}
    assert {f"{installed}/sets": StampKind.FILE} == beneath


@pytest.mark.parametrize("change", ["replaced", "added", "removed"])
def test_an_installed_policy_that_is_replaced_added_or_removed_is_noticed(
    installed: Path, change: str
) -> None:
    host = facts()
    host.read(f"{installed}/sets/base.toml")
    match change:
        case "replaced":
            (installed / "new").write_text("")
            (installed / "new").rename(installed / "sets" / "base.toml")
        case "added":
            (installed / "sets" / "base.d").mkdir()
        case "removed":
            (installed / "sets" / "base.toml").unlink()
    assert stamp(host, installed / "sets").mtime_ns != (installed / "sets").stat().st_mtime_ns


def test_the_program_is_stamped_as_it_was_before_anything_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "sandbox"
    program.write_text("one")
    monkeypatch.setattr(module, "program_files", lambda: (str(program),))
    host = facts()
    program.write_text("three")
    assert len("one") == stamp(host, program).size


def test_absence_is_stamped_at_the_first_part_that_is_missing(tmp_path: Path) -> None:
    host = facts()
    assert host.type_of(str(tmp_path / "no" / "such")) is None
    assert StampKind.ABSENT is stamp(host, tmp_path / "no").kind


def test_what_lies_beneath_a_file_is_absent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert facts().resolve(str(tmp_path / "file" / "x")) is None


def test_a_circle_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ResolveError, match="too many symbolic links"):
        facts().resolve(str(tmp_path / "a"))


def test_a_file_larger_than_a_setting_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * (FILE_SIZE_MAX + 1))
    with pytest.raises(ResolveError, match="larger"):
        facts().read(str(tmp_path / "file"))


def test_a_pipe_is_no_file_to_read_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert facts().read(str(tmp_path / "pipe")) is None


def test_a_listing_stamps_the_directory_so_that_a_new_name_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("")
    (tmp_path / "a").write_text("")
    host = facts()
    assert ("a", "b") == host.entries(str(tmp_path))
    before = stamp(host, tmp_path)
    (tmp_path / "c").write_text("")
    assert StampKind.FILE is before.kind
    assert before.mtime_ns != tmp_path.stat().st_mtime_ns


def test_nothing_is_stamped_twice_and_the_order_is_that_of_asking(tmp_path: Path) -> None:
    host = facts(A="1", B="2")
    host.variable("B")
    host.type_of(str(tmp_path))
    host.variable("A")
    host.variable("B")
    names = [one.name for one in host.stamps()]
    assert names.index("B") < names.index(str(tmp_path)) < names.index("A")
    assert len(names) == len({(one.kind, one.name) for one in host.stamps()})


def test_the_working_directory_is_stamped_only_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = facts()
    assert StampKind.DIRECTORY not in {one.kind for one in host.stamps()}
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path) == host.working_directory
    assert StampKind.DIRECTORY is stamp(host, tmp_path).kind


def test_a_working_directory_that_is_gone_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ResolveError, match="working directory"):
        _ = facts().working_directory


def test_the_kernel_and_the_program_are_always_stamped() -> None:
    host = facts()
    kinds = {one.kind for one in host.stamps()}
    assert StampKind.KERNEL in kinds
    assert set(program_files()) <= {one.name for one in host.stamps()}
    assert {os.path.basename(name) for name in program_files()} >= {"__init__.py"}
    in_checkout = (Path(str(module.__file__)).parents[2] / "launchers").is_dir()
    assert in_checkout is (module.__file__ in {one.name for one in host.stamps()})


def test_links_in_virtual_file_systems_are_stamped_by_type_alone() -> None:
    host = facts()
    host.read_link("/proc/self/exe")
    assert {StampKind.TYPE} == {one.kind for one in host.stamps() if one.name.startswith("/proc/")}


def test_the_home_is_the_one_that_the_environment_names(tmp_path: Path) -> None:
    assert str(tmp_path) == facts(HOME=str(tmp_path)).user.home


@pytest.mark.parametrize("home", ["/", "/no/such/directory", "relative"])
def test_a_home_that_is_none_is_an_error(home: str) -> None:
    with pytest.raises(ResolveError, match="home"):
        _ = facts(HOME=home).user


def test_the_launcher_is_looked_for_beside_the_console_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sandbox").write_text("")
    (tmp_path / "sandbox").chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "sandboxer")])
    assert str(tmp_path / "sandbox") == native_program()


def test_a_launcher_that_lies_where_the_user_stands_is_never_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A companion is started with -c, perhaps in a directory that the application can write to."""
    (tmp_path / "sandbox").write_text("")
    (tmp_path / "sandbox").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["-c"])
    assert str(tmp_path / "sandbox") != native_program()


@pytest.mark.skipif(os.getuid() == 0, reason="root can search every directory")
def test_what_cannot_be_searched_is_absent_until_the_directory_changes(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    host = facts()
    assert host.type_of(str(closed / "x")) is None
    assert StampKind.FILE is stamp(host, closed).kind

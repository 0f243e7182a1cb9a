"""Installing and undoing: what is there afterwards is what was there before."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from conftest import need
from unit.desktop.conftest import Desk

from sandboxer.desktop.wrappers import installing, placing
from sandboxer.errors import LaunchError


@pytest.fixture
def full(desk: Desk) -> Desk:
    """Entries of the system's and of the user's own, services, autostart."""
    need("update-desktop-database")
    desk.entry("org.example.Tool.desktop", "Exec=tool %U", "DBusActivatable=true", "MimeType=text/html;")
    desk.entry("own.desktop", "Exec=tool --system")
    own = desk.entry("own.desktop", "Exec=tool --mine", base=desk.data / "applications")
    own.chmod(0o700)
    os.utime(own, ns=(10**18, 10**18 + 1))
    elsewhere = desk.entry("real.desktop", "Exec=tool --linked", base=desk.home / "dotfiles")
    (desk.data / "applications/linked.desktop").symlink_to(elsewhere)
    desk.entry("start.desktop", "Exec=tool --start", base=desk.config / "autostart")
    desk.service("org.example.Tool", f"{desk.programs}/tool --gapplication-service")
    desk.service("org.example.Other", "/usr/bin/true")
    desk.service("org.example.Files", f"{desk.programs}/tool --files")
    return desk


def test_all_that_starts_the_application_is_shadowed(full: Desk) -> None:
    outcomes = full.install()
    assert {
        ".local/share/applications/org.example.Tool.desktop",
        ".local/share/applications/own.desktop",
        ".local/share/applications/linked.desktop",
        ".config/autostart/start.desktop",
        ".local/share/dbus-1/services/org.example.Tool.service",
        ".local/share/dbus-1/services/org.example.Files.service",
    } == {str(Path(one.path).relative_to(full.home)) for one in outcomes}
    assert {"wrapped"} == {one.what for one in outcomes}
    own = (full.data / "applications/own.desktop").read_text()
    assert f"Exec={full.launcher} --from-menu tool --mine\n" in own
    assert "--linked" in (full.data / "applications/linked.desktop").read_text()
    assert "--linked" in (full.home / "dotfiles/real.desktop").read_text()
    assert "from-menu" not in (full.home / "dotfiles/real.desktop").read_text()


def test_undoing_restores_every_byte_mode_time_link_and_directory(full: Desk) -> None:
    before = full.picture()
    full.install()
    assert before != full.picture()
    assert (full.data / "applications/mimeinfo.cache").exists()
    outcomes = full.undo()
    assert before == full.picture()
    assert {"removed", "restored"} == {one.what for one in outcomes}
    state = full.home / ".local/state/sandboxer/desktop"
    assert [] == list(state.iterdir())


def test_a_list_of_types_that_was_there_is_restored(full: Desk) -> None:
    (full.data / "applications/mimeinfo.cache").write_text("[MIME Cache]\nx/y=own.desktop;\n")
    before = full.picture()
    full.install()
    assert b"text/html=org.example.Tool.desktop" in (full.data / "applications/mimeinfo.cache").read_bytes()
    full.undo()
    assert before == full.picture()


def test_installing_again_changes_nothing_and_undoing_restores_the_first_state(full: Desk) -> None:
    before = full.picture()
    full.install()
    once = full.picture()
    assert {"unchanged"} == {one.what for one in full.install()}
    assert once == full.picture()
    full.undo()
    assert before == full.picture()


def test_another_policy_takes_over_and_undoing_restores_the_first_state(full: Desk) -> None:
    full.policy("tool2", str(full.programs / "tool"))
    before = full.picture()
    full.install()
    full.install(("tool2",))
    assert "X-Sandboxer-Policy=tool2" in (full.data / "applications/own.desktop").read_text()
    full.undo()
    assert before == full.picture()


@pytest.mark.parametrize("step", range(1, 14))
def test_a_crash_at_any_step_can_be_undone(full: Desk, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """The command ends at its `step`th file: each is put in place by one rename."""
    before = full.picture()
    done = 0
    put = placing.put

    def crash(directory: int, name: str, content: bytes, mode: int) -> None:
        nonlocal done
        done += 1
        if done == step:
            fd = os.open(f".{name}{placing.DRAFT}", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=directory)
            os.write(fd, content[:10])
            os.close(fd)
            raise KeyboardInterrupt
        put(directory, name, content, mode)

    with monkeypatch.context() as patch:
        patch.setattr(placing, "put", crash)
        try:
            full.install()
        except KeyboardInterrupt:
            assert done == step
    full.undo()
    assert before == full.picture()


def test_a_crash_while_undoing_can_be_undone(full: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    before = full.picture()
    full.install()
    done = 0
    remove = installing._undo

    def crash(*words: object) -> object:
        nonlocal done
        done += 1
        if done == 4:
            raise KeyboardInterrupt
        return remove(*words)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(installing, "_undo", crash)
        with pytest.raises(KeyboardInterrupt):
            full.undo()
    full.undo()
    assert before == full.picture()


def test_what_the_user_has_changed_since_is_kept_and_said(full: Desk) -> None:
    full.install()
    changed = full.data / "applications/own.desktop"
    changed.write_text("mine now")
    outcomes = {Path(one.path).name: one for one in full.undo()}
    assert "kept" == outcomes["own.desktop"].what
    assert "changed since" in outcomes["own.desktop"].why
    assert "mine now" == changed.read_text()
    changed.unlink()
    assert ["restored"] == [one.what for one in full.undo()]
    assert "--mine" in changed.read_text()


def test_a_wrapper_that_was_edited_is_left_alone(full: Desk) -> None:
    full.install()
    edited = full.data / "applications/own.desktop"
    edited.write_text(edited.read_text() + "X-Mine=1\n")
    assert "changed since" in full.left()["own.desktop"]
    full.install()
    assert edited.read_text().endswith("X-Mine=1\n")


def test_an_entry_that_replaced_the_wrapper_is_wrapped_in_its_turn(full: Desk) -> None:
    full.install()
    path = full.entry("own.desktop", "Exec=tool --newer", base=full.data / "applications")
    full.install()
    assert "--from-menu tool --newer" in path.read_text()
    full.undo()
    assert path.read_text().endswith("Exec=tool --newer\n")


def test_a_dangling_link_and_a_directory_in_the_way_are_not_written_through(
    desk: Desk, tmp_path: Path
) -> None:
    desk.entry("tool.desktop", "Exec=tool")
    place = desk.data / "applications/tool.desktop"
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "victim")
    before = desk.picture()
    desk.install()
    assert not place.is_symlink()
    assert not (tmp_path / "victim").exists()
    desk.undo()
    assert before == desk.picture()
    place.unlink()
    place.mkdir()
    with pytest.raises(LaunchError, match="no file is in the way"):
        desk.install()


def test_a_directory_that_others_can_write_is_refused(desk: Desk) -> None:
    desk.entry("tool.desktop", "Exec=tool")
    (desk.data / "applications").mkdir(parents=True)
    (desk.data / "applications").chmod(0o777)
    with pytest.raises(LaunchError, match="others could write there"):
        desk.install()
    assert [] == list((desk.data / "applications").iterdir())


def test_where_the_state_lies_on_another_file_system_a_copy_is_kept(
    full: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = full.picture()

    def no_link(*_words: object, **_more: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    rename = os.rename

    def no_rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if os.fstat(src_dir_fd).st_ino != os.fstat(dst_dir_fd).st_ino:
            raise OSError(errno.EXDEV, "another file system")
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(os, "rename", no_rename)
    full.install()
    full.undo()
    assert before == full.picture()


def test_a_ledger_that_others_could_have_written_is_not_believed(full: Desk) -> None:
    full.install()
    ledger = full.home / ".local/state/sandboxer/desktop/written.json"
    assert 0o600 == ledger.stat().st_mode & 0o777
    ledger.chmod(0o666)
    with pytest.raises(LaunchError, match="others could have written it"):
        full.undo()
    ledger.chmod(0o600)
    ledger.write_text("{}")
    with pytest.raises(LaunchError, match="cannot tell what sandboxer has written"):
        full.undo()


def test_nothing_is_wrong_with_what_was_just_installed(full: Desk) -> None:
    full.install()
    assert [] == full.problems()


def test_what_has_happened_since_is_found(full: Desk) -> None:
    full.install()
    system = full.system / "applications/org.example.Tool.desktop"
    full.entry(system.name, "Exec=tool --updated %U")
    assert [f"{system} has changed"] == full.problems()
    system.unlink()
    assert f"{system} is gone" in full.problems()
    full.install()
    full.entry("new.desktop", "Exec=tool")
    assert any("new.desktop is new, and starts it outside" in what for what in full.problems())
    (full.data / "applications/own.desktop").write_text("x")
    (full.data / "applications/linked.desktop").unlink()
    assert {"it was changed since", "it was removed"} <= set(full.problems())


def test_a_launcher_and_a_policy_that_are_gone_are_found(full: Desk) -> None:
    full.install()
    policy = full.home / ".config/sandboxer/apps/tool.toml"
    policy.write_text("nonsense = 1\n")
    assert all(what.startswith("its policy can't be loaded") for what in full.problems())
    policy.unlink()
    assert {"its policy is gone"} == set(full.problems())
    Path(full.launcher).unlink()
    assert {f"the launcher that it starts is gone: {full.launcher}"} == set(full.problems())


def test_another_launcher_is_noticed(full: Desk) -> None:
    full.install()
    full.launcher = str(full.program("newer"))
    assert {"it would be written otherwise today"} == set(full.problems())
    full.install()
    assert [] == full.problems()

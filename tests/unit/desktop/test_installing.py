"""Installing and undoing: what is there afterwards is what was there before."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
from conftest import need
from unit.desktop.conftest import Desk

from sandboxer.desktop.wrappers import installing, placing, refreshing, written
from sandboxer.desktop.wrappers.entries import Kind
from sandboxer.errors import LaunchError
from sandboxer.host.session import Session


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


def state(desk: Desk) -> Path:
    return desk.home / ".local/state/sandboxer/desktop"


def kept_files(desk: Desk) -> list[tuple[str, bytes]]:
    """The names and contents of what is kept."""
    return [(path.name, path.read_bytes()) for path in sorted(state(desk).glob("kept-*"))]


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


@pytest.mark.parametrize("step", range(1, 19))
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
    assert [] == kept_files(full)


def test_a_crash_after_the_list_of_types_was_made_can_be_undone(
    full: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries of the user's own have types: made anew, the list wouldn't be empty."""
    full.entry(
        "mine.desktop", "Exec=/usr/bin/true", "MimeType=application/x-mine;", base=full.data / "applications"
    )
    before = full.picture()
    update = refreshing.update_types

    def crash(directory: str, session: Session) -> str:
        update(directory, session)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(refreshing, "update_types", crash)
        with pytest.raises(KeyboardInterrupt):
            full.install()
    assert b"application/x-mine=" in (full.data / "applications/mimeinfo.cache").read_bytes()
    full.undo()
    assert before == full.picture()
    full.install()
    full.entry("later.desktop", "Exec=tool", "MimeType=application/x-later;")
    with monkeypatch.context() as patch:
        patch.setattr(refreshing, "update_types", crash)
        with pytest.raises(KeyboardInterrupt):
            full.install()
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
    (outcome,) = desk.install()
    assert ("left", "something that is no file is in the way") == (outcome.what, outcome.why)
    assert [] == list(place.iterdir())
    assert [] == desk.undo()


def test_what_is_in_the_way_of_one_entry_leaves_the_others_wrapped(desk: Desk) -> None:
    for name in ("a.desktop", "b.desktop", "kde/c.desktop", "d.desktop"):
        desk.entry(name, "Exec=tool")
    applications = desk.data / "applications"
    (applications / "b.desktop").mkdir(parents=True)
    (applications / "mimeinfo.cache").mkdir()
    (applications / "kde").write_text("mine")
    before = desk.picture()
    outcomes = {os.path.basename(one.path): one for one in desk.install(None)}
    assert {"a.desktop": "wrapped", "b.desktop": "left", "c.desktop": "left", "d.desktop": "wrapped"} == {
        name: one.what for name, one in outcomes.items()
    }
    assert f"{applications}/kde is in the way, which is no directory" == outcomes["c.desktop"].why
    desk.undo()
    assert before == desk.picture()


def test_a_directory_that_took_a_wrappers_place_is_kept(desk: Desk) -> None:
    desk.entry("tool.desktop", "Exec=tool")
    desk.install()
    place = desk.data / "applications/tool.desktop"
    place.unlink()
    place.mkdir()
    assert ["kept"] == [one.what for one in desk.undo()]
    assert ["it was changed since"] == desk.problems()
    assert place.is_dir()


def test_a_wrapper_is_no_more_readable_than_its_origin(desk: Desk) -> None:
    secret = desk.entry("secret.desktop", "Exec=tool --token=1", base=desk.data / "applications")
    secret.chmod(0o600)
    linked = desk.entry("real.desktop", "Exec=tool", base=desk.home / "dotfiles")
    linked.chmod(0o640)
    (desk.data / "applications/linked.desktop").symlink_to(linked)
    desk.entry("plain.desktop", "Exec=tool").chmod(0o755)
    modes = {"secret.desktop": 0o600, "linked.desktop": 0o640, "plain.desktop": 0o644}
    for policy in ("tool", "tool2"):  # the second time, the origins are those that are kept
        desk.policy("tool2", str(desk.programs / "tool"))
        desk.install((policy,))
        for name, mode in modes.items():
            wrapper = desk.data / "applications" / name
            assert f"X-Sandboxer-Policy={policy}\n" in wrapper.read_text()
            assert (name, mode) == (name, wrapper.stat().st_mode & 0o777)


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


def test_files_of_ones_own_outlive_a_ledger_that_is_lost(full: Desk) -> None:
    (full.data / "applications/linked.desktop").unlink()  # a relative link would lead nowhere from elsewhere
    mine = (full.data / "applications/own.desktop").read_bytes()
    full.install()
    kept = kept_files(full)
    assert [mine] == [content for _, content in kept]
    (state(full) / "written.json").unlink()
    wrapped = full.picture()
    for act in (full.undo, full.install, full.problems):
        with pytest.raises(LaunchError) as caught:
            act()
        assert kept == kept_files(full)
        assert wrapped == full.picture()
    assert kept[0][0] in str(caught.value.subject)
    assert f"sha256sum {state(full)}/kept-*" in caught.value.hint
    named = f"X-Sandboxer-Digest=sha256:{hashlib.sha256(mine).hexdigest()}\n"
    assert named in (full.data / "applications/own.desktop").read_text()


def test_a_ledger_that_is_damaged_is_said_to_be_needed(full: Desk) -> None:
    full.install()
    kept = kept_files(full)
    (state(full) / "written.json").write_text("{")
    with pytest.raises(LaunchError) as caught:
        full.undo()
    assert "keep it" in caught.value.hint
    assert kept == kept_files(full)


def test_what_the_ledger_does_not_name_is_neither_removed_nor_overwritten(full: Desk) -> None:
    full.install()
    names = {name for name, _ in kept_files(full)}
    foreign = [f"kept-{number}" for number in range(1, 9) if f"kept-{number}" not in names]
    for name in foreign:
        (state(full) / name).write_text("another's")
    full.entry("newer.desktop", "Exec=tool --newer", base=full.data / "applications")
    before = (full.data / "applications/newer.desktop").read_bytes()
    full.install()
    full.undo()
    assert before == (full.data / "applications/newer.desktop").read_bytes()
    assert [(name, b"another's") for name in foreign] == kept_files(full)
    full.install()


def test_what_was_replaced_since_is_kept_no_longer(full: Desk) -> None:
    full.install()
    full.entry("own.desktop", "Exec=tool --newer", base=full.data / "applications")
    full.install()
    contents = b"".join(content for _, content in kept_files(full))
    assert b"--newer" in contents
    assert b"--mine" not in contents


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


def test_where_it_can_not_go_on_what_was_done_is_told_and_the_rest_is_as_it_was(
    full: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = full.picture()
    put, done = placing.put, 0

    def fail(directory: int, name: str, content: bytes, mode: int) -> None:
        nonlocal done
        if name != written.NAME:
            done += 1
            if done > 2:
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        put(directory, name, content, mode)

    with monkeypatch.context() as patch:
        patch.setattr(placing, "put", fail)
        with pytest.raises(installing.HalfDone) as caught:
            full.install()
    assert "try: make it writable: chmod u+w " in str(caught.value)
    assert ["wrapped", "wrapped"] == [one.what for one in caught.value.outcomes]
    with full.at_work() as (_, hand):
        paths = {item.path for item in hand.ledger.items if item.kind is not Kind.CACHE}
    assert {one.path for one in caught.value.outcomes} == paths
    assert "it was removed" not in full.problems()
    assert {"removed", "restored"} >= {one.what for one in full.undo()}
    assert before == full.picture()


def test_what_can_not_be_renewed_is_known_as_it_was(full: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    before = full.picture()
    full.install()
    once = full.picture()
    full.launcher = str(full.program("newer"))
    put = placing.put

    def fail(directory: int, name: str, content: bytes, mode: int) -> None:
        if name != written.NAME:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        put(directory, name, content, mode)

    with monkeypatch.context() as patch:
        patch.setattr(placing, "put", fail)
        with pytest.raises(installing.HalfDone) as caught:
            full.install()
    assert () == caught.value.outcomes
    assert {path: kept[:1] for path, kept in once.items()} == {p: k[:1] for p, k in full.picture().items()}
    assert {"it would be written otherwise today"} == set(full.problems())
    full.undo()
    (full.programs / "newer").unlink()
    assert before == full.picture()


def test_what_is_gone_already_is_not_said_to_be_removed(full: Desk) -> None:
    full.install()
    gone = full.data / "applications/org.example.Tool.desktop"
    gone.unlink()
    assert "absent" == {one.path: one.what for one in full.undo()}[str(gone)]


def test_undoing_needs_no_room(full: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    before = full.picture()
    full.install()

    def fail(*_words: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(placing, "put", fail)
        full.undo()
    assert before == full.picture()
    assert [] == list((full.home / ".local/state/sandboxer/desktop").iterdir())


def test_what_is_undone_in_part_on_a_full_disk_stays_in_the_list_and_can_be_undone_again(
    full: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = full.picture()
    full.install()

    def fail(*_words: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, full.at_work() as (_, hand):
        patch.setattr(placing, "put", fail)
        some = [item for item in hand.ledger.items if item.kind is not Kind.CACHE][:3]
        outcomes = installing.undo(some, hand)
        assert any("until there is room" in text for text in hand.complaints)
    assert {"removed", "restored"} >= {one.what for one in outcomes}
    again = {one.path: one.what for one in full.undo()}
    assert {"absent", "unchanged"} >= {again[item.path] for item in some}
    assert before == full.picture()

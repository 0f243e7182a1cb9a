"""Where plans are kept, under which names, and who may have made the directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from unit_plans import PLAN

from sandboxer.errors import LaunchError
from sandboxer.plan import cache
from sandboxer.plan.ops import PlanFlag
from sandboxer.words import changed

UID = os.getuid()


def private(path: Path) -> Path:
    path.mkdir(mode=0o700)
    return path


def test_fnv_1a_gives_the_values_of_its_specification() -> None:
    for text, value in (
        (b"", 0xCBF29CE484222325),
        (b"a", 0xAF63DC4C8601EC8C),
        (b"foobar", 0x85944171F73967E8),
    ):
        assert value == cache.fnv1a(text, cache.FNV_OFFSET)


def test_a_name_is_the_hash_of_the_words_each_with_its_nul() -> None:
    anywhere, here = cache.file_names(("app", "firefox"), "/home/ann")
    start = cache.fnv1a(b"app\0firefox\0", cache.FNV_OFFSET)
    there = cache.fnv1a(b"app\0firefox\0/home/ann\0", cache.FNV_OFFSET)
    assert (f"{start:016x}.plan", f"{there:016x}.d.plan") == (anywhere, here)
    assert cache.file_names(("ap", "pfirefox"), None)[0] != anywhere


def test_the_runtime_directory_is_taken_when_it_is_private(tmp_path: Path) -> None:
    runtime = private(tmp_path / "run")
    found = cache.directory(str(runtime), str(tmp_path / "cache"), UID)
    assert str(runtime / "sandboxer" / "plans") == found
    assert 0o700 == os.stat(found).st_mode & 0o777


@pytest.mark.parametrize("spoil", ["mode", "link", "missing", "unset"])
def test_without_a_private_runtime_directory_the_cache_is_taken(tmp_path: Path, spoil: str) -> None:
    runtime: str | None = str(private(tmp_path / "run"))
    if spoil == "mode":
        os.chmod(tmp_path / "run", 0o755)
    elif spoil == "link":
        os.symlink(tmp_path / "run", tmp_path / "link")
        runtime = str(tmp_path / "link")
    else:
        runtime = None if spoil == "unset" else str(tmp_path / "no")
    assert str(tmp_path / "cache/sandboxer/plans") == cache.directory(runtime, str(tmp_path / "cache"), UID)


@pytest.mark.parametrize(
    ("level", "mode"), [("sandboxer", 0o777), ("sandboxer", 0o720), ("sandboxer/plans", 0o755)]
)
def test_a_directory_that_others_can_change_or_read_is_refused(tmp_path: Path, level: str, mode: int) -> None:
    runtime = private(tmp_path / "run")
    cache.directory(str(runtime), "/nowhere", UID)
    os.chmod(runtime / level, mode)
    with pytest.raises(LaunchError, match="can't be trusted"):
        cache.directory(str(runtime), "/nowhere", UID)


def test_a_directory_of_somebody_else_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="can't be trusted"):
        cache.directory(None, str(tmp_path), UID + 1)


def test_a_link_in_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    runtime = private(tmp_path / "run")
    (runtime / "sandboxer").symlink_to(private(tmp_path / "elsewhere"))
    with pytest.raises(LaunchError):
        cache.directory(str(runtime), "/nowhere", UID)


def test_a_plan_is_stored_whole_for_its_owner_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = cache.store(PLAN, b"image", str(tmp_path), "/home/ann")
    assert (b"image", 0o600) == (Path(path).read_bytes(), os.stat(path).st_mode & 0o777)
    assert [os.path.basename(path)] == os.listdir(tmp_path)


def test_a_plan_for_one_directory_replaces_the_one_for_all_and_the_other_way_round(tmp_path: Path) -> None:
    by_directory = changed(PLAN, flags=PlanFlag.BY_DIRECTORY)
    for plan in (PLAN, by_directory, PLAN):
        path = cache.store(plan, b"image", str(tmp_path), "/home/ann")
        assert [os.path.basename(path)] == os.listdir(tmp_path)


def test_a_link_in_place_of_a_plan_is_replaced_not_followed(tmp_path: Path) -> None:
    plans, target = private(tmp_path / "plans"), tmp_path / "target"
    target.write_bytes(b"mine")
    name, _ = cache.file_names(PLAN.request, None)
    (plans / name).symlink_to(target)
    cache.store(PLAN, b"image", str(plans), None)
    assert b"mine" == target.read_bytes()
    assert not (plans / name).is_symlink()


def test_old_plans_make_room(tmp_path: Path) -> None:
    for number in range(cache.PLANS_MAX + 5):
        (tmp_path / f"{number:016x}.plan").write_bytes(b"")
        os.utime(tmp_path / f"{number:016x}.plan", (number, number))
    path = cache.store(PLAN, b"image", str(tmp_path), None)
    left = os.listdir(tmp_path)
    assert cache.PLANS_MAX == len(left)
    assert os.path.basename(path) in left
    assert f"{0:016x}.plan" not in left


def test_no_room_is_one_clear_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_fd: int, _mode: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(LaunchError, match="cannot store the plan") as caught:
        cache.store(PLAN, b"image", str(tmp_path), None)
    assert "No space left" in caught.value.subject
    assert caught.value.hint
    assert [] == os.listdir(tmp_path)

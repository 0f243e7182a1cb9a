"""Where a unit and its drop-ins are."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandboxer.desktop.units.files import checked_name, find
from sandboxer.errors import ResolveError, UsageError


def put(path: Path, text: str = "[Service]\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def places(tmp_path: Path) -> tuple[str, str]:
    for name in ("own", "system"):
        (tmp_path / name).mkdir()
    return str(tmp_path / "own"), str(tmp_path / "system")


def test_the_first_directory_has_the_say_and_drop_ins_are_ordered_by_name(
    tmp_path: Path, places: tuple[str, str]
) -> None:
    put(tmp_path / "system/a-b.service", "system")
    put(tmp_path / "own/a-b.service", "own")
    for name in (
        "own/a-b.service.d/20",
        "system/a-b.service.d/10",
        "system/a-b.service.d/20",
        "own/service.d/15",
    ):
        put(tmp_path / f"{name}.conf", name)
    put(tmp_path / "system/a-.service.d/30.conf", "prefix")
    put(tmp_path / "own/a-b.service.d/99-ours.conf")
    found = find("a-b.service", places, ("99-ours.conf",))
    assert "own" == found.fragment[1]
    assert ["system/a-b.service.d/10", "own/service.d/15", "own/a-b.service.d/20", "prefix"] == [
        text for _, text in found.drop_ins
    ]


def test_an_instance_has_its_own_drop_ins_and_the_templates(tmp_path: Path, places: tuple[str, str]) -> None:
    put(tmp_path / "system/a@.service", "template")
    put(tmp_path / "own/a@.service.d/10.conf", "all")
    put(tmp_path / "own/a@x.service.d/10.conf", "one")
    put(tmp_path / "own/a@.service.d/20.conf", "all")
    found = find("a@x.service", places)
    assert ("a@x.service", "template") == (found.name, found.fragment[1])
    assert ["one", "all"] == [text for _, text in found.drop_ins]


def test_an_alias_leads_to_the_unit_and_its_drop_ins_hold_too(
    tmp_path: Path, places: tuple[str, str]
) -> None:
    put(tmp_path / "system/real.service", "real")
    (tmp_path / "own/other.service").symlink_to(tmp_path / "system/real.service")
    put(tmp_path / "own/other.service.d/10.conf", "of the alias")
    found = find("other.service", places)
    assert ("real.service", "real") == (found.name, found.fragment[1])
    assert ["of the alias"] == [text for _, text in found.drop_ins]


def test_a_drop_in_that_is_masked_does_not_hold(tmp_path: Path, places: tuple[str, str]) -> None:
    put(tmp_path / "system/a.service")
    put(tmp_path / "system/a.service.d/10.conf", "no")
    (tmp_path / "own/a.service.d").mkdir()
    (tmp_path / "own/a.service.d/10.conf").symlink_to("/dev/null")
    assert () == find("a.service", places).drop_ins


def test_absent_and_masked_units_are_refused(tmp_path: Path, places: tuple[str, str]) -> None:
    with pytest.raises(ResolveError, match="no such user unit") as caught:
        find("a.service", places)
    assert ("a.service", "systemctl --user list-unit-files --type=service") == (
        caught.value.subject,
        caught.value.hint,
    )
    put(tmp_path / "system/syncthing.service")
    with pytest.raises(ResolveError) as caught:
        find("synching.service", places)
    assert "did you mean syncthing.service?" == caught.value.hint
    (tmp_path / "own/a.service").symlink_to("/dev/null")
    with pytest.raises(ResolveError, match="masked"):
        find("a.service", places)


@pytest.mark.parametrize("word", ["a/b", "../a", "a.socket", "", "a b"])
def test_what_is_no_services_name_is_refused(word: str) -> None:
    if word == "a.socket":
        assert "a.socket.service" == checked_name(word)
        return
    with pytest.raises(UsageError):
        checked_name(word)

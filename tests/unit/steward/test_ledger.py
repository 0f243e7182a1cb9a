"""The ledger keeps what was granted, on the disk, and believes nothing that a steward didn't write."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sandboxer.errors import StewardError
from sandboxer.steward.ledger import GRANTS_MAX, Grant, Ledger, now_ns
from sandboxer.words import changed


def grant(number: int, **more: object) -> Grant:
    made = Grant(
        number=number, kind="grant", source="/s\udcff", path="/p", write=False, device=False, mount=number
    )
    return changed(made, **more)


def test_a_steward_that_starts_anew_knows_all_that_was_granted(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.add(grant(1, deadline_ns=50, made=("/p",), covers=("/c",)))
    ledger.add(grant(2))
    ledger.remove(1)
    ledger.add(grant(3, deadline_ns=40))
    ledger.replace(grant(2, mount=9))
    again = Ledger(str(tmp_path))
    assert (grant(2, mount=9), grant(3, deadline_ns=40)) == again.grants
    assert (4, 40) == (again.next_number, again.next_deadline_ns())


def test_a_number_is_never_given_twice(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.add(grant(1))
    ledger.remove(1)
    assert 2 == Ledger(str(tmp_path)).next_number


def test_the_file_is_the_user_s_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    Ledger(str(tmp_path)).add(grant(1))
    (file,) = tmp_path.iterdir()
    assert ("grants", 0o600) == (file.name, stat.S_IMODE(file.stat().st_mode))


def test_what_could_be_written_once_is_remembered_after_it_was_taken_back(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    ledger.add(grant(1, source="/srv/a", write=True))
    ledger.add(grant(2, source="/srv/b"))
    ledger.add(grant(3, source="/srv/a/deep", write=True))
    ledger.add(grant(4, source="/dev/x", write=True, device=True))
    for number in range(1, 5):
        ledger.remove(number)
    ledger.note_presented((1, 2))
    again = Ledger(str(tmp_path))
    assert (("/srv/a",), (1, 2), ()) == (again.writable, again.presented_ns, again.grants)


def test_there_is_a_limit(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    for number in range(1, GRANTS_MAX + 1):
        ledger.add(grant(number))
    with pytest.raises(StewardError, match="so much"):
        ledger.add(grant(GRANTS_MAX + 1))
    assert GRANTS_MAX == len(Ledger(str(tmp_path)).grants)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"next":1,"grants":[{}]}',
        '{"next":"1","grants":[]}',
        '{"next":1,"grants":[],"x":0}',
        "\x00",
        "1" * 2_000_000,
    ],
)
def test_content_that_no_steward_writes_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "grants").write_text(content)
    (tmp_path / "grants").chmod(0o600)
    with pytest.raises(StewardError, match="cannot tell what was granted"):
        Ledger(str(tmp_path))


@pytest.mark.parametrize("what", ["a link", "a directory", "open to others"])
def test_a_file_that_no_steward_makes_is_an_error(tmp_path: Path, what: str) -> None:
    place = tmp_path / "grants"
    if what == "a link":
        (tmp_path / "other").write_text('{"next":1,"grants":[]}')
        place.symlink_to(tmp_path / "other")
    elif what == "a directory":
        place.mkdir()
    else:
        place.write_text('{"next":1,"grants":[]}')
        place.chmod(0o644)
    with pytest.raises(StewardError):
        Ledger(str(tmp_path))


def test_the_clock_goes_on(tmp_path: Path) -> None:
    assert 0 < now_ns() <= now_ns()

"""Lines of logs: whole ones, in their order, across rotations; what is no entry is left out."""

from __future__ import annotations

import json
from pathlib import Path
from time import tzset

import pytest

from sandboxer.cli import logs
from sandboxer.cli.log_lines import Entry, File, journal_entry
from sandboxer.cli.output import plain
from sandboxer.errors import StewardError
from sandboxer.steward.boxes import Box
from sandboxer.words import changed

NO_TIMES = [
    f'{{"time": "{time}", "path": "/"}}'
    for time in ("0001-01-01T00:00:00+23:59", "2026-01-01", "now", "2026-01-01T00:00:00.000Z\\n")
]
BOX = Box(id="a.7", app="a", monitor=7, started=1, directory="/d")


def line(number: int, **more: object) -> str:
    fields = {
        "time": f"2026-01-01T00:00:00.{number:03}Z",
        "box": "a.7",
        "request": "open",
        "path": f"/{number}",
    }
    return json.dumps(fields | {"verdict": "allowed"} | more) + "\n"


def told(entries: list[Entry]) -> list[str]:
    return [entry.fields["path"] for entry in entries]


def test_what_comes_later_is_read_from_where_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    file = File(str(path), "broker")
    assert [] == list(file.all())
    path.write_text(line(1) + line(2)[:20])
    assert ["/1"] == told(list(file.more()))
    with path.open("a") as more:
        more.write(line(2)[20:] + line(3))
    assert ["/2", "/3"] == told(list(file.more()))
    assert [] == list(file.more())


def test_a_rotation_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(line(1))
    file = File(str(path), "broker")
    assert ["/1"] == told(list(file.all()))
    with path.open("a") as more:
        more.write(line(2))
    path.rename(tmp_path / "a.log.1")
    path.write_text(line(3))
    assert ["/2", "/3"] == told(list(file.more()))
    assert ["/1", "/2", "/3"] == told(list(File(str(path), "broker").all()))


@pytest.mark.parametrize("bad", ["", "{", "[]", "7", '{"time": 3}', "[" * 100000, "\x00\xff", *NO_TIMES])
def test_what_is_no_entry_is_left_out(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "a.log"
    path.write_text(f"{line(1)}{bad}\n{line(2)}")
    assert ["/1", "/2"] == told(list(File(str(path), "broker").all()))


def test_what_an_entry_says_is_shown_harmlessly(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(line(1, path="/\x1b[2J\n\udc80", verdict="denied", error="EACCES", rule="broker.read"))
    (entry,) = File(str(path), "broker").all()
    page = plain(logs.page([entry]))
    assert entry.is_refusal
    assert page.endswith(r"a.7 broker: open /\x1b[2J\x0a\x80: denied (EACCES; broker.read)" + "\n")


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ("grant", "grant /x"),
        ("tell", "second start: /x"),
        ("end", "end of the grant of /x"),
        ([], "? /x"),
    ],
)
def test_what_was_done_from_outside_is_told_in_plain_words(
    tmp_path: Path, request_: object, told: str
) -> None:
    path = tmp_path / "a.log"
    path.write_text(line(1, request=request_, path="/x"))
    assert plain(logs.page(list(File(str(path), "steward").all()))).endswith(f"outside: {told}: allowed\n")


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z", "2026-99-99T00:00:00.000Z"]
)
def test_a_time_that_nobody_has_seen_is_shown_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, time: str
) -> None:
    (tmp_path / "a.log").write_text(line(1, time=time))
    for zone in ("Etc/GMT+12", "Etc/GMT-14"):
        monkeypatch.setenv("TZ", zone)
        tzset()
        assert "a.7 broker: open /1" in plain(logs.page(list(File(str(tmp_path / "a.log"), "broker").all())))
    monkeypatch.undo()
    tzset()


def test_an_entry_of_the_journal_may_be_text_or_bytes() -> None:
    content = {"__REALTIME_TIMESTAMP": "1767225600123456", "PRIORITY": "3", "MESSAGE": [104, 105, 255]}
    (entry,) = journal_entry(json.dumps(content).encode(), "a.7")
    assert ("2026-01-01T00:00:00.123Z", "hi�", True) == (entry.time, entry.text, entry.is_refusal)
    for bad in (b"", b"{}", b"[]", b'{"__REALTIME_TIMESTAMP": "x"}', b'{"__REALTIME_TIMESTAMP": "9e99"}'):
        assert [] == list(journal_entry(bad, "a.7"))


def test_a_word_means_a_box_an_application_or_one_that_has_ended(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "b.log").touch()
    places = (str(tmp_path),)
    for word, app, box in (
        ("a.7", "a", "a.7"),
        ("7", "a", "a.7"),
        ("a", "a", ""),
        ("b", "b", ""),
        ("b.9", "b", "b.9"),
    ):
        found = logs.meant(word, [BOX], places)
        assert (app, box) == (found.app, found.box)
    for word in ("", "c", "../b", "b/../b", "c.9", ".", "b.x"):
        with pytest.raises(StewardError) as raised:
            logs.meant(word, [BOX], places)
        assert str(tmp_path) not in raised.value.subject
        assert "sandbox ps" in raised.value.hint


def test_what_was_said_before_a_box_began_is_not_of_it() -> None:
    subject = logs.Subject(app="a", box="a.7", running=(changed(BOX, started=1_767_225_600),))
    assert "2026-01-01T00:00:00.000Z" == logs._began(subject)
    assert "" == logs._began(logs.Subject(app="a", box="a.7", running=()))

"""The broker's log."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandboxer.broker import log as module
from sandboxer.broker import protocol
from sandboxer.broker.log import Log, quoted, request_name


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(os.fsencode(tmp_path / "log"), "app", "app.12")


def lines(directory: Path, name: str = "app.log") -> list[dict[str, object]]:
    return [json.loads(line) for line in (directory / "log/app" / name).read_text("utf-8").splitlines()]


def test_a_line_says_everything(log: Log, tmp_path: Path) -> None:
    flags = protocol.READ | protocol.CREATE
    log.write(7, "open", b"/d/x", "denied", to=b"/d/y", flags=flags, error=errno.EACCES, rule="p.toml:3 broker.read")
    (line,) = lines(tmp_path)
    time = line.pop("time")
    assert isinstance(time, str)
    assert (24, "T", ".", "Z") == (len(time), time[10], time[19], time[23])
    assert {
        "box": "app.12",
        "app": "app",
        "pid": 7,
        "request": "open",
        "path": "/d/x",
        "to": "/d/y",
        "flags": ["read", "create"],
        "verdict": "denied",
        "error": "EACCES",
        "rule": "p.toml:3 broker.read",
    } == line


def test_what_there_is_not_is_left_out(log: Log, tmp_path: Path) -> None:
    log.write(7, "stat", b"/d", "allowed")
    (line,) = lines(tmp_path)
    assert {"time", "box", "app", "pid", "request", "path", "verdict", "rule"} == set(line)


def test_directory_and_file_are_closed_to_others(log: Log, tmp_path: Path) -> None:
    modes = [stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("log", "log/app", "log/app/app.log")]
    assert [0o700, 0o700, 0o600] == modes


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(path=st.binary(min_size=1, max_size=60))
def test_no_name_ends_or_forges_a_line(log: Log, tmp_path: Path, path: bytes) -> None:
    (tmp_path / "log/app/app.log").write_bytes(b"")
    log.write(7, "open", path, "allowed", rule=path.decode("utf-8", "surrogateescape"))
    content = (tmp_path / "log/app/app.log").read_bytes()
    assert content.count(b"\n") == 1
    (line,) = lines(tmp_path)
    assert path.decode("utf-8", "surrogateescape") == line["path"] == line["rule"]


@given(st.text())
def test_quoting_is_jsons(text: str) -> None:
    assert text == json.loads(quoted(text))


def test_a_full_file_is_kept_once(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIZE_MAX", 4000)
    for number in range(100):
        log.write(number, "open", b"/d/x", "allowed")
    old, new = lines(tmp_path, "app.log.1"), lines(tmp_path)
    assert 99 == new[-1]["pid"]
    assert [*range(int(str(old[0]["pid"])), 100)] == [line["pid"] for line in [*old, *new]]
    assert all(path.stat().st_size <= 4000 for path in (tmp_path / "log/app").iterdir())
    assert {"app.log", "app.log.1"} == {path.name for path in (tmp_path / "log/app").iterdir()}


def test_two_boxes_share_a_file_and_its_rotation(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SIZE_MAX", 40_000)
    monkeypatch.setattr(module, "CHECK_EVERY", 8)
    other = Log(os.fsencode(tmp_path / "log"), "app", "app.13")
    for number in range(400):
        log.write(number, "open", b"/d/x", "allowed")
        other.write(number, "open", b"/d/x", "allowed")
    boxes = {line["box"] for line in lines(tmp_path)[-4:]}
    assert {"app.12", "app.13"} == boxes
    assert all(path.stat().st_size <= 44_000 for path in (tmp_path / "log/app").iterdir())


def test_a_log_that_is_taken_away_is_made_anew(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_EVERY", 2)
    (tmp_path / "log/app/app.log").unlink()
    for number in range(4):
        log.write(number, "open", b"/d/x", "allowed")
    assert 3 == lines(tmp_path)[-1]["pid"]


def test_a_line_that_cannot_be_written_is_an_error(log: Log) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match=r"File too large|No space"):
            log.write(1, "open", b"/d/" + b"x" * 200, "allowed")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(OSError, match="open to others"):
        Log(os.fsencode(tmp_path / "open"), "app", "app.1")


def test_a_link_in_the_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "log/app").mkdir(mode=0o700, parents=True)
    (tmp_path / "log/app/app.log").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        Log(os.fsencode(tmp_path / "log"), "app", "app.1")
    assert not (tmp_path / "victim").exists()


def test_an_unknown_command_is_named_by_its_number() -> None:
    assert ("open", "99") == (request_name(protocol.OPEN), request_name(99))

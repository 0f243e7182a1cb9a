"""What a steward notes, in lines that nothing which it is told can forge."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from sandboxer.errors import StewardError
from sandboxer.host.session import Session
from sandboxer.steward import control, journal
from sandboxer.steward.control import Exec, Executed, Listed, Listing, Look, Looked, Open, Opened, Tell, Told
from sandboxer.steward.journal import Journal
from sandboxer.steward.ledger import Grant


def lines(place: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (place / "app" / "app.log").read_text().splitlines()]


def test_what_is_done_is_noted_and_what_is_looked_at_isn_t(tmp_path: Path) -> None:
    noted = Journal(str(tmp_path / "log"), "app", "app.7")
    noted.asked(Look(), Looked(app="app", request=("app", "app"), documents=False), 9)
    noted.asked(Listing(), Listed(grants=(), policy=()), 9)
    assert not (tmp_path / "log").exists()
    noted.asked(Exec(words=("ls", "-l")), Executed(pid=3), 9)
    noted.asked(Tell(words=("/x",)), Told(pid=4), 9)
    noted.asked(Open(words=("/a\n{}",)), Opened(words=("/b",)), 9)
    noted.asked(Exec(words=("ls",)), control.refusal(StewardError("no", subject="why")), 9)
    noted.presented("text/html", "/tmp/x", 2)
    found = lines(tmp_path / "log")
    assert ["exec", "tell", "open", "exec", "present"] == [line["request"] for line in found]
    assert ["allowed", "allowed", "allowed", "denied", "failed"] == [line["verdict"] for line in found]
    assert {("app.7", "app")} == {(line["box"], line["app"]) for line in found}
    assert ("/a\n{}", "no: why") == (found[2]["path"], found[3]["why"])
    assert 0o600 == stat.S_IMODE((tmp_path / "log" / "app" / "app.log").stat().st_mode)


def test_the_end_of_a_grant_is_noted(tmp_path: Path) -> None:
    grant = Grant(number=2, kind="grant", source="/s", path="/p", write=False, device=False, mount=1)
    Journal(str(tmp_path), "app", "app.7").ended(grant)
    (found,) = lines(tmp_path)
    assert ("end", "/s", "grant 2", 0) == (found["request"], found["path"], found["why"], found["pid"])


def test_a_log_that_cannot_be_written_is_complained_of_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app").touch()
    noted = Journal(str(tmp_path), "app", "app.7")
    for _ in range(3):
        noted.asked(Exec(words=("ls",)), Executed(pid=3), 9)
    assert 1 == capsys.readouterr().err.count("cannot note what is done to app")


@pytest.mark.parametrize("app", ["", "../x", ".hidden", "a/b"])
def test_a_name_that_could_be_another_place_has_no_log(tmp_path: Path, app: str) -> None:
    Journal(str(tmp_path / "log"), app, "b").asked(Exec(words=("ls",)), Executed(pid=3), 9)
    assert not (tmp_path / "log").exists()


def test_logs_are_in_the_state_home() -> None:
    assert "/s/sandboxer/steward" == journal.directory_of(Session({"XDG_STATE_HOME": "/s"}, "/c"))
    for environment in ({"HOME": "/h"}, {"HOME": "/h", "XDG_STATE_HOME": "relative"}):
        assert "/h/.local/state/sandboxer/steward" == journal.directory_of(Session(environment, "/c"))

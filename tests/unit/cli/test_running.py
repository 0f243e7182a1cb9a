"""Words of the verbs for running boxes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest
from machines import effective, machine

from sandboxer.cli import grant, grants, kill, revoke, running
from sandboxer.cli.open import tells, understood
from sandboxer.cli.output import plain
from sandboxer.errors import UsageError
from sandboxer.policy.model import Bus, Policy
from sandboxer.steward.boxes import Box
from sandboxer.steward.control import Added, Listed, PolicyGrant, Revoked
from sandboxer.steward.holders import Holder
from sandboxer.steward.ledger import Grant
from sandboxer.words import changed

GRANT = Grant(
    number=3, kind="grant", source="/home/ann/x", path="/home/ann/x", write=False, device=False, mount=9
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172800), ("1d1h1m1s", 90061), ("05m", 300)],
)
def test_a_time_is_numbers_with_units(text: str, seconds: int) -> None:
    assert seconds == running.duration(text)


@pytest.mark.parametrize(
    "text", ["", "10", "m", "0s", "1.5h", "-1m", "1m1h", "1 m", "\u0661m", "1w", "9999999s9"]
)
def test_any_other_text_is_no_time(text: str) -> None:
    with pytest.raises(UsageError):
        running.duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "1 second"),
        (600, "10 minutes"),
        (5400, "1 hour 30 minutes"),
        (90061, "1 day 1 hour"),
        (0, "less than a second"),
    ],
)
def test_a_time_is_told_in_words(seconds: int, text: str) -> None:
    assert text == running.told(seconds)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("x", ("x", False)),
        ("x:ro", ("x", False)),
        ("x:rw", ("x", True)),
        ("a:b", ("a:b", False)),
        ("x:ro:rw", ("x:ro", True)),
        (":rw", (":rw", False)),
    ],
)
def test_what_follows_the_last_colon_says_whether_it_is_writable(
    word: str, expected: tuple[str, bool]
) -> None:
    assert expected == running.split_mode(word)


def test_words_of_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mailto:x").touch()
    assert (f"{tmp_path}/a b", False) == (understood("a b").path, understood("a b").is_uri)
    assert "/x/../y" == understood("/x/../y").path
    for word in ("a/b:c", "./b:c", "a.b:c", "a", "/a:b"):
        assert os.path.join(os.getcwd(), word) == understood(word).path, word
    assert ("", "https://example.org/") == (
        understood("https://example.org/").path,
        understood("https://example.org/").text,
    )
    assert f"{tmp_path}/mailto:x" == understood("mailto:x").path
    uri = understood("FILE:///a%20b/%C3%A4?q#f")
    assert ("/a b/ä", "?q#f") == (uri.path, uri.rest)
    assert "file:///in%20side/%C3%A4?q#f" == uri.inside("/in side/ä")
    assert "/p q" == understood("x").inside("/p q")


@pytest.mark.parametrize("text", ["file://elsewhere/x", "file:x", "file://", "file:///a%zz"])
def test_a_uri_of_no_file_here_is_an_error(text: str) -> None:
    with pytest.raises(UsageError):
        understood(text)


def test_a_grant_is_told_in_a_sentence() -> None:
    added = Added(grant=GRANT, instead="", covered=False, meaning="", seconds=None)
    assert "firefox can read /home/ann/x until it ends  [grant 3]\n" == plain(grant.page("firefox", added))
    moved = changed(GRANT, path="/run/grants/3/x", write=True, covers=("/home/ann/x/y",))
    told = plain(grant.page("a", Added(grant=moved, instead="why", covered=True, meaning="", seconds=60)))
    assert "a can read and change /home/ann/x for 1 minute  [grant 3]\n" in told
    assert "  in the box it is /run/grants/3/x: why\n" in told
    assert "covered until then" in told
    assert "covered in it: /home/ann/x/y" in told
    node = changed(GRANT, source="/dev/video0", path="/dev/video0", device=True)
    told = plain(
        grant.page("a", Added(grant=node, instead="", covered=False, meaning="the camera", seconds=None))
    )
    assert "a has /dev/video0 until it ends: the camera" in told


def test_what_is_held_after_a_revoke_is_told() -> None:
    kinds = ("file", "memory", "directory", "namespace")
    held = tuple(Holder(pid=7, program="p\x1b", path="/x", how=how) for how in kinds)
    told = plain(revoke.page("a", Revoked(grants=(GRANT,), holders=held, dropped=(), closed=True)))
    assert "a has lost /home/ann/x  [grant 3]" in told
    assert r"p\x1b (7) holds /x: open, and of use until it closes it" in told
    assert "see the names in it and connect to sockets in it, and open nothing" in told
    told = plain(revoke.page("a", Revoked(grants=(GRANT,), holders=held, dropped=(GRANT,), closed=False)))
    assert "can still open what is in it" in told
    assert "with it went /home/ann/x" in told
    assert "Nothing was granted" in plain(
        revoke.page("a", Revoked(grants=(), holders=(), dropped=(), closed=True))
    )


def test_the_list_is_a_page_and_values() -> None:
    of_policy = PolicyGrant(
        path="/p", source="/s", write=True, device=False, origin="apps/a.toml:3 files.write"
    )
    listed = Listed(
        grants=((GRANT, 59), (changed(GRANT, number=4, kind="document"), None)), policy=(of_policy,)
    )
    page = plain(grants.page("a", listed))
    assert "in 59 seconds" in page
    assert "with the box" in page
    assert ["PATH", "MAY", "SAYS"] in [text.split() for text in page.splitlines()]
    assert "/p → /s  read, change  [apps/a.toml:3 files.write]" in page
    assert "(a document)" in page
    values = grants.facts("a.1", "a", listed)
    assert "a.1" == values["box"]
    assert [3, 4] == [one["number"] for one in values["grants"]]  # type: ignore[attr-defined] # plain values
    assert "nothing; to change that: sandbox grant a PATH" in plain(
        grants.page("a", Listed(grants=(), policy=()))
    )


def test_only_what_has_a_policy_is_said_to_be_startable() -> None:
    assert ("start it: sandbox firefox", "") == (running.start_hint("firefox"), running.start_hint("nosuch"))


@pytest.mark.parametrize("word", ["592", "7"])
def test_who_names_one_process_does_not_end_the_box(word: str) -> None:
    box = Box(id="a.7", app="a", monitor=7, started=1, directory="/")
    if word == "7":
        kill._require_whole(word, box)
        return
    with pytest.raises(UsageError, match=r"592 is a process of a\.7"):
        kill._require_whole(word, box)


@pytest.mark.parametrize(
    ("second", "private", "installed", "told"),
    [
        (True, "if-present", True, True),
        (True, "if-present", False, False),
        (True, False, False, True),
        (False, "if-present", True, False),
    ],
)
def test_an_application_is_told_by_its_second_start_where_that_reaches_the_first(
    second: bool, private: Literal["if-present", False], installed: bool, told: bool
) -> None:
    policy = Policy(second_instance=second, bus=Bus(private=private))
    host = machine({"/usr/bin/dbus-daemon": ""}) if installed else machine()
    assert told is tells(effective(policy), host)

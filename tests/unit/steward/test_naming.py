"""Words of the command line that mean a running box, and services that are one."""

from __future__ import annotations

import pytest

from sandboxer.errors import StewardError
from sandboxer.host import manager
from sandboxer.steward import descendants, naming, processes, services
from sandboxer.steward.boxes import Box

MANAGER = "/user.slice/user-1000.slice/user@1000.service"


def box(app: str, pid: int) -> Box:
    return Box(id=f"{app}.{pid}", app=app, monitor=pid, started=pid, directory="/")


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The manager 100 has started 11 and 12 as services, and a terminal, 30; its shell, 31, the launcher 13."""
    parents = {100: 1, 11: 100, 12: 100, 30: 100, 31: 30, 13: 31, 40: 11, 41: 40, 50: 13}
    groups = {
        100: f"{MANAGER}/init.scope",
        11: f"{MANAGER}/app.slice/web.service",
        12: f"{MANAGER}/app.slice/webn.service/sub",
        30: f"{MANAGER}/app.slice/terminal.service",
        31: f"{MANAGER}/app.slice/terminal.service",
        13: f"{MANAGER}/app.slice/terminal.service",
    }
    monkeypatch.setattr(processes, "parent", lambda pid: parents.get(pid, 0))
    monkeypatch.setattr(descendants, "parents", lambda: parents)
    monkeypatch.setattr(manager, "group_of", lambda pid: groups.get(pid, ""))


THERE = [box("network", 11), box("network", 12), box("gimp", 13)]


def test_a_service_is_a_launcher_that_the_manager_has_started() -> None:
    assert ["web.service", "webn.service", "", ""] == [services.service_of(pid) for pid in (11, 12, 13, 999)]


@pytest.mark.parametrize(
    ("word", "pid"),
    [
        ("network.12", 12),
        ("12", 12),
        ("gimp", 13),
        ("web.service", 11),
        ("web", 11),
        ("webn", 12),
        ("41", 11),
        ("50", 13),
    ],
)
def test_a_box_is_named_by_its_id_its_application_its_service_or_a_process(word: str, pid: int) -> None:
    assert pid == naming.named(word, THERE).monitor


@pytest.mark.parametrize("word", ["", "0", "31", "100", "9" * 400, "\u0661", "terminal.service", "nosuch"])
def test_any_other_word_means_none(word: str) -> None:
    assert () == naming.meant(word, THERE)


def test_several_boxes_of_an_application_are_listed() -> None:
    with pytest.raises(StewardError) as raised:
        naming.named("firefox", [box("firefox", number) for number in range(20)])
    assert "firefox runs 20 times" == raised.value.what
    assert "firefox.12, firefox.13, firefox.14, firefox.15, firefox.16" in raised.value.subject
    assert "and 12 older ones" in raised.value.subject


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("nosuch", "sandbox ps"),
        ("gmip", "did you mean gimp?"),
        ("webb.service", "did you mean web.service?"),
        ("gimp.14", "did you mean gimp.13?"),
        ("14", "sandbox ps"),
    ],
)
def test_no_box_is_an_error_that_tells_which_there_are_and_what_was_meant(word: str, hint: str) -> None:
    with pytest.raises(StewardError) as raised:
        naming.named(word, THERE)
    assert (f"{word}; there are: network.11, network.12, gimp.13", hint) == (
        raised.value.subject,
        raised.value.hint,
    )


def test_who_could_start_it_says_how() -> None:
    with pytest.raises(StewardError) as raised:
        naming.named("xterm", THERE, lambda: "start it: sandbox xterm")
    assert "start it: sandbox xterm" == raised.value.hint
    with pytest.raises(StewardError) as raised:
        naming.named("xterm", [])
    assert ("xterm; no box runs at all", "") == (raised.value.subject, raised.value.hint)

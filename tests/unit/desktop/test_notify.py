"""What an application is called whose start has failed: as the menu has it, where its wrapped entries agree."""

from __future__ import annotations

import pytest
from unit.desktop.conftest import Desk

from sandboxer.desktop import notify
from sandboxer.host.facts import Facts
from sandboxer.host.session import Session


def name_in_menus(desk: Desk) -> str:
    return notify.name_in_menus("tool", Facts(Session(desk.variables, str(desk.home / ".cache"))))


@pytest.fixture
def wrapped(desk: Desk) -> Desk:
    desk.entry("org.example.Tool.desktop", "Exec=tool %u", "Name[de]=Werkzeug", "Name[de_AT]=Zeug")
    desk.install()
    return desk


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "Tool"),
        ({"LANG": "de_DE.UTF-8"}, "Werkzeug"),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "de_AT@euro"}, "Zeug"),
        ({"LANG": "C.UTF-8"}, "Tool"),
    ],
)
def test_it_is_called_as_its_wrapped_entry_is_shown(
    wrapped: Desk, variables: dict[str, str], name: str
) -> None:
    wrapped.variables |= variables
    assert name == name_in_menus(wrapped)
    assert f"{name} could not be started" == notify.wording("tool", "", name).summary


def test_without_a_wrapped_entry_it_goes_by_its_own_name(desk: Desk) -> None:
    desk.entry("org.example.Tool.desktop", "Exec=tool %u")
    desk.entry("mine.desktop", "Exec=tool", base=desk.data / "applications")
    assert "" == name_in_menus(desk)
    assert "Tool could not be started" == notify.wording("tool", "").summary


def test_entries_of_different_names_tell_nothing_and_hidden_ones_dont_count(wrapped: Desk) -> None:
    own = wrapped.data / "applications"
    wrapped.entry("hidden.desktop", "Name=Other", "NoDisplay=true", "X-Sandboxer-Policy=tool", base=own)
    assert "Tool" == name_in_menus(wrapped)
    wrapped.entry("second.desktop", "Name=Other", "X-Sandboxer-Policy=tool", base=own)
    assert "" == name_in_menus(wrapped)


def test_nothing_of_a_name_is_a_control_character_or_without_an_end() -> None:
    summary = notify.wording("tool", "", "\x1b]0;x\x07" * 100).summary
    assert summary.isprintable()
    assert len(summary) <= 100

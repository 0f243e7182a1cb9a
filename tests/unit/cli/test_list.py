"""`sandbox list`: the applications, whether they are installed, and how open their boxes are."""

from __future__ import annotations

import machines
from fakes import FakeHost

from sandboxer.cli.list import Entry, entries, facts, page
from sandboxer.cli.output import plain
from sandboxer.cli.survey import Anywhere
from sandboxer.host.session import Session
from sandboxer.plan.ops import StampKind

OWN = "/home/ann/.config/sandboxer"


def entry(host: FakeHost, name: str) -> Entry:
    return {found.name: found for found in entries(host)}[name]


def test_every_application_with_a_policy_is_there_by_name() -> None:
    host = machines.x11({f"{OWN}/apps/zzz.toml": "", f"{OWN}/apps/aaa.d/10.toml": ""})
    names = [found.name for found in entries(host)]
    assert sorted(names) == names
    assert {"aaa", "firefox", "zzz"} <= set(names)


def test_an_installed_program_is_told_by_its_path() -> None:
    assert "/usr/bin/firefox-esr" == entry(machines.x11(), "firefox").program
    assert "" == entry(machines.x11(), "ffmpeg").program


def test_holes_are_told_by_topic() -> None:
    assert {"display", "network", "sound", "system calls"} == set(entry(machines.x11(), "firefox").holes)
    assert "display" not in entry(machines.wayland(), "firefox").holes
    assert () == entry(machines.x11(), "ffmpeg").holes


def test_layers_that_have_a_say_are_named() -> None:
    host = machines.x11(
        {f"{OWN}/apps/firefox.toml": "lingers = true\n", "/etc/sandboxer/apps/xterm.toml": "lingers = true\n"}
    )
    assert ("shipped", "~/.config/sandboxer") == entry(host, "firefox").layers
    assert ("shipped", "/etc/sandboxer") == entry(host, "xterm").layers


def test_a_policy_of_the_users_own_is_not_called_shipped() -> None:
    host = machines.x11({f"{OWN}/apps/mupdf.toml": 'extends = ["gui"]\n'})
    assert ("~/.config/sandboxer",) == entry(host, "mupdf").layers
    assert ("shipped",) == entry(host, "firefox").layers


def test_a_set_of_the_users_has_a_say_in_what_extends_it() -> None:
    host = machines.x11({f"{OWN}/sets/gui.toml": "[look]\nthemes = false\n"})
    assert ("shipped", "~/.config/sandboxer") == entry(host, "firefox").layers


def test_a_broken_policy_spoils_its_own_line_alone() -> None:
    host = machines.x11({f"{OWN}/apps/firefox.toml": "nonsense = 1\n"})
    assert "see sandbox check" in entry(host, "firefox").fault
    (line,) = [text for text in plain(page(entries(host))).splitlines() if text.startswith("firefox ")]
    assert ["firefox", "?", "?"] == line.split()[:3]
    assert facts(entry(host, "firefox"))["program"] is None
    assert ("shipped", "~/.config/sandboxer") == entry(host, "firefox").layers
    assert "" == entry(host, "firefox-esr").fault


def test_where_there_is_no_display_the_rest_is_told() -> None:
    found = entry(machines.machine(), "firefox")
    assert "there is no display for the application" == found.fault
    assert "/usr/bin/firefox-esr" == found.program
    assert "network" in found.holes


def test_the_working_directory_has_no_bearing_on_the_list() -> None:
    here = Anywhere(Session({}, "/nonexistent"))
    assert "/" == here.working_directory
    assert not [stamp for stamp in here.stamps() if stamp.kind is StampKind.DIRECTORY]


def test_the_table_has_a_row_for_each() -> None:
    lines = plain(page(entries(machines.x11()))).splitlines()
    assert ["APPLICATION", "INSTALLED", "HOLES", "POLICY", "WHAT", "IT", "IS"] == lines[0].split()
    assert 1 == sum(text.startswith("firefox ") for text in lines)


def test_no_policies_at_all_is_said_in_words() -> None:
    assert "No application has a policy.\n" == plain(page([]))

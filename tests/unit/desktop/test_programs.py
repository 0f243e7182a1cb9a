"""Which entries belong to which policy."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.desktop.conftest import Desk

from sandboxer.desktop.wrappers import programs
from sandboxer.desktop.wrappers.programs import Candidate

NO_WINDOWS = 'command = ["{command}"]\n'


def policies(desk: Desk, chosen: tuple[str, ...] | None = None) -> dict[str, str]:
    """Entry → policy, as they were wrapped."""
    return {Path(one.path).name: one.policy for one in desk.install(chosen)}


@pytest.mark.parametrize(
    "line",
    [
        "Exec=tool %U",
        "Exec=BIN/tool",
        "Exec=env A=b tool",
        "Exec=/usr/bin/env -u A BIN/tool -x",
        "Exec=BIN/link",
    ],
)
def test_an_entry_belongs_to_the_policy_of_its_program(desk: Desk, line: str) -> None:
    (desk.programs / "link").symlink_to("tool")
    desk.entry("some.desktop", line.replace("BIN", str(desk.programs)))
    assert {"some.desktop": "tool"} == policies(desk)


def test_a_link_of_the_programs_own_name_elsewhere_is_the_program(desk: Desk) -> None:
    (desk.programs / "alternative").symlink_to(desk.programs / "tool")
    candidate = Candidate(
        name="tool", commands=("alternative",), program=str(desk.programs / "alternative"), shows_windows=True
    )
    assert programs.is_program_of(str(desk.programs / "tool"), candidate)


def test_another_name_of_a_program_that_stands_for_many_is_another_program(desk: Desk) -> None:
    many = desk.program("many")
    desk.policy("one", str(desk.programs / "one"))
    for name in ("one", "two"):
        (desk.programs / name).symlink_to(many)
        desk.entry(f"{name}x.desktop", f"Exec={name}")
    assert {"onex.desktop": "one"} == policies(desk)


@pytest.mark.parametrize("name", ["tool.desktop", "org.example.Tool.desktop"])
def test_an_entry_of_the_policys_name_belongs_to_it_whatever_it_starts(desk: Desk, name: str) -> None:
    desk.program("script")
    path = desk.entry(name, "Exec=script --tool %f")
    assert {name: "tool"} == policies(desk)
    text = (desk.data / "applications" / path.name).read_text()
    assert f"Exec={desk.launcher} --from-menu run --policy tool -- {desk.programs}/script --tool %f\n" in text


def test_of_several_policies_the_one_of_the_entrys_name_goes_first(desk: Desk) -> None:
    desk.policy("another", str(desk.programs / "tool"))
    desk.policy("tool-esr", str(desk.programs / "tool"))
    desk.entry("tool-esr.desktop", "Exec=tool")
    desk.entry("x.desktop", "Exec=tool")
    assert {"tool-esr.desktop": "tool-esr", "x.desktop": "tool"} == policies(desk)
    assert {"tool-esr.desktop": "another", "x.desktop": "another"} == policies(desk, ("another",))
    assert {"tool-esr.desktop": "another", "x.desktop": "another"} == policies(desk)


def test_a_policy_that_shows_no_windows_takes_no_entry_that_has_some(desk: Desk) -> None:
    desk.program("python")
    desk.policy("python", str(desk.programs / "python"), NO_WINDOWS)
    desk.entry("game.desktop", "Exec=python /usr/share/game.py")
    desk.entry("shell.desktop", "Exec=python", "Terminal=true")
    assert {"game.desktop": "it has windows, and the policy python grants none"} == desk.left(None)
    assert {"shell.desktop": "python"} == policies(desk)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (("Exec=flatpak run org.example.Tool", "X-Flatpak=org.example.Tool"), "Flatpak starts it"),
        (("Exec=env A=b tool", "X-SnapInstanceName=tool"), "snapd starts it"),
        (("Exec=sandbox tool",), "it starts a box itself"),
        (("Exec=gone",), "its program isn't installed"),
        (('Exec=tool "',), "its command can't be understood: a quote isn't closed"),
        (("Exec=tool", "#" * 2**20), "it is larger than 1024 KiB"),
    ],
)
def test_what_is_not_ours_to_wrap_is_left_and_said(desk: Desk, lines: tuple[str, ...], why: str) -> None:
    desk.program("sandbox")
    desk.program("flatpak")
    desk.entry("tool.desktop", *lines)
    assert {} == policies(desk)
    assert desk.left()["tool.desktop"].startswith(why)


@pytest.mark.parametrize("line", ["Hidden=true", "Type=Link", "Type=Directory"])
def test_what_is_no_application_is_passed_over(desk: Desk, line: str) -> None:
    path = desk.entry("tool.desktop", "Exec=tool", line)
    path.write_text(
        path.read_text().replace("Type=Application\n", "") if "Type" in line else path.read_text()
    )
    assert ({}, {}) == (policies(desk), desk.left())


def test_entries_without_a_place_in_menus_and_in_directories_are_wrapped_too(desk: Desk) -> None:
    desk.entry("one.desktop", "Exec=tool", "NoDisplay=true")
    desk.entry("kde/two.desktop", "Exec=tool")
    desk.install()
    assert (desk.data / "applications/one.desktop").exists()
    assert (desk.data / "applications/kde/two.desktop").exists()


def test_our_own_shims_are_no_programs(desk: Desk) -> None:
    shim = desk.program("tool2")
    shim.write_bytes(b"#!/bin/sh\n" + programs.SHIM_MARK + b"\n")
    assert "" == programs.located("tool2", (str(desk.programs),))


def test_alternatives_that_lead_to_a_program_are_names_of_it(tmp_path: Path) -> None:
    """xdg-open without the package `file` starts x-www-browser, whatever the desktop entries say."""
    bin_directory, alternatives = tmp_path / "bin", tmp_path / "alternatives"
    bin_directory.mkdir()
    alternatives.mkdir()
    for name in ("browser", "other"):
        (bin_directory / name).write_text("#!/bin/sh\n")
        (bin_directory / name).chmod(0o755)
    for name, program in (("x-www-browser", "browser"), ("editor", "other"), ("not-in-path", "browser")):
        (alternatives / name).symlink_to(bin_directory / program)
    for name in ("x-www-browser", "editor"):
        (bin_directory / name).symlink_to(alternatives / name)
    found = programs.other_names(str(bin_directory / "browser"), (str(bin_directory),), str(alternatives))
    assert ["x-www-browser"] == found
    assert [] == programs.other_names(str(bin_directory / "browser"), (), str(tmp_path / "absent"))

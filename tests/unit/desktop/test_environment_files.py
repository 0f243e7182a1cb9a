"""Names of variables in environment files and in units."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandboxer.desktop.units.environment_files import names_in, variables
from sandboxer.desktop.units.specifiers import meanings
from sandboxer.desktop.units.text import merged

KNOWN = meanings("a@b-c.service", "ann", 1000, "/home/ann", {}, 252)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB = 2\n", ["A", "B"]),
        ("# A=1\n; B=2\n  C=3", ["C"]),
        ("# goes on \\\nA=1\nB=2\n", ["B"]),
        ("A='one\nB=2'\nC=3\n", ["A", "C"]),
        ('A="one\\"\nB=2"\nC=3\n', ["A", "C"]),
        ("A=one\\\nB=2\nC=3\n", ["A", "C"]),
        ("A=it's\nB=2\n", ["A", "B"]),
        ("A='x'\"y\nz\"\nB=2\n", ["A", "B"]),
        ("export A=1\nno assignment\nB=\n", ["export A", "B"]),
    ],
)
def test_names_are_found_as_systemd_finds_them(text: str, expected: list[str]) -> None:
    assert expected == list(names_in(text))


def test_a_units_variables_come_from_all_three_places(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("FILE=1\nexport BAD=1\nNOTIFY_SOCKET=/x\n")
    text = (
        f'[Service]\nEnvironment=A=1 "B=x y" nonsense\nPassEnvironment=C D\nEnvironmentFile={tmp_path}/o*\n'
        f"EnvironmentFile=-{tmp_path}/none\nEnvironmentFile={tmp_path}/%i.env\n"
    )
    unit = merged([("f", text)])
    found = variables(unit, KNOWN)
    assert ("A", "B", "C", "D", "FILE") == found.names
    assert (f"{tmp_path}/one",) == found.files
    assert (f"{tmp_path}/b-c.env",) == found.missing


def test_specifiers_are_known_as_far_as_they_can_be() -> None:
    assert "/home/ann/.config b-c b/c a a@b-c.service %" == KNOWN.expanded("%S %i %I %p %n %%")
    assert "*" == KNOWN.expanded("%m")
    template = meanings("a@.service", "ann", 1000, "/home/ann", {"XDG_STATE_HOME": "/s"}, 254)
    assert "/s *" == template.expanded("%S %i")

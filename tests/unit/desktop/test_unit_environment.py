"""Variables of units: which there are, and which the launcher must not be started with."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandboxer.desktop.units.environment import (
    assignments,
    file_options,
    loads_code,
    names,
    refuse_leading,
)
from sandboxer.desktop.units.specifiers import meanings
from sandboxer.desktop.units.text import Unit, merged
from sandboxer.errors import ResolveError

KNOWN = meanings("a@b-c.service", "ann", 1000, "/home/ann", {}, 252)


def unit(text: str) -> Unit:
    return merged([("f", f"[Service]\n{text}")])


def test_a_units_variables_are_those_that_it_sets_or_passes_on() -> None:
    found = assignments(
        unit(
            'Environment=A=1 "B=x y" nonsense %i=1 a%p=%h\nPassEnvironment=C D NOTIFY_SOCKET\nEnvironment=A=2\n'
        ),
        KNOWN,
    )
    assert ("A", "B", "aa", "C", "D") == names(found)
    assert [("1", "%h", None)] == [(found[0].value, found[2].value, found[-1].value)]


def test_a_name_that_only_systemd_knows_is_refused() -> None:
    with pytest.raises(ResolveError, match="cannot tell which variable"):
        assignments(unit("Environment=%m=1\n"), KNOWN)
    assert (
        "LD_PRELOAD"
        == assignments(
            unit("Environment=%i=/x\n"), meanings("a@LD_PRELOAD.service", "ann", 1000, "/home/ann", {}, 252)
        )[0].name
    )


@pytest.mark.parametrize(
    "line",
    [
        "Environment=HOME=%h/app",
        "PassEnvironment=HOME",
        "Environment=XDG_RUNTIME_DIR=%E/x",
        "Environment=A=1 XDG_CACHE_HOME=/x",
        "Environment=XDG_CONFIG_HOME=%h/other",
        "Environment=XDG_CONFIG_DIRS=/etc/xdg",
        "Environment=XDG_DATA_HOME=%h/.local/share",
        "Environment=MAINPID=1",
        "PassEnvironment=MAINPID",
        "Environment=PATH=%h/app/bin:/usr/bin",
        "Environment=PATH=/usr/bin:%h/app",
        "Environment=PATH=/usr/bin:",
        "Environment=PATH=bin:/usr/bin",
        "Environment=PATH=%m/bin:/usr/bin",
        "Environment=PATH=%h/app/../app/bin",
    ],
)
def test_what_would_lead_the_launcher_is_refused_with_another_way(line: str) -> None:
    with pytest.raises(ResolveError, match="refuses a unit that sets") as caught:
        refuse_leading(assignments(unit(f"{line}\n"), KNOWN), KNOWN, ("/home/ann/app",))
    assert "--set environment.set." in caught.value.hint
    assert "f:2: " in caught.value.subject


@pytest.mark.parametrize(
    "line",
    [
        "Environment=HOME=%h",
        "Environment=XDG_CONFIG_HOME=/home/ann/.config XDG_RUNTIME_DIR=%t",
        "Environment=PATH=%h/bin:/usr/bin",
        "Environment=PATH=/home/ann/application:/usr/bin",
        "PassEnvironment=PATH",
        "Environment=LD_LIBRARY_PATH=%h/app",
    ],
)
def test_what_says_what_holds_anyway_stays(line: str) -> None:
    refuse_leading(assignments(unit(f"{line}\n"), KNOWN), KNOWN, ("/home/ann/app",))


def test_links_on_the_way_to_a_program_count(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/link").symlink_to("/usr/bin")
    (tmp_path / "bin").symlink_to("app/link")
    with pytest.raises(ResolveError, match="PATH"):
        refuse_leading(
            assignments(unit(f"Environment=PATH={tmp_path}/bin\n"), KNOWN), KNOWN, (f"{tmp_path}/app",)
        )


@pytest.mark.parametrize("name", ["LD_PRELOAD", "GCONV_PATH", "PYTHONPATH", "OPENSSL_CONF", "MALLOC_CHECK_"])
def test_what_has_programs_load_code_is_known(name: str) -> None:
    assert loads_code(assignments(unit(f"Environment=A=1 {name}=x\n"), KNOWN))
    assert not loads_code(assignments(unit(f"Environment=A={name}\n"), KNOWN))


def test_files_stay_as_the_unit_has_them() -> None:
    text = "EnvironmentFile=-%E/x/env\nEnvironmentFile=relative\nEnvironmentFile=/etc/%i\n"
    assert ["-%E/x/env", "/etc/%i"] == [path for path, _ in file_options(unit(text), KNOWN)]
    assert [] == list(file_options(unit(f"{text}EnvironmentFile=\n"), KNOWN))


@pytest.mark.parametrize("text", ["EnvironmentFile=/etc/x*\n", "EnvironmentFile=/e\nUnsetEnvironment=A\n"])
def test_files_that_would_be_read_otherwise_are_refused(text: str) -> None:
    with pytest.raises(ResolveError):
        list(file_options(unit(text), KNOWN))


def test_specifiers_are_known_as_far_as_they_can_be() -> None:
    assert "/home/ann/.config b-c b/c a a@b-c.service %" == KNOWN.expanded("%S %i %I %p %n %%")
    assert "*" == KNOWN.expanded("%m")
    template = meanings("a@.service", "ann", 1000, "/home/ann", {"XDG_STATE_HOME": "/s"}, 254)
    assert "/s * a" == template.expanded("%S %i %p")

"""Icons and what software centres read: well-formed, valid, and of one name."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from conftest import need

from sandboxer.paths import data_dir, data_file

ID = "org.sandboxer.Sandboxer"
METAINFO = f"metainfo/{ID}.metainfo.xml"
ICONS = (f"scalable/apps/{ID}.svg", f"symbolic/apps/{ID}-symbolic.svg")
SVG = "{http://www.w3.org/2000/svg}"


def test_the_metainfo_is_valid() -> None:
    done = subprocess.run(
        [need("appstreamcli"), "validate", "--no-net", "--no-color", data_file(METAINFO)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout
    assert "W:" not in done.stdout
    assert "E:" not in done.stdout


def test_the_metainfo_names_the_programs_and_the_icon() -> None:
    component = ET.parse(data_file(METAINFO)).getroot()
    assert "console-application" == component.get("type")
    assert ID == component.findtext("id") == component.findtext("icon")
    assert ["sandbox", "sandbox-broker", "sandboxer"] == [
        binary.text for binary in component.iterfind("provides/binary")
    ]


@pytest.mark.parametrize("name", ICONS)
def test_an_icon_is_square_and_loads_nothing(name: str) -> None:
    top = ET.parse(data_file(f"icons/hicolor/{name}")).getroot()
    assert f"{SVG}svg" == top.tag
    assert top.get("width") == top.get("height")
    assert f"0 0 {top.get('width')} {top.get('height')}" == top.get("viewBox")
    assert {"script", "image", "use", "foreignObject", "style"}.isdisjoint(
        element.tag.removeprefix(SVG) for element in top.iter()
    )


def test_the_symbolic_icon_has_one_colour_which_themes_replace() -> None:
    top = ET.parse(data_file(f"icons/hicolor/{ICONS[1]}")).getroot()
    colours = {element.get("fill") for element in top.iter() if element.get("fill")}
    assert {"#2e3436"} == colours


def test_nothing_lies_in_desktop_that_its_readme_doesnt_name() -> None:
    top = Path(data_dir("desktop"))
    readme = (top / "README.md").read_text()
    assert [] == [
        entry.name for entry in top.iterdir() if f"`{entry.name}" not in readme and entry.name != "README.md"
    ]

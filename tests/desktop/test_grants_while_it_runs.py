"""A directory that a running Firefox is granted: its pages load after the grant; not before, and not when it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import need
from desktop.conftest import Driven, Verb
from marionette import Marionette, ScriptFailed
from pictures import drawn_by_lot, of_x_screen, png_of, wait_for
from servers import XServer, until

pytestmark = pytest.mark.timeout(240)
LARGE = 100 * 100
WIDTH = 600
"""Pixels of the image."""
NOT_THERE = "fileNotFound"


@pytest.fixture
def site(home: Path) -> Path:
    """A page with an image beside it, in a directory of the user's; the page asks for what nobody has cached."""
    directory = home / "Projects" / "site"
    directory.mkdir(parents=True)
    (home / "Projects" / "plans.txt").write_text("of another project")
    (directory / "index.html").write_text(
        "<!doctype html><meta charset=utf-8><title>site</title><body style='margin:0'>"
        "<p id=said>what the page says</p><img id=shown src=blocks.png>"
    )
    return directory


def load(firefox: Marionette, site: Path) -> None:
    """Load the page and its image anew. Raises ScriptFailed when the page isn't there."""
    firefox.go("about:blank")
    firefox.in_browser("Services.cache2.clear()")
    firefox.go((site / "index.html").as_uri())


def width_of_image(firefox: Marionette) -> int:
    """Pixels that were loaded; 0 when it wasn't."""
    width: int = firefox.in_page(
        "document.getElementById('shown').decode().then(() => document.getElementById('shown').naturalWidth, () => 0)"
    )
    return width


def granted(verb: Verb) -> list[dict[str, Any]]:
    """What `sandbox grants` tells of the time since the start."""
    told: list[dict[str, Any]] = json.loads(verb("grants", "firefox", "--json").stdout)["grants"]
    return told


def test_a_page_loads_after_the_grant_and_neither_before_nor_after_the_revoke(
    x: XServer, session: dict[str, str], driven_firefox: Driven, verb: Verb, site: Path, tmp_path: Path
) -> None:
    need("firefox", "firefox-esr")
    colours = drawn_by_lot(3)
    (site / "blocks.png").write_bytes(png_of(colours))
    kept = tmp_path / "granted.png"
    with driven_firefox() as firefox:
        with pytest.raises(ScriptFailed, match=NOT_THERE):
            load(firefox, site)
        assert [] == granted(verb)
        assert "nothing; to change that: sandbox grant firefox PATH" in verb("grants", "firefox").stdout

        said = verb("grant", "firefox", site).stdout
        assert f"firefox can read {site} until it ends  [grant 1]\n" == said
        load(firefox, site)
        assert "what the page says" == firefox.in_page("document.getElementById('said').innerText")
        assert WIDTH == width_of_image(firefox)
        wait_for(lambda: of_x_screen(kept, session), colours, LARGE, kept, tmp_path / "firefox.log")
        assert [(1, str(site), False, None)] == [
            (one["number"], one["path"], one["write"], one["seconds-left"]) for one in granted(verb)
        ]
        table = verb("grants", "firefox").stdout
        shown = f"~/{site.relative_to(session['HOME'])}"
        assert [f"1 read with the box {shown}"] == [
            " ".join(line.split()) for line in table.splitlines() if shown in line
        ]
        assert firefox.in_browser(f"IOUtils.exists({str(site.parent / 'plans.txt')!r})") is False
        with pytest.raises(ScriptFailed, match="ReadOnlyError"):
            firefox.in_browser(f"IOUtils.writeUTF8({str(site / 'index.html')!r}, 'mine now')")

        assert f"firefox has lost {site}  [grant 1]\n" in verb("revoke", "firefox", site).stdout
        with pytest.raises(ScriptFailed, match=NOT_THERE):
            load(firefox, site)
        assert firefox.in_browser(f"IOUtils.exists({str(site)!r})") is False
        assert [] == granted(verb)


def test_a_page_loads_as_long_as_the_grant_is_for_and_not_afterwards(
    x: XServer, driven_firefox: Driven, verb: Verb, site: Path
) -> None:
    (site / "blocks.png").write_bytes(png_of(drawn_by_lot(3)))
    with driven_firefox() as firefox:
        with pytest.raises(ScriptFailed, match=NOT_THERE):
            load(firefox, site)
        begun = time.monotonic()
        assert "for 3 seconds  [grant 1]\n" in verb("grant", "firefox", site, "--for", "3s").stdout
        (only,) = granted(verb)
        assert (str(site), True) == (only["path"], 0 < only["seconds-left"] <= 3)
        load(firefox, site)
        assert WIDTH == width_of_image(firefox)
        exists = f"IOUtils.exists({str(site)!r})"
        until(lambda: firefox.in_browser(exists) is False, "the grant has run out", timeout_s=10)
        assert 2.5 < time.monotonic() - begun < 6
        with pytest.raises(ScriptFailed, match=NOT_THERE):
            load(firefox, site)
        assert [] == granted(verb)


def test_a_file_of_the_users_is_changed_only_by_a_grant_that_says_so_and_as_long_as_it_lasts(
    x: XServer, driven_firefox: Driven, verb: Verb, site: Path, private_home: Callable[[str], Path]
) -> None:
    page = site / "index.html"
    own = private_home("firefox") / "Projects" / "site" / "index.html"
    with driven_firefox() as firefox:
        verb("grant", "firefox", page)
        assert [str(page)] == firefox.in_browser(f"IOUtils.getChildren({str(site)!r})")
        with pytest.raises(ScriptFailed, match="ReadOnlyError"):
            firefox.in_browser(f"IOUtils.writeUTF8({str(page)!r}, 'too early')")
        verb("revoke", "firefox", "1")
        verb("grant", "firefox", f"{page}:rw")
        firefox.in_browser(f"IOUtils.writeUTF8({str(page)!r}, 'in time')")
        verb("revoke", "firefox", "--all")
        assert not own.parent.parent.exists()
        firefox.in_browser(f"IOUtils.writeUTF8({str(page)!r}, 'too late')")
    assert ("in time", "too late") == (page.read_text(), own.read_text())

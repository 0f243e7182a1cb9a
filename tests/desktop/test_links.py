"""Links out of boxes: what is clicked inside opens outside, with the user's own program, where the policy says so."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from brokered import Opened
from conftest import Box, need
from desktop.conftest import Driven, Start, boxes, end_boxes
from desktop.test_xterm import type_into
from pictures import drawn_by_lot, of_x_screen, page_of, wait_for
from servers import Page, WebServer, XServer, until

LARGE = 100 * 100
HTTPS, MAIL = "x-scheme-handler/https", "x-scheme-handler/mailto"
LINK = "https://example.org/a?b=c%20d&e=f#g"
LINKS = 'broker.links=["https", "mailto"]'
LIVES_ON_S = 1
NOTHING_CAME_S = 0.5
"""Seconds after a refusal in which a program that was started all the same would have written that down."""


@pytest.fixture
def outside(home: Path) -> Opened:
    """The user's program for links, registered as desktops do it; it writes down how it was started."""
    return Opened(
        home, (HTTPS, MAIL, "x-scheme-handler/ftp", "application/x-desktop", "application/x-shellscript")
    )


def test_a_link_that_is_opened_in_a_terminal_goes_to_the_users_program_outside(
    x: XServer,
    start: Start,
    session: dict[str, str],
    outside: Opened,
    private_home: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    need("xterm")
    apps = Path(session["XDG_CONFIG_HOME"]) / "sandboxer" / "apps"
    apps.mkdir(parents=True)
    (apps / "xterm.toml").write_text('[broker]\nlinks = ["https"]\n')
    inside = private_home("xterm")
    kept = tmp_path / "links.png"
    with start("xterm", "-fa", "monospace", "-fs", "14") as log:
        type_into("xterm", f"xdg-open '{LINK}'; echo $? >~/first", session, log)
        assert [LINK] == outside.one()["words"]
        type_into("xterm", "xdg-open ftp://example.org/; echo $? >~/second", session, log)
        until((inside / "second").exists, "the terminal's second line", log)
        of_x_screen(kept, session)
    assert ("0\n", "4\n") == ((inside / "first").read_text(), (inside / "second").read_text())
    assert [[LINK]] == outside.words()
    started = outside.one()
    assert "/" == started["cwd"]
    assert session["DISPLAY"] == started["environment"]["DISPLAY"]
    assert not [name for name in started["environment"] if name.startswith("SANDBOXER")]
    assert {"/dev/null"} == {place for number, place in started["fds"].items() if number in ("0", "1", "2")}


@pytest.mark.parametrize("way", ["xdg-open", "gio open", "/usr/bin/xdg-open", "$BROWSER"])
def test_every_usual_way_to_open_a_link_leads_outside(box: Box, outside: Opened, way: str) -> None:
    if way.startswith(("/", "gio")):
        need(way.partition(" ")[0])
    done = opens(box, way, LINK, LINKS)
    assert 0 == done.returncode, done.stderr
    assert [LINK] == outside.one()["words"]


def test_what_looks_like_options_in_a_link_stays_in_it(box: Box, outside: Opened) -> None:
    box("xdg-open", "https://example.org/ --private $(id)", settings=[LINKS])
    assert ["https://example.org/%20--private%20$(id)"] == outside.one()["words"]


def opens(box: Box, way: str, text: str, *settings: str) -> subprocess.CompletedProcess[str]:
    """Open something in a box that lives on for a moment: GIO doesn't wait for the program that it starts."""
    return box(
        "sh", "-c", f'{way} "$1"; status=$?; sleep {LIVES_ON_S}; exit $status', "sh", text, settings=settings
    )


def test_gio_names_our_entry_as_the_default_program(box: Box, outside: Opened) -> None:
    need("gio")
    said = box("gio", "mime", HTTPS, settings=[LINKS]).stdout
    assert "sandboxer-open.desktop" in said.splitlines()[0]
    assert "opener" not in said
    assert "sandboxer-open" not in box("gio", "mime", "x-scheme-handler/ftp", settings=[LINKS]).stdout


@pytest.mark.parametrize(
    "text",
    [
        "ftp://example.org/",
        "HTTPS:",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "WORK/run.desktop",
        "WORK/run.sh",
        "WORK/run.pdf",
        "file://WORK/run.desktop",
    ],
)
@pytest.mark.parametrize("opener", ["xdg-open", "gio open"])
def test_what_is_not_permitted_or_could_be_run_starts_nothing(
    box: Box, outside: Opened, tmp_path: Path, text: str, opener: str
) -> None:
    if opener == "gio open":
        need("gio")
    work = tmp_path / "work"
    work.mkdir()
    for name in ("run.desktop", "run.pdf"):
        (work / name).write_text("[Desktop Entry]\nType=Application\nName=Run\nExec=true %u\n")
    (work / "run.sh").write_text("#!/bin/sh\ntrue\n")
    for path in work.iterdir():
        path.chmod(0o755)
    presents = 'broker.presents=["application/pdf", "text/plain"]'
    done = opens(box, opener, text.replace("WORK", str(work)), LINKS, presents, f'files.read=["{work}"]')
    if opener == "xdg-open":  # GIO says nothing of how it went
        assert 4 == done.returncode, done.stderr
    time.sleep(NOTHING_CAME_S)
    assert [] == outside.all()


@pytest.mark.timeout(180)
def test_a_mail_address_that_is_clicked_in_firefox_goes_to_the_users_mail_program(
    x: XServer,
    web: WebServer,
    session: dict[str, str],
    outside: Opened,
    driven_firefox: Driven,
) -> None:
    """Firefox asks GIO for the system's program, as every GTK program does."""
    apps = Path(session["XDG_CONFIG_HOME"]) / "sandboxer" / "apps"
    apps.mkdir(parents=True)
    (apps / "firefox.toml").write_text('[broker]\nlinks = ["mailto"]\n')
    web.pages["/"] = Page("<a id=it href='mailto:ann@example.org?subject=box'>Ann</a>")
    with driven_firefox(handlers={"mailto": {"action": 4, "ask": False}}) as firefox:
        firefox.go(f"{web.address}/")
        firefox.in_page("document.getElementById('it').click()")
        assert ["mailto:ann@example.org?subject=box"] == outside.one()["words"]


@pytest.fixture
def firefox_is_the_browser(session: dict[str, str], home: Path) -> Iterator[str]:
    """Firefox's own entry is the user's program for links. Yields its policy's name; ends what was started."""
    need("firefox", "firefox-esr")
    applications = Path("/usr/share/applications")
    name = next(name for name in ("firefox-esr", "firefox") if (applications / f"{name}.desktop").exists())
    config = home / ".config"
    config.mkdir(exist_ok=True)
    (config / "mimeapps.list").write_text(
        f"[Default Applications]\n{HTTPS.removesuffix('s')}={name}.desktop\n{HTTPS}={name}.desktop\n"
    )
    yield name
    end_boxes(session, name)


@pytest.mark.timeout(240)
def test_a_link_opens_in_the_browsers_own_box_and_the_next_one_in_the_same(
    x: XServer,
    web: WebServer,
    box: Box,
    session: dict[str, str],
    firefox_is_the_browser: str,
    tmp_path: Path,
) -> None:
    need("dbus-daemon")
    first, second = drawn_by_lot(4), drawn_by_lot(4)
    web.pages["/first"], web.pages["/second"] = Page(page_of(first)), Page(page_of(second))
    kept = tmp_path / "link-first.png", tmp_path / "link-second.png"
    settings = ['broker.links=["http"]']

    def follow(page: str) -> None:
        done = box("xdg-open", f"{web.address}/{page}", settings=settings)
        assert (0, "") == (done.returncode, done.stderr)

    no_log = tmp_path / "none"  # what is started outside writes nowhere
    follow("first")
    wait_for(lambda: of_x_screen(kept[0], session), first, LARGE, kept[0], no_log)
    (running,) = boxes(session, firefox_is_the_browser)
    follow("second")
    wait_for(lambda: of_x_screen(kept[1], session), second, LARGE, kept[1], no_log)
    assert [running] == boxes(session, firefox_is_the_browser)
    assert {"/first", "/second"} <= set(web.asked)

"""Documents: what is named is shown, in the Firefox that starts and in the one that runs, and nothing beside it."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import need
from desktop.conftest import Driven, Start, Verb, end_boxes
from marionette import Marionette, ScriptFailed
from pictures import Picture, drawn_by_lot, of_wayland_screen, of_x_screen, pdf_of, wait_for
from servers import XServer, until

pytestmark = pytest.mark.timeout(240)
LARGE = 100 * 100
DIARY = "what nobody named"
IS_SECOND = re.compile(r"file:///run/documents/\d+/second\.pdf")
Take = Callable[[Path], Picture]


@pytest.fixture(autouse=True)
def firefox_and_its_bus() -> None:
    """A Firefox that runs is told of a file over a message bus, and by nothing else."""
    need("firefox", "firefox-esr")
    need("dbus-daemon")


@pytest.fixture
def documents(home: Path) -> Path:
    """The user's documents, of which no policy speaks."""
    directory = home / "Documents"
    directory.mkdir()
    (directory / "diary.txt").write_text(DIARY)
    return directory


@pytest.fixture(params=["x", "wayland"])
def take(request: pytest.FixtureRequest, session: dict[str, str]) -> Take:
    """Takes a picture of the screen, of either kind; the session has that screen alone."""
    request.getfixturevalue(request.param)
    of_screen = {"x": of_x_screen, "wayland": of_wayland_screen}[request.param]
    return lambda kept: of_screen(kept, session)


def addresses(firefox: Marionette) -> list[str]:
    """Of all its tabs, in all its windows."""
    found: list[str] = firefox.in_browser(
        "Array.from(Services.wm.getEnumerator('navigator:browser')).flatMap((window) =>"
        " Array.from(window.gBrowser.tabs, (tab) => tab.linkedBrowser.currentURI.spec))"
    )
    return found


def test_firefox_shows_a_document_of_the_command_line_and_another_while_it_runs(
    take: Take, start: Start, verb: Verb, documents: Path, tmp_path: Path
) -> None:
    first, second = drawn_by_lot(3), drawn_by_lot(3)
    (documents / "first.pdf").write_bytes(pdf_of(first))
    (documents / "second.pdf").write_bytes(pdf_of(second))
    kept = tmp_path / "first.png", tmp_path / "second.png"
    with start("firefox", documents / "first.pdf") as log:
        before = wait_for(lambda: take(kept[0]), first, LARGE, kept[0], log)
        assert not before.shows(second, LARGE)
        begun = time.monotonic()
        done = verb("open", "firefox", documents / "second.pdf")
        told = time.monotonic()
        wait_for(lambda: take(kept[1]), second, LARGE, kept[1], log)
        shown = time.monotonic()
    print(f"sandbox open: {told - begun:.2f} s; to the picture: {shown - begun:.2f} s")
    assert done.stderr.endswith("/second.pdf\n")
    assert "sandboxer: firefox: handed over: /run/documents/" in done.stderr


def test_the_same_by_file_uris(
    x: XServer, session: dict[str, str], start: Start, verb: Verb, documents: Path, tmp_path: Path
) -> None:
    first, second = drawn_by_lot(3), drawn_by_lot(3)
    papers = [documents / "first of all.pdf", documents / "zweites, größer.pdf"]
    papers[0].write_bytes(pdf_of(first))
    papers[1].write_bytes(pdf_of(second))
    kept = tmp_path / "first-uri.png", tmp_path / "second-uri.png"
    with start("firefox", papers[0].as_uri()) as log:
        wait_for(lambda: of_x_screen(kept[0], session), first, LARGE, kept[0], log)
        verb("open", "firefox", papers[1].as_uri())
        wait_for(lambda: of_x_screen(kept[1], session), second, LARGE, kept[1], log)


def test_the_same_by_a_desktop_entry(
    x: XServer,
    session: dict[str, str],
    sandbox_program: Path,
    documents: Path,
    tmp_path: Path,
) -> None:
    """As file managers do it: the entry's field code becomes the file's URI, or nothing."""
    gio = need("gio")
    first, second = drawn_by_lot(3), drawn_by_lot(3)
    papers = [documents / "first paper.pdf", documents / "second paper.pdf"]
    papers[0].write_bytes(pdf_of(first))
    papers[1].write_bytes(pdf_of(second))
    entry = tmp_path / "firefox.desktop"
    entry.write_text(
        f"[Desktop Entry]\nType=Application\nName=Firefox\nExec={sandbox_program} open firefox %U\n"
    )
    kept = tmp_path / "first-entry.png", tmp_path / "second-entry.png"
    log = tmp_path / "firefox.log"
    try:
        for paper, colours, picture in zip(papers, (first, second), kept, strict=True):
            with log.open("ab") as out:
                subprocess.run([gio, "launch", entry, paper], env=session, stdout=out, stderr=out, check=True)
            wait_for(lambda: of_x_screen(picture, session), colours, LARGE, picture, log)  # noqa: B023  # used here
    finally:
        end_boxes(session, "firefox")


def test_nothing_beside_what_was_named_is_there_for_firefox(
    x: XServer, driven_firefox: Driven, verb: Verb, documents: Path
) -> None:
    for name in ("first.pdf", "second.pdf", "third.pdf"):
        (documents / name).write_bytes(pdf_of(drawn_by_lot(1)))
    with driven_firefox(documents / "first.pdf") as firefox:
        verb("open", "firefox", documents / "second.pdf")
        until(lambda: any(map(IS_SECOND.fullmatch, addresses(firefox))), "the second document's tab")
        numbers = firefox.in_browser("IOUtils.getChildren('/run/documents')")
        assert 2 == len(numbers)
        named = [name for at in numbers for name in firefox.in_browser(f"IOUtils.getChildren({at!r})")]
        assert ["first.pdf", "second.pdf"] == sorted(Path(name).name for name in named)
        assert firefox.in_browser(f"IOUtils.exists({str(documents)!r})") is False
        for name in ("diary.txt", "third.pdf"):
            for directory in (documents, *map(Path, numbers)):
                assert firefox.in_browser(f"IOUtils.exists({str(directory / name)!r})") is False
                with pytest.raises(ScriptFailed, match="fileNotFound"):
                    firefox.go((directory / name).as_uri())
        for path in named:
            with pytest.raises(ScriptFailed, match="ReadOnlyError"):
                firefox.in_browser(f"IOUtils.writeUTF8({path!r}, 'mine now')")
    assert (documents / "diary.txt").read_text() == DIARY


def test_open_starts_firefox_where_none_runs(
    x: XServer, start: Start, session: dict[str, str], documents: Path, tmp_path: Path
) -> None:
    colours = drawn_by_lot(3)
    (documents / "only.pdf").write_bytes(pdf_of(colours))
    kept = tmp_path / "started.png"
    with start("open", "firefox", documents / "only.pdf") as log:
        wait_for(lambda: of_x_screen(kept, session), colours, LARGE, kept, log)

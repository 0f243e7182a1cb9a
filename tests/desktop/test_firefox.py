"""The main job: Firefox in its box, under the policy that is shipped, at a real X server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import need
from desktop.conftest import Driven, Start
from marionette import ScriptFailed
from pictures import drawn_by_lot, of_x_screen, page_of, pdf_of, wait_for
from servers import Page, WebServer, XServer, until

pytestmark = pytest.mark.timeout(180)
LARGE = 100 * 100
"""Pixels of a block that nobody could overlook."""


def test_firefox_shows_a_page_of_a_server_on_loopback(
    x: XServer, web: WebServer, start: Start, session: dict[str, str], tmp_path: Path
) -> None:
    need("firefox", "firefox-esr")
    colours = drawn_by_lot(4)
    web.pages["/"] = Page(page_of(colours))
    kept = tmp_path / "firefox.png"
    before = of_x_screen(kept, session)
    assert not before.shows(colours, LARGE)
    with start("firefox", f"{web.address}/") as log:
        picture = wait_for(lambda: of_x_screen(kept, session), colours, LARGE, kept, log)
    assert picture.shows(colours, LARGE)
    assert not picture.shows(colours[::-1], LARGE)
    assert "/" in web.asked


def test_a_page_saved_by_firefox_lands_in_the_granted_downloads(
    x: XServer, web: WebServer, driven_firefox: Driven, home: Path, private_home: Callable[[str], Path]
) -> None:
    content = bytes(range(256)) * 64
    web.pages["/data"] = Page(content, "application/octet-stream", saved_as="data.bin")
    web.pages["/"] = Page("<a id=it href=/data>data</a>")
    downloads = home / "Downloads"
    downloads.mkdir()
    with driven_firefox() as firefox:
        firefox.go(f"{web.address}/")
        firefox.in_page("document.getElementById('it').click()")
        saved = downloads / "data.bin"
        until(lambda: saved.exists() and saved.read_bytes() == content, f"the download at {saved}")
    assert ["data.bin"] == [path.name for path in downloads.iterdir()]
    assert [] == list(private_home("firefox").glob("**/data.bin"))


def test_keys_and_ungranted_files_are_not_there_for_firefox(
    x: XServer, driven_firefox: Driven, home: Path
) -> None:
    key, letter, granted = home / ".ssh/id_test", home / "letter.txt", home / "Downloads/note.txt"
    for path in (key, letter, granted):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"what {path.name} holds")
    with driven_firefox() as firefox:
        firefox.go(granted.as_uri())
        assert "what note.txt holds" == firefox.in_page("document.body.innerText")
        for path in (key, letter):
            with pytest.raises(ScriptFailed, match="fileNotFound"):
                firefox.go(path.as_uri())
            # A page is loaded by a process that Firefox confines further; the browser itself can't see it either.
            assert firefox.in_browser(f"IOUtils.exists({str(path)!r})") is False
        assert firefox.in_browser(f"IOUtils.exists({str(granted)!r})") is True
        names = firefox.in_browser(f"IOUtils.getChildren({str(home)!r})")
        assert "letter.txt" not in " ".join(names)
        assert ".ssh" not in " ".join(names)


def test_firefoxs_own_sandbox_is_on(x: XServer, driven_firefox: Driven) -> None:
    with driven_firefox("about:support") as firefox:
        found = firefox.in_browser(
            "ChromeUtils.importESModule('resource://gre/modules/Troubleshoot.sys.mjs')"
            ".Troubleshoot.snapshot().then((snapshot) => snapshot.sandbox)"
        )
        assert found["hasSeccompBPF"]
        assert found["hasSeccompTSync"]
        assert found["hasUserNamespaces"]
        assert found["canSandboxContent"]
        assert found["effectiveContentSandboxLevel"] >= 4
        firefox.go("about:support")
        table = "document.getElementById('sandbox-tbody').innerText"
        until(lambda: "Level" in firefox.in_page(table), "the sandbox's part of about:support")
        said = dict(line.split("\t", 1) for line in firefox.in_page(table).splitlines() if "\t" in line)
    assert "true" == said["Seccomp-BPF (System Call Filtering)"]
    assert "true" == said["User Namespaces"]
    assert "true" == said["Content Process Sandboxing"]
    assert str(found["effectiveContentSandboxLevel"]) == said["Effective Content Process Sandbox Level"]


def test_a_document_named_on_the_command_line_is_shown_without_its_directory(
    x: XServer, start: Start, session: dict[str, str], home: Path, tmp_path: Path
) -> None:
    need("firefox", "firefox-esr")
    colours = drawn_by_lot(3)
    papers = home / "papers"
    papers.mkdir()
    (papers / "report.pdf").write_bytes(pdf_of(colours))
    kept = tmp_path / "document.png"
    with start("firefox", "report.pdf", cwd=papers) as log:
        wait_for(lambda: of_x_screen(kept, session), colours, LARGE, kept, log)

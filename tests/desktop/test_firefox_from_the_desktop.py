"""
What the desktop is for: Firefox's wrapper on a real session, and Firefox in its box however it is started.

Debian's entry has no actions; the test's copy of it, in a directory of XDG_DATA_DIRS as a package's would be, has the
ones that Mozilla's own packages have.
"""

from __future__ import annotations

import configparser
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from conftest import need, run_to_end
from pictures import drawn_by_lot, of_x_screen, page_of, wait_for
from servers import Page, WebServer
from sessions import DesktopSession

pytestmark = pytest.mark.timeout(120)
ENTRY = "firefox-esr.desktop"
PROGRAM = "firefox-esr"
SYSTEMS = Path("/usr/share/applications") / ENTRY
OPENED = ("x-scheme-handler/http", "x-scheme-handler/https", "text/html")
LARGE = 100 * 100
STARTS_S = 40.0
ACTION = "new-private-window"
ACTIONS = f"""
[Desktop Action {ACTION}]
Name=New Private Window
Name[de]=Neues privates Fenster
Exec=/usr/lib/firefox-esr/firefox-esr --private-window %u
"""


class Wrapped:
    """A session in which `sandbox install firefox-esr` was done; `entry` is the wrapper, and where it lies."""

    def __init__(self, desktop: DesktopSession, directory: Path) -> None:
        self.desktop = desktop
        self.directory = directory
        self.origin = directory / "data" / "applications" / ENTRY
        self.origin.parent.mkdir(parents=True)
        lines = SYSTEMS.read_text().rstrip("\n").split("\n")
        if not any(line.startswith("Actions=") for line in lines):
            lines.insert(lines.index("[Desktop Entry]") + 1, f"Actions={ACTION};")
            lines += ACTIONS.splitlines()
        self.origin.write_text("\n".join(lines) + "\n")
        self.env = {"XDG_DATA_DIRS": f"{directory / 'data'}:/usr/local/share:/usr/share"}
        self.entry = desktop.home / ".local/share/applications" / ENTRY
        for kind in OPENED:  # as settings do it: Firefox is the user's browser, whatever else is installed
            self.verb("xdg-mime", "default", ENTRY, kind)
        self.verb("sandbox", "install", "firefox-esr")

    def verb(self, *words: str | Path) -> str:
        """A command in the session; the test fails when that does."""
        done = self.desktop.run(*words, env=self.env)
        assert 0 == done.returncode, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def started(self, *words: str | Path, name: str = "start", desktop: str = "openbox") -> Iterator[Path]:
        """What a person's click runs, in the session; ended with the block. Yields the file with its words."""
        log = self.directory / f"{name}.log"
        with self.desktop.start(*words, log=log, env=self.env | {"XDG_CURRENT_DESKTOP": desktop}):
            yield log

    def browser(self, log: Path) -> list[int]:
        """Every process of Firefox's, once there are the browser and one for contents."""
        self.desktop.until(
            lambda: len(self.desktop.processes(PROGRAM)) >= 2, f"Firefox\n{log.read_text()}", STARTS_S
        )
        return self.desktop.processes(PROGRAM)

    def unboxed(self, log: Path) -> list[dict[str, str]]:
        """
        The facts of those of Firefox's processes that are in no box; there are two at least.

        Looked at twice: one that ends in between has lost its namespaces and filter on the way out.
        """
        suspects = set(self.browser(log))
        for _ in range(2):
            time.sleep(0.1)
            suspects &= {pid for pid in self.desktop.processes(PROGRAM) if not self._boxed(pid)}
        return [self.desktop.facts(pid) for pid in sorted(suspects)]

    def _boxed(self, pid: int) -> bool:
        with suppress(FileNotFoundError, ProcessLookupError):
            return self.desktop.in_a_box(pid)
        return True  # it has ended

    def boxes(self) -> list[str]:
        """The boxes of Firefox that run, by the directories of their states."""
        return sorted(path.name for path in self.desktop.runtime.glob("sandboxer/boxes/firefox*"))

    def titles(self) -> list[str]:
        """The titles of Firefox's windows that can be seen."""
        search = ("xdotool", "search", "--onlyvisible", "--class", "firefox", "getwindowname", "%@")
        return run_to_end(search, env=self.desktop.env).stdout.splitlines()

    def wait_for_window(self, part: str, log: Path) -> None:
        """Wait for a window of Firefox's with these words in its title; keep a picture of the screen."""
        self.desktop.until(
            lambda: any(part in title for title in self.titles()),
            f"a window named {part}: {self.titles()}\n{log.read_text()}",
            STARTS_S,
        )
        of_x_screen(self.directory / "screen.png", self.desktop.env)


@pytest.fixture
def wrapped(desktop: DesktopSession, tmp_path: Path) -> Wrapped:
    """See Wrapped."""
    if not SYSTEMS.exists():
        need("firefox-esr")
    for program in ("gio", "xdg-open", "xdg-mime", "xdotool"):
        need(program)
    return Wrapped(desktop, tmp_path)


def test_launched_by_its_entry_it_is_in_a_box_and_a_second_launch_joins_it(
    wrapped: Wrapped, web: WebServer
) -> None:
    colours, others = drawn_by_lot(3), drawn_by_lot(4)
    web.pages |= {"/first": Page(page_of(colours)), "/second": Page(page_of(others))}
    desktop, kept = wrapped.desktop, wrapped.directory / "screen.png"
    with wrapped.started("gio", "launch", wrapped.entry, f"{web.address}/first") as log:
        wait_for(lambda: of_x_screen(kept, desktop.env), colours, LARGE, kept, log)
        assert [] == wrapped.unboxed(log)
        (box,) = wrapped.boxes()
        before = wrapped.browser(log)[0]
        group = desktop.facts(before)["cgroup path"]
        assert group.startswith("/manager/app.slice/app-sandboxer-firefox")
        assert group.endswith(".scope")
        with wrapped.started(
            "gio", "launch", wrapped.entry, f"{web.address}/second", name="second"
        ) as second:
            wait_for(lambda: of_x_screen(kept, desktop.env), others, LARGE, kept, second)
            assert [box] == wrapped.boxes()
            assert before == wrapped.browser(second)[0]
            assert [] == wrapped.unboxed(second)


def test_a_link_opened_on_the_desktop_is_shown_by_the_boxed_firefox(wrapped: Wrapped, web: WebServer) -> None:
    colours = drawn_by_lot(3)
    web.pages["/link"] = Page(page_of(colours))
    kept = wrapped.directory / "screen.png"
    assert f"{ENTRY}\n" == wrapped.verb("xdg-mime", "query", "default", OPENED[0])
    with wrapped.started("xdg-open", f"{web.address}/link") as log:
        wait_for(lambda: of_x_screen(kept, wrapped.desktop.env), colours, LARGE, kept, log)
        assert [] == wrapped.unboxed(log)
        assert 1 == len(wrapped.boxes())


def test_a_page_opened_on_the_desktop_is_shown_by_the_boxed_firefox(wrapped: Wrapped) -> None:
    colours = drawn_by_lot(3)
    page = wrapped.desktop.home / "papers" / "a page.html"
    page.parent.mkdir()
    page.write_text(page_of(colours))
    kept = wrapped.directory / "screen.png"
    # GNOME's way to open files, by GIO: xdg-open's own asks programs for the type that need not be there
    with wrapped.started("xdg-open", page, desktop="GNOME") as log:
        wait_for(lambda: of_x_screen(kept, wrapped.desktop.env), colours, LARGE, kept, log)
        assert [] == wrapped.unboxed(log)
        assert 1 == len(wrapped.boxes())


def test_its_action_opens_a_private_window_in_a_box(wrapped: Wrapped) -> None:
    entry = configparser.RawConfigParser(strict=False)
    entry.optionxform = str  # type: ignore[assignment,method-assign]  # the way the module's documentation says
    entry.read_string(wrapped.entry.read_text())
    assert "Neues privates Fenster" == entry[f"Desktop Action {ACTION}"]["Name[de]"]
    command = entry[f"Desktop Action {ACTION}"]["Exec"].replace("%u", "").strip()
    assert f"{ACTION};" == entry["Desktop Entry"]["Actions"]
    with wrapped.started("sh", "-c", command) as log:
        wrapped.wait_for_window("Private Browsing", log)
        assert [] == wrapped.unboxed(log)
        assert 1 == len(wrapped.boxes())


def test_the_user_unit_starts_and_stops_it_in_a_box(wrapped: Wrapped) -> None:
    desktop = wrapped.desktop
    wrapped.verb("sandbox", "unit", "install")
    desktop.systemctl("daemon-reload")
    desktop.systemctl("start", "sandbox@firefox-esr.service")
    wrapped.wait_for_window("Firefox", desktop.log)
    assert [] == wrapped.unboxed(desktop.log)
    group = desktop.facts(wrapped.browser(desktop.log)[0])["cgroup path"]
    assert "/manager/app.slice/sandbox@firefox-esr.service" == group
    desktop.systemctl("stop", "sandbox@firefox-esr.service")
    assert [] == desktop.processes(PROGRAM)
    assert [] == wrapped.boxes()


def test_after_undo_it_is_started_without_a_box(wrapped: Wrapped, web: WebServer) -> None:
    colours = drawn_by_lot(3)
    web.pages["/"] = Page(page_of(colours))
    kept = wrapped.directory / "screen.png"
    assert wrapped.entry.exists()
    wrapped.verb("sandbox", "install", "--undo", "firefox-esr")
    assert not wrapped.entry.exists()
    with wrapped.started("xdg-open", f"{web.address}/") as log:
        wait_for(lambda: of_x_screen(kept, wrapped.desktop.env), colours, LARGE, kept, log)
        pids = wrapped.browser(log)
        assert wrapped.desktop.unconfined(pids[0])
        assert [] == wrapped.boxes()

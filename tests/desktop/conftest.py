"""A desktop for one test: see servers.py. The session is the one of the fixture `session`: its home is empty."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from conftest import need, need_user_namespaces, run_to_end
from marionette import Marionette
from servers import WebServer, XServer, running, until, wayland_compositor, web_server, x_server

SETTINGS = {
    "marionette.port": "0",  # a free one, which Firefox writes into its profile
    "browser.download.useDownloadDir": "true",
    "browser.download.always_ask_before_handling_new_types": "false",
}
FIREFOX_DIRECTORIES = tuple(map(Path, ("/usr/lib/firefox-esr", "/usr/lib/firefox", "/opt/firefox")))


@pytest.fixture
def x(session: dict[str, str], tmp_path: Path) -> Iterator[XServer]:
    """An X server of the test's own; its display is in `session`."""
    with x_server(tmp_path, session) as server:
        session.update(server.env)
        yield server


@pytest.fixture
def wayland(session: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """A Wayland compositor of the test's own; its socket's name is in `session`."""
    with wayland_compositor(tmp_path, session) as variables:
        session.update(variables)
        yield


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A web server on loopback."""
    with web_server() as server:
        yield server


@pytest.fixture
def home(session: dict[str, str]) -> Path:
    """The home of the session, outside the box."""
    return Path(session["HOME"])


@pytest.fixture
def private_home(session: dict[str, str]) -> Callable[[str], Path]:
    """What an application finds as its home, seen from outside; made when it isn't there."""

    def path(application: str) -> Path:
        directory = Path(session["XDG_DATA_HOME"]) / "sandboxer" / "homes" / application
        directory.mkdir(parents=True, exist_ok=True)
        for made in (directory, directory.parent, directory.parent.parent):
            made.chmod(0o700)
        return directory

    return path


Start = Callable[..., AbstractContextManager[Path]]


@pytest.fixture
def start(sandbox_program: Path, session: dict[str, str], tmp_path: Path) -> Start:
    """`with start("firefox", "http://…") as log:` runs `sandbox firefox http://…` until the block's end."""
    need_user_namespaces()

    @contextmanager
    def started(*words: str | Path, cwd: Path | None = None) -> Iterator[Path]:
        log = tmp_path / f"{words[0]}.log"
        with running([sandbox_program, *words], env=session, log=log, cwd=cwd or tmp_path) as process:
            yield log
            said = log.read_text(errors="replace")
            assert process.poll() is None, f"{words} ended by itself ({process.returncode}):\n{said}"

    return started


Verb = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def verb(sandbox_program: Path, session: dict[str, str], tmp_path: Path) -> Verb:
    """`verb("open", "firefox", file)` is `sandbox open firefox FILE`, outside; it fails when that does."""

    def call(
        *words: str | Path, cwd: Path | None = None, status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        done = run_to_end([sandbox_program, *words], env=session, cwd=cwd or tmp_path)
        assert status == done.returncode, done.stderr
        return done

    return call


def boxes(session: dict[str, str], app: str) -> list[int]:
    """The launchers of an application's boxes that run."""
    places = Path(session["XDG_RUNTIME_DIR"]).glob(f"sandboxer/boxes/{app}.*")
    return [int(place.name.rpartition(".")[2]) for place in places]


def end_boxes(session: dict[str, str], app: str) -> None:
    """End what the test didn't start itself, and so can't wait for."""
    for launcher in boxes(session, app):
        os.kill(launcher, signal.SIGTERM)
    until(lambda: not boxes(session, app), f"the end of {app}")


Driven = Callable[..., AbstractContextManager[Marionette]]


@pytest.fixture
def driven_firefox(start: Start, session: dict[str, str], private_home: Callable[[str], Path]) -> Driven:
    """
    `with driven_firefox() as firefox:` is `sandbox firefox` with its remote control on, its profile new.

    `handlers` is what it does with links of some schemes. Source: uriloader/exthandler/HandlerList.sys.mjs.
    """
    need("firefox", "firefox-esr")

    @contextmanager
    def driven(*words: str | Path, handlers: object = None) -> Iterator[Marionette]:
        profile = new_profile(private_home("firefox") / ".mozilla" / "firefox")
        if handlers:
            (profile / "handlers.json").write_text(json.dumps({"mimeTypes": {}, "schemes": handlers}))
        port = profile / "MarionetteActivePort"
        with start("firefox", "--marionette", "--remote-allow-system-access", *words) as log:
            until(
                lambda: port.exists() and port.read_text() != "",
                "Firefox's remote control",
                log,
                timeout_s=60,
            )
            with Marionette(int(port.read_text())) as marionette:
                yield marionette

    return driven


def new_profile(directory: Path) -> Path:
    """
    Make the profile that Firefox takes when none is named, so that it is the one that a second start looks for, too.

    Firefox takes a profile for its own only when it was used by a Firefox from the same directory, which is what
    compatibility.ini says. Source: nsToolkitProfileService::IsProfileForCurrentInstall.
    """
    program_directory = next(path for path in FIREFOX_DIRECTORIES if (path / "platform.ini").exists())
    profile = directory / "driven"
    profile.mkdir(parents=True)
    lines = [f'user_pref("{name}", {value});\n' for name, value in SETTINGS.items()]
    (profile / "user.js").write_text("".join(lines))
    (profile / "compatibility.ini").write_text(
        "[Compatibility]\nLastVersion=1.0_1/1\nLastOSABI=Linux_x86_64-gcc3\n"
        f"LastPlatformDir={program_directory}\nLastAppDir={program_directory}/browser\n"
    )
    (directory / "profiles.ini").write_text(
        "[Profile0]\nName=driven\nIsRelative=1\nPath=driven\nDefault=1\n\n"
        "[General]\nStartWithLastProfile=1\nVersion=2\n"
    )
    return profile

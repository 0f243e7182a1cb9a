"""A desktop for one test: see servers.py. The session is the one of the fixture `session`: its home is empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from conftest import need, need_user_namespaces
from marionette import Marionette
from servers import WebServer, XServer, running, until, wayland_compositor, web_server, x_server

SETTINGS = {
    "marionette.port": "0",  # a free one, which Firefox writes into its profile
    "browser.download.useDownloadDir": "true",
    "browser.download.always_ask_before_handling_new_types": "false",
}


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


Driven = Callable[..., AbstractContextManager[Marionette]]


@pytest.fixture
def driven_firefox(
    start: Start, session: dict[str, str], home: Path, private_home: Callable[[str], Path]
) -> Driven:
    """`with driven_firefox() as firefox:` is `sandbox firefox` with its remote control on, its profile new."""
    need("firefox", "firefox-esr")

    @contextmanager
    def driven(*words: str, settings: Sequence[str] = ()) -> Iterator[Marionette]:
        profile = private_home("firefox") / "profile"
        profile.mkdir()
        lines = [f'user_pref("{name}", {value});\n' for name, value in SETTINGS.items()]
        (profile / "user.js").write_text("".join(lines))
        port = profile / "MarionetteActivePort"
        options = ["--profile", str(home / "profile"), "--marionette", "--remote-allow-system-access"]
        with start("firefox", *options, *words) as log:
            until(
                lambda: port.exists() and port.read_text() != "",
                "Firefox's remote control",
                log,
                timeout_s=60,
            )
            with Marionette(int(port.read_text())) as marionette:
                yield marionette

    return driven

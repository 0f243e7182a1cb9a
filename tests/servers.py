"""
What a desktop session consists of, for one test: an X server, a window manager, a compositor, a sound server, a web
server.

Everything runs as the user who runs the tests, talks over loopback or sockets of its own, and ends with the `with`
block; the kernel ends it when the test process dies first. Nothing is looked up or ended by name.
"""

from __future__ import annotations

import os
import secrets
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import pytest
from conftest import need

STARTS = 20.0
"""Seconds that a server has to come up: real ones take a tenth of one, but machines are busy."""
ENDS = 5.0
SCREEN = (1024, 768)
X_SOCKETS = Path("/tmp/.X11-unix")
FAMILY_LOCAL, FAMILY_WILD = 256, 65535
"""Xauthority: an entry for one host name, and one for any. Source: X.h, Xauth.h."""


@contextmanager
def running(
    words: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    log: Path,
    cwd: Path | None = None,
    stdout: IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a process group of its own, its words in `log`; ended with the block, and with this process."""
    guard = [need("setpriv"), "--pdeathsig", "KILL", "--"]
    with log.open("ab") as out:
        process = subprocess.Popen(
            guard + [str(word) for word in words],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout or out,
            stderr=out,
            start_new_session=True,
            pass_fds=pass_fds,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask its process group to end, then make it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(ENDS)
            return
    process.wait(ENDS)


def until(holds: Callable[[], bool], what: str, log: Path | None = None, timeout_s: float = STARTS) -> None:
    """Wait until `holds()`; else fail with what was waited for, and the end of the log."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-4000:] if log and log.exists() else ""
            pytest.fail(f"{what}: not within {timeout_s:.0f} s\n{said}", pytrace=False)
        time.sleep(0.05)


def xauthority(family: int, address: bytes, number: str, cookie: bytes) -> bytes:
    """One entry of an Xauthority file."""
    fields = (address, number.encode(), b"MIT-MAGIC-COOKIE-1", cookie)
    return struct.pack(">H", family) + b"".join(struct.pack(">H", len(field)) + field for field in fields)


class XServer:
    """
    A running X server.

    `env` is what a client outside needs; its Xauthority holds this display's cookie under the machine's name, as a
    login does it, and before it the entry of another display, `foreign_cookie`.
    """

    def __init__(self, number: int, authority: Path, cookie: bytes, foreign_cookie: bytes) -> None:
        self.number = number
        self.cookie = cookie
        self.foreign_cookie = foreign_cookie
        self.env = {"DISPLAY": f":{number}", "XAUTHORITY": str(authority)}


@contextmanager
def x_server(directory: Path, env: Mapping[str, str]) -> Iterator[XServer]:
    """Xvfb under a number of its own, with openbox."""
    program, window_manager = need("Xvfb"), need("openbox")
    if not X_SOCKETS.exists():  # made at boot where X is at home; Xvfb makes it as root only
        X_SOCKETS.mkdir(mode=0o1777)
        X_SOCKETS.chmod(0o1777)
    cookie, foreign = secrets.token_bytes(16), secrets.token_bytes(16)
    server_file, client_file, log = directory / "X.server", directory / "Xauthority", directory / "X.log"
    server_file.write_bytes(xauthority(FAMILY_WILD, b"", "", cookie))
    reader, writer = os.pipe()
    with ExitStack() as stack:
        words = [
            program,
            "-displayfd",
            str(writer),
            "-screen",
            "0",
            f"{SCREEN[0]}x{SCREEN[1]}x24",
            "-noreset",
        ]
        words += ["-nolisten", "tcp", "-auth", str(server_file)]
        process = stack.enter_context(running(words, env=env, log=log, pass_fds=[writer]))
        os.close(writer)
        with open(reader, "rb") as pipe:
            said = pipe.readline()
        if not said.strip():
            end(process)
            pytest.fail(f"Xvfb did not start:\n{log.read_text(errors='replace')}", pytrace=False)
        number = int(said)
        machine = os.uname().nodename.encode()
        other = xauthority(FAMILY_LOCAL, machine, str(number + 1), foreign)
        client_file.write_bytes(other + xauthority(FAMILY_LOCAL, machine, str(number), cookie))
        client_file.chmod(0o600)
        server = XServer(number, client_file, cookie, foreign)
        until((X_SOCKETS / f"X{number}").is_socket, "the X server's socket", log)
        stack.enter_context(
            running([window_manager], env={**env, **server.env}, log=directory / "openbox.log")
        )
        yield server


@contextmanager
def wayland_compositor(directory: Path, env: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Weston without a screen, in the session's runtime directory; yields the variables of its clients."""
    program = need("weston")
    log = directory / "weston.log"
    socket = Path(env["XDG_RUNTIME_DIR"]) / "wayland-7"
    words = [
        program,
        "--backend=headless-backend.so",
        "--use-pixman",
        "--debug",
        "--no-config",
        "--idle-time=0",
    ]
    words += [f"--width={SCREEN[0]}", f"--height={SCREEN[1]}", f"--socket={socket.name}"]
    with running(words, env=env, log=log):
        until(socket.is_socket, "weston's socket", log)
        yield {"WAYLAND_DISPLAY": socket.name}


@contextmanager
def sound_server(directory: Path, env: Mapping[str, str]) -> Iterator[None]:
    """PulseAudio with one sink that nobody hears, `out`, in the session's runtime directory."""
    program = need("pulseaudio")
    need("parec")
    log = directory / "pulse.log"
    words = [
        program,
        "-n",
        "--daemonize=no",
        "--exit-idle-time=-1",
        "--use-pid-file=no",
        "--log-target=stderr",
    ]
    for module in ("module-native-protocol-unix", "module-null-sink sink_name=out rate=48000 channels=1"):
        words += ["-L", module]
    with running(words, env=env, log=log):
        until((Path(env["XDG_RUNTIME_DIR"]) / "pulse" / "native").is_socket, "PulseAudio's socket", log)
        yield


class Page:
    """An answer of the web server."""

    def __init__(
        self, content: str | bytes, kind: str = "text/html; charset=utf-8", saved_as: str = ""
    ) -> None:
        self.content = content.encode() if isinstance(content, str) else content
        self.kind = kind
        self.saved_as = saved_as


class WebServer:
    """`address` is "http://127.0.0.1:PORT"; `pages` what it shows, by path; `asked` what it was asked for."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.pages: dict[str, Page] = {}
        self.asked: list[str] = []


@contextmanager
def web_server() -> Iterator[WebServer]:
    """A web server on loopback, at a port of its own."""
    shared: list[WebServer] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shared[0].asked.append(self.path)
            page = shared[0].pages.get(self.path)
            self.send_response(200 if page else 404)
            page = page or Page("no such page", "text/plain")
            self.send_header("Content-Type", page.kind)
            self.send_header("Content-Length", str(len(page.content)))
            if page.saved_as:
                self.send_header("Content-Disposition", f'attachment; filename="{page.saved_as}"')
            self.end_headers()
            self.wfile.write(page.content)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the name in the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        shared.append(WebServer(f"http://127.0.0.1:{http.server_address[1]}"))
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield shared[0]
        finally:
            http.shutdown()
            thread.join()

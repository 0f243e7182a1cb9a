"""Which display a box gets, and what of it: the socket and the cookie of one X server, or a compositor's socket."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from conftest import Box, need
from desktop.conftest import Start
from pictures import drawn_by_lot, of_wayland_screen, page_of, wait_for
from servers import Page, WebServer, XServer, xauthority

CONNECT = """
import socket, sys
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1].replace("@", chr(0)))
    print("connected")
except OSError as error:
    print(error.strerror)
"""
LARGE = 100 * 100


def abstract(number: int) -> str:
    """The second name under which an X server listens, written as ss(8) does."""
    return f"@/tmp/.X11-unix/X{number}"


def test_only_this_displays_cookie_and_socket_are_in_the_box(x: XServer, box: Box) -> None:
    need("xdpyinfo")
    shown = box("xdpyinfo", policy="xterm")
    assert shown.returncode == 0, shown.stderr
    assert "dimensions:    1024x768" in shown.stdout
    cookies = box("sh", "-c", 'od -An -v -tx1 "$XAUTHORITY"', policy="xterm").stdout
    assert x.cookie in bytes.fromhex(cookies)
    assert x.foreign_cookie not in bytes.fromhex(cookies)
    assert len(bytes.fromhex(cookies)) == len(xauthority(0, b"", str(x.number), x.cookie))
    number = box("sh", "-c", 'echo "${DISPLAY#:}"', policy="xterm").stdout.strip()
    assert f"X{number}" == box("ls", "/tmp/.X11-unix", policy="xterm").stdout.strip()


def test_without_the_cookie_the_x_server_refuses(x: XServer, box: Box) -> None:
    done = box("env", "-u", "XAUTHORITY", need("xdpyinfo"), policy="xterm")
    assert done.returncode == 1
    assert "Authorization required" in done.stderr


@pytest.mark.parametrize("policy", ["xterm", "firefox"])
def test_the_abstract_socket_is_no_second_door(
    x: XServer, box: Box, policy: str, session: dict[str, str]
) -> None:
    with socket.socket(socket.AF_UNIX) as outside:
        outside.connect(abstract(x.number).replace("@", "\0"))  # from outside it is open
    said = box("python3", "-c", CONNECT, abstract(x.number), policy=policy).stdout.strip()
    if said == "connected":  # an old kernel: then the user is told
        told = box("true", policy=policy)
        account = subprocess.run(
            [str(told.args[0]), "explain", policy], env=session, capture_output=True, text=True, check=True
        )
        assert "abstract socket stays open" in " ".join(account.stdout.split())
    else:
        assert said in ("Connection refused", "Operation not permitted")


def test_where_there_is_a_compositor_the_x_server_stays_outside(x: XServer, wayland: None, box: Box) -> None:
    said = box("env", policy="firefox").stdout.splitlines()
    assert "WAYLAND_DISPLAY=wayland-0" in said
    assert not [line for line in said if line.startswith(("DISPLAY=", "XAUTHORITY="))]
    by_path = box("python3", "-c", CONNECT, f"/tmp/.X11-unix/X{x.number}", policy="firefox")
    assert "No such file or directory" == by_path.stdout.strip()


@pytest.mark.timeout(180)
def test_firefox_shows_a_page_through_wayland(
    wayland: None, web: WebServer, start: Start, session: dict[str, str], tmp_path: Path
) -> None:
    need("firefox", "firefox-esr")
    colours = drawn_by_lot(4)
    web.pages["/"] = Page(page_of(colours))
    kept = tmp_path / "wayland.png"
    with start("firefox", f"{web.address}/") as log:
        wait_for(lambda: of_wayland_screen(kept, session), colours, LARGE, kept, log)

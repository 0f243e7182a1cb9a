"""Connections in place of sockets: handed in at the start, or by the broker when they are asked for; real servers."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Box, need
from desktop.conftest import Start
from pictures import drawn_by_lot, of_wayland_screen, png_of, wait_for
from servers import SCREEN, XServer, sound_server

LARGE = 100 * 100
ONE = 'display.wayland="one-connection"'
SOCKETS = "find / -xdev -type s 2>/dev/null; find /run /tmp -type s 2>/dev/null"
CONNECTIONS = """
import ctypes, subprocess, sys
wayland = ctypes.CDLL("libwayland-client.so.0")
wayland.wl_display_connect.restype = ctypes.c_void_p
wayland.wl_display_roundtrip.argtypes = [ctypes.c_void_p]
first = wayland.wl_display_connect(None)
answered = wayland.wl_display_roundtrip(first) >= 0
again = wayland.wl_display_connect(None)
child = subprocess.run(["wayland-info"], capture_output=True, close_fds=False)
print(answered, again is not None, child.returncode == 0)
"""
"""As every client does it: by libwayland, which is told of the connection by WAYLAND_SOCKET."""
X_HANDSHAKE = """
import os, socket, struct, sys
def field(at):
    size = int.from_bytes(content[at:at + 2], "big")
    return content[at + 2:at + 2 + size], at + 2 + size
name = data = b""
if sys.argv[1:] == ["cookie"]:
    with open(os.environ["XAUTHORITY"], "rb") as file:
        content = file.read()
    at = 2
    for _ in range(2):  # address, number
        _, at = field(at)
    name, at = field(at)
    data, at = field(at)
padded = [part + bytes(-len(part) % 4) for part in (name, data)]
server = socket.socket(fileno=3)
server.settimeout(10)
server.sendall(struct.pack("<BxHHHHxx", ord("l"), 11, 0, len(name), len(data)) + b"".join(padded))
head = server.recv(8, socket.MSG_WAITALL)
kind, reason, major, _, words = struct.unpack("<BBHHH", head)
rest = server.recv(4 * words, socket.MSG_WAITALL)
if kind != 1:
    sys.exit("refused: " + rest[:reason].decode())
vendor, formats = struct.unpack_from("<H", rest, 16)[0], rest[21]
screen = 32 + vendor + -vendor % 4 + 8 * formats
print(major, *struct.unpack_from("<HH", rest, screen + 20))
"""
"""Source: X Window System Protocol, chapter 8, "Connection Setup"."""
PULSE_HANDSHAKE = """
import socket, struct
server = socket.socket(fileno=3)
server.settimeout(10)
body = struct.pack(">BIBIBIBI", ord("L"), 8, ord("L"), 77, ord("L"), 32, ord("x"), 256) + bytes(256)
server.sendall(struct.pack(">IIIII", len(body), 0xFFFFFFFF, 0, 0, 0) + body)
size, *_ = struct.unpack(">IIIII", server.recv(20, socket.MSG_WAITALL))
answer = server.recv(size, socket.MSG_WAITALL)
print(*struct.unpack_from(">xIxIxI", answer))
"""
"""Source: PulseAudio's pulsecore/native-common.h and tagstruct.h: AUTH is 8, with a cookie; REPLY is 2."""


def test_a_window_is_shown_through_one_connection_and_there_is_no_socket(
    wayland: None, start: Start, session: dict[str, str], box: Box, tmp_path: Path
) -> None:
    need("weston-image")
    colours = drawn_by_lot(3)
    image = tmp_path / "image.png"
    image.write_bytes(png_of(colours))
    kept = tmp_path / "one-connection.png"
    settings = ["--policy", "gui", "--set", ONE, "--set", f'files.read=["{image}"]']
    with start("run", *settings, "--", "weston-image", image) as log:
        wait_for(lambda: of_wayland_screen(kept, session), colours, LARGE, kept, log)
    done = box("sh", "-c", f"{SOCKETS}; env", policy="gui", settings=[ONE])
    assert not [line for line in done.stdout.splitlines() if line.startswith("/")], done.stdout
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert ("WAYLAND_SOCKET" in names, "WAYLAND_DISPLAY" in names) == (True, False)


@pytest.mark.parametrize(("setting", "more"), [(ONE, False), ("display.wayland=true", True)])
def test_neither_the_program_nor_its_children_get_a_second_connection(
    wayland: None, box: Box, setting: str, more: bool
) -> None:
    need("wayland-info")
    done = box("python3", "-c", CONNECTIONS, policy="gui", settings=[setting])
    assert f"True {more} {more}\n" == done.stdout, done.stderr


def test_the_connection_to_x_is_one_to_the_real_server(x: XServer, box: Box) -> None:
    settings = ['broker.connect=["x11"]']
    words = ("sandbox-broker", "connect", "x11", "--", "python3", "-c", X_HANDSHAKE)
    done = box(*words, "cookie", settings=settings)
    assert (0, f"11 {SCREEN[0]} {SCREEN[1]}\n") == (done.returncode, done.stdout), done.stderr
    refused = box(*words, settings=settings)
    assert 1 == refused.returncode
    assert "refused: Authorization required" in refused.stderr
    assert "" == box("sh", "-c", "ls -A /tmp/.X11-unix 2>/dev/null", settings=settings).stdout


def test_the_connection_to_pulseaudio_is_one_to_the_real_server(
    session: dict[str, str], box: Box, tmp_path: Path
) -> None:
    settings = ['broker.connect=["pulseaudio"]']
    words = ("sandbox-broker", "connect", "pulseaudio", "--", "python3", "-c", PULSE_HANDSHAKE)
    with sound_server(tmp_path, session):
        done = box(*words, settings=settings)
        sockets = box("sh", "-c", f"{SOCKETS}; echo $PULSE_SERVER", settings=settings).stdout
    assert 0 == done.returncode, done.stderr
    command, tag, version = map(int, done.stdout.split())
    assert (2, 77) == (command, tag)
    assert version & 0xFFFF >= 13
    assert ["/run/sandboxer/broker"] == sorted(set(sockets.split()))


def test_what_isnt_in_the_policy_isnt_connected_to(x: XServer, box: Box) -> None:
    done = box("sandbox-broker", "connect", "x11", "--", "true", settings=['broker.links=["https"]'])
    assert (1, "") == (done.returncode, done.stdout)
    assert "sandbox-broker: connect x11: Permission denied (EACCES)\n" == done.stderr

"""
Pictures of screens: take one, and say what is on it.

A test shows blocks of colours that it has drawn by lot, so that no other page, theme or earlier run can have them.
"""

from __future__ import annotations

import secrets
import struct
import subprocess
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from conftest import need
from servers import STARTS, until

Colour = tuple[int, int, int]
NEAR = 3
"""How far a channel may be off: decoders and colour management round."""
STEP = 4
"""Blocks of colour are large: looking at every fourth pixel of every fourth row is enough."""


class Picture:
    """The pixels of one picture, three bytes each, row by row."""

    def __init__(self, width: int, height: int, pixels: bytes) -> None:
        self.width = width
        self.height = height
        self.pixels = pixels

    def places(self, colour: Colour) -> list[tuple[int, int]]:
        """Where a colour is, within NEAR, in steps of STEP: (x, y) of every pixel looked at that has it."""
        red, green, blue = colour
        found: list[tuple[int, int]] = []
        for y in range(0, self.height, STEP):
            for x in range(0, self.width, STEP):
                at = 3 * (y * self.width + x)
                if abs(self.pixels[at] - red) > NEAR:
                    continue
                if abs(self.pixels[at + 1] - green) <= NEAR and abs(self.pixels[at + 2] - blue) <= NEAR:
                    found.append((x, y))
        return found

    def shows(self, colours: Sequence[Colour], least: int) -> bool:
        """Whether these colours stand side by side in this order, each a filled rectangle of `least` pixels or more."""
        edge = -1
        for colour in colours:
            places = self.places(colour)
            if len(places) * STEP * STEP < least:
                return False
            left, right = min(x for x, _ in places), max(x for x, _ in places)
            tall = (max(y for _, y in places) - min(y for _, y in places)) // STEP + 1
            wide = (right - left) // STEP + 1
            if left <= edge or len(places) < 0.9 * wide * tall:
                return False
            edge = right
        return True


def read(path: Path) -> Picture:
    """A picture file of any kind that ImageMagick knows."""
    done = subprocess.run(
        [need("convert"), str(path), "-alpha", "off", "-depth", "8", "ppm:-"], capture_output=True, check=True
    )
    kind, width, height, depth, pixels = _ppm(done.stdout)
    assert (kind, depth) == (b"P6", 255)
    return Picture(width, height, pixels)


def _ppm(content: bytes) -> tuple[bytes, int, int, int, bytes]:
    """Kind, width, height, greatest value, pixels. One byte of white space ends the head."""
    at = 0
    fields: list[bytes] = []
    while len(fields) < 4:
        end = at
        while not content[end : end + 1].isspace():
            end += 1
        fields.append(content[at:end])
        at = end + 1
    return fields[0], int(fields[1]), int(fields[2]), int(fields[3]), content[at:]


def of_x_screen(path: Path, env: Mapping[str, str]) -> Picture:
    """The whole screen of an X server, kept at `path`."""
    subprocess.run(
        [need("import"), "-window", "root", f"png:{path}"],
        env=dict(env),
        check=True,
        capture_output=True,
        timeout=20,
    )
    return read(path)


def of_wayland_screen(path: Path, env: Mapping[str, str]) -> Picture:
    """The whole screen of a Weston that runs with --debug, kept at `path`."""
    directory = path.with_suffix(".taken")
    directory.mkdir(exist_ok=True)
    tool = need("weston-screenshooter")
    subprocess.run([tool], env=dict(env), cwd=directory, check=True, capture_output=True, timeout=20)
    for taken in directory.iterdir():
        taken.replace(path)
    return read(path)


def drawn_by_lot(count: int) -> list[Colour]:
    """Colours that are far from one another and from grey."""
    colours: list[Colour] = []
    while len(colours) < count:
        red, green, blue = (secrets.randbelow(256) for _ in range(3))
        if max(red, green, blue) - min(red, green, blue) < 64:
            continue
        if all(
            sum(abs(a - b) for a, b in zip(known, (red, green, blue), strict=True)) > 96 for known in colours
        ):
            colours.append((red, green, blue))
    return colours


def page_of(colours: Sequence[Colour], more: str = "") -> str:
    """A page that shows upright blocks of these colours, side by side, over its upper half."""
    blocks = "".join(f'<div style="flex:1;background:rgb{colour}"></div>' for colour in colours)
    return (
        "<!doctype html><meta charset=utf-8><title>blocks</title><body style='margin:0;background:#fff'>"
        f"<div style='display:flex;height:50vh'>{blocks}</div>{more}"
    )


def png_of(colours: Sequence[Colour]) -> bytes:
    """An image of 600 by 400 pixels: upright blocks of these colours, side by side."""
    wide = 600 // len(colours)
    row = b"\0" + b"".join(bytes(colour) * wide for colour in colours)
    head = struct.pack(">IIBBBBB", wide * len(colours), 400, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    pixels = zlib.compress(row * 400)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def pdf_of(colours: Sequence[Colour]) -> bytes:
    """A document of one page: upright blocks of these colours, side by side."""
    wide = 600 // len(colours)
    drawing = "".join(
        f"{red / 255:.5f} {green / 255:.5f} {blue / 255:.5f} rg {i * wide} 0 {wide} 400 re f\n"
        for i, (red, green, blue) in enumerate(colours)
    ).encode()
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 400] /Contents 4 0 R >>",
        b"<< /Length %d >>\nstream\n%sendstream" % (len(drawing), drawing),
    )
    content = b"%PDF-1.4\n"
    places = []
    for number, described in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, described)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(content)
    content += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return content + b"trailer\n<< /Root 1 0 R /Size %d >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        start,
    )


def wait_for(
    take: Callable[[], Picture], colours: Sequence[Colour], least: int, kept: Path, log: Path
) -> Picture:
    """Take pictures until one shows the colours; fail naming the last one."""
    last: list[Picture] = []

    def shown() -> bool:
        last[:] = [take()]
        return last[0].shows(colours, least)

    print(f"picture: {kept}")
    until(shown, f"{len(colours)} blocks of colour on the screen (see {kept})", log, timeout_s=3 * STARTS)
    if not last:
        pytest.fail("no picture was taken")
    return last[0]

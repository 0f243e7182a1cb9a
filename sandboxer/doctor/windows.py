"""
Windows: the X server and the Wayland compositor that a box would be given.

What comes in: the session as `Host` sees it, so that the sockets are those that a start would find. What goes out:
checks. The X server is greeted with the cookie that a box would get, the compositor asked what it offers.
"""

from __future__ import annotations

import contextlib
import posixpath
import socket
import struct
from collections.abc import Iterator

from sandboxer.doctor.child import Outcome, Steps
from sandboxer.doctor.compositor import SECURITY_CONTEXT, Unspoken, interfaces
from sandboxer.doctor.finding import Check, State, Verdict, fine
from sandboxer.doctor.session import RUNTIME
from sandboxer.grants import display
from sandboxer.grants.cookies import find_cookie
from sandboxer.host.view import Host
from sandboxer.words import HostPath

ANSWER_S = 3.0
SETUP = struct.Struct("<BxHHHHxx")
"""A connection's first message: byte order, protocol 11.0, sizes of the cookie's name and content."""
REFUSED, ACCEPTED = 0, 1


def checks(host: Host) -> Iterator[Check]:
    """Wayland and X11; one of them is enough."""
    wayland, x11 = host.variable("WAYLAND_DISPLAY"), host.variable("DISPLAY")
    yield Check(
        name="wayland",
        title="Wayland",
        work=lambda step: _wayland(step, host) if wayland else None,
        judge=lambda outcome: _judge_wayland(outcome, wayland or "", other=bool(x11)),
        needs=(RUNTIME,) if wayland and not wayland.startswith("/") else (),
    )
    yield Check(
        name="wayland-security-context",
        title="Wayland's security context",
        work=lambda step: _wayland(step, host) if wayland else None,
        judge=_judge_context,
        needs=("wayland",),
    )
    yield Check(
        name="x11",
        title="X11",
        work=lambda step: _x11(step, host) if x11 else None,
        judge=lambda outcome: _judge_x11(outcome, x11 or "", other=bool(wayland)),
    )


def _wayland(step: Steps, host: Host) -> list[str]:
    path = display.wayland_socket(host)
    if path is None:
        raise OSError(0, "XDG_RUNTIME_DIR isn't set")
    step(path)
    with _connected(path) as connection:
        try:
            return interfaces(connection)
        except Unspoken as error:
            raise OSError(0, str(error)) from error


def _x11(step: Steps, host: Host) -> None:
    path = display.x_socket(host)
    if path is None:
        raise OSError(0, f"DISPLAY={host.variable('DISPLAY')} names no X server of this machine")
    number = int(path.rpartition("X")[2])
    step(path)
    name, data = _cookie(host, number)
    padded = [part + b"\0" * (-len(part) % 4) for part in (name, data)]
    with _connected(path) as connection:
        connection.sendall(SETUP.pack(ord("l"), 11, 0, len(name), len(data)) + b"".join(padded))
        answer = connection.recv(8)
    if not answer:
        raise OSError(0, "it ended the connection")
    if answer[0] == REFUSED:
        raise OSError(0, "it refuses the session's cookie")


def _cookie(host: Host, number: int) -> tuple[bytes, bytes]:
    path = host.variable("XAUTHORITY") or posixpath.join(host.user.home, ".Xauthority")
    machine = (host.read("/proc/sys/kernel/hostname") or b"").strip()
    found = find_cookie(host.read(HostPath(path)) or b"", number, machine)
    return (found.name, found.data) if found else (b"", b"")


@contextlib.contextmanager
def _connected(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_S)
        connection.connect(path)
        yield connection


def _judge_wayland(outcome: Outcome, named: str, *, other: bool) -> Verdict:
    if outcome.failed:
        return Verdict(
            state=State.DEGRADED,
            found=outcome.told(),
            cause=f"The compositor that WAYLAND_DISPLAY names ({named}) isn't there, or doesn't answer.",
            remedy="unset WAYLAND_DISPLAY"
            if other
            else "start this in a terminal of a running Wayland session",
            lost="applications that have Wayland only don't start; others do where there is an X server",
        )
    if outcome.value is not None:
        return fine(named)
    if other:
        return fine("not used by this session, which has X11")
    return Verdict(
        state=State.DEGRADED,
        found="neither WAYLAND_DISPLAY nor DISPLAY is set",
        cause="This isn't a graphical session (a text console, ssh, a unit that was started without it).",
        remedy="start it in a terminal of your graphical session",
        lost="applications with windows don't start from here",
    )


def _judge_x11(outcome: Outcome, named: str, *, other: bool) -> Verdict:
    if outcome.failed:
        refused = "cookie" in outcome.text
        return Verdict(
            state=State.DEGRADED,
            found=outcome.told(),
            cause="The X server doesn't know the cookie in your Xauthority file."
            if refused
            else f"The X server that DISPLAY names ({named}) isn't there, or isn't one of this machine.",
            remedy="start it in a terminal of the X session itself, which has the right XAUTHORITY"
            if refused
            else "unset DISPLAY"
            if other
            else "start it where the X server runs, with DISPLAY=:N",
            lost="applications that have X11 only don't start",
        )
    if outcome.value is None and not named:
        return fine("not used by this session" if other else "no display: see Wayland")
    return fine(named)


def _judge_context(outcome: Outcome) -> Verdict:
    if outcome.failed or outcome.value is None:
        return fine("no Wayland here")
    if SECURITY_CONTEXT in outcome.value:
        return fine("the compositor has it")
    return Verdict(
        state=State.NOTE,
        found=f"the compositor doesn't offer {SECURITY_CONTEXT}",
        cause="This compositor can't tell programs in boxes from others: what it lets every client do (pictures of the "
        "screen, the clipboard), boxes with Wayland can do, too.",
        remedy="use a compositor that has it: KDE Plasma 6, Sway 1.9, Hyprland, or newer",
        lost="nothing that this version uses",
    )

"""
Sound, graphics and FUSE.

What comes in: the session as `Host` sees it. What goes out: checks. Devices are opened, sockets connected to, the user
manager is asked for sound's units; nothing is played, drawn or mounted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

from sandboxer.doctor import user_units
from sandboxer.doctor.child import Outcome
from sandboxer.doctor.finding import Check, State, Verdict, fine
from sandboxer.doctor.machine import Machine
from sandboxer.doctor.session import RUNTIME
from sandboxer.grants import sound
from sandboxer.host.view import Host

RENDER_NODES, FUSE = "/dev/dri", "/dev/fuse"
SOUND_UNITS = ("pipewire-pulse.socket", "pulseaudio.socket")
"""What starts a sound server that speaks PulseAudio's protocol, the better one first."""


def checks(host: Host, machine: Machine) -> Iterator[Check]:
    """In the order in which people miss them."""
    yield Check(
        name="sound",
        title="sound",
        work=lambda _: _sound(host),
        judge=lambda outcome: _judge_sound(outcome, machine),
        needs=() if host.variable("PULSE_SERVER") else (RUNTIME,),
    )
    yield Check(
        name="gpu",
        title="graphics hardware",
        work=lambda _: _graphics(),
        judge=_judge_gpu,
    )
    yield Check(
        name="fuse", title=FUSE, work=lambda _: _fuse(), judge=lambda outcome: _judge_fuse(outcome, machine)
    )


def _sound(host: Host) -> dict[str, Any]:
    """The servers that answer; where none does, what the user manager says of those that it could start."""
    found = []
    for server, path in (
        ("PulseAudio", sound.pulse_socket(host)),
        ("PipeWire", sound.pipewire_socket(host)),
    ):
        if path is None:
            continue
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, contextlib.suppress(OSError):
            connection.connect(path)
            found.append(server)
    return {"servers": found, "units": {} if found else user_units.states(SOUND_UNITS)}


def _graphics() -> dict[str, int]:
    """Render nodes, each with the errno that opening it gives."""
    found = {}
    names = sorted(os.listdir(RENDER_NODES)) if os.path.isdir(RENDER_NODES) else []
    for name in names:
        if name.startswith("renderD"):
            path = f"{RENDER_NODES}/{name}"
            try:
                os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
                found[path] = 0
            except OSError as error:
                found[path] = error.errno or errno.EIO
    return found


def _fuse() -> None:
    os.close(os.open(FUSE, os.O_RDWR | os.O_CLOEXEC))


def _judge_sound(outcome: Outcome, machine: Machine) -> Verdict:
    value = outcome.value or {"servers": [], "units": {}}
    if value["servers"]:
        return fine(" and ".join(value["servers"]))
    return Verdict(
        state=State.DEGRADED,
        found=outcome.told() if outcome.failed else "no PulseAudio or PipeWire answers",
        cause="No sound server runs in this session, or its socket isn't where the session says.",
        remedy=user_units.starting(value["units"]) or f"{machine.installer} pulseaudio && pulseaudio --start",
        lost="applications in boxes are silent, and those whose policy insists on sound don't start",
    )


def _judge_gpu(outcome: Outcome) -> Verdict:
    nodes: dict[str, int] = outcome.value or {}
    usable = [path for path, error in nodes.items() if not error]
    if usable:
        return fine(", ".join(usable))
    lost = "3D and video in boxes are computed by the processor, which is slow"
    if nodes:
        path, error = next(iter(nodes.items()))
        return Verdict(
            state=State.DEGRADED,
            found=f"{path}: {os.strerror(error)}",
            cause="You may not open the render nodes: the session isn't at the machine's own screen, or your user "
            "isn't in the group that owns them.",
            remedy="sudo usermod -aG render $USER && echo 'now log out and in again'",
            lost=lost,
        )
    return Verdict(
        state=State.NOTE,
        found=outcome.told() if outcome.failed else f"no render node in {RENDER_NODES}",
        cause="This machine has no graphics hardware that the kernel drives (a virtual machine, a missing driver).",
        remedy="none where there is no such hardware; else install its driver",
        lost=lost,
    )


def _judge_fuse(outcome: Outcome, machine: Machine) -> Verdict:
    if not outcome.failed:
        return fine("can be opened")
    if outcome.error == errno.ENOENT:
        cause = "The kernel's module fuse isn't loaded, or a container hides the device."
        remedy = (
            f"start the container with: --device {FUSE}"
            if machine.container
            else "echo fuse | sudo tee /etc/modules-load.d/fuse.conf && sudo modprobe fuse"
        )
    elif outcome.error in (errno.EACCES, errno.EPERM):
        cause = "You may not open it; its mode should be 0666."
        remedy = f"sudo chmod 666 {FUSE}"
    else:
        cause = f"The kernel says: {outcome.told()}."
        remedy = "sudo modprobe fuse"
    return Verdict(
        state=State.DEGRADED,
        found=outcome.told(),
        cause=cause,
        remedy=remedy,
        lost="the desktop's document portal, and AppImages, which mount themselves; boxes themselves don't need it",
    )

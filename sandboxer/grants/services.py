"""
Services that the broker connects to: `broker.connect`.

What comes in: which services, and the session's variables that say where they listen. What goes out: rules for the
broker, and for the SSH agent a socket of the broker's own in the box. It never shows a service's own socket, which is
what `[display]` and `[sound]` do.

Abuse: a connection is worth as much as the socket: whoever holds one to the X server sees what is typed everywhere.
What it spares is the file, which every program in the box could open, and each connection is logged. An SSH agent signs
whatever it is given, and lists all keys; so it is never handed in as it is, and never without naming keys: the broker
answers for those alone, and passes on nothing but lists and signatures. What is signed can't be looked into, so each
key that is named opens what it opens, as long as the box runs.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from sandboxer.broker.rules import Service
from sandboxer.errors import PolicyError
from sandboxer.grants import display, sound
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.host.view import FileType, Host
from sandboxer.plan.ops import EnvEntry, EnvKind, Op, OpFlag, OpKind
from sandboxer.policy.effective import Effective
from sandboxer.words import BoxPath, HostPath, Origin

AGENT = "ssh-agent"
AGENT_SOCKET = "/run/sandboxer/ssh-agent"
TITLES = {
    "wayland": "the Wayland compositor",
    "x11": "the X server",
    "pulseaudio": "PulseAudio",
    "pipewire": "PipeWire",
    AGENT: "the SSH agent",
}
HOLES = {
    "x11": (
        "can see and control every other X11 window, and read what is typed there",
        "through connections to the X server, which keeps nothing from its programs",
    ),
    "pulseaudio": (
        "can play sound and listen to the microphone through PulseAudio",
        "it also hears what other programs play, and can load the server's modules, which run outside",
    ),
    "pipewire": (
        "can play sound, listen to the microphone and use cameras through PipeWire",
        "by asking for connections",
    ),
}


def grants(effective: Effective, host: Host) -> Iterator[Grant | Withheld]:
    """One grant for each service that is there."""
    keys = effective.policy.broker.ssh_agent_keys
    for name in effective.policy.broker.connect:
        origin = effective.origin("broker.connect", name)
        if name == AGENT and not keys:
            raise PolicyError(
                "cannot give an SSH agent without naming keys",
                subject="the agent would sign with every key that you have added, now and later",
                origin=origin,
                hint='name them: ssh-agent-keys = ["SHA256:..."], as ssh-add -l prints them',
            )
        path = _socket(name, host)
        real = host.resolve(path) if path else None
        if path is None or real is None or host.type_of(path) is not FileType.SOCKET:
            why = f"{path} isn't there" if path else "the session names none"
            yield Withheld(topic="broker", words=f"can't be connected to {TITLES[name]}: {why}")
        elif host.landlock_abi < 1:
            words = f"can't be connected to {TITLES[name]}: a broker needs Landlock to confine itself"
            yield Withheld(topic="broker", words=words)
        elif name == AGENT:
            yield _agent(real, keys, origin)
        else:
            yield _connection(name, real, effective, host, origin)


def _socket(name: str, host: Host) -> str | None:
    match name:
        case "wayland":
            return display.wayland_socket(host)
        case "x11":
            return display.x_socket(host)
        case "pulseaudio":
            return sound.pulse_socket(host)
        case "pipewire":
            return sound.pipewire_socket(host)
    path = host.variable("SSH_AUTH_SOCK")
    return posixpath.normpath(path) if path and path.startswith("/") else None


def _connection(name: str, real: HostPath, effective: Effective, host: Host, origin: Origin) -> Grant:
    words, detail = HOLES.get(
        name,
        (
            "can ask for connections to the Wayland compositor, and show windows through them",
            "what else the compositor lets every client do, it can do, too",
        ),
    )
    ops: tuple[Op, ...] = ()
    environment: tuple[EnvEntry, ...] = ()
    if name == "x11" and not _has_x11(effective, host):
        number = int(posixpath.basename(display.x_socket(host) or "")[1:])
        cookie = display.cookie_file(host, number, number, origin)
        if cookie is not None:
            ops, environment = cookie[:1], cookie[1:]
    return Grant(
        topic="broker",
        words=words,
        detail=detail,
        weight=Weight.HOLE if name in HOLES else Weight.ACCESS,
        origin=origin,
        ops=ops,
        environment=environment,
        brokered=(Service(name=name, path=real, origin=str(origin)),),
    )


def _has_x11(effective: Effective, host: Host) -> bool:
    """Whether `[display]` gives the X server's socket, and its cookie with it."""
    path = display.wayland_socket(host)
    has_wayland = effective.policy.display.wayland is not False and path is not None and host.type_of(path)
    return display.wants_x11(effective, has_wayland=has_wayland is FileType.SOCKET)


def _agent(real: HostPath, keys: tuple[str, ...], origin: Origin) -> Grant:
    listen = Op(
        kind=OpKind.LISTEN,
        box_path=BoxPath(AGENT_SOCKET),
        source=AGENT,
        mode=0o600,
        flags=OpFlag.STREAM,
        origin=origin,
    )
    listed = ", ".join(keys)
    return Grant(
        topic="broker",
        words=f"can log in and sign with your SSH key{'s' if len(keys) > 1 else ''} {listed}",
        detail="wherever that is accepted, as long as it runs; the agent keeps the key itself, and the broker your "
        "other keys",
        weight=Weight.HOLE,
        origin=origin,
        ops=(listen,),
        environment=(EnvEntry(kind=EnvKind.SET, name="SSH_AUTH_SOCK", value=AGENT_SOCKET),),
        brokered=(Service(name=AGENT, path=real, origin=str(origin), keys=keys),),
    )

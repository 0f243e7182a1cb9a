"""
Sound: the PulseAudio server's socket, or PipeWire's where there is no PulseAudio.

What comes in: `[sound]`, PULSE_SERVER, PIPEWIRE_REMOTE. What goes out: one socket with the client's settings. It never
grants sound without saying that the microphone comes with it.

Abuse: whoever may play may also record, hear what other programs play, change every volume, list the other clients,
and have PulseAudio load modules (one writes files, one opens a network port, as the user and outside the box, unless
the server runs with --disallow-module-loading). PipeWire's socket gives cameras and screen casts besides, which is why
it is only taken where PulseAudio's isn't there. Shared memory is off: its segments can be read by every other client.
The cookie isn't handed over for the session's own server, which knows the user by the socket (SO_PEERCRED) and whose
cookie also opens its network port, if any; it is where PULSE_SERVER names another one.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from sandboxer.errors import PolicyError, ResolveError
from sandboxer.grants import paths
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.host.view import FileType, Host
from sandboxer.plan.ops import EnvEntry, EnvKind, Op, OpKind
from sandboxer.policy.effective import Effective
from sandboxer.words import BoxPath, Origin

CLIENT_SETTINGS = "autospawn = no\nenable-shm = no\n"
"""Source: pulse-client.conf(5). Without shared memory, memfd blocks aren't used either."""
COOKIE_SIZE = 256
"""Bytes. Source: PulseAudio's protocol (PA_NATIVE_COOKIE_LENGTH)."""


def grants(effective: Effective, host: Host) -> Iterator[Grant | Withheld]:
    """The sound server, with playing and recording, or a refusal."""
    sound = effective.policy.sound
    if sound.playback is False and not sound.record:
        if not {"pulseaudio", "pipewire"}.intersection(effective.policy.broker.connect):
            yield Withheld(topic="sound", words="can't play sound, nor listen to the microphone")
        return
    origin = effective.origin("sound.record" if sound.record else "sound.playback")
    if not sound.record:
        raise PolicyError(
            "cannot grant playing without recording",
            subject="a sound server's socket gives both, and this version can't tell them apart",
            origin=origin,
            hint="set sound.record = true to accept that, or sound.playback = false",
        )
    granted = _pulse(origin, host) or _pipewire(origin, host)
    if granted is not None:
        yield granted
    elif sound.playback == "if-present":
        yield Withheld(topic="sound", words="no sound server runs")
    else:
        raise ResolveError(
            "cannot share the sound server's socket",
            subject=_absent(host),
            origin=origin,
            hint='start PulseAudio or PipeWire, or set sound.playback = "if-present"',
        )


def _pulse(origin: Origin, host: Host) -> Grant | None:
    path = pulse_socket(host)
    source = host.resolve(path) if path else None
    if path is None or source is None or host.type_of(path) is not FileType.SOCKET:
        return None
    inside = posixpath.join(paths.runtime_directory(host), "pulse")
    socket, settings, cookie = (posixpath.join(inside, name) for name in ("native", "client.conf", "cookie"))
    ops = [
        Op(kind=OpKind.BIND, box_path=BoxPath(socket), source=source, origin=origin),
        paths.file(settings, CLIENT_SETTINGS, origin),
    ]
    environment = [
        EnvEntry(kind=EnvKind.SET, name="PULSE_SERVER", value=f"unix:{socket}"),
        EnvEntry(kind=EnvKind.SET, name="PULSE_CLIENTCONFIG", value=settings),
    ]
    secret = _cookie(host) if host.variable("PULSE_SERVER") else None
    if secret:
        ops.append(paths.file(cookie, secret, origin, 0o600))
        environment.append(EnvEntry(kind=EnvKind.SET, name="PULSE_COOKIE", value=cookie))
    return _grant("PulseAudio", origin, ops, environment)


def pulse_socket(host: Host) -> str | None:
    """The socket that libpulse would use first; None where the server is reached otherwise. Source: pulseaudio(1)."""
    server = host.variable("PULSE_SERVER")
    if server:
        first = server.split()[0] if server.split() else ""
        if first.startswith("{"):  # {machine} before an address: only there.
            first = first.partition("}")[2]
        path = first.removeprefix("unix:")
        return posixpath.normpath(path) if path.startswith("/") else None
    base = host.variable("PULSE_RUNTIME_PATH")
    if base and base.startswith("/"):
        return posixpath.normpath(posixpath.join(base, "native"))
    runtime = host.variable("XDG_RUNTIME_DIR")
    if runtime and runtime.startswith("/"):
        return posixpath.normpath(posixpath.join(runtime, "pulse/native"))
    return None


def _cookie(host: Host) -> bytes | None:
    """The first cookie that there is, where libpulse looks. Source: pulseaudio(1), "Authentication cookie"."""
    named = host.variable("PULSE_COOKIE")
    ordinary = f"{paths.config_home(host)}/pulse/cookie"
    for path in (named, ordinary, f"{host.user.home}/.pulse-cookie"):
        content = host.read(path) if path and path.startswith("/") else None
        if content and len(content) == COOKIE_SIZE:
            return content
    return None


def _pipewire(origin: Origin, host: Host) -> Grant | None:
    path = pipewire_socket(host)
    source = host.resolve(path) if path else None
    if path is None or source is None or host.type_of(path) is not FileType.SOCKET:
        return None
    inside = posixpath.join(paths.runtime_directory(host), "pipewire-0")
    op = Op(kind=OpKind.BIND, box_path=BoxPath(inside), source=source, origin=origin)
    variable = EnvEntry(kind=EnvKind.SET, name="PIPEWIRE_REMOTE", value="pipewire-0")
    return _grant("PipeWire", origin, [op], [variable], " and use cameras that PipeWire offers")


def pipewire_socket(host: Host) -> str | None:
    """Source: pipewire-client.conf(5), "remote.name"; PIPEWIRE_RUNTIME_DIR goes before XDG_RUNTIME_DIR."""
    name = host.variable("PIPEWIRE_REMOTE") or "pipewire-0"
    if name.startswith("/"):
        return posixpath.normpath(name)
    base = host.variable("PIPEWIRE_RUNTIME_DIR") or host.variable("XDG_RUNTIME_DIR")
    return posixpath.normpath(posixpath.join(base, name)) if base and base.startswith("/") else None


def _absent(host: Host) -> str:
    path = pulse_socket(host)
    return f"{path}: no such socket" if path else "neither PULSE_SERVER nor XDG_RUNTIME_DIR leads to a socket"


def _grant(server: str, origin: Origin, ops: list[Op], environment: list[EnvEntry], more: str = "") -> Grant:
    return Grant(
        topic="sound",
        words=f"can play sound and listen to the microphone through {server}{more}",
        detail="it also hears what other programs play, and can load the server's modules, which run outside",
        weight=Weight.HOLE,
        origin=origin,
        ops=tuple(ops),
        environment=tuple(environment),
    )

"""
A message bus of the box's own, on which its programs meet one another and nobody else.

What comes in: `[bus]`. What goes out: the bus's configuration and a script that starts it before the application; or,
for what has windows, the word that there is no bus. It never touches the session's bus.

Programs that are started a second time speak to the first over the session bus; Firefox has no other way any more. On
this one there is no activation: no service is started by asking for its name, so nothing runs that the policy doesn't
start, and whoever looks for a portal or a notification service learns at once that there is none.

Abuse: none beyond the box. The bus runs in it, under its filter; whoever takes it over is where it was before.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandboxer.errors import ResolveError
from sandboxer.grants import paths
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.host.view import FileType, Host
from sandboxer.plan.ops import EnvEntry, EnvKind
from sandboxer.policy.effective import Effective
from sandboxer.words import BUILT_IN

DAEMONS = ("/usr/bin/dbus-daemon", "/bin/dbus-daemon")
SOCKET = "/run/sandboxer/bus"
SETTINGS = "/run/sandboxer/bus.conf"
STARTED = "/run/sandboxer/bus.started"
"""A directory that the first to start the bus makes."""
STARTER = "/run/sandboxer/with-bus"
"""Starts the bus, unless it runs, and then becomes the program that its arguments name."""

CONFIGURATION = f"""<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={SOCKET}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
"""Source: dbus-daemon(1). Without a service directory nothing can be activated."""

SCRIPT = """#!/bin/sh
if mkdir {started} 2>/dev/null; then
  {daemon} --config-file={settings} --fork --nopidfile || {{
    echo "sandboxer: the box's own message bus doesn't start; try: bus.private = false" >&2
    exit 125
  }}
else
  tries=50
  until [ -S {socket} ] || [ $((tries -= 1)) -lt 0 ]; do sleep 0.1; done
fi
exec "$@"
"""
"""One of two that come at once starts it: a second daemon would take the socket's place from the first."""


def grants(effective: Effective, host: Host) -> Iterator[Grant | Withheld]:
    """The bus, or its absence."""
    wanted = effective.policy.bus.private
    daemon = _daemon(host) if wanted is not False else None
    if daemon is not None:
        yield _own(effective, daemon)
        return
    if wanted is True:
        raise ResolveError(
            "cannot give the box a message bus of its own",
            subject=f"dbus-daemon isn't installed: not found in {' or '.join(DAEMONS)}",
            origin=effective.origin("bus.private"),
            hint='install it (package dbus-daemon), or set bus.private = "if-present"',
        )
    if effective.policy.display.wayland is not False or effective.policy.display.x11 is not False:
        yield _none(effective)
    yield Withheld(topic="bus", words="no message bus")


def command_prefix(effective: Effective, host: Host) -> tuple[str, ...]:
    """Words that go before the program's own where it has a bus."""
    wanted = effective.policy.bus.private
    return (STARTER,) if wanted is not False and _daemon(host) is not None else ()


def finds_the_first(effective: Effective, host: Host) -> bool:
    """Whether the application, started again in its box, reaches the one that runs: over a bus where it wants one."""
    policy = effective.policy
    has_bus = policy.bus.private is False or command_prefix(effective, host) != ()
    return policy.second_instance and has_bus


def _own(effective: Effective, daemon: str) -> Grant:
    origin = effective.origin("bus.private")
    script = SCRIPT.format(socket=SOCKET, started=STARTED, settings=SETTINGS, daemon=daemon)
    return Grant(
        topic="bus",
        words="has a message bus of its own",
        detail="only what runs in the box is on it",
        weight=Weight.NOTICE,
        origin=origin,
        ops=(
            paths.file(SETTINGS, CONFIGURATION, origin, 0o444),
            paths.file(STARTER, script, origin, 0o555),
        ),
        environment=(
            EnvEntry(kind=EnvKind.SET, name="DBUS_SESSION_BUS_ADDRESS", value=f"unix:path={SOCKET}"),
        ),
    )


def _none(effective: Effective) -> Grant:
    """Told so, GLib doesn't run dbus-launch to start one."""
    return Grant(
        topic="bus",
        words="is told that there is no message bus",
        weight=Weight.NOTICE,
        origin=BUILT_IN,
        environment=(EnvEntry(kind=EnvKind.SET, name="DBUS_SESSION_BUS_ADDRESS", value="disabled:"),),
    )


def _daemon(host: Host) -> str | None:
    for path in DAEMONS:
        if host.type_of(path) is FileType.REGULAR:
            return path
    return None

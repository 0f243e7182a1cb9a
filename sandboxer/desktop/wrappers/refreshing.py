"""
The desktop is told of what has changed: the list of types, the cache of icons, and the session bus.

What comes in: directories, the session. What goes out: a complaint in words, or "". Menus watch the directories
themselves; a wrapper has its origin's icon, so that only our own comes and goes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

from sandboxer.desktop import bus
from sandboxer.errors import BusError
from sandboxer.host.session import Session

PROGRAM = "update-desktop-database"
TIMEOUT_S = 60.0
BUS_TIMEOUT_S = 5.0


def update_types(directory: str, session: Session) -> str:
    """Have the list of which entry opens what (mimeinfo.cache) made anew: entries there hide those of the system."""
    program = shutil.which(PROGRAM, path=session.environment.get("PATH"))
    if program is None:
        return (
            f"{PROGRAM} isn't installed: what opens which type of file is found out at the next login, or not"
        )
    try:
        done = subprocess.run(
            [program, "-q", directory],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=session.environment,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{PROGRAM}: {error}"
    said = done.stderr.decode(errors="replace").strip()
    return f"{PROGRAM}: {said or done.returncode}" if done.returncode else ""


def outdate_icons(theme: str) -> None:
    """Let a theme's directory be newer than a cache of its icons: whoever reads it goes by that, and looks anew."""
    with contextlib.suppress(OSError):  # gone with its last icon
        os.utime(theme)


def reload_bus(session: Session) -> str:
    """Have the session bus read its services anew. Where there is none, nothing is out of date."""
    address = address_of(session)
    if not address:
        return ""
    try:
        with bus.connect(address, BUS_TIMEOUT_S) as connection:
            connection.call(bus.DAEMON, bus.DAEMON_PATH, bus.DAEMON, "ReloadConfig", timeout_s=BUS_TIMEOUT_S)
    except BusError as error:
        return f"the session bus doesn't read its services anew ({error.subject}): log in again"
    return ""


def address_of(session: Session) -> str:
    """Where the session's bus is; "" where it has none."""
    if address := session.environment.get("DBUS_SESSION_BUS_ADDRESS"):
        return address
    runtime = session.environment.get("XDG_RUNTIME_DIR", "")
    path = f"{runtime}/bus"
    return f"unix:path={path}" if runtime.startswith("/") and os.path.exists(path) else ""

"""
A notification instead of words on a stderr that nobody reads: an application was started from a menu, and wasn't.

What comes in: the application's name, what stderr was told, the user's desktop entries, for what menus call it. What
goes out: one notification, in plain words, to the session's notification server; or False. It never raises, never
starts anything but that server, and takes three seconds at most. File names in messages can be an application's choice:
no markup of theirs is obeyed, no control character sent, and the length is bounded.
"""

from __future__ import annotations

import time
from html import escape
from urllib.parse import quote

from sandboxer.desktop import bus
from sandboxer.desktop.wrappers import entries, wrapper
from sandboxer.desktop.wrappers.entries import ENTRY, Kind
from sandboxer.desktop.wrappers.key_file import KeyFile
from sandboxer.desktop.wrappers.refreshing import address_of
from sandboxer.errors import SandboxerError
from sandboxer.host import session
from sandboxer.host.facts import Facts
from sandboxer.host.session import Session
from sandboxer.host.view import Host
from sandboxer.paths import data_file
from sandboxer.words import Record

SERVICE = "org.freedesktop.Notifications"
PATH = "/org/freedesktop/Notifications"
"""Source: Desktop Notifications Specification 1.2, "D-BUS Protocol"."""
ICON = "icons/hicolor/scalable/apps/org.sandboxer.Sandboxer.svg"
ICON_WITHOUT_OURS = "dialog-error"
TAKES_S = 3.0
NAME_LENGTH_MAX = 64
LINE_LENGTH_MAX = 240
BODY_LINES_MAX = 6
SHOWN_MS = 30_000
MARKUP = "body-markup"
"""A capability: the server obeys tags in the body."""
PREFIXES = ("sandboxer: ", "sandbox: ")


class Notification(Record):
    """What people read; plain text, lines divided by newlines."""

    summary: str
    body: str


def show_failure(app: str, text: str) -> bool:
    """
    Say that an application could not be started, and why.

    Args:
        app: the application's name; "" where none is known.
        text: what was written to stderr: messages as `SandboxerError.render` and the launcher write them.
    Returns:
        Whether a server took it.
    """
    try:
        here = session.current()
        address = address_of(here)
        return bool(address) and _show(wording(app, text, _in_menus(app, here)), address)
    except Exception:  # noqa: BLE001  # called where something has failed already: the first failure is to be told
        return False


def name_in_menus(app: str, host: Host) -> str:
    """
    What the application is called in menus: the Name of the user's wrapped entry that starts it; "" where none does, or
    several of different names do, of which nobody knows which it was.
    """
    names = set()
    for source in entries.sources(Kind.ENTRY, entries.directories(host)):
        if not source.own:  # wrapped entries are the user's own, which come first
            break
        text = KeyFile(entries.read(source.path) or b"")
        if text.get(ENTRY, wrapper.POLICY) == app and not entries.is_true(text, "NoDisplay"):
            names.add(entries.menu_name(text, host))
    return names.pop() if len(names) == 1 else ""


def wording(app: str, text: str, in_menus: str = "") -> Notification:
    """The message as people read it who never saw a terminal. `in_menus`: what menus call the application, if known."""
    name = _plain(app, NAME_LENGTH_MAX)
    shown = _plain(in_menus, NAME_LENGTH_MAX) or f"{name[:1].upper()}{name[1:]}" or "An application"
    what, rest = _last_message(app, text)
    lines = [f"{what[:1].upper()}{what[1:]}." if what else "It ended before it began, and said nothing."]
    hint = ""
    for line in rest:
        stripped = line.strip()
        if stripped.startswith("try: "):
            hint = f"What helps: {stripped.removeprefix('try: ')}"
        elif stripped.startswith("asked for by "):
            lines.append(f"The policy asks for it: {stripped.removeprefix('asked for by ')}")
        elif stripped:
            lines.append(stripped)
    if not hint:
        hint = f"More is told in a terminal by: sandbox --debug {name}" if name else "See: sandbox doctor"
    kept = [_plain(line, LINE_LENGTH_MAX) for line in (*lines[: BODY_LINES_MAX - 1], hint)]
    return Notification(summary=f"{shown} could not be started", body="\n".join(kept))


def _in_menus(app: str, here: Session) -> str:
    try:
        return name_in_menus(app, Facts(here))
    except (SandboxerError, OSError):  # that its name isn't known keeps nothing from being told
        return ""


def _last_message(app: str, text: str) -> tuple[str, list[str]]:
    """Its first line without our name and the application's, and the lines that follow: the last is what failed."""
    lines = [line for line in text.splitlines() if line.strip()]
    starts = [number for number, line in enumerate(lines) if line.startswith(PREFIXES)]
    if not starts:
        return (lines[-1].strip().removesuffix(".") if lines else ""), []
    first, *rest = lines[starts[-1] :]
    for prefix in (*PREFIXES, f"{app}: "):
        first = first.removeprefix(prefix)
    return first.removesuffix("."), [line for line in rest if line.startswith("  ")]


def _plain(text: str, length: int) -> str:
    """One line that nothing acts upon: what can't be printed is a question mark, what is too long ends in dots."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in text[: length + 1])
    return printable if len(printable) <= length else f"{printable[: length - 1]}…"


def _show(notification: Notification, address: str) -> bool:
    ends = time.monotonic() + TAKES_S

    def left() -> float:
        return max(0.05, ends - time.monotonic())

    with bus.connect(address, left()) as connection:
        (able,) = connection.call(SERVICE, PATH, SERVICE, "GetCapabilities", timeout_s=left())
        # Without markup & is shown as it is; with it, a file's name could be a link.
        body = escape(notification.body, quote=False) if MARKUP in able else notification.body
        connection.call(
            SERVICE,
            PATH,
            SERVICE,
            "Notify",
            "susssasa{sv}i",
            [
                "Sandboxer",
                0,
                _icon(),
                notification.summary,
                body,
                [],
                {"urgency": bus.Variant("y", 1), "category": bus.Variant("s", "x-sandboxer.failure")},
                SHOWN_MS,
            ],
            timeout_s=left(),
        )
    return True


def _icon() -> str:
    """Ours by its file, which is there whether or not it is in the icon theme."""
    try:
        return f"file://{quote(data_file(ICON))}"
    except SandboxerError:
        return ICON_WITHOUT_OURS

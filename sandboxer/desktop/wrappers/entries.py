"""
Which desktop entries, autostart entries and D-Bus services there are, as the desktop sees them.

What comes in: the session's directories. What goes out: for each name the file that counts, and what it holds. It
changes nothing, and reads no file that is too large to be an entry.

Sources: desktop entry specification 1.5, "Desktop File ID"; autostart specification 0.5; D-Bus specification, "Message
Bus Starting Services"; the base directories are the user's own first.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from enum import Enum

from sandboxer.desktop.wrappers.key_file import KeyFile
from sandboxer.grants import paths
from sandboxer.host.view import Host
from sandboxer.words import Record

SIZE_MAX = 1024 * 1024
DEPTH_MAX = 8
"""Of directories below `applications`: links there could lead in a circle."""
ENTRY = "Desktop Entry"
SERVICE = "D-BUS Service"


class Kind(Enum):
    """What a file is to the desktop."""

    ENTRY = "entry"
    AUTOSTART = "autostart"
    SERVICE = "service"
    SHIM = "shim"
    EXTRA = "extra"
    """What comes with sandboxer itself: see `extras`."""
    CACHE = "cache"
    """What update-desktop-database makes."""


class Source(Record):
    """
    A file of the desktop's. `name` is an entry's id ("org.example.App.desktop"), or a service's file name.

    `place` is where the user's own one of that name is, or would be; `path` is the same where the user has one.
    """

    kind: Kind
    name: str
    path: str
    place: str

    @property
    def own(self) -> bool:
        """Whether it is in the user's directory."""
        return self.path == self.place


class Directories(Record):
    """The base directories, the one that goes before the others first: the user's own."""

    data: tuple[str, ...]
    config: tuple[str, ...]

    def of(self, kind: Kind) -> tuple[str, ...]:
        """Where files of a kind are."""
        match kind:
            case Kind.AUTOSTART:
                return tuple(f"{base}/autostart" for base in self.config)
            case Kind.SERVICE:
                return tuple(f"{base}/dbus-1/services" for base in self.data)
        return tuple(f"{base}/applications" for base in self.data)


def directories(host: Host) -> Directories:
    """Those of the session. A relative one counts as unset."""

    def listed(variable: str, ordinary: str) -> tuple[str, ...]:
        named = (host.variable(variable) or ordinary).split(":")
        return tuple(dict.fromkeys(os.path.normpath(path) for path in named if path.startswith("/")))

    return Directories(
        data=(paths.data_home(host), *listed("XDG_DATA_DIRS", "/usr/local/share:/usr/share")),
        config=(paths.config_home(host), *listed("XDG_CONFIG_DIRS", "/etc/xdg")),
    )


def sources(kind: Kind, where: Directories) -> Iterator[Source]:
    """
    Every file of a kind: by name, those that go before the others first.

    Several files of one name in the user's own directory are all there: which of them counts is the desktop's choice.
    """
    bases = where.of(kind)
    ending = ".service" if kind is Kind.SERVICE else ".desktop"
    for base in bases:
        for inner in sorted(_files(base, ending, 0 if kind is Kind.ENTRY else DEPTH_MAX)):
            yield Source(
                kind=kind,
                name=inner.replace("/", "-"),
                path=f"{base}/{inner}",
                place=f"{bases[0]}/{inner}",
            )


def menu_name(text: KeyFile, host: Host) -> str:
    """An entry's Name as menus of this session show it. Source: desktop entry specification 1.5, "Localized values"."""
    named = (host.variable(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    locale, _, modifier = next(filter(None, named), "").partition("@")
    full = locale.partition(".")[0]
    language = full.partition("_")[0]
    for tag in (f"{full}@{modifier}", full, f"{language}@{modifier}", language):
        if found := text.text(ENTRY, f"Name[{tag}]"):
            return found
    return text.text(ENTRY, "Name")


def _files(directory: str, ending: str, depth: int) -> Iterator[str]:
    try:
        names = os.listdir(directory)
    except OSError:  # it isn't there, or not for us
        return
    for name in names:
        if name.endswith(ending):
            yield name
        elif depth < DEPTH_MAX and not name.startswith(".") and os.path.isdir(f"{directory}/{name}"):
            for inner in _files(f"{directory}/{name}", ending, depth + 1):
                yield f"{name}/{inner}"


def read(path: str) -> bytes | None:
    """A file's content, links followed; None where there is none that could be an entry."""
    content = start(path)
    return content if content is not None and len(content) <= SIZE_MAX else None


def start(path: str) -> bytes | None:
    """As `read`; of what is too large, as much as shows that."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    with open(fd, "rb") as file:
        try:
            return file.read(SIZE_MAX + 1)
        except OSError:
            return None


def is_true(text: KeyFile, key: str) -> bool:
    """A boolean of an entry's main group."""
    return text.get(ENTRY, key) in ("true", "1")

"""
Paths as policies write them → paths on this machine.

What comes in: "~/x", "Downloads/x", "/opt/x", a leading "?", globs. What goes out: `Place`s, or ResolveError with the
line that asked. It never opens what it names; whether the application may have it is for `files` and `protected`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from sandboxer.errors import ResolveError
from sandboxer.host.view import FileType, Host
from sandboxer.plan.ops import Op, OpFlag, OpKind
from sandboxer.words import BoxPath, HostPath, Origin, Record

XDG_KEYS = {
    "Desktop": "XDG_DESKTOP_DIR",
    "Documents": "XDG_DOCUMENTS_DIR",
    "Downloads": "XDG_DOWNLOAD_DIR",
    "Music": "XDG_MUSIC_DIR",
    "Pictures": "XDG_PICTURES_DIR",
    "Public": "XDG_PUBLICSHARE_DIR",
    "Templates": "XDG_TEMPLATES_DIR",
    "Videos": "XDG_VIDEOS_DIR",
}
"""Names in policies → keys of user-dirs.dirs. Source: xdg-user-dirs, user-dirs.dirs(5)."""

MATCHES_MAX = 256
GLOB = "*?["


class Place(Record):
    """
    One path that a policy names.

    `written` is absolute and normalised, links not followed; `real` is where it leads; `type` is what is there.
    """

    written: BoxPath
    real: HostPath
    type: FileType


def places(text: str, host: Host, origin: Origin) -> Iterator[Place]:
    """
    What a policy's path names on this machine; nothing where it is optional and missing.

    Raises:
        ResolveError: it is missing and not optional, or it can't be understood.
    """
    optional = text.startswith("?")
    path = absolute(text.removeprefix("?"), host, origin)
    globbed = any(letter in path for letter in GLOB)
    found = False
    for count, candidate in enumerate(matches(path, host) if globbed else (path,)):
        if count == MATCHES_MAX:
            raise ResolveError(
                "a pattern matches too much",
                subject=f"{text}: more than {MATCHES_MAX} files",
                origin=origin,
                hint="grant the directory instead",
            )
        kind, real = host.type_of(candidate), host.resolve(candidate)
        if kind is not None and real is not None:
            found = True
            yield Place(written=BoxPath(candidate), real=real, type=kind)
    if not found and not optional:
        raise _missing(text, path, host, origin)


def _missing(text: str, path: str, host: Host, origin: Origin) -> ResolveError:
    """Nothing is at a path, or nothing that may be looked at."""
    near, closed = _nearest(text, path, host), _closed(path, host)
    if origin.key == "files.hide":
        # Never "?" first: a misspelt path would stay open, and nobody would be told.
        later = f'if it is there only at times, "?{text}" hides it then'
        return ResolveError(
            "cannot hide a path that isn't there",
            subject=f"{path}: {f'{closed} is closed to you' if closed else 'nothing there'}",
            origin=origin,
            hint=f'write "{near}"' if near else f"take it out, or write what is there; {later}",
        )
    if closed:
        return ResolveError(
            "cannot grant a path that you can't look at",
            subject=f"{path}: {closed} is closed to you",
            origin=origin,
            hint="grant what you can open yourself: the application runs as you",
        )
    return ResolveError(
        "cannot grant a path that isn't there",
        subject=f"{path}: nothing there",
        origin=origin,
        hint=(f'write "{near}", or ' if near else "") + f'make it, or mark it as optional: "?{text}"',
    )


def _nearest(text: str, path: str, host: Host) -> str:
    """The path as the policy writes it with the first name that isn't there as the one beside it that is most alike."""
    from difflib import get_close_matches

    at = path
    while host.type_of(posixpath.dirname(at)) is None:
        at = posixpath.dirname(at)
    name, behind = posixpath.basename(at), path[len(at) :]
    for other in get_close_matches(name, host.entries(posixpath.dirname(at)), n=3, cutoff=0.7):
        written = text.removesuffix("/")
        if host.type_of(
            posixpath.join(posixpath.dirname(at), other) + behind
        ) is not None and written.endswith(name + behind):
            return written[: len(written) - len(name + behind)] + other + behind
    return ""


def _closed(path: str, host: Host) -> str:
    """The directory on the way that the user can't look into, or ""."""
    at = posixpath.dirname(path)
    while at != "/" and host.type_of(at) is None:
        at = posixpath.dirname(at)
    facts = host.mode_and_owner(at)
    if facts is None or host.user.uid == 0:
        return ""
    mode, owner, group = facts
    bit = 0o100 if owner == host.user.uid else 0o010 if group == host.user.gid else 0o001
    return "" if mode & bit else at


def absolute(text: str, host: Host, origin: Origin) -> str:
    """A policy's path without "?": `~` and XDG names replaced, normalised; globs stay."""
    first, _, rest = text.partition("/")
    if first == "~":
        start: str = host.user.home
    elif first in XDG_KEYS:
        start = xdg_directory(first, host, origin)
    elif first == "":
        start = "/"
    else:
        raise ResolveError("a path begins with ~/, with / or with an XDG name", subject=text, origin=origin)
    path = posixpath.normpath(posixpath.join(start, rest.lstrip("/")) if rest else start)
    return "/" + path.lstrip("/")


def xdg_directory(name: str, host: Host, origin: Origin) -> str:
    """
    Where user-dirs.dirs has a directory of the desktop's; the English name in the home where it says nothing.

    Raises:
        ResolveError: it is the home itself, which is how xdg-user-dirs writes "none".
    """
    home = host.user.home
    path = posixpath.join(home, name)
    settings = host.read(posixpath.join(config_home(host), "user-dirs.dirs")) or b""
    for line in settings.decode("utf-8", "surrogateescape").splitlines():
        key, equals, value = line.strip().partition("=")
        value = value.strip()
        if key != XDG_KEYS[name] or not equals or len(value) < 2 or value[0] != '"' or value[-1] != '"':
            continue
        value = unescape(value[1:-1])
        if value == "$HOME" or value.startswith("$HOME/"):
            path = home + value[len("$HOME") :]
        elif value.startswith("/"):
            path = value
    path = posixpath.normpath(path)
    if path == posixpath.normpath(home) or path == "/":
        raise ResolveError(
            f"this account has no {name} directory of its own",
            subject=f"user-dirs.dirs: {XDG_KEYS[name]} is {path}",
            origin=origin,
            hint=f"make one: xdg-user-dirs-update --set {XDG_KEYS[name][4:-4]} ~/{name}",
        )
    return path


def unescape(text: str) -> str:
    """The text between the quotes of user-dirs.dirs: a backslash keeps the next character as it is."""
    parts = iter(text)
    return "".join(next(parts, "") if letter == "\\" else letter for letter in parts)


def config_home(host: Host) -> str:
    """$XDG_CONFIG_HOME, or ~/.config; relative values are ignored, as the base directory specification says."""
    return _base_directory(host, "XDG_CONFIG_HOME", ".config")


def data_home(host: Host) -> str:
    """$XDG_DATA_HOME, or ~/.local/share."""
    return _base_directory(host, "XDG_DATA_HOME", ".local/share")


def cache_home(host: Host) -> str:
    """$XDG_CACHE_HOME, or ~/.cache."""
    return _base_directory(host, "XDG_CACHE_HOME", ".cache")


def state_home(host: Host) -> str:
    """$XDG_STATE_HOME, or ~/.local/state."""
    return _base_directory(host, "XDG_STATE_HOME", ".local/state")


def _base_directory(host: Host, variable: str, ordinary: str) -> str:
    value = host.variable(variable)
    return posixpath.normpath(
        value if value and value.startswith("/") else posixpath.join(host.user.home, ordinary)
    )


def runtime_directory(host: Host) -> str:
    """Where the box has its XDG_RUNTIME_DIR."""
    return f"/run/user/{host.user.uid}"


def matches(pattern: str, host: Host) -> Iterator[str]:
    """
    Paths that a glob finds, sorted. `*`, `?` and `[..]` match within one component, never a leading dot unless it is
    written, and never by way of a symbolic link that the pattern itself found: it could lead anywhere.
    """
    import fnmatch

    found = [""]
    for part in pattern.split("/")[1:]:
        if not any(letter in part for letter in GLOB):
            found = [f"{base}/{part}" for base in found]
            continue
        deeper: list[str] = []
        for base in found:
            for name in host.entries(base or "/"):
                if name.startswith(".") and not part.startswith("."):
                    continue
                if fnmatch.fnmatchcase(name, part) and host.read_link(f"{base}/{name}") is None:
                    deeper.append(f"{base}/{name}")
        found = deeper
    yield from found


def within(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or lies in it; both normalised."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def bind(place: Place, origin: Origin, flags: OpFlag = OpFlag(0)) -> Op:
    """Show what is at a place, at the path as written."""
    kind = OpFlag.DIRECTORY if place.type is FileType.DIRECTORY else OpFlag(0)
    return Op(kind=OpKind.BIND, box_path=place.written, source=place.real, flags=flags | kind, origin=origin)


def file(path: str, content: str | bytes, origin: Origin, mode: int = 0o644) -> Op:
    """A file of the box's own."""
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    return Op(kind=OpKind.FILE, box_path=BoxPath(path), data=data, mode=mode, origin=origin)


def link(path: str, target: str, origin: Origin) -> Op:
    """A symbolic link of the box's own."""
    return Op(kind=OpKind.LINK, box_path=BoxPath(path), source=target, origin=origin)

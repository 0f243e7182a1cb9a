"""
Out of the box: links and files that the application has opened outside, with the user's own programs.

What comes in: `broker.links` and `broker.presents`. What goes out: rules for the broker, and in the box what makes
programs ask it: an `xdg-open`, and a .desktop entry that is the default program for what is permitted. It never lets
the application choose the program, nor its arguments.

Abuse: a link is a message. Whatever the application can read it can write into an address, and the user's browser,
which has a network, delivers it; so a box without network that may open links isn't one, and it is told as a hole. The
page that opens is the application's choice, and sees the user's logins. A file that is presented is the application's
own work, and is parsed by a program outside, or in that program's own box where it has a policy: that is a hole, too.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

from sandboxer.broker.rules import Outward
from sandboxer.grants import paths
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.host.installation import broker_client
from sandboxer.host.view import FileType, Host
from sandboxer.plan.ops import EnvEntry, EnvKind, Op, OpKind
from sandboxer.policy.effective import Effective
from sandboxer.words import BUILT_IN, BoxPath, HostPath, Origin

XDG_OPEN = "/run/sandboxer/bin/xdg-open"
SYSTEM_XDG_OPEN = "/usr/bin/xdg-open"
SHARE = "/run/sandboxer/share"
ENTRY = "sandboxer-open.desktop"
FAMILIES = {
    "audio": ("aac", "flac", "mp4", "mpeg", "ogg", "opus", "wav", "x-wav", "x-flac", "x-vorbis+ogg"),
    "font": ("otf", "ttf", "woff", "woff2", "collection"),
    "image": ("avif", "bmp", "gif", "heif", "jpeg", "jxl", "png", "svg+xml", "tiff", "webp", "x-icon"),
    "model": ("gltf-binary", "gltf+json", "obj", "stl", "3mf"),
    "text": ("plain", "css", "csv", "html", "markdown", "xml", "calendar", "vcard", "x-log", "rtf"),
    "video": ("mp4", "mpeg", "ogg", "quicktime", "webm", "x-matroska", "x-msvideo"),
}
"""What `image/*` stands for in the .desktop entry, which has no such thing as a family; the broker takes all of it."""


def grants(effective: Effective, host: Host) -> Iterator[Grant | Withheld]:
    """Links and files by the lines that permit them, and what makes programs ask."""
    broker = effective.policy.broker
    if not broker.links and not broker.presents:
        return
    if host.landlock_abi < 1:
        words = "can't have links or files opened outside: a broker needs Landlock to confine itself"
        yield Withheld(topic="broker", words=words)
        return
    for origin, schemes in _by_line("broker.links", broker.links, effective):
        yield _links(schemes, origin, offline=effective.policy.network.access == "none")
    for origin, types in _by_line("broker.presents", broker.presents, effective):
        yield Grant(
            topic="broker",
            words=f"can have files that it made opened outside, in your own programs for {_listed(types)}",
            detail="those programs read what this one wrote, outside the box unless they have one of their own",
            weight=Weight.HOLE,
            origin=origin,
            brokered=tuple(Outward(kind="file", value=type_, origin=str(origin)) for type_ in types),
        )
    yield _default_program(broker.links, broker.presents, host)


def _by_line(key: str, items: Iterable[str], effective: Effective) -> Iterator[tuple[Origin, list[str]]]:
    """What one line permits is told in one sentence."""
    lines: dict[Origin, list[str]] = {}
    for item in items:
        lines.setdefault(effective.origin(key, item), []).append(item)
    yield from lines.items()


def _links(schemes: list[str], origin: Origin, *, offline: bool) -> Grant:
    words = f"can have {_listed(schemes)} links opened outside, in your own program for them"
    if offline:
        words = f"can send out what it reads, in {_listed(schemes)} links that your own program opens outside"
    return Grant(
        topic="broker",
        words=words,
        detail="it has no network, but that program has" if offline else "with whatever it writes into them",
        weight=Weight.HOLE if offline else Weight.ACCESS,
        origin=origin,
        brokered=tuple(Outward(kind="link", value=scheme, origin=str(origin)) for scheme in schemes),
    )


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _default_program(links: tuple[str, ...], presents: tuple[str, ...], host: Host) -> Grant:
    """
    xdg-open and a default program, for those who look for one.

    Toolkits ask GIO, which takes the first entry that mimeapps.list names; scripts and Qt run xdg-open, by its name or
    by its path. Source: the MIME applications specification 1.0.1, g_app_info_launch_default_for_uri.
    """
    types = [*(f"x-scheme-handler/{scheme}" for scheme in links), *_types(presents)]
    entry = (
        "[Desktop Entry]\nType=Application\nName=Open outside the box\nNoDisplay=true\n"
        f"Exec={XDG_OPEN} %u\nMimeType={';'.join(types)};\n"
    )
    defaults = "[Default Applications]\n" + "".join(f"{type_}={ENTRY}\n" for type_ in types)
    applications = posixpath.join(SHARE, "applications")
    ops = [
        paths.link(XDG_OPEN, "sandbox-broker", BUILT_IN),
        paths.file(posixpath.join(applications, ENTRY), entry, BUILT_IN),
        paths.file(posixpath.join(applications, "mimeapps.list"), defaults, BUILT_IN),
    ]
    covers = _cover(host)
    return Grant(
        topic="broker",
        words="finds an xdg-open that asks the broker",
        weight=Weight.NOTICE,
        origin=BUILT_IN,
        ops=(*ops, *covers),
        environment=(
            EnvEntry(kind=EnvKind.SET, name="BROWSER", value="xdg-open"),
            EnvEntry(kind=EnvKind.SET, name="XDG_DATA_DIRS", value=f"{SHARE}:/usr/local/share:/usr/share"),
        ),
    )


def _types(presents: Iterable[str]) -> Iterator[str]:
    for type_ in presents:
        family, _, name = type_.partition("/")
        if name == "*":
            yield from (f"{family}/{known}" for known in FAMILIES[family])
        else:
            yield type_


def _cover(host: Host) -> tuple[Op, ...]:
    """The client over the system's xdg-open, for programs that start it by its path; not over what a link leads to."""
    if host.read_link(SYSTEM_XDG_OPEN) is not None or host.type_of(SYSTEM_XDG_OPEN) is not FileType.REGULAR:
        return ()
    source = host.resolve(broker_client()) or HostPath(broker_client())
    return (Op(kind=OpKind.BIND, box_path=BoxPath(SYSTEM_XDG_OPEN), source=source),)

"""
Looks: fonts, themes, settings of the toolkits, language and time zone, so that an application looks as it does outside.

What comes in: `[look]` and which of the known files are there. What goes out: read-only binds of exactly those. The
system's part (/etc/fonts and the like) is not here but in the sets, under `files.system`.

Abuse: fonts and themes are parsed by the application, not the other way round; read-only, they can't carry anything
out. What is installed tells users apart (font fingerprints), and theme settings name the desktop. GTK's directories
are not taken whole, since their bookmarks name the user's directories, and dconf's database holds settings of all
programs. Toolkit variables that name code to load (GTK_MODULES, QT_PLUGIN_PATH) stay outside.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

from sandboxer.grants import paths
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.host.view import FileType, Host
from sandboxer.plan.ops import EnvEntry, EnvKind, Op
from sandboxer.policy.effective import Effective
from sandboxer.words import BoxPath, Origin

FONTS = ("~/.fonts", "~/.fonts.conf", "DATA/fonts", "CONFIG/fontconfig")
THEMES = (
    "~/.icons",
    "~/.themes",
    "~/.gtkrc-2.0",
    "DATA/icons",
    "DATA/themes",
    "DATA/color-schemes",
    "CONFIG/gtk-3.0/settings.ini",
    "CONFIG/gtk-3.0/gtk.css",
    "CONFIG/gtk-3.0/colors.css",
    "CONFIG/gtk-4.0/settings.ini",
    "CONFIG/gtk-4.0/gtk.css",
    "CONFIG/gtk-4.0/colors.css",
    "CONFIG/kdeglobals",
    "CONFIG/qt5ct",
    "CONFIG/qt6ct",
    "CONFIG/Kvantum",
    "CONFIG/Trolltech.conf",
)
THEME_VARIABLES = (
    "XCURSOR_THEME",
    "XCURSOR_SIZE",
    "GTK_THEME",
    "GDK_SCALE",
    "GDK_DPI_SCALE",
    "QT_QPA_PLATFORMTHEME",
    "QT_STYLE_OVERRIDE",
    "QT_SCALE_FACTOR",
    "QT_SCREEN_SCALE_FACTORS",
    "QT_AUTO_SCREEN_SCALE_FACTOR",
    "QT_ENABLE_HIGHDPI_SCALING",
    "QT_FONT_DPI",
    "XDG_CURRENT_DESKTOP",
    "XDG_SESSION_DESKTOP",
    "DESKTOP_SESSION",
)
LOCALE_VARIABLES = ("LANG", "LANGUAGE", "TZ")
ZONES = "/usr/share/zoneinfo/"


def grants(effective: Effective, host: Host) -> Iterator[Grant | Withheld]:
    """One grant per kind of look."""
    look = effective.policy.look
    if look.fonts:
        yield _shown("has your fonts", FONTS, effective.origin("look.fonts"), host)
    if look.themes:
        yield _shown(
            "has your icons, cursors and themes",
            THEMES,
            effective.origin("look.themes"),
            host,
            THEME_VARIABLES,
        )
    if look.locale:
        origin = effective.origin("look.locale")
        yield Grant(
            topic="look",
            words="has your language, formats and time zone",
            weight=Weight.NOTICE,
            origin=origin,
            ops=_time_zone(origin, host),
            environment=(
                *(EnvEntry(kind=EnvKind.PASS, name=name) for name in LOCALE_VARIABLES),
                EnvEntry(kind=EnvKind.PASS_PREFIX, name="LC_"),
            ),
        )
    else:
        yield Withheld(topic="look", words="doesn't know your language and time zone")


def _shown(
    words: str, texts: Iterable[str], origin: Origin, host: Host, variables: Iterable[str] = ()
) -> Grant:
    ops: list[Op] = []
    for text in texts:
        path = _located(text, host)
        real, kind = host.resolve(path), host.type_of(path)
        if real is not None and kind in (FileType.REGULAR, FileType.DIRECTORY):
            place = paths.Place(written=BoxPath(path), real=real, type=kind)
            ops.append(paths.bind(place, origin))
    return Grant(
        topic="look",
        words=words,
        weight=Weight.NOTICE,
        origin=origin,
        ops=tuple(ops),
        environment=tuple(EnvEntry(kind=EnvKind.PASS, name=name) for name in variables),
    )


def _located(text: str, host: Host) -> str:
    """
    A known file's path in the box. CONFIG and DATA are ~/.config and ~/.local/share there: the box doesn't hear of
    XDG_CONFIG_HOME, so a user who has moved them gets the defaults.
    """
    home = host.user.home
    bases = {"~": home, "CONFIG": f"{home}/.config", "DATA": f"{home}/.local/share"}
    base, _, rest = text.partition("/")
    return posixpath.join(bases[base], rest)


def _time_zone(origin: Origin, host: Host) -> tuple[Op, ...]:
    """/etc/localtime as the link that it is, else its content; /etc/timezone, which is a name, as a copy."""
    ops: list[Op] = []
    target = host.read_link("/etc/localtime")
    if target is not None and posixpath.normpath(posixpath.join("/etc", target)).startswith(ZONES):
        ops.append(paths.link("/etc/localtime", target, origin))
    else:
        content = host.read("/etc/localtime")
        if content:
            ops.append(paths.file("/etc/localtime", content, origin))
    name = host.read("/etc/timezone")
    if name:
        ops.append(paths.file("/etc/timezone", name, origin))
    return tuple(ops)

"""
The self-grant check: no box may change what runs outside it.

What comes in: the directories and files that a policy makes writable, links followed. What goes out: nothing, or
ResolveError with the line that asked. It never looks at content, and it holds for what doesn't exist yet, too.

A writable place is refused when it is hidden in the home directory (a name on the way begins with a dot), caches aside:
no list of what shells, desktops, editors and tools run from there could be complete. And it is refused when it holds,
is, or lies in one of the places listed below. A listed path that is a link, or lies behind one, protects the link,
what it leads to, and every link between: whoever can write one of them can change what is run. What this doesn't see:
scripts of the user's that a start-up file names, programs that ~/bin links to, and the hooks of a repository.
"""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Iterator

import sandboxer
from sandboxer.errors import ResolveError
from sandboxer.grants import paths
from sandboxer.host.view import Host
from sandboxer.plan.ops import Op, OpFlag
from sandboxer.words import Record

Reasons = dict[str, tuple[str, ...]]
"""Why → names, below some directory."""

IN_HOME: Reasons = {
    "a shell reads it when it starts": (
        ".profile",
        ".bashrc",
        ".bash_profile",
        ".bash_login",
        ".bash_logout",
        ".bash_aliases",
        ".zshrc",
        ".zshenv",
        ".zprofile",
        ".zlogin",
        ".zlogout",
        ".kshrc",
        ".mkshrc",
        ".cshrc",
        ".tcshrc",
        ".login",
        ".logout",
        ".inputrc",
    ),
    "the session reads it when it starts": (
        ".xprofile",
        ".xinitrc",
        ".xserverrc",
        ".xsession",
        ".xsessionrc",
        ".Xclients",
        ".Xresources",
        ".Xdefaults",
        ".pam_environment",
        ".dmrc",
        ".gnomerc",
        ".i3",
    ),
    "programs that it names are run": (
        ".gitconfig",
        ".ssh",
        ".gnupg",
        ".vimrc",
        ".vim",
        ".emacs",
        ".emacs.d",
        ".tmux.conf",
        ".screenrc",
        ".netrc",
        ".npmrc",
        ".pythonrc",
        ".mailcap",
        ".lesskey",
        ".gdbinit",
    ),
    "programs in it are run by name": ("bin", ".local/bin", ".cargo/bin", "go/bin", ".npm-global/bin"),
    "Python runs what is in it": (".local/lib",),
}
IN_CONFIG: Reasons = {
    "the session starts what it names": (
        "autostart",
        "autostart-scripts",
        "systemd",
        "environment.d",
        "plasma-workspace",
        "i3",
        "sway",
        "hypr",
        "openbox",
        "labwc",
        "awesome",
        "xfce4",
        "user-tmpfiles.d",
        "bspwm",
        "herbstluftwm",
        "niri",
        "qtile",
        "river",
        "wayfire.ini",
        "weston.ini",
        "xmonad",
        "sxhkd",
        "swayidle",
        "swaylock",
        "waybar",
        "polybar",
        "i3blocks",
        "i3status",
        "dunst",
        "mako",
        "rofi",
        "wofi",
        "menus",
        "kdedefaults",
        "lxsession",
        "pulse",
        "pipewire",
        "wireplumber",
        "xdg-desktop-portal",
    ),
    "a shell reads it when it starts": ("fish", "zsh", "nushell", "powershell", "starship.toml", "direnv"),
    "programs that it names are run": (
        "git",
        "gh",
        "nvim",
        "helix",
        "kak",
        "emacs",
        "doom",
        "micro",
        "tmux",
        "tmuxinator",
        "zellij",
        "mimeapps.list",
        "xdg-terminals.list",
        "containers",
        "alacritty",
        "foot",
        "ghostty",
        "kitty",
        "wezterm",
        "terminator",
        "lf",
        "mc",
        "ranger",
        "vifm",
        "yazi",
        "mpv",
        "zathura",
        "gdb",
        "nix",
        "nixpkgs",
        "home-manager",
        "npm",
        "pip",
        "yarn",
        "pnpm",
        "conda",
        "jj",
        "Code",
        "VSCodium",
        "JetBrains",
        "sublime-text",
        "gtk-2.0",
        "gtk-3.0",
        "gtk-4.0",
        "goa-1.0",
        "dconf",
        "chromium",
        "google-chrome",
        "BraveSoftware",
        "microsoft-edge",
    ),
    "it holds policies": ("sandboxer",),
    "it decides where Downloads and the like are": ("user-dirs.dirs",),
}
IN_DATA: Reasons = {
    "the desktop starts what it names": (
        "applications",
        "systemd",
        "dbus-1",
        "kservices5",
        "kio",
        "plasma",
        "gnome-shell",
        "nautilus",
        "nautilus-python",
        "nemo",
        "flatpak",
    ),
    "a shell reads it when it starts, or completes": ("bash-completion", "fish", "zsh"),
    "it holds the homes of other boxes": ("sandboxer",),
}
IN_CACHE: Reasons = {"it holds plans, and what running boxes are controlled by": ("sandboxer",)}
IN_STATE: Reasons = {"it holds what the broker logs": ("sandboxer",)}
IN_RUNTIME = frozenset(
    "app at-spi bus containers crun dbus-1 dconf doc docker emacs flatpak gcr gnupg gvfs gvfsd hypr ICEauthority "
    "keyring libpod lock netns pipewire-0 podman psd pulse runc sandboxer snap speech-dispatcher ssh-agent sway "
    "systemd tmux xdg-desktop-portal".split()
)
"""What is another program's in the runtime directory, by name; sockets are no directories, and so refused anyway."""
SYSTEM: Reasons = {"it holds policies": ("/etc/sandboxer",)}


LOGS = "log"
"""In the configuration directory: where systemd before 254 has LogsDirectory= of user units."""
LINKS_MAX = 40
"""The kernel's own limit: a path with more can't be opened by anyone."""


class Protected(Record):
    """A path that no box may change, every spelling of it, and why."""

    path: str
    why: str


def refuse_self_grants(writable: tuple[Op, ...], host: Host) -> None:
    """
    Raise ResolveError for the first BIND among `writable` that could change what runs outside.

    The private home's own bind must not be among them: it lies in a protected directory by construction.
    """
    if not writable:
        return
    for op in writable:
        if is_hidden(op.source, host):
            raise _refusal(op, "hidden files are what shells, the desktop and programs read when they start")
    for guarded in protected(host):
        for place in spellings(guarded.path, host):
            for op in writable:
                if paths.within(place, op.source) or paths.within(op.source, place):
                    raise _refusal(op, f"would open {guarded.path}: {guarded.why}")


def refuse_foreign_directories(own: tuple[Op, ...], names: frozenset[str], host: Host) -> None:
    """
    Raise ResolveError for the first BIND among `own` that can't be one application's directory: it doesn't lie where
    service managers make some, is known to be another's, or could change what runs outside.

    Hidden places and the runtime directory are what it is for, so that being one is no reason. What lies in the
    configuration directory, though, programs outside read when they start, and many run what is named there: only what
    goes by one of `names`, the application's own, is taken for its own.
    """
    variable = host.variable("XDG_RUNTIME_DIR") or ""
    runtime = posixpath.normpath(variable) if variable.startswith("/") else ""
    homes = (paths.config_home(host), paths.state_home(host), paths.cache_home(host))
    bases = [host.resolve(base) or base for base in (*homes, *((runtime,) if runtime else ()))]
    for op in own:
        if not op.flags & OpFlag.DIRECTORY:
            raise _refusal(op, "it is no directory")
        inside = [base for base in bases if op.source != base and paths.within(op.source, base)]
        if not inside or op.source in bases:
            raise _refusal(
                op, "a service's directories are in the runtime, state, cache or configuration directory"
            )
        top, *deeper = op.source[len(inside[-1]) :].strip("/").split("/")
        if runtime and inside[-1] == bases[-1] and (top in IN_RUNTIME or top.startswith((".", "wayland-"))):
            raise _refusal(op, "the session's own sockets are in it")
        if inside == [bases[0]] and top == LOGS and deeper:
            top = deeper[0]
        if inside == [bases[0]] and top not in names:
            raise _refusal(
                op, f"{top} is no name of this application, whose policy calls it {_said(names)}", top
            )
    for guarded in protected(host) if own else ():
        for place in () if guarded.path == runtime else spellings(guarded.path, host):
            for op in own:
                if paths.within(place, op.source) or paths.within(op.source, place):
                    raise _refusal(op, f"would open {guarded.path}: {guarded.why}")


def _said(names: frozenset[str]) -> str:
    return " or ".join(sorted(names))


def _refusal(op: Op, why: str, name: str = "") -> ResolveError:
    """`name`: what the application would have to be called."""
    return ResolveError(
        "refuses to let the application change what runs outside the box",
        subject=f"{op.source}: {why}",
        origin=op.origin,
        hint=(
            "grant a directory that holds only documents"
            if not name
            else f'if it is its own, command = ["{name}"]'
        )
        + "; to permit it, with all that follows, set "
        "advanced.let-application-change-what-runs-outside = true",
    )


def is_hidden(path: str, host: Host) -> bool:
    """Whether a path lies in a hidden part of the home directory, what a program keeps in ~/.cache aside."""
    for home in {host.user.home, host.resolve(host.user.home) or host.user.home}:
        if path != home and paths.within(path, home):
            parts = posixpath.relpath(path, home).split("/")
            if any(part.startswith(".") for part in parts) and not (parts[0] == ".cache" and len(parts) > 1):
                return True
    return False


def protected(host: Host) -> Iterator[Protected]:
    """All of them, whether they exist or not."""
    bases: list[tuple[str, Reasons]] = [
        (host.user.home, IN_HOME),
        (paths.config_home(host), IN_CONFIG),
        (paths.data_home(host), IN_DATA),
        (paths.cache_home(host), IN_CACHE),
        (paths.state_home(host), IN_STATE),
        ("/", SYSTEM),
    ]
    runtime = host.variable("XDG_RUNTIME_DIR")
    if runtime and runtime.startswith("/"):
        why = "the session's sockets and plans are in it"
        bases.append((posixpath.normpath(runtime), {why: ("",)}))
    for base, reasons in bases:
        for why, names in reasons.items():
            for name in names:
                yield Protected(path=posixpath.normpath(posixpath.join(base, name)), why=why)
    for path in installation():
        yield Protected(path=path, why="sandboxer itself is in it")


def closed(host: Host) -> Iterator[str]:
    """
    Places of ours that no box may even see, whether they exist or not: a socket in them starts programs outside, which
    a read-only mount doesn't prevent, and plans hold the X server's cookie.
    """
    runtime = host.variable("XDG_RUNTIME_DIR")
    bases = [paths.cache_home(host), paths.state_home(host)]
    if runtime and runtime.startswith("/"):
        bases.append(posixpath.normpath(runtime))
    for base in bases:
        yield posixpath.join(base, "sandboxer")


def installation() -> tuple[str, ...]:
    """The package, what lies beside it in a checkout, and the environment that holds it, unless that is /usr."""
    package = posixpath.dirname(posixpath.realpath(sandboxer.__file__))
    beside = posixpath.dirname(package)
    parts = [package, posixpath.join(beside, "launchers"), posixpath.join(beside, "policies")]
    if sys.prefix != "/usr":
        parts.append(posixpath.realpath(sys.prefix))
    return tuple(parts)


def spellings(path: str, host: Host) -> Iterator[str]:
    """Where a path really is: where it leads, whether anything is there yet or not, and each link on the way."""
    at, ahead, followed = "/", path.split("/")[::-1], 0
    while ahead and followed <= LINKS_MAX:
        part = ahead.pop()
        if part in ("", "."):
            continue
        if part == "..":
            at = posixpath.dirname(at)
            continue
        place = posixpath.join(at, part)
        target = host.read_link(place)
        if target is None:
            at = place
            continue
        yield place
        followed += 1
        at = "/" if target.startswith("/") else at
        ahead += target.split("/")[::-1]
    yield at

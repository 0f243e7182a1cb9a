"""
Windows: the Wayland compositor's socket, the X server's socket and cookie.

What comes in: `[display]`, WAYLAND_DISPLAY, DISPLAY, XAUTHORITY. What goes out: one socket each, or of Wayland one
connection, never the directory that it lies in (the compositors' control sockets are its neighbours). It never speaks
either protocol.

Abuse, Wayland: a compositor decides what a client may do. Those that offer screen copying, virtual keyboards or
clipboard control to every client (wlroots' do) offer them to the application, too. Abuse, X11: every client of one X
server can read all keys that are typed, take pictures of all windows and type into them; the socket is the whole
session. The cookie handed over is this display's alone, so that displays of other machines stay closed. The abstract
socket is a second door: a private network closes it, Landlock does where the network is shared, else a HOLE is shown.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from sandboxer.errors import ResolveError
from sandboxer.grants import paths
from sandboxer.grants.cookies import find_cookie, rewritten
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.grants.landlock import scoped
from sandboxer.host.view import FileType, Host
from sandboxer.plan.ops import CONNECT_FIRST, EnvEntry, EnvKind, Op, OpKind
from sandboxer.policy.effective import Effective
from sandboxer.words import BoxPath, HostPath, Origin

X_SOCKETS = "/tmp/.X11-unix"  # noqa: S108
SCOPED_NUMBER = 99
"""
The display's number inside where Landlock closes abstract sockets. libxcb tries the abstract name first, and gives up
when that is forbidden rather than absent: under a number that nobody has outside, it is absent.
"""
SCOPED_NUMBER_MAX = 199
STARTED_BY = ("DESKTOP_STARTUP_ID", "XDG_ACTIVATION_TOKEN")
"""
Variables that tell for which click windows appear, so that they get the focus. Good for that once, for whoever has
them. Sources: startup notification specification; xdg-activation-v1.
"""


def grants(effective: Effective, host: Host) -> Iterator[Grant | Withheld]:
    """Wayland where wanted and there, then X11 where wanted, or as a fallback."""
    display = effective.policy.display
    wayland = None
    if display.wayland is not False:
        one = display.wayland == "one-connection"
        wayland = _wayland(effective.origin("display.wayland"), host, one_connection=one)
        if wayland is not None:
            yield wayland
        elif display.wayland is True or one:
            raise ResolveError(
                "cannot share the Wayland socket",
                subject=_absent_wayland(host),
                origin=effective.origin("display.wayland"),
                hint='start it in a Wayland session, or set display.wayland = "if-present"',
            )
    connections = effective.policy.broker.connect
    if wayland is None and "wayland" not in connections:
        yield Withheld(topic="display", words="no Wayland compositor")
    if wants_x11(effective, has_wayland=wayland is not None):
        yield _x11(effective, host, alone=wayland is None)
    elif "x11" not in connections:
        yield Withheld(topic="display", words="no X server")
    if display.wayland == "if-present" and wayland is None and display.x11 is False:
        raise ResolveError(
            "there is no display for the application",
            subject=_absent_wayland(host),
            origin=effective.origin("display.wayland"),
            hint='start it in a Wayland session, or set display.x11 = "fallback"',
        )


def wants_x11(effective: Effective, *, has_wayland: bool) -> bool:
    """Whether the X server is granted, given whether the Wayland compositor is."""
    x11 = effective.policy.display.x11
    return x11 is True or (x11 == "fallback" and not has_wayland)


def host_name(effective: Effective, host: Host) -> str | None:
    """
    The machine's own name, where the box must go by it; else None.

    X clients tell the server where they run, and window managers put the name of another machine into titles. The
    server tells every client the names of all others, so that nothing is given away.
    """
    socket = wayland_socket(host)
    wayland = effective.policy.display.wayland is not False and socket is not None and host.type_of(socket)
    if not wants_x11(effective, has_wayland=wayland is FileType.SOCKET):
        return None
    return _machine(host).decode("ascii", "ignore") or None


def wayland_socket(host: Host) -> str | None:
    """The socket that libwayland would connect to. Source: wl_display_connect(3)."""
    name = host.variable("WAYLAND_DISPLAY") or "wayland-0"
    if name.startswith("/"):
        return posixpath.normpath(name)
    runtime = host.variable("XDG_RUNTIME_DIR")
    if not runtime or not runtime.startswith("/"):
        return None
    return posixpath.normpath(posixpath.join(runtime, name))


def _absent_wayland(host: Host) -> str:
    path = wayland_socket(host)
    return f"{path}: no such socket" if path else "XDG_RUNTIME_DIR isn't set"


def _wayland(origin: Origin, host: Host, *, one_connection: bool) -> Grant | None:
    path = wayland_socket(host)
    if path is None or host.type_of(path) is not FileType.SOCKET:
        return None
    source = host.resolve(path)
    assert source is not None
    if one_connection:
        return _one_connection(source, origin)
    inside = posixpath.join(paths.runtime_directory(host), "wayland-0")
    return Grant(
        topic="display",
        words="can show windows through Wayland",
        detail="what else the compositor lets every client do, it can do, too",
        weight=Weight.ACCESS,
        origin=origin,
        ops=(Op(kind=OpKind.BIND, box_path=BoxPath(inside), source=source, origin=origin),),
        environment=(
            EnvEntry(kind=EnvKind.SET, name="WAYLAND_DISPLAY", value="wayland-0"),
            EnvEntry(kind=EnvKind.SET, name="XDG_SESSION_TYPE", value="wayland"),
            *_started_by(),
        ),
    )


def _one_connection(source: HostPath, origin: Origin) -> Grant:
    """
    No socket, but a connection. libwayland takes the number from WAYLAND_SOCKET, takes the variable away, and keeps the
    descriptor from children, so that a second program finds nothing. Source: wl_display_connect(3).
    """
    descriptor = BoxPath(f"/dev/fd/{CONNECT_FIRST}")
    return Grant(
        topic="display",
        words="can show windows through one connection to the Wayland compositor",
        detail="no other program in the box can make a second one; what the compositor lets every client do, this one "
        "can do, too",
        weight=Weight.ACCESS,
        origin=origin,
        ops=(Op(kind=OpKind.CONNECT, box_path=descriptor, source=source, mode=CONNECT_FIRST, origin=origin),),
        environment=(
            EnvEntry(kind=EnvKind.SET, name="WAYLAND_SOCKET", value=str(CONNECT_FIRST)),
            EnvEntry(kind=EnvKind.SET, name="XDG_SESSION_TYPE", value="wayland"),
            *_started_by(),
        ),
    )


def _started_by() -> Iterator[EnvEntry]:
    return (EnvEntry(kind=EnvKind.PASS, name=name) for name in STARTED_BY)


def x_socket(host: Host) -> str | None:
    """The socket of the X server that DISPLAY names; None where it names none, or one of another machine."""
    number = _local_number(host)
    return None if number is None else f"{X_SOCKETS}/X{number}"


def cookie_file(host: Host, number: int, inside: int, origin: Origin) -> tuple[Op, EnvEntry] | None:
    """A display's cookie alone, for the number that the display has inside; None where there is no cookie."""
    cookie = find_cookie(_authority(host), number, _machine(host))
    if cookie is None:
        return None
    path = posixpath.join(paths.runtime_directory(host), "Xauthority")
    return (
        paths.file(path, rewritten(cookie, inside), origin, 0o600),
        EnvEntry(kind=EnvKind.SET, name="XAUTHORITY", value=path),
    )


def _x11(effective: Effective, host: Host, *, alone: bool) -> Grant:
    origin = effective.origin("display.x11")
    number = _display_number(host, origin)
    path = f"{X_SOCKETS}/X{number}"
    source = host.resolve(path)
    if source is None or host.type_of(path) is not FileType.SOCKET:
        raise ResolveError(
            "cannot share the X server's socket",
            subject=f"{path}: no such socket",
            origin=origin,
            hint="see whether DISPLAY names a running X server",
        )
    inside = number
    if effective.policy.network.access == "host" and scoped(host):
        inside = _free_number(host)
    ops = [Op(kind=OpKind.BIND, box_path=BoxPath(f"{X_SOCKETS}/X{inside}"), source=source, origin=origin)]
    environment = [
        EnvEntry(kind=EnvKind.SET, name="DISPLAY", value=f":{inside}"),
        # A box has shared memory of its own; Qt before 6 takes the X server's refusal for success.
        EnvEntry(kind=EnvKind.SET, name="QT_X11_NO_MITSHM", value="1"),
    ]
    if alone:
        environment += [EnvEntry(kind=EnvKind.SET, name="XDG_SESSION_TYPE", value="x11"), *_started_by()]
    cookie = cookie_file(host, number, inside, origin)
    if cookie is not None:
        ops.append(cookie[0])
        environment.append(cookie[1])
    return Grant(
        topic="display",
        words="can see and control every other X11 window, and read what is typed there",
        detail=f"through the X server :{number}, which keeps nothing from its programs"
        + _abstract(effective, host),
        weight=Weight.HOLE,
        origin=origin,
        ops=tuple(ops),
        environment=tuple(environment),
    )


def _abstract(effective: Effective, host: Host) -> str:
    """What closes the second door, in a few words."""
    if effective.policy.network.access == "none":
        return ""
    return "" if scoped(host) else "; its abstract socket stays open, since the network is shared"


def _display_number(host: Host, origin: Origin) -> int:
    """
    The number of the X server that DISPLAY names.

    Raises:
        ResolveError: it names none, or one that is reached through the network.
    """
    value = host.variable("DISPLAY")
    if not value:
        raise ResolveError(
            "there is no display for the application",
            subject="neither WAYLAND_DISPLAY nor DISPLAY names one that is there",
            origin=origin,
            hint="start it in a graphical session, or set DISPLAY",
        )
    number = _local_number(host)
    if number is None:
        raise ResolveError(
            "cannot share an X server that is reached through the network",
            subject=f"DISPLAY={value}",
            origin=origin,
            hint="start it where the X server runs: DISPLAY=:N",
        )
    return number


def _local_number(host: Host) -> int | None:
    """N of DISPLAY=:N[.S], unix:N or unix/NAME:N; None for anything else. Source: X(7), "Display names"."""
    name, _, rest = (host.variable("DISPLAY") or "").rpartition(":")
    number = rest.partition(".")[0]
    if not (number.isascii() and number.isdigit()) or not (name in ("", "unix") or name.startswith("unix/")):
        return None
    return int(number)


def _free_number(host: Host) -> int:
    for number in range(SCOPED_NUMBER, SCOPED_NUMBER_MAX):
        if host.type_of(f"{X_SOCKETS}/X{number}") is None:
            return number
    raise ResolveError("cannot find a free display number", subject=f"{X_SOCKETS}: X99 to X198 are in use")


def _authority(host: Host) -> bytes:
    """The file of cookies. Source: Xsecurity(7), xauth(1)."""
    path = host.variable("XAUTHORITY") or posixpath.join(host.user.home, ".Xauthority")
    return (host.read(HostPath(path)) or b"") if path.startswith("/") else b""


def _machine(host: Host) -> bytes:
    """The machine's name, which cookies of local displays carry."""
    known = host.read("/proc/sys/kernel/hostname") or host.read("/etc/hostname") or b""
    return known.split(b"\n")[0].strip()

"""
The root that every box has: programs, an /etc of its own, empty private directories.

What comes in: the machine's layout and who the user is. What goes out: grants that no policy can take away, since no
program runs without them. It never shows a file of the user's.

Abuse: /usr is readable as a whole, so the application learns what is installed, in which version; set-uid programs in
it do nothing, because every bind is nosuid and no_new_privs is set. The synthesised files tell the user's name and
number, which the application sees in its own process anyway. The machine's id is replaced by one that can't be turned
back into it, so that two applications can't be told to run on the same machine by it.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandboxer.errors import ResolveError
from sandboxer.grants import display, paths
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.host.view import FileType, Host
from sandboxer.plan.ops import EnvEntry, EnvKind, Op, OpFlag, OpKind, PlanFlag
from sandboxer.policy.effective import Effective
from sandboxer.words import BUILT_IN, BoxPath, HostPath

MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Names in / that are links into /usr, or directories where /usr isn't merged."""
SEARCH_PATH = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/games", "/usr/games")
NOBODY = 65534
HOST_NAME_MAX = 64


def grants(effective: Effective, host: Host) -> Iterator[Grant | Withheld]:
    """The root, the private directories and the identity."""
    yield _programs(host)
    yield _private(host)
    yield _identity(effective, host)
    if effective.policy.lingers:
        yield Grant(
            topic="processes",
            words="goes on in the background until its last process ends",
            weight=Weight.NOTICE,
            origin=effective.origin("lingers"),
            flags=PlanFlag.LINGER,
        )
    if effective.policy.second_instance:
        yield Grant(
            topic="processes",
            words="is started once more in its box for each file that `sandbox open` hands in",
            detail="and passes it on to the one that runs",
            weight=Weight.NOTICE,
            origin=effective.origin("second-instance"),
        )


def host_name(effective: Effective, host: Host) -> str:
    """What the box calls itself: the application's name, as far as a host name may have it; with X11 the machine's."""
    machine = display.host_name(effective, host)
    if machine is not None:
        return machine[:HOST_NAME_MAX]
    letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in effective.name.lower())
    return letters.strip("-")[:HOST_NAME_MAX].rstrip("-") or "sandbox"


def _programs(host: Host) -> Grant:
    ops = [
        Op(
            kind=OpKind.BIND,
            box_path=BoxPath("/usr"),
            source=host.resolve("/usr") or HostPath("/usr"),
            flags=OpFlag.DIRECTORY,
        )
    ]
    for name in MERGED:
        path = f"/{name}"
        target = host.read_link(path)
        if target is not None:
            ops.append(paths.link(path, target, BUILT_IN))
        elif host.type_of(path) is FileType.DIRECTORY:
            ops.append(
                Op(kind=OpKind.BIND, box_path=BoxPath(path), source=HostPath(path), flags=OpFlag.DIRECTORY)
            )
    return Grant(
        topic="files",
        words="can read and run the installed programs in /usr",
        weight=Weight.NOTICE,
        origin=BUILT_IN,
        ops=tuple(ops),
    )


def _private(host: Host) -> Grant:
    runtime = paths.runtime_directory(host)
    ops = [
        Op(kind=OpKind.OWN, box_path=BoxPath(path), mode=mode)
        for path, mode in (("/tmp", 0o1777), ("/var/tmp", 0o1777), ("/run", 0o755), ("/dev/shm", 0o1777))  # noqa: S108
    ]
    ops.append(Op(kind=OpKind.DIR, box_path=BoxPath(runtime), mode=0o700))
    ops.append(paths.link("/var/run", "/run", BUILT_IN))
    ops.append(paths.link("/var/lock", "/run/lock", BUILT_IN))
    ops.append(Op(kind=OpKind.DIR, box_path=BoxPath("/run/lock"), mode=0o1777))
    return Grant(
        topic="files",
        words="has an empty /tmp, /var/tmp, /run and /dev/shm of its own",
        weight=Weight.NOTICE,
        origin=BUILT_IN,
        detail="gone when it ends",
        ops=tuple(ops),
        environment=(EnvEntry(kind=EnvKind.SET, name="XDG_RUNTIME_DIR", value=runtime),),
    )


def _identity(effective: Effective, host: Host) -> Grant:
    user, shell, name = host.user, _shell(host), host_name(effective, host)
    passwd = (
        f"{user.name}:x:{user.uid}:{user.gid}:{user.name}:{user.home}:{shell}\n"
        f"nobody:x:{NOBODY}:{NOBODY}:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
    group = f"{user.group}:x:{user.gid}:\nnogroup:x:{NOBODY}:\n"
    variables = {
        "HOME": user.home,
        "USER": user.name,
        "LOGNAME": user.name,
        "SHELL": shell,
        "PATH": ":".join(SEARCH_PATH),
        "container": "sandboxer",
    }
    return Grant(
        topic="identity",
        words=f"runs as {user.name}, and sees no other user",
        weight=Weight.NOTICE,
        origin=BUILT_IN,
        detail="the machine's id is not shown"
        if display.host_name(effective, host)
        else "the machine's id and name are not shown",
        ops=(
            paths.file("/etc/passwd", passwd, BUILT_IN),
            paths.file("/etc/group", group, BUILT_IN),
            _hosts(effective, host, name),
            paths.file("/etc/hostname", f"{name}\n", BUILT_IN),
            paths.file("/etc/machine-id", f"{machine_id(effective.name, host)}\n", BUILT_IN, 0o444),
            paths.link("/etc/mtab", "/proc/self/mounts", BUILT_IN),
        ),
        environment=tuple(
            EnvEntry(kind=EnvKind.SET, name=name, value=value) for name, value in variables.items()
        )
        + tuple(EnvEntry(kind=EnvKind.PASS, name=name) for name in ("TERM", "COLORTERM", "NO_COLOR")),
    )


def _shell(host: Host) -> str:
    shell = host.variable("SHELL") or ""
    known = shell.startswith(("/usr/", "/bin/")) and host.type_of(shell) is FileType.REGULAR
    return shell if known and shell.isprintable() and ":" not in shell else "/bin/sh"


def _hosts(effective: Effective, host: Host, name: str) -> Op:
    """Localhost and the box's name; with the machine's network, all that the machine's own file knows, too."""
    own = f"127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    if effective.policy.network.access == "none":
        return paths.file("/etc/hosts", own, BUILT_IN)
    try:
        known = (host.read("/etc/hosts") or b"").decode("utf-8", "replace")
    except ResolveError:  # Too large to copy: lists of advertisers, by the ten thousand.
        real = host.resolve("/etc/hosts") or HostPath("/etc/hosts")
        return Op(kind=OpKind.BIND, box_path=BoxPath("/etc/hosts"), source=real)
    return paths.file("/etc/hosts", f"{known.rstrip()}\n127.0.1.1\t{name}\n" if known else own, BUILT_IN)


def machine_id(application: str, host: Host) -> str:
    """
    32 hexadecimal digits: the same at each start, different for each application, user and machine.

    A keyed hash, so that the real id can't be had from it (as systemd's sd_id128_get_machine_app_specific). hashlib
    itself loads OpenSSL, which would be a tenth of a compile.
    """
    from _blake2 import blake2s

    key = (host.read("/etc/machine-id") or b"").strip()[:32] or b"no machine-id"
    return str(
        blake2s(f"sandboxer:{host.user.uid}:{application}".encode(), key=key, digest_size=16).hexdigest()
    )

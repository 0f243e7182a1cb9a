"""
The user's files, the system's files, the home, documents and the working directory.

What comes in: `[files]` of a policy. What goes out: binds, with each path as the policy writes it and the content that
it leads to now. It never creates anything on the host: the private home is made by `cli` before.

Abuse: a readable directory gives away all that is beneath it, now and later, sockets included: connecting to one needs
no writable mount, so a directory with a socket in it is a way to the program behind. A writable directory lets the
application leave files that the user, or a program outside, opens later: documents with macros, .desktop files, git
repositories with hooks. `protected` keeps it from those places where nobody needs to open anything. The application
can put symbolic links into what it can write; they are never followed when a later box is built: a grant that would
pass one is refused here, and the launcher opens each path without following any.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

from sandboxer.errors import ResolveError
from sandboxer.grants import paths
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.grants.paths import Place
from sandboxer.grants.protected import refuse_self_grants
from sandboxer.host.view import FileType, Host
from sandboxer.plan.ops import EnvEntry, EnvKind, Op, OpFlag, OpKind, PlanFlag
from sandboxer.policy.effective import Effective
from sandboxer.words import BoxPath, HostPath, Origin

COPY_SIZE_MAX = 4096
"""Bytes. A file of /etc up to this is copied into the plan: a mount costs 15 µs at each start, a copy 3."""
DEVICES = (FileType.CHARACTER, FileType.BLOCK)
NOT_A_HOME = ("/usr", "/etc", "/proc", "/sys", "/dev", "/boot")
NOTHING_TO_SHARE = ("/usr", "/etc", "/proc", "/sys", "/dev", "/run")
"""Working directories in which there is nothing of the user's: the box has its own, or none."""
TOO_MUCH = ("/tmp", "/var", "/var/tmp", "/home")  # noqa: S108


def grants(effective: Effective, host: Host) -> Iterator[Grant | Withheld]:
    """The home first, then what is granted in it and elsewhere."""
    files = effective.policy.files
    given: list[Grant] = []
    absent: list[Withheld] = []
    for key, texts, flags in (
        ("files.system", files.system, OpFlag(0)),
        ("files.read", files.read, OpFlag(0)),
        ("files.write", files.write, OpFlag.WRITE),
    ):
        for text in texts:
            origin = effective.origin(key, text)
            found = tuple(paths.places(text, host, origin))
            if not found:
                if key != "files.system" and text.removeprefix("?").partition("/")[0] in paths.XDG_KEYS:
                    absent.append(_absent(text.removeprefix("?"), files.home))
                continue
            if key == "files.system":
                given.append(_system(text, found, origin, host))
            else:
                given.append(_listed(text, found, origin, flags))
    directory = _working_directory(effective, host)
    if isinstance(directory, Grant):
        given.append(directory)
    writable = tuple(op for grant in given for op in grant.ops if op.flags & OpFlag.WRITE)
    _refuse_planted_links(given, writable, effective, host)
    if effective.policy.advanced.let_application_change_what_runs_outside:
        yield Grant(
            topic="files",
            words="may be given places from which programs are run outside the box",
            detail="whatever it writes there runs as you, with nothing around it",
            weight=Weight.HOLE,
            origin=effective.origin("advanced.let-application-change-what-runs-outside"),
        )
    else:
        refuse_self_grants(writable, host)
    yield _home(effective, host)
    yield from given
    yield from absent
    if isinstance(directory, Withheld):
        yield directory
    yield _documents(effective)


def private_home(effective: Effective, host: Host) -> str:
    """Where an application's kept home is on the host, links not followed; it may not exist yet."""
    return posixpath.join(paths.data_home(host), "sandboxer", "homes", effective.name)


def hidden(effective: Effective, host: Host, ops: Iterable[Op]) -> Iterator[Grant | Withheld]:
    """
    Cover what `files.hide` names wherever `ops` show it.

    Raises:
        ResolveError: something in a hidden path is granted; the line that denies wins, and both are named.
    """
    binds = [op for op in ops if op.kind is OpKind.BIND]
    if effective.policy.files.home == "private":
        binds = [op for op in binds if str(op.box_path) != host.user.home]
    for text in effective.policy.files.hide:
        origin = effective.origin("files.hide", text)
        shown: list[Op] = []
        for place in paths.places(text, host, origin):
            for op in binds:
                if paths.within(op.source, place.real):
                    raise ResolveError(
                        "a policy grants what it hides",
                        subject=f"{op.source}: granted by {op.origin}",
                        origin=origin,
                        hint=f'take away one of them ("!{text}" in files.hide, or the grant)',
                    )
                if paths.within(place.real, op.source):
                    inside = op.box_path + place.real[len(op.source.rstrip("/")) :]
                    shown.append(Op(kind=OpKind.HIDE, box_path=BoxPath(inside), origin=origin))
        name = text.removeprefix("?")
        if shown:
            yield Grant(
                topic="files",
                words=f"{name} is covered by something empty",
                weight=Weight.NOTICE,
                origin=origin,
                ops=tuple(dict.fromkeys(shown)),
            )
        else:
            yield Withheld(topic="files", words=f"{name} is hidden, and nothing shows it")


def _absent(name: str, home: str) -> Withheld:
    """A directory of the desktop's that isn't there: where what is saved in it goes instead."""
    stays = {
        "private": ", so what is saved there stays in its own home",
        "ephemeral": ", so what is saved there is gone when it ends",
    }.get(home, "")
    return Withheld(topic="files", words=f"{name} isn't there{stays}")


def _home(effective: Effective, host: Host) -> Grant:
    home, kind, origin = host.user.home, effective.policy.files.home, effective.origin("files.home")
    if any(paths.within(home, place) for place in NOT_A_HOME):
        raise ResolveError(
            "cannot make a home where the system is",
            subject=f"{home}: part of what every box has",
            hint="set HOME to a directory of yours",
        )
    box_path = BoxPath(home)
    if kind == "ephemeral":
        op = Op(kind=OpKind.OWN, box_path=box_path, mode=0o700, origin=origin)
        words, detail, weight = f"has an empty home at {home}", "gone when it ends", Weight.NOTICE
    elif kind == "private":
        kept = private_home(effective, host)
        source = host.resolve(kept) or HostPath(kept)
        flags = OpFlag.WRITE | OpFlag.DIRECTORY
        op = Op(kind=OpKind.BIND, box_path=box_path, source=source, flags=flags, origin=origin)
        words, detail, weight = f"has a home of its own at {home}", f"kept in {kept}", Weight.NOTICE
    else:
        source = host.resolve(home) or HostPath(home)
        op = Op(kind=OpKind.BIND, box_path=box_path, source=source, flags=OpFlag.DIRECTORY, origin=origin)
        words, weight = "can read your whole home directory", Weight.HOLE
        detail = "keys, passwords and the data of all other programs included"
    variables = (
        ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME") if kind == "host" else ()
    )
    return Grant(
        topic="files",
        words=words,
        detail=detail,
        weight=weight,
        origin=origin,
        ops=(op,),
        environment=tuple(EnvEntry(kind=EnvKind.PASS, name=name) for name in variables),
    )


def _system(text: str, found: tuple[Place, ...], origin: Origin, host: Host) -> Grant:
    ops = []
    for place in found:
        _refuse_devices(place, origin)
        target = host.read_link(place.written)
        if (
            target is not None
            and host.links(place.written) == (place.written,)
            and place.real.startswith("/usr/")
        ):
            ops.append(paths.link(place.written, target, origin))
        else:
            ops.append(_copied(place, origin, host) or paths.bind(place, origin))
    return Grant(
        topic="files",
        words=f"can read {text.removeprefix('?')}",
        detail=_where(found),
        weight=Weight.HOLE if _sockets(found) else Weight.NOTICE,
        origin=origin,
        ops=tuple(ops),
    )


def _copied(place: Place, origin: Origin, host: Host) -> Op | None:
    """A small file as a copy; None where it must be bound."""
    if place.type is not FileType.REGULAR or not place.written.startswith("/etc/"):
        return None
    try:
        content = host.read(place.real)
    except ResolveError:  # Larger than 64 KiB.
        return None
    if content is None or len(content) > COPY_SIZE_MAX:
        return None
    return paths.file(place.written, content, origin)


def _listed(text: str, found: tuple[Place, ...], origin: Origin, flags: OpFlag) -> Grant:
    for place in found:
        _refuse_devices(place, origin)
    sockets = _sockets(found)
    verb = "can talk to what listens on" if sockets else "can read and change" if flags else "can read"
    return Grant(
        topic="files",
        words=f"{verb} {text.removeprefix('?')}",
        detail=_where(found),
        weight=Weight.HOLE if sockets else Weight.ACCESS,
        origin=origin,
        ops=tuple(paths.bind(place, origin, flags) for place in found),
    )


def _sockets(found: tuple[Place, ...]) -> bool:
    return any(place.type is FileType.SOCKET for place in found)


def _where(found: tuple[Place, ...]) -> str:
    """Where the paths lead, for those that lead elsewhere."""
    return ", ".join(f"{place.written} → {place.real}" for place in found if str(place.written) != place.real)


def _refuse_devices(place: Place, origin: Origin) -> None:
    if place.type in DEVICES or any(paths.within(place.real, top) for top in ("/proc", "/sys", "/dev")):
        raise ResolveError(
            "cannot grant a device or a part of the kernel as a file",
            subject=f"{place.written}: leads to {place.real}",
            origin=origin,
            hint="see [devices] in policies/README.md",
        )


def _working_directory(effective: Effective, host: Host) -> Grant | Withheld:
    wanted = effective.policy.files.working_directory
    if wanted == "none":
        return Withheld(topic="files", words="can't see the directory that it is started in")
    origin = effective.origin("files.working-directory")
    directory, home = _top(effective.policy.files.working_directory_top, host), host.user.home
    if directory == "/" or any(paths.within(directory, top) for top in NOTHING_TO_SHARE):
        return Withheld(topic="files", words=f"can't see where it is started: {directory} is the system's")
    real_home = host.resolve(home) or home
    if paths.within(real_home, directory) or directory in TOO_MUCH:
        raise ResolveError(
            "refuses to share the directory that the application is started in",
            subject=f"{directory}: far more than one piece of work is in it",
            origin=origin,
            hint="cd to a directory that holds only what is needed, or do without: sandbox run "
            f"--policy {effective.name} --set files.working-directory=none -- {_called(effective)} ...",
        )
    flags = OpFlag.DIRECTORY | (OpFlag.WRITE if wanted == "write" else OpFlag(0))
    op = Op(
        kind=OpKind.BIND, box_path=BoxPath(directory), source=HostPath(directory), flags=flags, origin=origin
    )
    verb = "can read and change" if wanted == "write" else "can read"
    return Grant(
        topic="files",
        words=f"{verb} the directory that it is started in: {directory}"
        if directory == host.working_directory
        else f"{verb} {directory}, in which it is started",
        weight=Weight.ACCESS,
        origin=origin,
        ops=(op,),
    )


def _called(effective: Effective) -> str:
    """What a command line has to name to start the policy's program."""
    return " ".join(((effective.policy.command or (effective.name,))[0], *effective.policy.arguments))


def _top(marker: str, host: Host) -> str:
    """The nearest directory from the working directory upwards that holds the marker, short of the home directory."""
    here = host.working_directory
    home = host.resolve(host.user.home) or host.user.home
    place = here
    while marker and place not in ("/", home):
        if host.type_of(posixpath.join(place, marker)) is not None:
            return place
        place = posixpath.dirname(place)
    return here


def _documents(effective: Effective) -> Grant | Withheld:
    wanted = effective.policy.files.documents
    if wanted == "none":
        return Withheld(topic="files", words="gets no files that are named on its command line")
    flags = PlanFlag.DOCUMENTS_READ | (PlanFlag.DOCUMENTS_WRITE if wanted == "write" else PlanFlag(0))
    verb = "can read and change" if wanted == "write" else "can read"
    return Grant(
        topic="files",
        words=f"{verb} the files that you name on its command line",
        detail="those files only, at /run/documents",
        weight=Weight.ACCESS,
        origin=effective.origin("files.documents"),
        flags=flags,
    )


def _refuse_planted_links(
    given: list[Grant], writable: tuple[Op, ...], effective: Effective, host: Host
) -> None:
    """A grant that passes a link which the application can write: it could have put it there, leading anywhere."""
    sources = [op.source for op in writable]
    if effective.policy.files.home == "private":
        kept = private_home(effective, host)
        sources.append(host.resolve(kept) or kept)
    for grant in given:
        for op in grant.ops:
            for link in host.links(op.box_path):
                parent = host.resolve(posixpath.dirname(link)) or posixpath.dirname(link)
                place = posixpath.join(parent, posixpath.basename(link))
                if any(paths.within(place, source) for source in sources):
                    raise ResolveError(
                        "refuses to follow a link that the application could have made",
                        subject=f"{link}: a symbolic link in a directory that this policy makes writable",
                        origin=op.origin,
                        hint="grant what the link leads to by its own path, or remove the link",
                    )

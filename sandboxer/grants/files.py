"""
The user's files, the system's files, the home, documents and the working directory.

What comes in: `[files]` of a policy. What goes out: binds, with each path as the policy writes it and the content that
it leads to now. It never creates anything on the host: the private home is made by `cli` before.

Abuse: a readable directory gives away all that is beneath it, now and later, sockets included: connecting to one needs
no writable mount, so a directory with a socket in it is a way to the program behind (`sockets` says which, and keeps
the session's own directory from every box). A writable directory lets the application leave files that the user, or a
program outside, opens later: documents with macros, .desktop files, git repositories with hooks. `protected` keeps it
from those places where nobody needs to open anything. The application can put symbolic links into what it can write;
they are never followed when a later box is built: a grant that would pass one is refused here, and the launcher opens
each path without following any.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

from sandboxer.errors import PolicyError, ResolveError
from sandboxer.grants import paths
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.grants.paths import Place
from sandboxer.grants.protected import closed, refuse_foreign_directories, refuse_self_grants, spellings
from sandboxer.grants.sockets import listening, refuse_runtime_directory
from sandboxer.host.view import FileType, Host
from sandboxer.plan.ops import EnvEntry, EnvKind, Op, OpFlag, OpKind, PlanFlag
from sandboxer.policy.effective import Effective
from sandboxer.words import BUILT_IN, BoxPath, HostPath, Origin

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
    owned: list[Grant] = []
    absent: list[Withheld] = []
    covered = hidden_places(effective, host)
    for key, texts, flags in (
        ("files.system", files.system, OpFlag(0)),
        ("files.read", files.read, OpFlag(0)),
        ("files.write", files.write, OpFlag.WRITE),
        ("files.own", files.own, OpFlag.WRITE),
    ):
        for text in texts:
            origin = effective.origin(key, text)
            found = tuple(paths.places(text, host, origin))
            if not found:
                if key != "files.system" and text.removeprefix("?").partition("/")[0] in paths.XDG_KEYS:
                    absent.append(_absent(text.removeprefix("?"), files.home))
                continue
            if key == "files.system":
                _refuse_control(found, origin, host)
                given.append(_system(text, found, origin, host, listening(found, covered, host)))
            elif key == "files.own":
                owned.append(_listed(text, found, origin, flags))
            else:
                _refuse_control(found, origin, host)
                given.append(_listed(text, found, origin, flags, listening(found, covered, host)))
    directory = _working_directory(effective, host)
    if isinstance(directory, Grant):
        given.append(directory)
    writable = tuple(op for grant in given for op in grant.ops if op.flags & OpFlag.WRITE)
    own = tuple(op for grant in owned for op in grant.ops)
    given += owned
    sources = [op.source for op in (*writable, *own)]
    if files.home == "private":
        sources.append(_kept(effective, host))
    refuse_planted_links([(op.box_path, op.origin) for grant in given for op in grant.ops], sources, host)
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
        refuse_foreign_directories(own, _names(effective), host)
    yield _home(effective, host)
    yield from given
    yield from absent
    if isinstance(directory, Withheld):
        yield directory
    yield _documents(effective)


def _names(effective: Effective) -> frozenset[str]:
    """What the application's own directories go by."""
    return frozenset((effective.name, *map(posixpath.basename, effective.policy.command)))


def private_home(effective: Effective, host: Host) -> str:
    """Where an application's kept home is on the host, links not followed; it may not exist yet."""
    return posixpath.join(paths.data_home(host), "sandboxer", "homes", effective.name)


def named(effective: Effective, host: Host) -> Iterator[tuple[str, Place, Origin]]:
    """What the lists of paths come to: each place with the key that names it."""
    files = effective.policy.files
    for key, texts in (
        ("files.system", files.system),
        ("files.read", files.read),
        ("files.write", files.write),
        ("files.own", files.own),
    ):
        for text in texts:
            origin = effective.origin(key, text)
            for place in paths.places(text, host, origin):
                yield key, place, origin


def changeable(effective: Effective, host: Host) -> list[HostPath]:
    """Where the application can put links: all that it may write, its private home included."""
    sources = [place.real for key, place, _ in named(effective, host) if key in ("files.write", "files.own")]
    directory = _working_directory(effective, host)
    if isinstance(directory, Grant):
        sources += [HostPath(op.source) for op in directory.ops if op.flags & OpFlag.WRITE]
    if effective.policy.files.home == "private":
        sources.append(_kept(effective, host))
    return sources


def hidden_places(effective: Effective, host: Host) -> list[HostPath]:
    """What no rule of the broker's may reach: what `files.hide` names, and places of ours."""
    found = [
        place.real
        for text in effective.policy.files.hide
        for place in paths.places(text, host, effective.origin("files.hide", text))
    ]
    return found + [real for path in closed(host) if (real := host.resolve(path)) is not None]


def hidden(effective: Effective, host: Host, granted: Iterable[Grant]) -> Iterator[Grant | Withheld]:
    """
    Cover what `files.hide` names, and what no box may see, wherever a grant shows it.

    Raises:
        ResolveError: something in a hidden path is granted; the line that denies wins, and both are named.
    """
    granted = list(granted)
    binds = [op for grant in granted for op in grant.ops if op.kind is OpKind.BIND]
    if effective.policy.files.home == "private":
        binds = [op for op in binds if str(op.box_path) != host.user.home]
    rules = _reached(granted)
    for text in effective.policy.files.hide:
        origin = effective.origin("files.hide", text)
        shown: list[Op] = []
        kept: list[HostPath] = []
        for place in paths.places(text, host, origin):
            for asked, real in (*((op.origin, HostPath(op.source)) for op in binds), *rules):
                if paths.within(real, place.real):
                    raise ResolveError(
                        "a policy grants what it hides",
                        subject=f"{real}: granted by {asked}",
                        origin=origin,
                        hint=f'take away one of them ("!{text}" in files.hide, or the grant)',
                    )
            shown += _covers(place.real, binds, origin)
            if any(paths.within(place.real, real) for _, real in rules):
                kept.append(place.real)
        name = text.removeprefix("?")
        if shown or kept:
            yield Grant(
                topic="files",
                words=f"{name} is covered by something empty" if shown else f"{name} is kept from the broker",
                detail="kept from the broker, too" if shown and kept else "",
                weight=Weight.NOTICE,
                origin=origin,
                ops=tuple(dict.fromkeys(shown)),
                hidden=tuple(kept),
            )
        else:
            yield Withheld(topic="files", words=f"{name} is hidden, and nothing shows it")
    yield from _closed([op for op in binds if op.origin != BUILT_IN], rules, host)


def _reached(granted: Iterable[Grant]) -> list[tuple[Origin, HostPath]]:
    """The host paths that rules of the broker's are for, and which line asked."""
    if not any(grant.brokered for grant in granted):
        return []
    from sandboxer.broker.rules import Rule

    return [
        (grant.origin, HostPath(posixpath.join(item.root, item.name).rstrip("/") or "/"))
        for grant in granted
        for item in grant.brokered
        if isinstance(item, Rule)
    ]


def _covers(real: HostPath, binds: Iterable[Op], origin: Origin) -> list[Op]:
    """A cover wherever a bind shows a host path."""
    return [
        Op(
            kind=OpKind.HIDE,
            box_path=BoxPath(op.box_path + real[len(op.source.rstrip("/")) :]),
            origin=origin,
        )
        for op in binds
        if paths.within(real, op.source)
    ]


def _closed(binds: list[Op], rules: list[tuple[Origin, HostPath]], host: Host) -> Iterator[Grant]:
    """The places of ours that no box may see."""
    if not binds and not rules:
        return
    ops: list[Op] = []
    kept: list[HostPath] = []
    for path in closed(host):
        found = host.resolve(path)
        # what isn't there yet can't be covered, but a rule would give it once it is
        real = found if found is not None else HostPath(tuple(spellings(path, host))[-1])
        for asked, source in (*((op.origin, op.source) for op in binds), *rules):
            if paths.within(source, real):
                raise ResolveError(
                    "refuses to show what boxes are controlled by",
                    subject=f"{source}: sandboxer keeps plans, logs and the sockets of running boxes in {real}",
                    origin=asked,
                    hint="take it out",
                )
        ops += _covers(real, binds, BUILT_IN) if found is not None else []
        if any(paths.within(real, source) for _, source in rules):
            kept.append(real)
    if ops or kept:
        yield Grant(
            topic="files",
            words="can't see what boxes are controlled by",
            detail=", ".join(dict.fromkeys([*(str(op.box_path) for op in ops), *kept])),
            weight=Weight.NOTICE,
            origin=BUILT_IN,
            ops=tuple(dict.fromkeys(ops)),
            hidden=tuple(kept),
        )


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
        place = Place(written=box_path, real=source, type=FileType.DIRECTORY)
        _refuse_control((place,), origin, host)
        op = Op(kind=OpKind.BIND, box_path=box_path, source=source, flags=OpFlag.DIRECTORY, origin=origin)
        words, weight = "can read your whole home directory", Weight.HOLE
        detail = "keys, passwords and the data of all other programs included"
        if sockets := listening((place,), hidden_places(effective, host), host):
            detail += f"; it can talk to what listens on {sockets}"
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


def _system(text: str, found: tuple[Place, ...], origin: Origin, host: Host, inside: str) -> Grant:
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
        words=_with_sockets(f"can read {text.removeprefix('?')}", inside),
        detail=_joined(_where(found), inside),
        weight=Weight.HOLE if inside or _sockets(found) else Weight.NOTICE,
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


def _listed(text: str, found: tuple[Place, ...], origin: Origin, flags: OpFlag, inside: str = "") -> Grant:
    """`inside`: the sockets in the directories among them."""
    for place in found:
        _refuse_devices(place, origin)
    sockets = _sockets(found)
    verb = "can talk to what listens on" if sockets else "can read and change" if flags else "can read"
    return Grant(
        topic="files",
        words=_with_sockets(f"{verb} {text.removeprefix('?')}", inside),
        detail=_joined(_where(found), inside),
        weight=Weight.HOLE if sockets or inside else Weight.ACCESS,
        origin=origin,
        ops=tuple(paths.bind(place, origin, flags) for place in found),
    )


def _sockets(found: tuple[Place, ...]) -> bool:
    return any(place.type is FileType.SOCKET for place in found)


def _refuse_control(found: Iterable[Place], origin: Origin, host: Host) -> None:
    for place in found:
        refuse_runtime_directory(place.real, place.type, origin, host)


def _with_sockets(words: str, inside: str) -> str:
    return f"{words}, and talk to what listens on sockets in it" if inside else words


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


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
    place = Place(written=BoxPath(directory), real=HostPath(directory), type=FileType.DIRECTORY)
    _refuse_control((place,), origin, host)
    inside = listening((place,), hidden_places(effective, host), host)
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
        detail=f"it can talk to what listens on {inside}" if inside else "",
        weight=Weight.HOLE if inside else Weight.ACCESS,
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
    siblings, hide = effective.policy.files.siblings, effective.policy.files.hide
    if siblings and hide:
        raise PolicyError(
            "a policy hides paths, and shows whatever lies beside a document",
            subject=f"{hide[0]} could lie there, and can't be covered where documents are handed in",
            origin=effective.origin("files.siblings"),
            hint="take out files.siblings, or files.hide",
        )
    flags = PlanFlag.DOCUMENTS_READ | (PlanFlag.DOCUMENTS_WRITE if wanted == "write" else PlanFlag(0))
    flags |= PlanFlag.DOCUMENTS_SIBLINGS if siblings else PlanFlag(0)
    verb = "can read and change" if wanted == "write" else "can read"
    return Grant(
        topic="files",
        words=f"{verb} the files that you name on its command line"
        + (", and all that lies beside them" if siblings else ""),
        detail="not where that is your home, or the system's"
        if siblings
        else "those files only, at /run/documents",
        weight=Weight.ACCESS,
        origin=effective.origin("files.siblings" if siblings else "files.documents"),
        flags=flags,
    )


def _kept(effective: Effective, host: Host) -> HostPath:
    """The private home, links followed as far as there is something."""
    kept = private_home(effective, host)
    return host.resolve(kept) or HostPath(kept)


def refuse_planted_links(asked: Iterable[tuple[str, Origin]], changeable: Iterable[str], host: Host) -> None:
    """
    Raise ResolveError for a path that passes a link which the application could have put there, leading anywhere.

    Args:
        asked: paths as they are written, and who asks. changeable: directories in which it can make or move links.
    """
    sources = list(changeable)
    for path, origin in asked if sources else ():
        for link in host.links(path):
            parent = host.resolve(posixpath.dirname(link)) or posixpath.dirname(link)
            place = posixpath.join(parent, posixpath.basename(link))
            if any(paths.within(place, source) for source in sources):
                raise ResolveError(
                    "refuses to follow a link that the application could have made",
                    subject=f"{link}: a symbolic link in a directory that this policy makes writable",
                    origin=origin,
                    hint="grant what the link leads to by its own path, or remove the link",
                )

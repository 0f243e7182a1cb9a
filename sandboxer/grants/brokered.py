"""
The broker: what the application may ask for while it runs, and how it asks.

What comes in: `[broker]`. What goes out: rules for the broker, each with the line that made it, and in the box the
socket, the program `sandbox-broker` and the variables that lead to both; nothing of this where nothing is granted
through it. It never shows a file: what the rules name stays outside until it is asked for, one at a time.

Abuse: a rule is as wide as a mount of the same directory, and lasts as long; what it adds is that each request is
logged and that nothing can be executed, connected to or opened as a directory by it. Where a rule lets the application
change something, all holds that `files.write` is held to: `protected` refuses places from which programs are run
outside, and a rule that would pass a link which the application could have put there is refused. What `files.hide`
names is kept from the broker, and so is what sandboxer itself keeps.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from sandboxer.broker import protocol
from sandboxer.broker.rules import CHANGES, KEYS, RENAME, Outward, Rule, Rules, Service
from sandboxer.errors import ResolveError
from sandboxer.grants import files, outward, paths, services
from sandboxer.grants.base import SEARCH_PATH
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.grants.landlock import FILES_ABI
from sandboxer.grants.protected import refuse_self_grants
from sandboxer.host.installation import broker_client
from sandboxer.host.view import FileType, Host
from sandboxer.plan.ops import BROKER_DESCRIPTOR, EnvEntry, EnvKind, Op, OpFlag, OpKind, PlanFlag
from sandboxer.policy.effective import Effective
from sandboxer.words import BUILT_IN, BoxPath, HostPath, Origin

PROGRAMS = "/run/sandboxer/bin"
"""First in the box's PATH."""
LISTENER = "broker"
"""What the launcher calls the socket of the broker's own protocol."""

WORDS = {
    "read": ("may ask for files in {} to read, one at a time", "may ask for {} to read"),
    "write": ("may ask for files in {} to change, one at a time", "may ask for {} to change"),
    "append": (
        "may ask for files in {} to add to or overwrite, not to empty, one at a time",
        "may ask for {} to add to or overwrite, not to empty",
    ),
    "create": ("may make files in {}, one at a time", ""),
    "stat": ("may ask for sizes, times and owners in {}", "may ask for size, times and owner of {}"),
    "access": ("may ask what it could open in {}", "may ask whether it could open {}"),
    "readlink": ("may ask where links in {} lead", "may ask where {} leads"),
    "list": ("may list the names in {}", ""),
    "mkdir": ("may make directories in {}", ""),
    "rename": ("may move and rename what is in {}", ""),
    "unlink": ("may remove what is in {}", ""),
    "watch": ("may watch {} for changes", "may watch {} for changes"),
}
"""Key → what it lets the application do with a directory, and with a file; "" where it makes no sense of a file."""


def grants(effective: Effective, host: Host) -> Iterator[Grant | Withheld]:
    """Files, services, links; then the way to the broker, where there is anything to ask for."""
    rules = list(_files(effective, host))
    found = [*rules, *services.grants(effective, host), *outward.grants(effective, host)]
    yield from found
    if not any(isinstance(item, Grant) and item.brokered for item in found):
        return
    if not effective.policy.broker.links and not effective.policy.broker.presents:
        yield Withheld(topic="broker", words="can't have links or files opened outside")
    yield _way(effective, host)
    if effective.policy.broker.descriptor:
        number = str(BROKER_DESCRIPTOR)
        yield Grant(
            topic="broker",
            words=f"has a connection to the broker as descriptor {number}",
            weight=Weight.NOTICE,
            origin=effective.origin("broker.descriptor"),
            flags=PlanFlag.BROKER_DESCRIPTOR,
            environment=(EnvEntry(kind=EnvKind.SET, name=protocol.DESCRIPTOR_VARIABLE, value=number),),
        )


def rules_of(effective: Effective, host: Host, granted: Sequence[Grant]) -> Rules:
    """See `broker.rules_of`."""
    brokered = [item for grant in granted for item in grant.brokered]
    return Rules(
        app=effective.name,
        log=log_directory(host),
        paths=tuple(item for item in brokered if isinstance(item, Rule)),
        hidden=tuple(dict.fromkeys(place for grant in granted for place in grant.hidden)),
        services=tuple(item for item in brokered if isinstance(item, Service)),
        outward=tuple(item for item in brokered if isinstance(item, Outward)),
    )


def log_directory(host: Host) -> str:
    """Where brokers log what they were asked, on the host."""
    return posixpath.join(paths.state_home(host), "sandboxer", "broker")


def _way(effective: Effective, host: Host) -> Grant:
    """What leads to the broker, in the box."""
    client = broker_client()
    real = host.resolve(client)
    if real is None or host.type_of(client) is not FileType.REGULAR:
        raise ResolveError(
            "cannot find the program that asks the broker",
            subject=f"{client}: no such file",
            hint="install sandboxer again: sandbox-broker and sandbox belong side by side",
        )
    listen = Op(kind=OpKind.LISTEN, box_path=BoxPath(protocol.SOCKET), source=LISTENER, mode=0o600)
    program = Op(kind=OpKind.BIND, box_path=BoxPath(f"{PROGRAMS}/sandbox-broker"), source=real)
    return Grant(
        topic="broker",
        words="asks the broker, a process outside, which logs what it is asked",
        detail=f"{log_directory(host)}/{effective.name}/{effective.name}.log",
        weight=Weight.NOTICE,
        origin=BUILT_IN,
        ops=(listen, program),
        environment=(
            EnvEntry(kind=EnvKind.SET, name="PATH", value=":".join((PROGRAMS, *SEARCH_PATH))),
            EnvEntry(kind=EnvKind.SET, name=protocol.VARIABLE, value=protocol.SOCKET),
        ),
    )


def _files(effective: Effective, host: Host) -> Iterator[Grant]:
    """One grant for each path of each key."""
    asked = [
        (key, text, effective.origin(f"broker.{key}", text))
        for key in KEYS
        for text in getattr(effective.policy.broker, key)
    ]
    if not asked:
        return
    _require_landlock(asked[0][2], host)
    hidden = files.hidden_places(effective, host)
    found = [
        (key, text, origin, place)
        for key, text, origin in asked
        for place in paths.places(text, host, origin)
    ]
    for key, _, origin, place in found:
        _refuse_what_is_no_file(key, place, origin)
    _refuse_self_grants(
        [(origin, place) for key, _, origin, place in found if KEYS[key] & CHANGES], effective, host
    )
    _refuse_planted_links([(key, origin, place) for key, _, origin, place in found], effective, host)
    for key, text, origin in asked:
        here = [place for other, written, _, place in found if (other, written) == (key, text)]
        if here:
            yield _grant(key, text.removeprefix("?"), here, origin, hidden)


def _grant(key: str, name: str, here: list[paths.Place], origin: Origin, hidden: list[HostPath]) -> Grant:
    directory = any(place.type is FileType.DIRECTORY for place in here)
    leads = ", ".join(f"{place.written} → {place.real}" for place in here if str(place.written) != place.real)
    return Grant(
        topic="broker",
        words=WORDS[key][0 if directory else 1].format(name),
        detail=leads,
        weight=Weight.ACCESS,
        origin=origin,
        brokered=tuple(rule for place in here for rule in _rules(key, place, origin, hidden)),
    )


def _rules(key: str, place: paths.Place, origin: Origin, hidden: list[HostPath]) -> Iterator[Rule]:
    """A place by the path that the policy writes, and by the real one where that is another."""
    is_directory = place.type is FileType.DIRECTORY
    root, name = (place.real, "") if is_directory else posixpath.split(place.real)
    for path in dict.fromkeys((str(place.written), str(place.real))):
        yield Rule(
            path=path,
            root=root,
            name=name,
            rights=KEYS[key],
            follow=is_directory and not any(paths.within(other, place.real) for other in hidden),
            origin=str(origin),
        )


def _require_landlock(origin: Origin, host: Host) -> None:
    if host.landlock_abi < FILES_ABI:
        raise ResolveError(
            "cannot confine a broker that opens files",
            subject="this kernel has no Landlock that covers all that is done with files",
            origin=origin,
            hint="use Linux 6.2 or newer with Landlock, or grant the paths under files.read and files.write",
        )


def _refuse_what_is_no_file(key: str, place: paths.Place, origin: Origin) -> None:
    regular = place.type in (FileType.REGULAR, FileType.DIRECTORY)
    if not regular or any(paths.within(place.real, top) for top in ("/proc", "/sys", "/dev")):
        raise ResolveError(
            "the broker opens regular files alone",
            subject=f"{place.written}: {f'a {place.type.value}' if not regular else f'leads to {place.real}'}",
            origin=origin,
            hint="take it out; services go by name, under broker.connect",
        )
    if place.type is FileType.REGULAR and not WORDS[key][1]:
        raise ResolveError(
            f"broker.{key} is about what a directory holds",
            subject=f"{place.written}: a file",
            origin=origin,
            hint=f'write the directory that it lies in: "{posixpath.dirname(place.written)}"',
        )


def _refuse_self_grants(changed: list[tuple[Origin, paths.Place]], effective: Effective, host: Host) -> None:
    if effective.policy.advanced.let_application_change_what_runs_outside:
        return
    refuse_self_grants(tuple(paths.bind(place, origin, OpFlag.WRITE) for origin, place in changed), host)


def _refuse_planted_links(
    found: list[tuple[str, Origin, paths.Place]], effective: Effective, host: Host
) -> None:
    """Links that the application made in what it can write, or moved by the broker; the broker makes none."""
    moved = [place.real for key, _, place in found if KEYS[key] & RENAME]
    asked = [(str(place.written), origin) for _, origin, place in found]
    files.refuse_planted_links(asked, [*files.changeable(effective, host), *moved], host)
    if moved:
        mounted = [(str(place.written), origin) for _, place, origin in files.named(effective, host)]
        files.refuse_planted_links(mounted, moved, host)

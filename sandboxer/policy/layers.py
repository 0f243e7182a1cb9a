"""
An application's name → its policy, from all layers.

What comes in: a name and the Host. What goes out: the Effective policy. Every file is read, and every absence
noticed, through the Host, so that each becomes a stamp of the plan. It writes nothing, and it takes no file
that somebody else could have written.

Order, later holds: the sets that are extended, depth first, each once and each over its own layers; then the
application's own file and drop-ins as shipped, in /etc/sandboxer, in the user's configuration; then the
command line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from sandboxer.errors import PolicyError
from sandboxer.host.view import FileType
from sandboxer.paths import data_dir
from sandboxer.policy.checks import check_name
from sandboxer.policy.layer import Layer
from sandboxer.policy.merge import merge, merge_list
from sandboxer.policy.parse import parse, parse_setting
from sandboxer.words import Origin, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandboxer.host.view import Host
    from sandboxer.policy.effective import Effective

ADMINISTRATOR = "/etc/sandboxer"
STRICT = "strict"
"""The set that holds for an application without a policy."""

Kind = Literal["apps", "sets", "deny"]
Reader = Callable[[bytes, str], Layer]


class Place(Record):
    """A directory of policies. `shown` is what the user reads instead of `path`; "" for the shipped ones."""

    path: str
    shown: str
    shipped: bool = False


def places(host: Host) -> tuple[Place, ...]:
    """Where policies may be, existing or not, in the order in which they hold. No box may write there."""
    home = host.user.home
    config = host.variable("XDG_CONFIG_HOME") or ""
    if not config.startswith("/"):  # The XDG specification: a relative one counts as unset.
        config = f"{home}/.config"
    own = f"{config.rstrip('/')}/sandboxer"
    shown = f"~{own[len(home) :]}" if own.startswith(f"{home}/") else own
    return (
        Place(path=data_dir("policies"), shown="", shipped=True),
        Place(path=ADMINISTRATOR, shown=ADMINISTRATOR),
        Place(path=own, shown=shown),
    )


def load(
    name: str,
    host: Host,
    *,
    settings: Sequence[str] = (),
    file: str | None = None,
    reader: Reader = parse,
) -> Effective:
    """
    The policy of an application.

    Args:
        settings: `--set KEY=VALUE` words, in order.
        file: a policy file to take instead of the layers' apps/NAME.toml; its sets come from the layers.
        reader: for linters, `parse` less what it would refuse.
    Raises:
        PolicyError: a file is malformed, unreadable or not to be trusted; a set is unknown or extends itself.
    """
    _require_name(name)
    library = _Library(host, reader)
    own = library.explicit(file) if file is not None else library.layers("apps", name)
    found = bool(own)
    if not found:
        own = library.set_layers(STRICT)
    return _finish(name, library, own, settings, found=found)


def load_set(name: str, host: Host, *, settings: Sequence[str] = (), reader: Reader = parse) -> Effective:
    """
    A set as if it were an application's policy, for `sandbox run --policy gui`.

    Raises:
        PolicyError: as for `load`, and when there is no such set.
    """
    _require_name(name)
    library = _Library(host, reader)
    return _finish(name, library, library.set_layers(name), settings, found=True)


def load_app_or_set(name: str, host: Host, *, settings: Sequence[str] = ()) -> Effective:
    """
    What `sandbox run --policy NAME` means: an application's policy, else the set of that name.

    Raises:
        PolicyError: as for `load`, and when there is neither.
    """
    _require_name(name)
    library = _Library(host)
    own = library.layers("apps", name) or library.set_layers(name)
    return _finish(name, library, own, settings, found=True)


def names(kind: Kind, host: Host) -> tuple[str, ...]:
    """All applications, or sets, that some layer has a policy for; sorted."""
    return _Library(host).names(kind)


def unknown_set(name: str, host: Host, origin: Origin) -> PolicyError:
    """The error for a line that extends what is no set."""
    from difflib import get_close_matches

    known = names("sets", host)
    near = get_close_matches(name, known, n=1)
    return PolicyError(
        "a policy extends a set that doesn't exist",
        subject=f"no layer has sets/{name}.toml",
        origin=origin,
        hint=f'write "{near[0]}"' if near else f"the sets are {', '.join(known)}",
    )


def unknown_policy(name: str, host: Host) -> PolicyError:
    """The error for a name that is neither an application's with a policy nor a set's."""
    apps, sets = names("apps", host), names("sets", host)
    near = nearest(name, (*apps, *sets))
    return PolicyError(
        "there is no policy of that name",
        subject=f"no layer has apps/{name}.toml or sets/{name}.toml",
        hint=f'write "{near}"' if near else f"applications: {', '.join(apps)}; sets: {', '.join(sets)}",
    )


def nearest(name: str, known: Sequence[str], *, cutoff: float = 0.6) -> str:
    """The one of these names that was most likely meant; "" where none is as close as `cutoff` (1 is the same)."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, known, n=1, cutoff=cutoff)), "")


def group_files(wanted: Sequence[str], host: Host) -> dict[str, list[tuple[str, bytes]]]:
    """
    The files deny/NAME.toml of these names, first layer first: (as the user knows it, content). A name that
    no layer has is left out. A directory is listed once and only what is there is read, which keeps a plan's
    stamps few.

    Raises:
        PolicyError: a file can't be read or isn't trustworthy.
    """
    library = _Library(host)
    found: dict[str, list[tuple[str, bytes]]] = {}
    for place in library.places:
        present = frozenset(host.entries(f"{place.path}/deny"))
        for name in wanted:
            file = f"deny/{name}.toml"
            if f"{name}.toml" in present and (content := library.read(place, file)) is not None:
                found.setdefault(name, []).append((_shown(place, file), content))
    return found


def _require_name(name: str) -> None:
    if complaint := check_name(name):
        raise PolicyError(
            "there can be no policy of that name", subject=f"{name!r}: {complaint.wrong}", hint=complaint.hint
        )


def _finish(
    name: str, library: _Library, own: list[Layer], settings: Sequence[str], *, found: bool
) -> Effective:
    own = [*own, *(parse_setting(setting) for setting in settings)]
    layers, sets = library.flatten(own)
    return merge(name, layers, sets=sets, found=found)


class _Library:
    """The layers of one machine and user, as far as one policy needs them."""

    def __init__(self, host: Host, reader: Reader = parse) -> None:
        self.host = host
        self._parse = reader
        self.places = tuple(place for place in places(host) if host.type_of(place.path) is not None)
        self._trusted: set[str] = set()

    def flatten(self, own: list[Layer]) -> tuple[list[Layer], dict[str, Origin]]:
        """The layers of all extended sets, each set once, then these; and the sets, with who extends them."""
        done: dict[str, Origin] = {}
        return [*self._extended(own, done, ()), *own], done

    def _extended(self, own: list[Layer], done: dict[str, Origin], trail: tuple[str, ...]) -> list[Layer]:
        flat: list[Layer] = []
        for name, origin in merge_list("extends", own):
            if name in trail:
                raise PolicyError(
                    "a set extends itself",
                    subject=" → ".join((*trail[trail.index(name) :], name)),
                    origin=origin,
                    hint=f'take "{name}" out',
                )
            if name not in done:
                layers = self.set_layers(name, origin)
                flat += self._extended(layers, done, (*trail, name))
                flat += layers
                done[name] = origin
        return flat

    def set_layers(self, name: str, origin: Origin | None = None) -> list[Layer]:
        """All layers' files of a set, which must exist; `origin` is the line that extends it."""
        if layers := self.layers("sets", name):
            return layers
        if origin is None:
            raise unknown_policy(name, self.host)
        raise unknown_set(name, self.host, origin)

    def layers(self, kind: Kind, name: str) -> list[Layer]:
        """The files of one name: in each place NAME.toml, then its drop-ins by name."""
        found = []
        for place in self.places:
            main = f"{kind}/{name}.toml"
            if (content := self.read(place, main)) is not None:
                found.append(self._parse(content, _shown(place, main)))
            drop_ins = f"{kind}/{name}.d"
            for entry in self.host.entries(f"{place.path}/{drop_ins}"):
                if entry.endswith(".toml") and not entry.startswith("."):
                    drop_in = f"{drop_ins}/{entry}"
                    if (content := self.read(place, drop_in)) is None:
                        raise _unreadable(_shown(place, drop_in), None)
                    found.append(self._parse(content, _shown(place, drop_in)))
        return found

    def explicit(self, file: str) -> list[Layer]:
        """A file that the user named: taken as it is, wherever it lies."""
        path = file if file.startswith("/") else f"{self.host.working_directory}/{file}"
        content = self.host.read(path)
        if content is None:
            raise _unreadable(file, self.host.type_of(path))
        return [self._parse(content, file)]

    def names(self, kind: Kind) -> tuple[str, ...]:
        found = set()
        for place in self.places:
            for entry in self.host.entries(f"{place.path}/{kind}"):
                stem, dot, ending = entry.rpartition(".")
                if dot and ending in ("toml", "d") and check_name(stem) is None:
                    found.add(stem)
        return tuple(sorted(found))

    def read(self, place: Place, name: str) -> bytes | None:
        """One file of a place; None when it isn't there. What is there but can't be read is an error."""
        path = f"{place.path}/{name}"
        content = self.host.read(path)
        if content is None:
            there = self.host.type_of(path)
            if there is None:
                return None
            raise _unreadable(_shown(place, name), there)
        if not place.shipped:
            self._require_trust(place, name)
        return content

    def _require_trust(self, place: Place, name: str) -> None:
        """Refuse a file that others can write, or replace in a directory of the layer that they can write."""
        steps = name.split("/")
        for count in range(len(steps) + 1):
            inner = "/".join(steps[:count])
            path = f"{place.path}/{inner}".rstrip("/")
            if path in self._trusted:
                continue
            facts = self.host.mode_and_owner(path)
            shown = _shown(place, inner)
            if facts is None:
                raise _unreadable(shown, None)
            mode, owner, group = facts
            user = self.host.user
            if owner not in (0, user.uid):
                raise _untrusted(shown, f"it belongs to user {owner}", f"chown {user.name} {shown}")
            # Debian and Ubuntu give each user a group of that name, which may write their files (umask 002).
            private_group = group == user.gid and user.group == user.name
            if mode & 0o002 or (mode & 0o020 and group != 0 and not private_group):
                raise _untrusted(
                    shown, f"others can write it (mode {mode & 0o7777:04o})", f"chmod go-w {shown}"
                )
            self._trusted.add(path)


def _shown(place: Place, name: str) -> str:
    return f"{place.shown}/{name}".strip("/") if place.shipped else f"{place.shown}/{name}".rstrip("/")


def _unreadable(shown: str, there: FileType | None) -> PolicyError:
    if there is None:
        why = "no such file"
    else:
        why = "permission denied" if there is FileType.REGULAR else f"it is a {there.value}, not a file"
    return PolicyError(
        "cannot read a policy", subject=f"{shown}: {why}", hint="name a file that you can read"
    )


def _untrusted(shown: str, wrong: str, hint: str) -> PolicyError:
    return PolicyError(
        "a policy can't be trusted: somebody else could have written it",
        subject=f"{shown}: {wrong}",
        hint=hint,
    )

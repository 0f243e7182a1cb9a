"""
What a request may do: a pure function of the request and the rules.

What comes in: the broker's rules, once, and a request. What goes out: a verdict, which names the rule that allows the
request and where beneath that rule's directory it leads. Nothing here looks at the machine; what isn't allowed by a
rule is refused.

Paths are compared by components, and only to find a rule: what is opened in the end is what lies beneath the rule's
directory descriptor, whatever the names say (see `files`).

Abuse that is refused here: names that mean two things (`..`, `//`, a slash at the end, a NUL); a name that begins
like a rule's path and goes on ("/home/u/Documents2"); hidden things, and moving or replacing a directory on the way
to them; moving a file to where a rule gives more rights than it had, and moving what another rule stands on, so that
the rule would come to mean something else after the next start; destroying a file by renaming another over it (only
where `unlink` is given, too).
"""

from __future__ import annotations

import errno

from sandboxer.broker import protocol, rules
from sandboxer.broker.outward import check
from sandboxer.broker.protocol import OPTIONAL_SECOND, PATH_SIZE_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandboxer.broker.messages import Request

EXECUTE_OK, WRITE_OK, READ_OK = 1, 2, 4
"""access(2)."""
FILE_MODES = 0o755
EVENTS = 0xFFF
WATCH_MASK = EVENTS | 0x01000000 | 0x02000000 | 0x04000000 | 0x80000000
"""IN_ALL_EVENTS, IN_ONLYDIR, IN_DONT_FOLLOW, IN_EXCL_UNLINK, IN_ONESHOT. Source: inotify(7)."""

_NEEDS = {
    protocol.STAT_: rules.STAT,
    protocol.ACCESS: rules.ACCESS,
    protocol.READLINK: rules.READLINK,
    protocol.LIST: rules.LIST,
    protocol.MKDIR: rules.MKDIR,
    protocol.RENAME: rules.RENAME,
    protocol.UNLINK: rules.UNLINK,
    protocol.WATCH: rules.WATCH,
}
_FLAGS = tuple(command.flags for command in protocol.COMMANDS)
_PATHS = tuple(command.paths for command in protocol.COMMANDS)
_ARGUMENTS = tuple(bool(command.argument) for command in protocol.COMMANDS)
_CHANGING = (protocol.MKDIR, protocol.RENAME, protocol.UNLINK)


class Place:
    """
    A rule as it is matched: `Rule` in bytes.

    `rights` are the rule's own, `effective` those together with what rules for directories above give on the same host
    path; `sources` says which rule's line each of them is from. `hidden` holds what is hidden beneath `root`, as paths
    from there. The rest is for who executes the request (`roots`): `fd` is the directory's descriptor, -1 where it
    isn't there; `device` and `inode` are those of the one file of a rule with a `name`, else of the directory, 0 where
    it isn't there.
    """

    __slots__ = (
        "_told",
        "device",
        "effective",
        "fd",
        "follow",
        "hidden",
        "inode",
        "name",
        "origin",
        "path",
        "rights",
        "root",
        "sources",
    )

    def __init__(self, rule: rules.Rule, hidden: tuple[bytes, ...]) -> None:
        self.path = encoded(rule.path).rstrip(b"/")
        self.root = encoded(rule.root).rstrip(b"/")
        self.name = encoded(rule.name)
        self.origin = rule.origin
        beneath = () if self.name else tuple(path for path in hidden if lies_in(path, self.root))
        self.hidden = tuple(path[len(self.root) + 1 :] for path in beneath)
        self.follow = rule.follow and not self.hidden and not self.name
        # who may write may also append
        self.rights = rule.rights | (rules.APPEND if rule.rights & rules.WRITE else 0)
        self.effective = self.rights
        self.sources = dict.fromkeys(bits(self.rights), rule.origin)
        self._told: dict[int, str] = {}
        self.fd = -1
        self.device = self.inode = 0

    @property
    def host(self) -> bytes:
        """The host path that `path` stands for."""
        return self.root + b"/" + self.name if self.name else self.root

    def borrow(self, other: Place) -> None:
        """Have the rights of another rule as well."""
        for right in bits(other.rights & ~self.effective):
            self.sources[right] = other.origin
        self.effective |= other.rights

    def told(self, needed: int) -> str:
        """The lines that give these rights."""
        lines = self._told.get(needed)
        if lines is None:
            lines = ", ".join(dict.fromkeys(self.sources[right] for right in bits(needed)))
            self._told[needed] = lines
        return lines

    def covers(self, host: bytes) -> bool:
        """Whether the rule is for this host path."""
        return host == self.host if self.name else lies_in(host, self.root)


class Table:
    """The rules, laid out for `verdict`."""

    __slots__ = ("hidden", "outward", "places", "services", "single", "whole")

    def __init__(self, given: rules.Rules) -> None:
        self.hidden = tuple(encoded(path).rstrip(b"/") for path in given.hidden)
        places = (Place(rule, self.hidden) for rule in given.paths)
        self.places = tuple(
            place for place in places if not any(lies_in(place.host, path) for path in self.hidden)
        )
        self.services = {encoded(service.name): service for service in given.services}
        self.outward = given.outward
        self.single: dict[bytes, tuple[Place, ...]] = {}
        """Rules for one file, by its path."""
        self.whole: dict[bytes, tuple[Place, ...]] = {}
        """Rules for all beneath a directory, by its path."""
        for place in self.places:
            by_path = self.single if place.name else self.whole
            by_path[place.path] = (*by_path.get(place.path, ()), place)
        nearest = sorted(self.places, key=lambda place: -len(place.path))
        for place in self.places:
            for other in nearest:
                if other.covers(place.host) and lies_in(place.path, other.path) and _agree(place, other):
                    place.borrow(other)

    def rights_on(self, host: bytes) -> int:
        """All that any rule gives on a host path, by whatever name."""
        found = 0
        for place in self.places:
            if place.covers(host):
                found |= place.rights
        return found


class Verdict:
    """
    `error` is 0 where the request is allowed, else what to answer. `origin` is the rule's, or those of all that it
    took, "" where none fits.

    `place` is the rule that allows it and `rest` the path beneath it (`other` that of the second name, and
    `may_replace` whether what has that name may be destroyed); for `connect`
    `service` is set, for `present` `text` and `kind`.
    """

    __slots__ = ("error", "kind", "may_replace", "origin", "other", "place", "rest", "service", "text")

    def __init__(
        self, error: int, place: Place | None = None, rest: bytes = b"", other: bytes = b"", *, needed: int = 0
    ) -> None:
        self.error = error
        self.place = place
        self.rest = rest
        self.other = other
        self.origin = place.told(needed) if place is not None else ""
        self.service: rules.Service | None = None
        self.text = b""
        self.kind = 0
        self.may_replace = False


def bits(rights: int) -> list[int]:
    """Each right by itself."""
    return [1 << bit for bit in range(rights.bit_length()) if rights >> bit & 1]


def encoded(text: str) -> bytes:
    """A path as the kernel takes it."""
    return text.encode("utf-8", "surrogateescape")


def lies_in(path: bytes, directory: bytes) -> bool:
    """Whether `path` is `directory` or beneath it, by components. The root is written as b""."""
    return path.startswith(directory) and (len(path) == len(directory) or path[len(directory)] == 47)


def is_normal(path: bytes) -> bool:
    """Absolute, at most PATH_SIZE_MAX bytes, and written in the one way in which a path is."""
    if path[:1] != b"/" or len(path) > PATH_SIZE_MAX or 0 in path or b"//" in path:
        return False
    if path[-1] == 47:
        return len(path) == 1
    return b"/." not in path or not {b".", b".."}.intersection(path.split(b"/"))


def verdict(request: Request, table: Table) -> Verdict:
    """Whether the request is allowed, and how. EINVAL: it makes no sense. EACCES: no rule allows it."""
    command = request.command
    if command == protocol.OPEN:  # first: it is what programs wait for
        return _open(request, table)
    if command >= len(_FLAGS):
        return Verdict(errno.EACCES)
    if request.flags & ~_FLAGS[command] or (request.argument and not _ARGUMENTS[command]):
        return Verdict(errno.EINVAL)
    count = _PATHS[command]
    if (
        bool(request.path) != (count > 0)
        or (request.second and count < 2 and command not in OPTIONAL_SECOND)
        or (count == 2 and not request.second)
    ):
        return Verdict(errno.EINVAL)
    if command == protocol.HELLO:
        return Verdict(0)
    if command == protocol.CONNECT:
        return _connect(request, table)
    if command == protocol.PRESENT:
        return _present(request, table)
    if not is_normal(request.path):
        return Verdict(errno.EINVAL)
    if command == protocol.RENAME:
        return _rename(request, table)
    needed = _others(request)
    if needed < 0:
        return Verdict(-needed)
    return find(table, request.path, needed, command in _CHANGING)


def _opening(flags: int) -> int:
    """The rights that it takes to open a file so; 0 for flags that contradict each other."""
    writes = flags & (protocol.WRITE | protocol.APPEND)
    if (
        not flags & (protocol.READ | protocol.WRITE | protocol.APPEND)
        or (flags & protocol.CREATE and not writes)
        or (flags & protocol.EXCLUSIVE and not flags & protocol.CREATE)
        or (flags & protocol.TRUNCATE and not flags & protocol.WRITE)
    ):
        return 0
    return (
        (rules.READ if flags & protocol.READ else 0)
        | (rules.WRITE if flags & protocol.WRITE else rules.APPEND if writes else 0)
        | (rules.CREATE if flags & protocol.CREATE else 0)
    )


_OPENINGS = tuple(_opening(flags) for flags in range(_FLAGS[protocol.OPEN] + 1))
"""By flags, which are the lowest bits."""


def _open(request: Request, table: Table) -> Verdict:
    flags, mode, path = request.flags, request.argument, request.path
    needed = _OPENINGS[flags] if flags < len(_OPENINGS) else 0
    if not needed or request.second or not path or not is_normal(path):
        return Verdict(errno.EINVAL)
    if mode & ~FILE_MODES:
        return Verdict(errno.EINVAL)
    return find(table, path, needed, bool(flags & protocol.CREATE))


def find(table: Table, path: bytes, needed: int, changes: bool) -> Verdict:
    """The rule for the longest part of `path` that gives what is needed."""
    hidden = None
    if path in table.single:
        for place in table.single[path]:
            if place.effective & needed == needed:
                return Verdict(0, place, place.name, needed=needed)
    whole = table.whole
    head = path if len(path) > 1 else b""
    while True:
        for place in whole.get(head, ()):
            if place.effective & needed == needed:
                rest = path[len(head) + 1 :]
                if not rest:
                    if changes:  # of the rule's own directory: a rule for one above may allow it
                        continue
                    rest = b"."
                if place.hidden and _hides(place, rest, changes=changes):
                    hidden = place
                    continue
                return Verdict(0, place, rest, needed=needed)
        if not head:
            break
        head = head[: head.rfind(b"/")]
    refused = Verdict(errno.EACCES)
    if hidden is not None:
        refused.origin = hidden.origin
    return refused


def _others(request: Request) -> int:
    """The rights that a request other than `open` takes; a negative errno for what none would allow."""
    command, argument = request.command, request.argument
    needed = _NEEDS[command]
    if command == protocol.ACCESS:
        if argument & ~(READ_OK | WRITE_OK | EXECUTE_OK):
            return -errno.EINVAL
        if argument & EXECUTE_OK:
            return -errno.EACCES
        return (
            needed
            | (rules.READ if argument & READ_OK else 0)
            | (rules.APPEND if argument & WRITE_OK else 0)  # WRITE includes it
        )
    if command == protocol.MKDIR and argument & ~FILE_MODES:
        return -errno.EINVAL
    if command == protocol.WATCH and (argument & ~WATCH_MASK or not argument & EVENTS):
        return -errno.EINVAL
    if command == protocol.LIST and request.second and not is_name(request.second):
        return -errno.EINVAL
    return needed


def is_name(name: bytes) -> bool:
    """Whether a directory can have an entry of that name."""
    return 0 < len(name) <= 255 and b"/" not in name and 0 not in name


def _hides(place: Place, rest: bytes, *, changes: bool) -> bool:
    """Whether a path from `place.root` is hidden; with `changes`, also whether it is on the way to what is."""
    return any(lies_in(rest, path) or (changes and lies_in(path, rest)) for path in place.hidden)


def _agree(place: Place, other: Place) -> bool:
    """Whether two rules, one for a path in the other's, mean the same host path by it."""
    return place.host[len(other.root) :] == place.path[len(other.path) :] if not other.name else True


def _rename(request: Request, table: Table) -> Verdict:
    if not is_normal(request.second):
        return Verdict(errno.EINVAL)
    found = find(table, request.path, rules.RENAME, True)
    place = found.place
    if place is None:
        return found
    # The longest rule for one name needn't hold for the other: go up until one holds for both.
    while not (lies_in(request.second, place.path) and request.second != place.path) or place.name:
        above = _above(table, place)
        if above is None:
            return Verdict(errno.EACCES)
        place = above
    start = len(place.path) + 1
    one, two = request.path[start:], request.second[start:]
    refused = Verdict(errno.EACCES)
    refused.origin = place.origin
    if _hides(place, one, changes=True) or _hides(place, two, changes=True):
        return refused
    before, after = place.root + b"/" + one, place.root + b"/" + two
    if table.rights_on(after) & ~table.rights_on(before) or _moves_a_rule(table, before, after):
        return refused
    found = Verdict(0, place, one, two, needed=rules.RENAME)
    found.may_replace = bool(table.rights_on(after) & rules.UNLINK)
    return found


def _above(table: Table, place: Place) -> Place | None:
    """The nearest rule for a directory above with the right to rename."""
    head = place.path
    while head:
        head = head[: head.rfind(b"/")]
        for other in table.whole.get(head, ()):
            if other.effective & rules.RENAME:
                return other
    return None


def _moves_a_rule(table: Table, *hosts: bytes) -> bool:
    """Whether a rule stands on one of these host paths or beneath it; one for a single file only beneath."""
    return any(
        lies_in(place.host, host) and not (place.name and place.host == host)
        for place in table.places
        for host in hosts
    )


def _connect(request: Request, table: Table) -> Verdict:
    service = table.services.get(request.path)
    if service is None:
        return Verdict(errno.EACCES)
    found = Verdict(0)
    found.service = service
    found.origin = service.origin
    return found


def _present(request: Request, table: Table) -> Verdict:
    outcome = check(table.outward, request.path)
    found = Verdict(outcome.error)
    found.origin = outcome.origin
    found.kind = outcome.kind
    found.text = outcome.text
    return found

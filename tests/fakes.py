"""
A machine made of a dict, for tests of everything that asks a `Host`.

    FakeHost({
        "/home/ann/Documents": Directory(),
        "/home/ann/notes": "text",                      # a file, str or bytes
        "/etc/localtime": Link("/usr/share/zoneinfo/UTC"),
        "/run/user/1000/wayland-0": Node(type=FileType.SOCKET),
    }, variables={"XDG_RUNTIME_DIR": "/run/user/1000"})

Parents exist by themselves. What was asked comes back from `stamps`, in order and once each.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from sandboxer.errors import ResolveError
from sandboxer.host.view import FileType, User, UserManager
from sandboxer.plan.ops import Stamp, StampKind
from sandboxer.words import HostPath, Record

READ_SIZE_MAX = 64 * 1024
LINKS_MAX = 40

ANN = User(name="ann", uid=1000, gid=1000, group="ann", home=HostPath("/home/ann"))


class Directory(Record):
    """A directory, to have an empty one."""


class Link(Record):
    """A symbolic link that holds `target`, verbatim."""

    target: str


class Node(Record):
    """A socket, a pipe or a device node."""

    type: FileType
    device: tuple[int, int] = (0, 0)


Entry = str | bytes | Directory | Link | Node


def link(target: str) -> Link:
    """A symbolic link."""
    return Link(target=target)


class FakeHost:
    """
    Implements `sandboxer.host.view.Host`.

    `owners` says (mode, uid, gid) where it matters; else files belong to root, those in the home to the user,
    with modes 0644 and 0755.
    """

    def __init__(
        self,
        tree: Mapping[str, Entry] = {},
        *,
        variables: Mapping[str, str] = {},
        user: User = ANN,
        working_directory: str = "/home/ann",
        owners: Mapping[str, tuple[int, int, int]] = {},
        kernel_release: str = "6.18.0-fake",
        landlock_abi: int = 7,
        controllers: tuple[str, ...] | None = None,
        missing: tuple[str, ...] = (),
    ) -> None:
        """
        `controllers`: what the user manager can give; None: there is no user manager. `missing`: files of theirs that
        the kernel doesn't have.
        """
        self.user = user
        self.user_manager = (
            None if controllers is None else UserManager(controllers=controllers, missing=missing)
        )
        self.kernel_release = kernel_release
        self.landlock_abi = landlock_abi
        self.working_directory = working_directory
        self.variables = dict(variables)
        self.owners = dict(owners)
        self.tree: dict[str, Entry] = {"/": Directory(), user.home: Directory(), "/home": Directory()}
        for path, entry in tree.items():
            self.add(path, entry)
        self._asked: dict[tuple[StampKind, str], Stamp] = {}

    def add(self, path: str, entry: Entry) -> None:
        """Put something there, with its parents."""
        assert path == posixpath.normpath("/" + path.lstrip("/")), path
        parent = posixpath.dirname(path)
        while parent not in self.tree:
            self.tree[parent] = Directory()
            parent = posixpath.dirname(parent)
        self.tree[path] = entry

    def _walk(self, path: str) -> tuple[str | None, tuple[str, ...]]:
        """The real path (None when nothing is there) and the links on the way, in order."""
        assert path.startswith("/"), path
        here = "/"
        links: list[str] = []
        rest = [part for part in path.split("/") if part]
        while rest:
            part = rest.pop(0)
            if part == ".":
                continue
            if part == "..":
                here = posixpath.dirname(here)
                continue
            step = posixpath.join(here, part)
            entry = self.tree.get(step)
            if entry is None or not isinstance(self.tree[here], Directory):
                return None, tuple(links)
            if isinstance(entry, Link):
                links.append(step)
                if len(links) > LINKS_MAX:
                    return None, tuple(links)
                rest = [piece for piece in entry.target.split("/") if piece] + rest
                here = "/" if entry.target.startswith("/") else here
                continue
            here = step
        return here, tuple(links)

    def _note(self, kind: StampKind, name: str, value: str = "") -> None:
        self._asked.setdefault((kind, name), Stamp(kind=kind, name=name, value=value))

    def _found(self, path: str, kind: StampKind) -> Entry | None:
        real, links = self._walk(path)
        for step in links:
            self._note(StampKind.FILE, step)
        if real is None:
            self._note(StampKind.ABSENT, path)
            return None
        self._note(kind, real)
        return self.tree[real]

    def variable(self, name: str) -> str | None:
        value = self.variables.get(name, "")
        self._note(StampKind.ENV if value else StampKind.ENV_ABSENT, name, value)
        return value or None

    def type_of(self, path: str) -> FileType | None:
        match self._found(path, StampKind.TYPE):
            case Directory():
                return FileType.DIRECTORY
            case Node(type=kind):
                return kind
            case str() | bytes():
                return FileType.REGULAR
        return None

    def mode_and_owner(self, path: str) -> tuple[int, int, int] | None:
        entry = self._found(path, StampKind.FILE)
        if entry is None:
            return None
        real = self._walk(path)[0]
        assert real is not None
        mode = 0o755 if isinstance(entry, Directory) else 0o644
        at_home = f"{real}/".startswith(f"{self.user.home}/")
        ordinary = (mode, self.user.uid, self.user.gid) if at_home else (mode, 0, 0)
        return self.owners.get(real, ordinary)

    def resolve(self, path: str) -> HostPath | None:
        if self._found(path, StampKind.TYPE) is None:
            return None
        real = self._walk(path)[0]
        return None if real is None else HostPath(real)

    def links(self, path: str) -> tuple[str, ...]:
        links = self._walk(path)[1]
        for step in links:
            self._note(StampKind.FILE, step)
        return links

    def read_link(self, path: str) -> str | None:
        parent = self._walk(posixpath.dirname(path))[0]
        entry = None if parent is None else self.tree.get(posixpath.join(parent, posixpath.basename(path)))
        self._note(StampKind.FILE if entry is not None else StampKind.ABSENT, path)
        return entry.target if isinstance(entry, Link) else None

    def read(self, path: str) -> bytes | None:
        entry = self._found(path, StampKind.FILE)
        if not isinstance(entry, (str, bytes)):
            return None
        if self.owners.get(path, (0o644, 0, 0))[0] & 0o444 == 0:
            return None
        content = entry.encode() if isinstance(entry, str) else entry
        if len(content) > READ_SIZE_MAX:
            raise ResolveError("cannot read a file: it is larger than a setting should be", subject=path)
        return content

    def entries(self, path: str) -> tuple[str, ...]:
        if not isinstance(self._found(path, StampKind.FILE), Directory):
            return ()
        real = self._walk(path)[0]
        assert real is not None
        prefix = real.rstrip("/") + "/"
        names = [name[len(prefix) :] for name in self.tree if name.startswith(prefix)]
        return tuple(sorted(name for name in names if name and "/" not in name))

    def sockets(self, directory: str) -> tuple[str, ...]:
        prefix = directory.rstrip("/") + "/"
        return tuple(
            sorted(
                path.removeprefix(prefix)
                for path in self.tree
                if path.startswith(prefix) and self.type_of(path) is FileType.SOCKET
            )
        )

    def device(self, path: str) -> tuple[int, int] | None:
        match self._found(path, StampKind.TYPE):
            case Node(type=FileType.CHARACTER | FileType.BLOCK, device=number):
                return number
        return None

    def stamps(self) -> tuple[Stamp, ...]:
        return tuple(self._asked.values())

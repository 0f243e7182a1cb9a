"""
The ledger of what `sandbox install` has written: for `--undo`, `--check` and a second `install`.

What comes in: items, before they are written. What goes out: a file in the user's state directory, mode 0600, put in
place whole or not at all. What an item goes before is kept beside it. It is locked while a command works on it, and
nothing in it is believed that isn't the user's alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
from collections.abc import Iterator

import msgspec

from sandboxer.desktop.wrappers import placing
from sandboxer.desktop.wrappers.entries import Kind
from sandboxer.errors import LaunchError
from sandboxer.grants import paths
from sandboxer.host.view import Host
from sandboxer.words import Record, changed

FORMAT = 1
NAME = "written.json"
KEPT = "kept-"
SIZE_MAX = 16 * 1024 * 1024


class Item(Record):
    """
    One file of ours. `policy` is its application; `origin` what it is made from and its digest then.

    `digests` are those of what we write there, the newest first: more than one while a command hasn't finished. `kept`
    is the name of what was there before, in the ledger's directory, and `kept_digest` what it holds; "" for nothing.
    """

    kind: Kind
    name: str
    path: str
    policy: str
    launcher: str
    origin: str
    origin_digest: str
    digests: tuple[str, ...]
    kept: str = ""
    kept_digest: str = ""


class _Content(Record):
    format: int
    items: tuple[Item, ...] = ()
    directories: tuple[str, ...] = ()
    next: int = 1
    loose: tuple[str, ...] = ()
    """Names of what is kept for no item: not yet, or no more. Nothing else in the directory is ever removed."""


class Ledger:
    """Each change is on the disk when the method returns. Made by `opened`."""

    def __init__(self, directory: str, fd: int) -> None:
        self.directory = directory
        self._fd = fd
        self._content = self._stored = self._read()

    @property
    def items(self) -> tuple[Item, ...]:
        return self._content.items

    @property
    def directories(self) -> tuple[str, ...]:
        """Those that were made for items, in the order in which they were made."""
        return self._content.directories

    def item(self, path: str) -> Item | None:
        """What is noted of a path."""
        return next((item for item in self.items if item.path == path), None)

    def kept_path(self, item: Item) -> str:
        """Where that lies which was there before."""
        return os.path.join(self.directory, item.kept)

    def new_name(self) -> str:
        """A name for what is kept, noted before anything has it."""
        number = self._content.next
        while f"{KEPT}{number}" in self._kept():
            number += 1
        name = f"{KEPT}{number}"
        self._write(changed(self._content, next=number + 1, loose=(*self._content.loose, name)))
        return name

    def note(self, items: list[Item], directories: list[str]) -> None:
        """Add items, in place of those of the same paths, and directories."""
        paths_now = {item.path for item in items}
        rest = tuple(item for item in self.items if item.path not in paths_now)
        made = tuple(dict.fromkeys((*self.directories, *directories)))
        self._write(self._with(items=(*rest, *items), directories=made))

    def forget(self, gone: list[str], directories: list[str]) -> None:
        """
        Take out items by their paths, and directories.

        Raises:
            LaunchError: it can't be written; then it is so only until this command ends, and what is on the disk knows
                more than there is.
        """
        items = tuple(item for item in self.items if item.path not in gone)
        left = tuple(path for path in self.directories if path not in directories)
        content = self._with(items=items, directories=left)
        self._content = content
        if content == self._stored:
            return
        if items or left:
            self._write(content)
        else:
            self.tidy()  # which a full disk allows
            if self._kept():
                self._write(self._content)
            self._stored = self._content

    def tidy(self) -> None:
        """Remove what was kept for items that are gone, and the ledger itself when it holds nothing."""
        for name in self._content.loose:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._fd)
        self._content = changed(self._content, loose=())
        if not self.items and not self.directories and not self._kept():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(NAME, dir_fd=self._fd)

    def _kept(self) -> list[str]:
        return sorted(name for name in os.listdir(self._fd) if name.startswith(KEPT))

    def _with(self, items: tuple[Item, ...], directories: tuple[str, ...]) -> _Content:
        """The content with other items; what was kept for those that are gone is loose."""
        before = {*self._content.loose, *(item.kept for item in self.items)}
        loose = before - {"", *(item.kept for item in items)}
        return changed(self._content, items=items, directories=directories, loose=tuple(sorted(loose)))

    def _read(self) -> _Content:
        path = os.path.join(self.directory, NAME)
        try:
            fd = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd)
        except FileNotFoundError as error:
            if kept := self._kept():
                raise _lost(path, kept) from error
            return _Content(format=FORMAT)
        except OSError as error:
            raise _unusable(path, error.strerror or str(error)) from error
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if status.st_uid != os.getuid() or status.st_mode & 0o077:
                raise _unusable(path, "others could have written it")
            content = file.read(SIZE_MAX)
        try:
            found = msgspec.convert(json.loads(content), _Content, strict=True)
        except (ValueError, msgspec.ValidationError) as error:
            raise _unusable(path, str(error)) from error
        names = (*found.loose, *(item.kept for item in found.items if item.kept))
        if found.format != FORMAT or not all(name.startswith(KEPT) and "/" not in name for name in names):
            raise _unusable(path, "another version of sandboxer has written it")
        return found

    def _write(self, content: _Content) -> None:
        image = json.dumps(msgspec.to_builtins(content), indent=1).encode("utf-8")
        try:
            placing.put(self._fd, NAME, image, 0o600)
        except OSError as error:
            raise LaunchError(
                "cannot note what is written to your desktop",
                subject=f"{os.path.join(self.directory, NAME)}: {error.strerror or error}",
                hint="make room on that file system",
            ) from error
        self._content = self._stored = content


@contextlib.contextmanager
def opened(host: Host) -> Iterator[Ledger]:
    """
    The user's ledger, for one command at a time.

    Raises:
        LaunchError: it can't be read or trusted, its directory can't be made.
    """
    directory = os.path.join(paths.state_home(host), "sandboxer", "desktop")
    try:
        for path in (os.path.dirname(directory), directory):
            os.makedirs(path, mode=0o700, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(directory, error.strerror or str(error)) from error
    try:
        status = os.fstat(fd)
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise _unusable(directory, "others can write it")
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield Ledger(directory, fd)
    finally:
        os.close(fd)


def _unusable(path: str, why: str) -> LaunchError:
    return LaunchError(
        "cannot tell what sandboxer has written to your desktop",
        subject=f"{path}: {why}",
        hint=f"look at {path}, and keep it: it alone says which {KEPT}* beside it was what",
    )


def _lost(path: str, kept: list[str]) -> LaunchError:
    directory = shlex.quote(os.path.dirname(path))
    first = ", ".join(kept[:3]) + (" …" if len(kept) > 3 else "")
    return LaunchError(
        "cannot tell what sandboxer has written to your desktop",
        subject=f"{path} is gone; beside it are files of your own that were replaced: {first}",
        hint=f"move each back where X-Sandboxer-Digest names it (sha256sum {directory}/{KEPT}*), then try again",
    )

"""
What was granted to a box while it runs, so that a steward that starts anew knows of it; and which directories it could
write at some time, when it last had something opened outside, and whether it is to stand still.

What comes in: grants, times. What goes out: the file `grants` in the box's state directory, mode 0600, put in place
whole or not at all, before a mount can be seen and after it is gone. Deadlines are of CLOCK_BOOTTIME, which goes on
while the machine sleeps. What is read back was written by a steward of the same box: another content is an error.
"""

from __future__ import annotations

import json
import os
import stat
import time

import msgspec

from sandboxer.errors import StewardError
from sandboxer.grants.paths import within
from sandboxer.words import Record, changed

NAME = "grants"
DRAFT = ".grants"
SIZE_MAX = 1024 * 1024
GRANTS_MAX = 256


class Grant(Record):
    """
    `kind` is "grant", "document", or "siblings" (the directory around a document). `source` is on the host, `path` in
    the box. `mount` is its number, `made` what was made to mount on. `deadline_ns` is None until the box ends.
    """

    number: int
    kind: str
    source: str
    path: str
    write: bool
    device: bool
    mount: int
    made: tuple[str, ...] = ()
    covers: tuple[str, ...] = ()
    deadline_ns: int | None = None


class _Content(Record):
    next: int
    grants: tuple[Grant, ...]
    writable: tuple[str, ...] = ()
    presented_ns: tuple[int, ...] = ()
    frozen: bool = False


def now_ns() -> int:
    """The clock of deadlines."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Ledger:
    """The grants of one box, in the order of their numbers. Each change is on the disk when the method returns."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._content = self._read()

    @property
    def grants(self) -> tuple[Grant, ...]:
        return self._content.grants

    @property
    def next_number(self) -> int:
        """The number of the grant that is made next."""
        return self._content.next

    @property
    def writable(self) -> tuple[str, ...]:
        """Sources of all writable grants that there ever were: a link in one may be the application's."""
        return self._content.writable

    @property
    def presented_ns(self) -> tuple[int, ...]:
        """When something was opened outside, by `now_ns`: as many times as were noted."""
        return self._content.presented_ns

    @property
    def is_frozen(self) -> bool:
        """Whether the user has ordered it to stand still, by signals."""
        return self._content.frozen

    def note_frozen(self, *, is_frozen: bool) -> None:
        """Keep that, where it isn't so already."""
        if is_frozen != self._content.frozen:
            self._write(changed(self._content, frozen=is_frozen))

    def note_presented(self, times_ns: tuple[int, ...]) -> None:
        """Keep these times in place of those before."""
        self._write(changed(self._content, presented_ns=times_ns))

    def add(self, grant: Grant) -> None:
        """Raises StewardError when there are too many."""
        if len(self.grants) >= GRANTS_MAX:
            raise StewardError(
                "cannot grant so much to one box",
                subject=f"{GRANTS_MAX} grants at once",
                hint="revoke some, or grant a directory that holds what is needed",
            )
        new = grant.write and not grant.device and not any(within(grant.source, old) for old in self.writable)
        self._write(
            changed(
                self._content,
                next=max(self.next_number, grant.number + 1),
                grants=(*self.grants, grant),
                writable=(*self.writable, grant.source) if new else self.writable,
            )
        )

    def remove(self, number: int) -> None:
        """Forget one."""
        self._keep(tuple(grant for grant in self.grants if grant.number != number))

    def replace(self, grant: Grant) -> None:
        """Another record for the same number."""
        self._keep(tuple(grant if known.number == grant.number else known for known in self.grants))

    def next_deadline_ns(self) -> int | None:
        """The earliest."""
        return min(
            (grant.deadline_ns for grant in self.grants if grant.deadline_ns is not None), default=None
        )

    def _keep(self, grants: tuple[Grant, ...]) -> None:
        self._write(changed(self._content, grants=grants))

    def _read(self) -> _Content:
        path = os.path.join(self._directory, NAME)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return _Content(next=1, grants=())
        except OSError as error:
            raise _unusable(path, error.strerror or str(error)) from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            os.close(fd)
            raise _unusable(path, f"owner {status.st_uid}, mode {stat.filemode(status.st_mode)}")
        with open(fd, "rb") as file:
            content = file.read(SIZE_MAX + 1)
        if len(content) > SIZE_MAX:
            raise _unusable(path, "too large")
        try:
            return msgspec.convert(json.loads(content), _Content, strict=True)
        except (ValueError, msgspec.ValidationError) as error:
            raise _unusable(path, str(error)) from error

    def _write(self, content: _Content) -> None:
        draft, path = (os.path.join(self._directory, name) for name in (DRAFT, NAME))
        image = json.dumps(msgspec.to_builtins(content)).encode()
        if len(image) > SIZE_MAX:
            raise StewardError(
                "cannot note so much about one box",
                subject=f"{path}: {len(image)} bytes",
                hint="end the box, and start it anew",
            )
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                os.fchmod(fd, 0o600)
                file.write(image)
            os.rename(draft, path)
        except OSError as error:
            raise StewardError(
                "cannot note what is granted",
                subject=f"{path}: {error.strerror or error}",
                hint="make room on that file system",
            ) from error
        self._content = content


def _unusable(path: str, why: str) -> StewardError:
    return StewardError(
        "cannot tell what was granted to this box",
        subject=f"{path}: {why}",
        hint="end the box: what was granted while it ran ends with it",
    )

"""
What the steward does to its box: shows things in it, takes them away, and keeps account of both.

What comes in: sources that were found and judged. What goes out: grants, noted in the ledger before they can be seen
and struck out when they are gone. It never decides what may be granted (`allowed`), and where it can't tell whether
something is still there, it keeps the note.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import socket
from collections.abc import Sequence
from functools import partial

from sandboxer.errors import StewardError
from sandboxer.grants.paths import within
from sandboxer.plan.ops import OpFlag, OpKind, Plan
from sandboxer.steward import descendants, holders, mounts, namespace, orders, sources
from sandboxer.steward.holders import Held, Removed
from sandboxer.steward.ledger import Grant, Ledger
from sandboxer.steward.mounts import Wanted
from sandboxer.steward.namespace import Namespace, Report, Work
from sandboxer.steward.sources import Source
from sandboxer.words import changed

A_WAY_IN = ("sleep", "5")
"""Started where no process of the application's is in the box's own namespaces: it is, for a moment."""


class Hand:
    """
    The steward's hand in one box.

    Args:
        directory: the state directory. monitor: the launcher's pid. connection: to the box's first process.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        directory: str,
        monitor: int,
        connection: socket.socket | None = None,
    ) -> None:
        self.plan = plan
        self.ledger = ledger
        self.orders = connection
        self._directory = directory
        self._first = descendants.first_process(monitor)
        self._namespace: Namespace | None = None
        self._private = tuple(
            str(op.box_path)
            for op in plan.ops
            if op.kind is OpKind.OWN
            or (op.kind is OpKind.BIND and op.flags & OpFlag.WRITE and op.box_path == plan.home)
        )

    def reconcile(self) -> None:
        """After a start: strike out what an earlier steward noted and didn't come to do, or did undo."""
        if not self.ledger.grants:
            return
        there = set(self._look_in(mounts.look)["mounts"])
        for grant in self.ledger.grants:
            if grant.mount not in there:
                self.ledger.remove(grant.number)

    def shown(self, paths: Sequence[str], source: Source) -> tuple[str, bool]:
        """Where among `paths` the box shows that very file already, or "", and whether it can be written there."""
        report = self._look_in(partial(mounts.find_shown, paths, source.device, source.inode))
        return str(report["path"]), bool(report["writable"])

    def resolve(self, path: str) -> Source:
        """What the box finds at a path: its real path there, and which inode that is. Raises StewardError."""
        report = self._look_in(partial(mounts.resolve, path))
        return Source(
            path=str(report["path"]), device=report["device"], inode=report["inode"], mode=report["mode"]
        )

    def show(
        self,
        source: Source,
        places: Sequence[str],
        *,
        kind: str,
        write: bool = False,
        covers: Sequence[str] = (),
        deadline_ns: int | None = None,
        again: Grant | None = None,
    ) -> tuple[Grant, Report]:
        """
        Make a grant, or `again` one that went with another.

        Returns:
            The grant, and what `mounts.show` says of its place.
        Raises:
            StewardError: it can't be shown there.
        """
        wanted = Wanted(
            source=source.path,
            device=source.device,
            inode=source.inode,
            directory=source.is_directory,
            write=write,
            node=source.is_device,
            places=tuple(places),
            covers=tuple(covers),
            private=self._private,
            scratch=self._directory,
        )
        number = again.number if again is not None else self.ledger.next_number

        def note(report: Report) -> None:
            grant = Grant(
                number=number,
                kind=kind,
                source=source.path,
                path=report["path"],
                write=write,
                device=source.is_device,
                mount=report["mount"],
                made=(*report["made"], *(again.made if again is not None else ())),
                deadline_ns=deadline_ns,
                covers=tuple(covers),
            )
            if again is not None:
                self.ledger.replace(grant)
            else:
                self.ledger.add(grant)

        try:
            report = self._visit(partial(mounts.show, wanted), note)
        except StewardError:
            self._strike_out_if_absent(number)
            raise
        except OSError as error:
            self._strike_out_if_absent(number)
            raise StewardError(
                "cannot show it in the box",
                subject=f"{error.filename or source.path}: {error.strerror or error}",
                hint="a link that the application put in the way is never followed"
                if error.errno == errno.ELOOP
                else "",
            ) from error
        return self._of(number), report

    def take(self, grant: Grant) -> tuple[Removed, tuple[Grant, ...]]:
        """
        Revoke a grant. Those that lie within it are made again, some milliseconds later.

        Returns:
            What went (for `holders`), and the grants that couldn't be made again.
        Raises:
            StewardError: it is still there.
        """
        grant = self._of(grant.number)  # as it is by now: others may have left it something
        try:
            report = self._visit(partial(mounts.take, grant.mount, grant.made))
        except OSError as error:
            raise StewardError(
                f"cannot take away grant {grant.number}",
                subject=f"{grant.path}: {error.strerror or error}",
                hint="end the box, and it is gone",
            ) from error
        self.ledger.remove(grant.number)
        dropped = [
            inner
            for inner in self.ledger.grants
            if inner.mount in report["ids"] and not self._show_again(inner)
        ]
        for inner in dropped:
            self.ledger.remove(inner.number)
        self._hand_on(grant)
        removed = Removed(
            ids=tuple(report["ids"]),
            point=grant.path,
            source=grant.source,
            lost=(str(report["device"]), str(report["root"])),
        )
        return removed, tuple(dropped)

    def holders(self, removed: Sequence[Removed]) -> Held:
        """Who still holds something of what went: looked for within a second or so, after all of it is gone."""
        return holders.holders(self._first, removed, self._way_in().number) if removed else Held()

    def writable(self) -> tuple[str, ...]:
        """
        Directories outside in which a link may be the application's: those that it can change, by the plan or by its
        broker, and those that it could at some time.
        """
        return (*sources.writable_sources(self.plan), *self.ledger.writable)

    def beneath(self, path: str) -> Grant | None:
        """A grant at a path in the box, or within it."""
        return next((grant for grant in self.ledger.grants if within(grant.path, path)), None)

    def start(self, words: Sequence[str]) -> int:
        """Start a program beside the application. Returns its pid in the box. Raises StewardError."""
        return orders.start(self.orders, words)

    def execute(self, words: Sequence[str], directory: str, terminal: str, descriptors: Sequence[int]) -> int:
        """The same for a program with streams: see `orders.execute`."""
        return orders.execute(self.orders, words, directory, terminal, descriptors)

    def freeze(self) -> None:
        """Stop all that is in the box; noted before it is so. Raises StewardError."""
        was_frozen = self.ledger.is_frozen
        self.ledger.note_frozen(is_frozen=True)
        try:
            orders.freeze(self.orders)
        except StewardError:
            self.ledger.note_frozen(is_frozen=was_frozen)
            raise

    def thaw(self) -> None:
        """Let it go on. Raises StewardError."""
        orders.thaw(self.orders)
        self.ledger.note_frozen(is_frozen=False)

    def _show_again(self, grant: Grant) -> bool:
        try:
            status = os.stat(grant.source, follow_symlinks=False)
            source = Source(path=grant.source, device=status.st_dev, inode=status.st_ino, mode=status.st_mode)
            self.show(
                source,
                (grant.path,),
                kind=grant.kind,
                write=grant.write,
                covers=grant.covers,
                deadline_ns=grant.deadline_ns,
                again=grant,
            )
        except (OSError, StewardError):
            return False
        return True

    def _hand_on(self, grant: Grant) -> None:
        """Directories that were made for a grant, and in which another lies by now, go with that one."""
        for path in grant.made:
            heir = next(
                (other for other in self.ledger.grants if within(posixpath.dirname(other.path), path)), None
            )
            if heir is not None and path not in heir.made:
                self.ledger.replace(changed(heir, made=(*heir.made, path)))

    def _of(self, number: int) -> Grant:
        return next(grant for grant in self.ledger.grants if grant.number == number)

    def _strike_out_if_absent(self, number: int) -> None:
        """What was noted and then failed; where it can't be looked for, the note stays."""
        with contextlib.suppress(OSError, StewardError):
            there = set(self._visit(mounts.look)["mounts"])
            for grant in self.ledger.grants:
                if grant.number == number and grant.mount not in there:
                    self.ledger.remove(number)

    def _look_in(self, work: Work) -> Report:
        try:
            return self._visit(work)
        except OSError as error:
            raise StewardError("cannot look into the box", subject=error.strerror or str(error)) from error

    def _visit(self, work: Work, note: namespace.Note | None = None) -> Report:
        return namespace.visit(self._way_in(), work, note)

    def _way_in(self) -> Namespace:
        """Found once: a box has one for its life."""
        if self._namespace is None:
            try:
                self._namespace = namespace.find(self._first)
            except StewardError:
                if self.orders is None:
                    raise
                self.start(A_WAY_IN)
                self._namespace = namespace.find_soon(self._first)
        return self._namespace

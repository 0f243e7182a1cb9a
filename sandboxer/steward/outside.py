"""
Opening outside what the application asks to be opened: links and files, with the user's own programs.

What comes in: what the broker passes on. What goes out: a program that is started with one argument; an errno. The
broker isn't believed: whatever it says is checked again, by the plan's own rules, and at its own pace.

Abuse: the application chooses the link, and with a file its content and its name. What it says in a link goes to
whoever is asked for it; a mailto: link can't name a file to be attached. A file reaches a program outside that may have
faults; it gets there only when its name and its content agree on a type that the policy permits, and never when it
could be run. The program outside gets the path of a copy (`presented`): the application's own path could be a link to
anything by the time at which it is opened. So that nothing of the application's is waited for, the copy is made in a
child; and how often is noted in the ledger, so that it holds for the next steward too.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import time
from functools import partial
from urllib.parse import unquote

from sandboxer.broker import outward
from sandboxer.broker.rules import decode
from sandboxer.errors import SandboxerError
from sandboxer.grants.paths import within
from sandboxer.host.session import Session
from sandboxer.plan.ops import OpKind, Plan
from sandboxer.steward import calls, handlers, presented
from sandboxer.steward.child import Child
from sandboxer.steward.hand import Hand
from sandboxer.steward.journal import Journal
from sandboxer.steward.ledger import Grant, now_ns
from sandboxer.steward.sources import Source

AT_ONCE_MAX = 5
PERIOD_NS = 10_000_000_000
MESSAGE_SIZE_MAX = outward.ASK.size + outward.TEXT_SIZE_MAX
ATTACHING = ("attach", "attachment")
"""Parameters of mailto: links by which some mail programs take files of the user's. RFC 6068 knows none."""


class Outside:
    """
    The steward's end of the pair; None where the box has no broker.

    Args:
        umask: for the programs that are started.
    """

    def __init__(
        self,
        hand: Hand,
        session: Session,
        pair: socket.socket | None,
        umask: int,
        journal: Journal | None = None,
    ) -> None:
        self._hand = hand
        self._journal = journal or Journal("")
        self._session = session
        self._pair = pair
        self._umask = umask
        self._copies: dict[int, tuple[int, Child]] = {}
        self._rules = decode(hand.plan.broker).outward if hand.plan.broker else ()
        if pair is not None:
            pair.setblocking(False)

    def descriptors(self) -> list[int]:
        """What to wait for: the pair, and copies that are being made."""
        return [*([] if self._pair is None else [self._pair.fileno()]), *self._copies]

    def is_busy(self) -> bool:
        """Whether a copy is being made."""
        return bool(self._copies)

    def expire(self) -> None:
        """Give up the copies that take too long."""
        now = time.monotonic()
        for fd, (_, child) in list(self._copies.items()):
            if child.end <= now:
                self._finish(fd)

    def serve(self, fd: int) -> None:
        """Go on with what can be read: one message, or the result of a copy."""
        if fd in self._copies:
            self._finish(fd)
            return
        message = _received(self._pair)
        if message is None:
            return
        if not message:  # no broker can hold the other end any more: the launcher is ending
            self._close()
            return
        if len(message) < outward.ASK.size:
            return
        number, kind = outward.ASK.unpack_from(message)
        result = self._present(number, kind, message[outward.ASK.size :])
        if result is not None:
            self._answer(number, result)

    def _close(self) -> None:
        if self._pair is not None:
            self._pair.close()
            self._pair = None

    def _answer(self, number: int, result: int) -> None:
        if self._pair is None:
            return
        try:
            self._pair.send(outward.ANSWER.pack(number, result))
        except (BlockingIOError, BrokenPipeError):  # a broker that reads no answers gets none
            return

    def _present(self, number: int, kind: int, text: bytes) -> int | None:
        """An errno or 0; None where the answer comes later."""
        now = now_ns()
        recent = tuple(then for then in self._hand.ledger.presented_ns if 0 <= now - then < PERIOD_NS)
        if len(recent) >= AT_ONCE_MAX:
            return errno.EBUSY
        outcome = outward.check(self._rules, text)
        if outcome.error:
            return outcome.error
        if outcome.kind != kind:
            return errno.EINVAL
        try:
            self._hand.ledger.note_presented((*recent, now))
            if outcome.kind == outward.LINK:
                return self._present_link(outcome.text.decode("ascii"))
            return self._begin_copy(number, os.fsdecode(outcome.text))
        except (OSError, SandboxerError) as error:
            return _number_of(error)

    def _present_link(self, link: str) -> int:
        scheme = link.partition(":")[0]
        if scheme == "mailto" and attaches(link):
            return errno.EACCES
        return self._start(f"x-scheme-handler/{scheme}", link)

    def _begin_copy(self, number: int, box_path: str) -> int | None:
        seen = self._hand.resolve(box_path)
        if not stat.S_ISREG(seen.mode):
            return errno.EISDIR if stat.S_ISDIR(seen.mode) else errno.EINVAL
        fd, path = open_host_file(seen, self._hand.plan, self._hand.ledger.grants)
        try:
            place = presented.directory(self._session.cache_home)
            work = partial(presented.copy, fd, os.path.basename(path), place, self._permits)
            child = Child(work, presented.TIMEOUT_S)
        finally:
            os.close(fd)
        self._copies[child.fileno()] = (number, child)
        return None

    def _finish(self, fd: int) -> None:
        number, child = self._copies.pop(fd)
        try:
            kind, path = child.result()
            result = self._start(str(kind), str(path))
        except (OSError, SandboxerError) as error:
            result = _number_of(error)
        self._answer(number, result)

    def _permits(self, kind: str) -> bool:
        return outward.permits(self._rules, kind) is not None

    def _start(self, kind: str, argument: str) -> int:
        result = handlers.start(kind, argument, self._session, self._umask)
        self._journal.presented(kind, argument, result)
        if result in WORDS:
            sys.stderr.write(f"sandboxer: {self._hand.plan.app}: {kind}: {WORDS[result]}\n")
            sys.stderr.flush()
        return result


WORDS = {
    errno.ENOENT: "none of your programs has a desktop entry that opens it",
    errno.EACCES: "your program for it has a policy, which can't be loaded: see sandbox check",
}


class Refusing:
    """In place of `Outside`, where the steward can do nothing: each message is answered, so that none is left."""

    def __init__(self, pair: socket.socket | None) -> None:
        self._pair = pair
        if pair is not None:
            pair.setblocking(False)

    def descriptors(self) -> list[int]:
        return [] if self._pair is None else [self._pair.fileno()]

    def is_busy(self) -> bool:
        return False

    def expire(self) -> None:
        """Nothing is being done."""

    def serve(self, _fd: int) -> None:
        message = _received(self._pair)
        if self._pair is None or message is None:
            return
        if not message:
            self._pair.close()
            self._pair = None
        elif len(message) >= outward.ASK.size:
            try:
                self._pair.send(outward.ANSWER.pack(outward.ASK.unpack_from(message)[0], errno.EIO))
            except (BlockingIOError, BrokenPipeError):
                return


def attaches(link: str) -> bool:
    """Whether a mailto: link asks for a file of the user's to be attached."""
    query = link.partition("?")[2].partition("#")[0]
    names = (unquote(part.partition("=")[0]) for part in query.replace(";", "&").split("&"))
    return any(name.strip().lower().startswith(ATTACHING) for name in names)


def _received(pair: socket.socket | None) -> bytes | None:
    if pair is None:
        return None
    try:
        return pair.recv(MESSAGE_SIZE_MAX + 1)
    except BlockingIOError:
        return None


def _number_of(error: Exception) -> int:
    cause = error if isinstance(error, OSError) else error.__cause__
    return cause.errno or errno.EIO if isinstance(cause, OSError) else errno.EIO


def open_host_file(seen: Source, plan: Plan, grants: tuple[Grant, ...]) -> tuple[int, str]:
    """
    The file outside that the box sees as `seen`: an O_PATH descriptor, and its path.

    Raises:
        OSError: EXDEV: it exists in the box alone; ESTALE: another file has its place outside.
    """
    source, rest = host_place(seen.path, plan, grants)
    if not source:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), seen.path)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    base = -1
    try:
        base = calls.open_path(root, source)
        fd = calls.open_beneath(base, rest) if rest else os.dup(base)
    finally:
        for opened in (root, base):
            if opened >= 0:
                os.close(opened)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or (status.st_dev, status.st_ino) != (seen.device, seen.inode):
        os.close(fd)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), seen.path)
    return fd, os.path.join(source, rest) if rest else source


def host_place(path: str, plan: Plan, grants: tuple[Grant, ...]) -> tuple[str, str]:
    """
    Which host path shows at a path in the box: the bind's source, and what follows it. "" where none does.

    The nearest operation above counts, whatever it is: the box's own /tmp hides a bind of /.
    """
    places = [
        (str(op.box_path), str(op.source) if op.kind is OpKind.BIND else "")
        for op in plan.ops
        if op.kind not in (OpKind.DIR, OpKind.LINK) and within(path, op.box_path)
    ]
    places += [(grant.path, grant.source) for grant in grants if within(path, grant.path)]
    if not places:
        return "", ""
    above, source = max(reversed(places), key=lambda place: len(place[0]))
    return source, path[len(above.rstrip("/")) :].lstrip("/") if source else ""

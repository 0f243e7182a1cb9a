"""
Opening outside what the application asks to be opened: links and files, with the user's own programs.

What comes in: what the broker passes on. What goes out: a program that is started with one argument; an errno. The
broker isn't believed: whatever it says is checked again, by the plan's own rules, and at its own pace.

Abuse: the application chooses the link, and with a file its content and its name. What it says in a link goes to
whoever is asked for it. A file reaches a program outside that may have faults; it gets there only when its name and its
content agree on a type that the policy permits, and never when it could be run. Between this check and the moment at
which that program opens the path the application can put another file there: one that the policy lets it write, or a
link; what the program then shows, the user sees and the application doesn't.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections import deque

from sandboxer.broker import outward
from sandboxer.broker.rules import decode
from sandboxer.errors import SandboxerError
from sandboxer.grants.paths import within
from sandboxer.host.session import Session
from sandboxer.plan.ops import OpKind, Plan
from sandboxer.steward import calls, file_types, handlers
from sandboxer.steward.hand import Hand
from sandboxer.steward.ledger import Grant
from sandboxer.steward.sources import Source

AT_ONCE_MAX = 5
PERIOD_S = 10.0
MESSAGE_SIZE_MAX = outward.ASK.size + outward.TEXT_SIZE_MAX


class Outside:
    """The steward's end of the pair; None where the box has no broker."""

    def __init__(self, hand: Hand, session: Session, pair: socket.socket | None) -> None:
        self._hand = hand
        self._session = session
        self._pair = pair
        self._recent: deque[float] = deque(maxlen=AT_ONCE_MAX)
        self._rules = decode(hand.plan.broker).outward if hand.plan.broker else ()
        if pair is not None:
            pair.setblocking(False)

    def fileno(self) -> int:
        """What to wait for; -1 for nothing."""
        return -1 if self._pair is None else self._pair.fileno()

    def serve(self) -> None:
        """Answer one message, if there is one."""
        if self._pair is None:
            return
        try:
            message = self._pair.recv(MESSAGE_SIZE_MAX + 1)
        except BlockingIOError:
            return
        if not message:  # no broker can hold the other end any more: the launcher is ending
            self._pair.close()
            self._pair = None
            return
        if len(message) < outward.ASK.size:
            return
        number, kind = outward.ASK.unpack_from(message)
        result = self._present(kind, message[outward.ASK.size :])
        try:
            self._pair.send(outward.ANSWER.pack(number, result))
        except BlockingIOError:  # a broker that reads no answers gets none
            return

    def _present(self, kind: int, text: bytes) -> int:
        now = time.monotonic()
        if len(self._recent) == AT_ONCE_MAX and now - self._recent[0] < PERIOD_S:
            return errno.EBUSY
        outcome = outward.check(self._rules, text)
        if outcome.error:
            return outcome.error
        if outcome.kind != kind:
            return errno.EINVAL
        self._recent.append(now)
        try:
            if outcome.kind == outward.LINK:
                return self._present_link(outcome.text.decode("ascii"))
            return self._present_file(os.fsdecode(outcome.text))
        except OSError as error:
            return error.errno or errno.EIO
        except SandboxerError as error:
            cause = error.__cause__
            return cause.errno or errno.EIO if isinstance(cause, OSError) else errno.EIO

    def _present_link(self, link: str) -> int:
        scheme = link.partition(":")[0]
        return handlers.start(f"x-scheme-handler/{scheme}", link, self._session)

    def _present_file(self, box_path: str) -> int:
        seen = self._hand.resolve(box_path)
        if not stat.S_ISREG(seen.mode):
            return errno.EISDIR if stat.S_ISDIR(seen.mode) else errno.EINVAL
        fd, path = open_host_file(seen, self._hand.plan, self._hand.ledger.grants)
        try:
            kind = file_types.type_of(path, fd)
        finally:
            os.close(fd)
        if not kind or outward.permits(self._rules, kind) is None:
            return errno.EACCES
        return handlers.start(kind, path, self._session)


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

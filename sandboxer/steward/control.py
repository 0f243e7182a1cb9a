"""
What the commands and the steward say to one another, over the box's control socket.

What comes in and goes out: one request and one answer a connection, JSON in one message of a SOCK_SEQPACKET socket,
strictly of the types below. Texts may hold what isn't UTF-8, as paths do; the standard library's encoder brings it
back. The steward answers to its own user's processes alone, and to none that is in a user namespace of its own: a box
that is shown the socket by mistake gets nowhere.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import struct
import time
from collections.abc import Sequence

import msgspec

from sandboxer.errors import SandboxerError, StewardError
from sandboxer.plan.ops import OpFlag, OpKind, Plan
from sandboxer.steward.boxes import Box
from sandboxer.steward.holders import Holder
from sandboxer.steward.ledger import Grant
from sandboxer.words import BUILT_IN, Origin, Record, changed

SOCKET = "control"
SIZE_MAX = 128 * 1024
ANSWER_TIMEOUT_S = 60.0
FILES_MAX = 256
SO_PEERPIDFD = 77
"""Linux 6.5."""


class Look(Record, tag="look"):
    """Which box is this?"""


class Add(Record, tag="add"):
    """Show `path` (absolute, as typed). `hidden`: what the policy hides now. `seconds`: None until the box ends."""

    path: str
    write: bool
    seconds: int | None
    hidden: tuple[str, ...] = ()


class Revoke(Record, tag="revoke"):
    """Take away: `word` is a number, or an absolute path, outside or in the box; all of it without one."""

    word: str | None


class Listing(Record, tag="listing"):
    """What was granted while it runs?"""


class Open(Record, tag="open"):
    """Show the files of these words, which are absolute paths; others are links, which stay as they are."""

    words: tuple[str, ...]
    hidden: tuple[str, ...] = ()


class Tell(Record, tag="tell"):
    """Start the application's command again, in its box, with these words."""

    words: tuple[str, ...]


class Exec(Record, tag="exec"):
    """
    Run a program in the box. Four descriptors come with it: its standard streams, and the writing end of a pipe for its
    status (see `streams`).

    `again`: the words follow the application's command. `directory` in the box, "" for the application's; `terminal` is
    TERM, "" for the box's own.
    """

    words: tuple[str, ...]
    again: bool = False
    directory: str = ""
    terminal: str = ""


class Inspect(Record, tag="inspect"):
    """What was the box started with?"""


class Freeze(Record, tag="freeze"):
    """Stop all that is in the box, by signals. `again`: it was asked for a moment ago, and something still runs."""

    again: bool = False


class Thaw(Record, tag="thaw"):
    """Let all of it go on."""


Request = Look | Add | Revoke | Listing | Open | Tell | Exec | Inspect | Freeze | Thaw


class Looked(Record, tag="looked"):
    """`request` are the words that chose the plan."""

    app: str
    request: tuple[str, ...]
    documents: bool


class Added(Record, tag="added"):
    """
    `instead`: why it isn't where it lies outside, or "". `covered`: the application had something there. `meaning`:
    what a device is good for. `seconds`: until it ends, or None.
    """

    grant: Grant
    instead: str
    covered: bool
    meaning: str
    seconds: int | None


class Revoked(Record, tag="revoked"):
    """
    What went, and who still holds something of it. `dropped` are grants that lay within and couldn't be made again.
    `closed`: a directory that is held is of no use any more, but for the names and sockets in it. `more`: how many
    holders are left out. `is_whole`: all processes were looked at in time.
    """

    grants: tuple[Grant, ...]
    holders: tuple[Holder, ...]
    dropped: tuple[Grant, ...]
    closed: bool
    more: int = 0
    is_whole: bool = True


class PolicyGrant(Record):
    """Something of the user's that the policy shows in the box; `origin` is the line that asked for it."""

    path: str
    source: str
    write: bool
    device: bool
    origin: str


class Listed(Record, tag="listed"):
    """Each grant with the seconds that it has left, or None; and what the policy grants."""

    grants: tuple[tuple[Grant, int | None], ...]
    policy: tuple[PolicyGrant, ...]


class Opened(Record, tag="opened"):
    """The words as they are in the box, in order."""

    words: tuple[str, ...]


class Told(Record, tag="told"):
    """`pid` is of the program that was started, in the box."""

    pid: int


class Executed(Record, tag="executed"):
    """`pid` is the program's, in the box. Its status comes by the pipe."""

    pid: int


class Halted(Record, tag="halted"):
    """All of it was sent the signal."""


class BrokerRule(Record):
    """What the broker does for the box: `may` in words of `[broker]`, `what` a path, a service's name, or a kind."""

    may: tuple[str, ...]
    what: str
    origin: str


class Inspected(Record, tag="inspected"):
    """
    What the plan says: `flags` by their names, `limits` by the names of their kinds, `hidden` what the broker never
    opens. `more_rules` is how many of its rules there was no room for.
    """

    request: tuple[str, ...]
    command: tuple[str, ...]
    flags: tuple[str, ...]
    limits: tuple[tuple[str, int], ...]
    rules: tuple[BrokerRule, ...]
    hidden: tuple[str, ...]
    more_rules: int = 0


class Refused(Record, tag="refused"):
    """An error of four parts."""

    what: str
    subject: str
    hint: str
    origin: Origin | None

    def error(self) -> StewardError:
        return StewardError(self.what, subject=self.subject, hint=self.hint, origin=self.origin)


Answer = Looked | Added | Revoked | Listed | Opened | Told | Executed | Inspected | Halted | Refused


def policy_grants(plan: Plan) -> tuple[PolicyGrant, ...]:
    """What a plan binds because a line of a policy asks for it; the system's own files (`files.system`) aside."""
    return tuple(
        PolicyGrant(
            path=op.box_path,
            source=op.source,
            write=bool(op.flags & OpFlag.WRITE),
            device=bool(op.flags & OpFlag.DEVICE),
            origin=str(op.origin),
        )
        for op in plan.ops
        if op.kind is OpKind.BIND
        and op.origin.file != BUILT_IN.file
        and not str(op.origin).endswith("files.system")
    )


def encode(message: Request | Answer) -> bytes:
    """A message as it is sent."""
    return json.dumps(msgspec.to_builtins(message), separators=(",", ":")).encode()


def encode_answer(answer: Answer) -> bytes:
    """The same for an answer, which tells of fewer holders, or is a refusal, where it would be too large."""
    content = encode(answer)
    while len(content) > SIZE_MAX and isinstance(answer, Revoked) and answer.holders:
        kept = len(answer.holders) // 2
        answer = changed(answer, holders=answer.holders[:kept], more=answer.more + len(answer.holders) - kept)
        content = encode(answer)
    if len(content) > SIZE_MAX:
        error = StewardError(
            "it is done, but the answer is too long"
            if isinstance(answer, Revoked)
            else "the answer is too long",
            subject=f"{len(content)} bytes",
            hint="grants with shorter paths, or fewer of them",
        )
        return encode(refusal(error))
    return content


def decode_request(content: bytes) -> Request:
    """
    What a command asked.

    Raises:
        StewardError: it is no request.
    """
    try:
        return msgspec.convert(json.loads(content), Request, strict=True)  # type: ignore[no-any-return]
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise StewardError("cannot understand what is asked of the box", subject=str(error)) from error


def decode_answer(content: bytes) -> Answer:
    """What the steward said. Raises as `decode_request`."""
    try:
        return msgspec.convert(json.loads(content), Answer, strict=True)  # type: ignore[no-any-return]
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise StewardError("cannot understand what the box's steward says", subject=str(error)) from error


def refusal(error: SandboxerError) -> Refused:
    """An error on its way to the command."""
    return Refused(what=error.what, subject=error.subject, hint=error.hint, origin=error.origin)


def ask(box: Box, request: Request, descriptors: Sequence[int] = ()) -> Answer:
    """
    Ask a box's steward, which the launcher starts for it.

    Args:
        descriptors: those of an Exec; they stay open here.
    Raises:
        StewardError: what it refuses; or it doesn't answer, and then its cause is an OSError.
    """
    content = encode(request)
    if len(content) > SIZE_MAX:
        raise StewardError(
            "cannot ask so much at once", subject=f"{len(content)} bytes", hint="name fewer files"
        )
    try:
        answer = decode_answer(_exchange(box, content, descriptors))
    except OSError as error:
        reason = error.strerror or str(error)
        raise StewardError(
            "cannot reach the box",
            subject=f"{box.id}: {'no answer' if isinstance(error, TimeoutError) else reason}",
            hint="the terminal in which it was started shows why",
        ) from error
    if isinstance(answer, Refused):
        raise answer.error()
    return answer


def _exchange(box: Box, content: bytes, descriptors: Sequence[int]) -> bytes:
    # The path itself may be longer than an address can be.
    directory = os.open(box.directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(ANSWER_TIMEOUT_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * SIZE_MAX)
        try:
            _connect(connection, f"/proc/self/fd/{directory}/{SOCKET}")
        finally:
            os.close(directory)
        socket.send_fds(connection, [content], descriptors)
        answer = connection.recv(SIZE_MAX)
    if not answer:
        raise OSError(errno.EPIPE, "it ended without an answer")
    return answer


def _connect(connection: socket.socket, path: str) -> None:
    """A socket with a timeout doesn't wait where many ask at once: it is told to try again."""
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while True:
        try:
            connection.connect(path)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError from None
            time.sleep(0.01)
        else:
            return


def peer(connection: socket.socket) -> int:
    """The pid of who asks."""
    return int(struct.unpack("=iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


def is_trusted(connection: socket.socket) -> bool:
    """Whether the other side is a process of the same user, in the same user namespace, that still lives."""
    pid, uid, _ = struct.unpack("=iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid != os.getuid() or pid <= 0:
        return False
    try:
        ours, theirs = os.stat("/proc/self/ns/user"), os.stat(f"/proc/{pid}/ns/user")
    except OSError:
        return False
    if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino):
        return False
    with contextlib.suppress(OSError):  # ENOPROTOOPT: an older kernel
        fd = connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
        try:
            return _lives(fd)
        finally:
            os.close(fd)
    return True


def _lives(pidfd: int) -> bool:
    """A pidfd can be read when its process has ended: then its number may be another's by now."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)

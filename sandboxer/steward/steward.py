"""
The steward of one box: requests of the user's commands → what is done, and the answer.

What comes in: requests that were decoded, and the time. What goes out: answers; grants that end when they were to. It
runs as the user, outside, with nothing around it: nothing of the box's reaches it but what the broker passes on (see
`outside`). It never grants what wasn't asked for.
"""

from __future__ import annotations

import errno
import os
import posixpath
import string
import sys
from collections.abc import Callable, Sequence

from sandboxer.errors import SandboxerError, StewardError
from sandboxer.grants.paths import within
from sandboxer.host.view import Host
from sandboxer.plan.ops import PlanFlag
from sandboxer.steward import allowed, control, devices, documents, inspected, sources, streams
from sandboxer.steward.control import (
    Add,
    Answer,
    Exec,
    Freeze,
    Inspect,
    Listing,
    Look,
    Open,
    Request,
    Revoke,
    Tell,
    Thaw,
)
from sandboxer.steward.hand import Hand
from sandboxer.steward.holders import Removed
from sandboxer.steward.journal import Journal
from sandboxer.steward.ledger import Grant, now_ns
from sandboxer.steward.sources import Source

GRANTS = "/run/grants"
NS = 1_000_000_000
RETRY_NS = NS
SECONDS_MAX = 366 * 24 * 3600
TERMINAL = frozenset(string.ascii_letters + string.digits + "-+._")
TERMINAL_MAX = 64
"""What a name in the terminals' database is made of."""


class Steward:
    """
    Answers one request after the other.

    Args:
        host: gives the host as it is now: its answers are remembered, and a steward may live for days.
        journal: what ends by itself is noted there; what is asked for, its caller notes.
    """

    def __init__(self, hand: Hand, host: Callable[[], Host], journal: Journal | None = None) -> None:
        self._hand = hand
        self._journal = journal or Journal("")
        self._host = host
        self._retry_ns = 0

    def answer(self, request: Request) -> Answer:
        """Do what is asked. Errors become answers."""
        try:
            match request:
                case Look():
                    return self._looked()
                case Add():
                    return self._add(request)
                case Revoke():
                    return self._revoke(request)
                case Listing():
                    return self._listed()
                case Open():
                    return self._open(request)
                case Tell():
                    return self._tell(request)
                case Inspect():
                    return inspected.of(self._hand.plan)
                case Freeze():
                    self._hand.freeze()
                    return control.Halted()
                case Thaw():
                    self._hand.thaw()
                    return control.Halted()
                case Exec():
                    return self.execute(request, (), 0)
        except SandboxerError as error:
            return control.refusal(error)

    def execute(self, request: Exec, handed: Sequence[int], asker: int) -> Answer:
        """
        Run a program in the box, with the descriptors that came along and no others. Errors become answers.

        Args:
            asker: the pid of the process that asks.
        """
        try:
            streams.require_harmless(handed, asker)
            self._refuse_frozen()
            command = self._command() if request.again else ()
            terminal = request.terminal
            if not TERMINAL.issuperset(terminal) or len(terminal) > TERMINAL_MAX:
                raise StewardError("a terminal can't be called so", subject=repr(terminal))
            if request.directory and not request.directory.startswith("/"):
                raise StewardError(
                    "a directory of the box is named by an absolute path", subject=request.directory
                )
            words = (*command, *request.words)
            return control.Executed(pid=self._hand.execute(words, request.directory, terminal, handed))
        except SandboxerError as error:
            return control.refusal(error)

    def next_ns(self) -> int | None:
        """When `expire` has something to do, by the clock of deadlines."""
        deadline = self._hand.ledger.next_deadline_ns()
        return None if deadline is None else max(deadline, self._retry_ns)

    def expire(self) -> None:
        """Take away what has reached its end. What can't be taken is said, and tried again in a second."""
        now = now_ns()
        if now < self._retry_ns:
            return
        gone: list[Removed] = []
        ended: list[Grant] = []
        for grant in self._hand.ledger.grants:
            if grant.deadline_ns is None or grant.deadline_ns > now:
                continue
            if all(known.number != grant.number for known in self._hand.ledger.grants):
                continue  # it went with another
            try:
                removed, dropped = self._hand.take(grant)
            except (SandboxerError, OSError) as error:
                self._retry_ns = now + RETRY_NS
                _say(self._hand.plan.app, _as_error(error, grant).render(self._hand.plan.app))
                continue
            self._journal.ended(grant)
            for inner in dropped:
                self._journal.ended(inner)
                _say(self._hand.plan.app, f"grant {inner.number} of {inner.path} ended with {grant.number}")
            gone.append(removed)
            ended.append(grant)
        if gone:
            self._tell_of_holders(ended, gone)

    def _tell_of_holders(self, ended: list[Grant], gone: list[Removed]) -> None:
        try:
            held = self._hand.holders(gone)
        except (SandboxerError, OSError):  # nobody is in it any more by whom it could be found
            return
        names = sorted({f"{holder.program} ({holder.pid})" for holder in held.holders})
        names += [f"{held.more} more"] if held.more else []
        names += [] if held.is_whole else ["perhaps others: it has too many open to look at all in time"]
        if names:
            what = ", ".join(f"grant {grant.number} of {grant.path}" for grant in ended)
            _say(self._hand.plan.app, f"{what} ended; still held by {', '.join(names)}")

    def _looked(self) -> Answer:
        plan = self._hand.plan
        return control.Looked(app=plan.app, request=plan.request, documents=bool(plan.flags & documents.READ))

    def _add(self, request: Add) -> Answer:
        source = sources.find(request.path, self._hand.writable())
        covers = allowed.covers(
            source, self._hand.plan, self._host(), write=request.write, hidden=request.hidden
        )
        meaning = ""
        if source.is_device:
            meaning = self._device(source, request)
        if not 0 < (1 if request.seconds is None else request.seconds) <= SECONDS_MAX:
            raise StewardError("a grant can't last that long", subject=f"{request.seconds} seconds")
        self._refuse_present(source, request)
        elsewhere = f"{GRANTS}/{self._hand.ledger.next_number}/{posixpath.basename(source.path) or 'root'}"
        places, instead = self._places(source, elsewhere)
        seconds = request.seconds
        grant, report = self._hand.show(
            source,
            places,
            kind="grant",
            write=request.write,
            covers=covers,
            deadline_ns=None if seconds is None else now_ns() + seconds * NS,
        )
        if report["instead_of"]:
            instead = _why(report["instead_of"][0])
        return control.Added(
            grant=grant,
            instead=instead,
            covered=bool(report["covered"]),
            meaning=meaning,
            seconds=seconds,
        )

    def _device(self, source: Source, request: Add) -> str:
        if not request.write:
            raise StewardError(
                "a device can't be granted read-only",
                subject=f"{source.path}: whoever can open it can do all that its driver offers",
                hint=f"sandbox grant {self._hand.plan.app} {source.path}:rw, if you mean it",
            )
        return devices.meaning(source.path, block=source.is_block)

    def _refuse_present(self, source: Source, request: Add) -> None:
        for grant in self._hand.ledger.grants:
            if grant.source == source.path and grant.kind == "grant":
                raise StewardError(
                    "it is granted already",
                    subject=f"{grant.path}: grant {grant.number}",
                    hint=f"sandbox revoke {self._hand.plan.app} {grant.number}, then grant it anew",
                )
        path, writable = self._hand.shown((source.path,), source)
        if path and (writable or not request.write or source.is_device):
            raise StewardError(
                "the box has it already",
                subject=f"{path}: it can be read{' and changed' if writable else ''} there",
                hint=f"what granted it: sandbox grants {self._hand.plan.app}",
            )

    def _places(self, source: Source, elsewhere: str) -> tuple[tuple[str, ...], str]:
        """Where it may go, and why not where it lies outside."""
        if allowed.collides(source.path, source.path, self._hand.plan):
            return (elsewhere,), f"{source.path} would cover what the policy grants there"
        grant = self._hand.beneath(source.path)
        if grant is not None:
            return (elsewhere,), f"{source.path} would cover grant {grant.number}"
        return (source.path, elsewhere), ""

    def _revoke(self, request: Revoke) -> Answer:
        gone: list[Grant] = []
        removed: list[Removed] = []
        dropped: list[Grant] = []
        for grant in self._meant(request.word):
            if all(known.number != grant.number for known in self._hand.ledger.grants):
                gone.append(grant)  # it went with another
                continue
            went, inner = self._hand.take(grant)
            gone.append(grant)
            removed.append(went)
            dropped += inner
        held = self._hand.holders(removed)
        numbers = {grant.number for grant in gone}
        return control.Revoked(
            grants=tuple(gone),
            holders=held.holders,
            more=held.more,
            is_whole=held.is_whole,
            dropped=tuple(grant for grant in dropped if grant.number not in numbers),
            closed=bool(self._hand.plan.flags & PlanFlag.LANDLOCK_FILES),
        )

    def _meant(self, word: str | None) -> tuple[Grant, ...]:
        """The grants that a word names, inner ones first."""
        grants = self._hand.ledger.grants
        if word is None:
            return tuple(sorted(grants, key=lambda grant: -len(grant.path)))
        found = [
            grant
            for grant in grants
            if str(grant.number) == word
            or (word.startswith("/") and posixpath.normpath(word) in (grant.path, grant.source))
        ]
        if found:
            return tuple(sorted(found, key=lambda grant: -len(grant.path)))
        policy = any(
            within(posixpath.normpath(word), op.box_path)
            for op in self._hand.plan.ops
            if op.source and word[0] == "/"
        )
        raise StewardError(
            "no such grant was made while it runs",
            subject=f"{word}: {'the policy grants it' if policy else 'not among them'}",
            hint="change the policy, and start the application again"
            if policy
            else f"sandbox grants {self._hand.plan.app}",
        )

    def _listed(self) -> Answer:
        now = now_ns()
        return control.Listed(
            grants=tuple(
                (grant, None if grant.deadline_ns is None else max(0, -(-(grant.deadline_ns - now) // NS)))
                for grant in self._hand.ledger.grants
            ),
            policy=control.policy_grants(self._hand.plan),
        )

    def _open(self, request: Open) -> Answer:
        files = [word for word in request.words if word.startswith("/")]
        shown = iter(documents.show(self._hand, self._host(), files, request.hidden) if files else ())
        words = tuple(next(shown) if word.startswith("/") else word for word in request.words)
        return control.Opened(words=words)

    def _refuse_frozen(self) -> None:
        """The box's first process goes on in a frozen box, and would start what it is told to."""
        if self._hand.ledger.is_frozen:
            raise StewardError(
                "cannot run anything in a box that is frozen", hint=f"sandbox thaw {self._hand.plan.app}"
            )

    def _tell(self, request: Tell) -> Answer:
        self._refuse_frozen()
        return control.Told(pid=self._hand.start((*self._command(), *request.words)))

    def _command(self) -> tuple[str, ...]:
        """The application's, as its plan has it."""
        command = self._hand.plan.command
        if not command or self._hand.plan.request[:1] != ("app",):
            raise StewardError(
                "there is no application to tell",
                subject="the box was started for a command, not for an application",
            )
        return command


def _why(refused: list[object]) -> str:
    path, number = refused
    reason = (
        "a symbolic link is in the way" if number == errno.ELOOP else os.strerror(int(str(number))).lower()
    )
    return f"{path} can't be had in the box: {reason}"


def _as_error(error: Exception, grant: Grant) -> SandboxerError:
    if isinstance(error, SandboxerError):
        return error
    return StewardError(f"cannot take away grant {grant.number}", subject=f"{grant.path}: {error}")


def _say(app: str, text: str) -> None:
    """To the launcher's stderr, as printable text: paths and names are an application's to choose."""
    line = text if text.startswith("sandboxer: ") else f"sandboxer: {app}: {text}"
    shown = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in line)
    sys.stderr.write(f"{shown}\n")
    sys.stderr.flush()

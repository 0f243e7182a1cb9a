"""
What was done to a box while it ran: one line of JSON for each grant, revocation, opened file, program that was run in
it, and thing that was opened outside, as the broker's log has them (`broker.log`), in a directory of its own that no
broker can write.

What comes in: requests with their answers. What goes out: lines in $XDG_STATE_HOME/sandboxer/steward/APP/APP.log; a
full file is kept as APP.log.1. Looking at a box isn't noted. A log that can't be written is complained of once and
keeps nothing from being done: the user asked for it, and taking away must work on a full disk.
"""

from __future__ import annotations

import errno
import os
import sys

from sandboxer.broker.log import ALLOWED, DENIED, FAILED, Log, quoted
from sandboxer.errors import SandboxerError
from sandboxer.host.session import Session
from sandboxer.steward import control
from sandboxer.steward.ledger import Grant

WORDS_MAX = 1024
"""Characters of a command line that are kept."""


def directory_of(session: Session) -> str:
    """Where stewards write their logs."""
    home = session.environment.get("XDG_STATE_HOME", "")
    if not home.startswith("/"):
        home = os.path.join(session.environment.get("HOME", "/"), ".local/state")
    return os.path.join(os.path.normpath(home), "sandboxer", "steward")


class Journal:
    """
    Of one box. It is opened when there is something to say.

    Args:
        directory: of all applications' logs; "" for none.
    """

    def __init__(self, directory: str, app: str = "", box: str = "") -> None:
        self._directory = directory if app and "/" not in app and not app.startswith(".") else ""
        self._app = app
        self._box = box
        self._log: Log | None = None

    def asked(self, request: control.Request | None, answer: control.Answer, asker: int) -> None:
        """What a command asked for, and what came of it."""
        if request is None:
            return
        name, what = _described(request)
        if not name:
            return
        if isinstance(answer, control.Refused):
            why = f"{answer.what}: {answer.subject}" if answer.subject else answer.what
            self._write(asker, name, what, DENIED, why)
        elif isinstance(answer, control.Added):
            self._write(asker, name, what, ALLOWED, f"grant {answer.grant.number}, at {answer.grant.path}")
        elif isinstance(answer, control.Revoked):
            for grant in (*answer.grants, *answer.dropped):
                self._write(asker, name, grant.source, ALLOWED, f"grant {grant.number}")
        elif isinstance(answer, control.Executed | control.Told):
            self._write(asker, name, what, ALLOWED, f"process {answer.pid} in the box")
        else:
            self._write(asker, name, what, ALLOWED)

    def ended(self, grant: Grant) -> None:
        """A grant that reached its end, or went with one."""
        self._write(0, "end", grant.source, ALLOWED, f"grant {grant.number}")

    def presented(self, kind: str, what: str, result: int) -> None:
        """Something that was opened outside; `result` an errno or 0."""
        why = f"{kind}: {errno.errorcode.get(result, str(result))}" if result else kind
        self._write(0, "present", what, FAILED if result else ALLOWED, why)

    def failed(self, error: SandboxerError) -> None:
        """Why a steward ends."""
        self._write(0, "fail", error.subject, FAILED, error.what)

    def _write(self, pid: int, request: str, what: str, verdict: str, why: str = "") -> None:
        if not self._directory:
            return
        try:
            if self._log is None:
                self._log = Log(os.fsencode(self._directory), self._app, self._box)
            self._log.append(
                pid,
                f'"request":"{request}","path":{quoted(what[:WORDS_MAX])},"verdict":"{verdict}"'
                + (f',"why":{quoted(why[:WORDS_MAX])}' if why else ""),
            )
        except OSError as error:
            self._directory = ""
            sys.stderr.write(
                f"sandboxer: cannot note what is done to {self._app}: {error.strerror or error}\n"
            )


def _described(request: control.Request) -> tuple[str, str]:
    """A name for what is done, and to what; "" for what changes nothing."""
    match request:
        case control.Add():
            return "grant", request.path
        case control.Revoke():
            return "revoke", request.word or "all"
        case control.Open():
            return "open", " ".join(request.words)
        case control.Tell() | control.Exec():
            return "tell" if isinstance(request, control.Tell) or request.again else "exec", " ".join(
                request.words
            )
        case control.Freeze():
            return "" if request.again else "freeze", ""
        case control.Thaw():
            return "thaw", ""
    return "", ""

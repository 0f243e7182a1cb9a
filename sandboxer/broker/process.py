"""
The broker's process, from its first line to its end.

What comes in: the rules on standard input, the directory of the box's state, and the sockets that the launcher gives
it. What goes out: an exit status. 0: nobody needs it, and the launcher starts another one when one is needed. 75: what
a rule is for was replaced, and another one is needed. 125: it couldn't be confined, and has served nobody.

Abuse: a box that can replace a rule's file could keep a processor busy with starting brokers; after a status other
than 0 the launcher starts the next one a second after this one at the earliest.
"""

from __future__ import annotations

import os
import sys
from fcntl import F_GETFL, F_SETFL, fcntl

from sandboxer.broker import own_root
from sandboxer.broker.beneath import Replaced
from sandboxer.broker.confine import confine
from sandboxer.broker.connect import hold
from sandboxer.broker.log import Log
from sandboxer.broker.roots import open_roots
from sandboxer.broker.rules import decode
from sandboxer.broker.server import Server
from sandboxer.broker.verdicts import Table, encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

FAILURE = 125
"""As errors.FAILURE, which would cost too much to import."""
AGAIN = 75
"""EX_TEMPFAIL of sysexits.h."""
RULES_MAX = 256 * 1024
"""Bytes: a plan's size."""


def main(box_directory: str, sockets: dict[str, int]) -> int:
    """
    Serve a box.

    Args:
        box_directory: its name is the box's.
        sockets: descriptors by name, listening ones but "descriptor" and "steward".
    """
    app = ""
    try:
        rules = decode(_read(0))
        app = rules.app
        _settle(sockets)
        table = Table(rules)
        log = Log(encoded(rules.log), name_for_log(app), box_directory.rpartition("/")[2])
        ground = open_roots(table)
        hold(table.services.values())
        server = Server(table, ground, log, sockets)
        own_root.leave(table, log)
        confine(table, log.directory, rules.program)
    except (OSError, ValueError) as error:
        _say(app, error)
        return FAILURE
    sys.excepthook = _say_fault
    try:
        server.run()
    except Replaced:
        return AGAIN
    return 0


def _read(fd: int) -> bytes:
    """All of it. Raises ValueError when it is too long."""
    parts = []
    left = RULES_MAX + 1
    while left > 0 and (part := os.read(fd, left)):
        parts.append(part)
        left -= len(part)
    if not left:
        raise ValueError("the rules are too long")
    return b"".join(parts)


def _settle(sockets: dict[str, int]) -> None:
    """No descriptor survives an exec, no socket is waited on, and the rules' number isn't free for something else."""
    os.dup2(1, 0, inheritable=False)
    for fd in (1, *sockets.values()):
        os.set_inheritable(fd, False)
    for fd in sockets.values():
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | os.O_NONBLOCK)


def name_for_log(app: str) -> str:
    """An application's name, which names its log. Raises ValueError for what could be another place."""
    if not app or "/" in app or "\0" in app or app.startswith("."):
        raise ValueError(f"no log can have the name {app!r}")
    return app


def _say_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A fault of ours ends the broker; the next request starts another one."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" in {trace.tb_frame.f_code.co_qualname}, line {trace.tb_lineno}"
    sys.stderr.write(
        f"sandboxer: the broker has failed\n  {kind.__name__}{place}: {error}\n"
        "  try: report it; this is a fault in sandboxer\n"
    )


def _say(app: str, error: OSError | ValueError) -> None:
    """One message, of the form that `errors` gives."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    where = f"{error.filename}: " if isinstance(error, OSError) and isinstance(error.filename, str) else ""
    name = f"{app}: " if app else ""
    sys.stderr.write(f"sandboxer: {name}cannot start the broker\n  {where}{why}\n")

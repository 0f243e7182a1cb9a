"""
`sandbox kill BOX`: end a running box, or send its application a signal.

What comes in: the words after the verb. What goes out: one sentence that says what was done. Unless a signal is named
the application is asked to end (SIGTERM), and after five seconds the box's first process is killed, with which the
kernel ends all that is in it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from sandboxer.cli import output, running
from sandboxer.cli.arguments import Parser
from sandboxer.cli.output import line
from sandboxer.errors import StewardError, UsageError
from sandboxer.steward import freezing, processes
from sandboxer.steward.boxes import Box
from sandboxer.steward.processes import Found

DOES = "Ends a running box: politely, and after 5 seconds by force."
EXAMPLES = """\
  sandbox kill firefox
  sandbox kill firefox.1234 --signal HUP"""
PATIENCE_S = 5.0
KILLED_S = 10.0
"""A killed process that waits in a file system can take a while."""


def main(argv: list[str]) -> int:
    """Kill. Returns 0. Raises SandboxerError."""
    options = parser().parse_args(argv)
    number = processes.signal_named(options.signal) if options.signal is not None else None
    box = running.box_named(options.box)
    _require_whole(options.box, box)
    found = processes.find(box)
    told = end(box, found) if number is None else send(box, found, number)
    output.show([line(told)])
    return 0


def _require_whole(word: str, box: Box) -> None:
    """Who names one process of a box may mean that one alone. Raises UsageError."""
    if word.isdigit() and int(word) != box.monitor:
        raise UsageError(
            f"{word} is a process of {box.id}",
            subject="what is ended is the box, with all that is in it",
            hint=f"sandbox kill {box.id}, or for this process alone: kill {word}",
        )


def end(box: Box, found: Found) -> str:
    """End the box. Returns a sentence. Raises StewardError: it is still there."""
    began = time.monotonic()
    try:
        first = os.pidfd_open(found.first)
    except ProcessLookupError:
        return f"{box.id} has just ended by itself."
    try:
        was_frozen = freezing.is_frozen(box, found)
        _ask(found)
        if was_frozen:
            with contextlib.suppress(StewardError):  # it can be killed as it is
                freezing.thaw(box)
        if processes.has_ended(first, PATIENCE_S):
            return f"{box.id} has ended, {time.monotonic() - began:.1f} s after SIGTERM."
        count = len(found.members) - 1
        if not processes.send(found.first, found.first, signal.SIGKILL):
            return f"{box.id} has ended, {time.monotonic() - began:.1f} s after SIGTERM."
        if not processes.has_ended(first, KILLED_S):
            raise StewardError(
                "cannot end the box",
                subject=f"{box.id}: killed {KILLED_S:.0f} seconds ago, and waiting for something in the kernel",
            )
        return (
            f"{box.id} didn't end in {PATIENCE_S:.0f} s after SIGTERM, and was killed with all that was in it: "
            f"{running.counted(count)}."
        )
    finally:
        os.close(first)


def send(box: Box, found: Found, number: int) -> str:
    """Send a signal, and no more. Returns a sentence. Raises StewardError: there is nobody to send it to."""
    name = signal.Signals(number).name if number in {*signal.Signals} else f"signal {number}"
    if not found.application or not processes.send(found.application, found.first, number):
        raise StewardError(
            "the application of this box has ended",
            subject=f"{box.id}: others that it started run on",
            hint=f"end them: sandbox kill {box.id}",
        )
    return f"{box.id}: {name} was sent to the application, process {found.application}."


def _ask(found: Found) -> None:
    """The application, or what it has left behind."""
    targets = (
        [found.application] if found.application else [pid for pid in found.members if pid != found.first]
    )
    for pid in targets:
        processes.send(pid, found.first, signal.SIGTERM)


def parser() -> Parser:
    """The verb's words."""
    words = Parser("kill", DOES, EXAMPLES)
    words.add_argument(
        "box",
        metavar="BOX",
        help="an application that runs, or a box's id, its launcher's pid, or its service",
    )
    words.add_argument(
        "--signal", metavar="SIGNAL", help="send the application this one (HUP, 10), and do nothing else"
    )
    return words

"""
What the verbs for running boxes share: which box is meant, and what its policy says now.

What comes in: words of the command line. What goes out: a box, paths, sentences. It asks boxes, and changes none.
"""

from __future__ import annotations

import os
import re
import sys

from sandboxer.cli.compile import load
from sandboxer.cli.output import visible
from sandboxer.cli.request import Request, app_request, run_request
from sandboxer.cli.survey import Anywhere
from sandboxer.errors import SandboxerError, StewardError, UsageError
from sandboxer.grants.files import hidden_places
from sandboxer.host import session
from sandboxer.policy import layers
from sandboxer.policy.effective import Effective
from sandboxer.steward import boxes, control, naming
from sandboxer.steward.boxes import Box
from sandboxer.steward.control import Looked

DURATION = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?", re.ASCII)
UNITS = (24 * 3600, 3600, 60, 1)
NAMES = ("day", "hour", "minute", "second")


BOX = "an application that runs, or a box's id, one of its processes' pid, or its service"
"""What the operand BOX can be, for --help."""


def box_named(word: str, *, or_start: bool = False) -> Box:
    """
    The running box that a word means.

    Args:
        or_start: whether it would help to start the application, where it is one, rather than to look what runs.
    Raises:
        StewardError: none, or several.
    """
    found = boxes.all_running(session.current())
    return naming.named(word, found, (lambda: start_hint(word)) if or_start else str)


def start_hint(word: str) -> str:
    """How to start an application that has a policy; "" for what has none."""
    known = layers.names("apps", Anywhere(session.current()))
    return f"start it: sandbox {word}" if word in known else ""


def look(box: Box) -> Looked:
    """What the box says it is."""
    answer = control.ask(box, control.Look())
    if not isinstance(answer, Looked):
        raise unexpected(answer)
    return answer


def unexpected(answer: control.Answer) -> StewardError:
    """An answer to another question."""
    return StewardError("cannot understand what the box's steward says", subject=type(answer).__name__)


def policy_of(looked: Looked) -> Effective | None:
    """The policy that a box was started with, as it is now; None, and a message, when it can't be read any more."""
    try:
        return load(_request(looked), Anywhere(session.current()))
    except SandboxerError as error:
        print(
            visible(f"sandboxer: {looked.app}: its policy can't be read now: {error.what}"), file=sys.stderr
        )
        return None


def hidden(effective: Effective | None) -> tuple[str, ...]:
    """Host paths that a policy hides."""
    return tuple(hidden_places(effective, Anywhere(session.current()))) if effective is not None else ()


def _request(looked: Looked) -> Request:
    kind, *rest = looked.request
    if kind == "run":
        return run_request([*looked.request, "--", "command"], debug=False)
    return app_request(rest, debug=False)


def absolute(path: str) -> str:
    """A path as typed → an absolute one, not normalised: what .. means is told by the links on the way."""
    return os.path.join(session.current().directory(), path)


def duration(text: str) -> int:
    """
    "10m", "1h30m", "90s", "2d" → seconds.

    Raises:
        UsageError: it is another text, or no time at all.
    """
    match = DURATION.fullmatch(text)
    seconds = (
        sum(int(count) * unit for count, unit in zip(match.groups("0"), UNITS, strict=True)) if match else 0
    )
    if seconds <= 0:
        raise UsageError(
            "cannot understand for how long",
            subject=f"--for {text}",
            hint="a number and a unit: --for 90s, --for 10m, --for 1h30m, --for 2d",
        )
    return seconds


def told(seconds: int) -> str:
    """Seconds in words: "1 hour 30 minutes"."""
    parts = []
    for name, unit in zip(NAMES, UNITS, strict=True):
        count, seconds = divmod(seconds, unit)
        if count:
            parts.append(f"{count} {name}{'s' if count > 1 else ''}")
    return " ".join(parts[:2]) or "less than a second"


def counted(processes: int) -> str:
    """A count in words: "1 process", "3 processes"."""
    return f"{processes} process{'' if processes == 1 else 'es'}"


def split_mode(word: str) -> tuple[str, bool]:
    """PATH[:ro|:rw] → the path, and whether it is to be writable."""
    bare, colon, mode = word.rpartition(":")
    if colon and bare and mode in ("ro", "rw"):
        return bare, mode == "rw"
    return word, False

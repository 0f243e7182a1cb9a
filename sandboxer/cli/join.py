"""
A second start of an application that has one instance: in the box in which it runs.

What comes in: the application and the user's words, from the launcher, which has seen such a box live. What goes out:
the status of the application's command, run there with these words: it hands them to the one that runs, and ends. Files
that words name are shown in the box first, as `sandbox open` does; options and links go as they are. If no box runs any
more, this process becomes the launcher again, which makes one.

The command is the running box's own (its plan has it), so that nothing a policy says since then is run in it.
"""

from __future__ import annotations

import os
import stat
import time

from sandboxer.cli import attached, launcher, running
from sandboxer.cli.open import understood
from sandboxer.errors import StewardError, UsageError
from sandboxer.host import session
from sandboxer.steward import boxes, control
from sandboxer.steward.boxes import Box
from sandboxer.steward.control import Exec, Open, Opened

SETTLES_S = 3.0
"""
An application that has just been started may not be found yet by a second one, which would take itself for the first,
and the box would end with whichever of the two was first to end. Firefox takes its lock within a second.
"""
APART = "--apart"
LOST = (
    "cannot reach the box",
    "the box has ended, and with it what ran there",
    "the box isn't there any more",
)


def main(words: list[str], manner: tuple[str, ...] = ()) -> int:
    """
    Join.

    Args:
        words: the application's name, then the user's words.
        manner: words before the user's own that the launcher is to get again (launchers/main.c).
    Returns:
        The command's exit status.
    Raises:
        SandboxerError: it can't be done; or the launcher isn't there.
    """
    if not words:
        raise UsageError("there is no application to join")
    app, *rest = words
    box = _joinable(app)
    if box is None:
        launcher.become((*manner, APART, *words))
    _wait_until_settled(box)
    try:
        inside = _handed_in(box, rest)
        return attached.run(box, Exec(words=inside, again=True), is_interactive=False)
    except StewardError as error:
        if error.what in LOST or _joinable(app) != box:
            launcher.become((*manner, APART, *words))
        raise


def _joinable(app: str) -> Box | None:
    """The oldest box of the application that isn't an unnamed command's: later ones were asked for apart."""
    for box in boxes.running(boxes.boxes_directory(session.current())):
        if box.app == app:
            try:
                looked = running.look(box)
            except StewardError:  # it is ending
                continue
            if looked.request == ("app", app):
                return box
    return None


def _wait_until_settled(box: Box) -> None:
    try:
        began = os.stat(os.path.join(box.directory, "box")).st_mtime
    except OSError:  # it has ended: the order will tell
        return
    age = time.time() - began
    if 0 <= age < SETTLES_S:
        time.sleep(SETTLES_S - age)


def _handed_in(box: Box, words: list[str]) -> tuple[str, ...]:
    """The words as the application gets them, files by their places in the box. Raises SandboxerError."""
    known = {number: understood(word) for number, word in enumerate(words) if names_file(word)}
    if not known:
        return tuple(words)
    paths = tuple(word.path for word in known.values())
    effective = running.policy_of(running.look(box))
    answer = control.ask(box, Open(words=paths, hidden=running.hidden(effective)))
    if not isinstance(answer, Opened):
        raise running.unexpected(answer)
    places = dict(zip(known, answer.words, strict=True))
    return tuple(
        known[number].inside(places[number]) if number in known else word for number, word in enumerate(words)
    )


def names_file(word: str) -> bool:
    """Whether a word names a regular file here, by its path or a file: URI: as the launcher judges documents."""
    if not word or word.startswith("-"):
        return False
    try:
        path = understood(word).path
        return bool(path) and stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError, UsageError):
        return False

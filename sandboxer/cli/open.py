"""
`sandbox open APP [FILE...]`: hand files to an application that runs already; start it with them if it doesn't.

What comes in: the words after the verb: files, file: URIs, links. What goes out: the paths in the box, where the
application can't be told of them; else a word that it was. Which of the two is the policy's to say (second-instance).
Without files an application that can be told is told just that: so a desktop entry may say `sandbox open firefox %U`.
"""

from __future__ import annotations

import os
import sys
from urllib.parse import quote

from sandboxer.broker.outward import path_of
from sandboxer.cli import launcher, output, running
from sandboxer.cli.arguments import Parser
from sandboxer.cli.output import visible
from sandboxer.errors import UsageError
from sandboxer.grants import bus
from sandboxer.host import session
from sandboxer.host.facts import Facts
from sandboxer.host.view import Host
from sandboxer.policy.effective import Effective
from sandboxer.steward import boxes, control, naming
from sandboxer.steward.control import FILES_MAX, Open, Opened
from sandboxer.words import Record

DOES = "Hands files to an application that runs; starts it with them if it doesn't."
EXAMPLES = """\
  sandbox open firefox report.pdf
  sandbox open firefox file:///home/ann/notes.html#today"""


class Word(Record):
    """A word of the user's. `path` is absolute, "" for a link; `rest` is what follows the path in a file: URI."""

    text: str
    path: str = ""
    is_uri: bool = False
    rest: str = ""

    def inside(self, path: str) -> str:
        """The word as the application gets it, for the file's path in the box."""
        return f"file://{quote(os.fsencode(path))}{self.rest}" if self.is_uri else path


def main(argv: list[str]) -> int:
    """Open. Returns 0, or becomes the launcher. Raises SandboxerError."""
    options = parser().parse_args(argv)
    words = [understood(word) for word in options.file]
    if len(words) > FILES_MAX:
        raise UsageError("cannot open so many files at once", subject=f"more than {FILES_MAX}")
    found = boxes.all_running(session.current())
    if not any(options.app in (box.id, box.app, str(box.monitor)) for box in found) and _is_name(options.app):
        launcher.become((options.app, *options.file))
    box = naming.named(options.app, found)
    looked = running.look(box)
    effective = running.policy_of(looked)
    tell = effective is not None and looked.request[0] == "app" and tells(effective, Facts(session.current()))
    if not words and not tell:
        raise UsageError(
            f"nothing was named that {box.app} could open",
            subject=f"{box.app} runs, as {box.id}",
            hint=f"to start another one: sandbox {box.app}",
        )
    links = [word.text for word in words if not word.path]
    if links and not tell:
        raise UsageError(
            f"cannot tell {box.app} of a link while it runs",
            subject=links[0],
            hint="either its policy doesn't say that it hands words to the one that runs (second-instance), or the "
            "message bus that it wants for that isn't there: see sandbox explain",
        )
    request = Open(words=tuple(word.path or word.text for word in words), hidden=running.hidden(effective))
    answer = control.ask(box, request)
    if not isinstance(answer, Opened):
        raise running.unexpected(answer)
    inside = [
        word.inside(path) if word.path else path for word, path in zip(words, answer.words, strict=True)
    ]
    if tell:
        control.ask(box, control.Tell(words=tuple(inside)))
        print(visible(f"sandboxer: {box.app}: handed over: {' '.join(inside) or 'nothing'}"), file=sys.stderr)
    else:
        output.write("".join(f"{word}\n" for word in inside))
    return 0


def tells(effective: Effective, host: Host) -> bool:
    """Whether the application, started again, reaches the one that runs: over a bus where it wants one for that."""
    return bus.finds_the_first(effective, host)


def understood(text: str) -> Word:
    """
    A word of the command line.

    Raises:
        UsageError: it is a file: URI of another machine, or an option.
    """
    scheme, colon, after = text.partition(":")
    if colon and scheme.lower() == "file":
        end = min((after.find(letter) for letter in "?#" if letter in after), default=len(after))
        path = path_of(os.fsencode(after[:end]))
        if not path:
            raise UsageError("no file of this machine has this URI", subject=text)
        return Word(text=text, path=os.fsdecode(path), is_uri=True, rest=after[end:])
    if colon and scheme.isascii() and scheme.isalpha() and not os.path.lexists(running.absolute(text)):
        return Word(text=text)
    return Word(text=text, path=running.absolute(text))


def _is_name(app: str) -> bool:
    """Whether a word can be an application's name, and isn't a box's."""
    return not app.isdigit() and not app.rpartition(".")[2].isdigit()


def parser() -> Parser:
    """The verb's words."""
    words = Parser("open", DOES, EXAMPLES)
    words.add_argument("app", metavar="APP", help="an application, or a running box's id or pid")
    words.add_argument("file", nargs="*", metavar="FILE", help="a file, a file: URI, or a link")
    return words

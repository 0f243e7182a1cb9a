"""
`sandbox exec BOX COMMAND...`: run a program in a box that runs, confined as its application is.

What comes in: the words after the verb, and this process's streams. What goes out: the program's exit status; 125 when
it couldn't be started or the box ended first, 126 and 127 as a shell has them. The box's first process forks it, so
that it has every confinement of the application, and the box's environment; see `attached` for what it has from here.
"""

from __future__ import annotations

import argparse

from sandboxer.cli import attached, running
from sandboxer.cli.arguments import Parser
from sandboxer.errors import UsageError
from sandboxer.steward.control import Exec

DOES = "Runs a program in a box that runs, confined as its application is."
EXAMPLES = """\
  sandbox exec firefox sh
  sandbox exec firefox.1234 ls -l /run
  sandbox exec --cwd /tmp gimp cat notes > notes"""


def main(argv: list[str]) -> int:
    """Run it. Returns its exit status. Raises SandboxerError."""
    options = parser().parse_args(argv)
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not words or not words[0]:
        raise UsageError(
            "no command is given",
            subject=f"what is to run in {options.box}?",
            hint=f"sandbox exec {options.box} sh",
        )
    if options.directory and not options.directory.startswith("/"):
        raise UsageError(
            "a directory of the box is named by an absolute path", subject=f"--cwd {options.directory}"
        )
    request = Exec(words=tuple(words), directory=options.directory)
    return attached.run(running.box_named(options.box, or_start=True), request)


def parser() -> Parser:
    """The verb's words."""
    words = Parser("exec", DOES, EXAMPLES)
    words.add_argument(
        "--cwd",
        dest="directory",
        default="",
        metavar="DIRECTORY",
        help="where in the box it starts; as the application unless said",
    )
    words.add_argument("box", metavar="BOX", help=running.BOX)
    words.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="a program, and its words; keys of a terminal are its own: Ctrl-Z stops it where a shell in the box "
        "runs it, and else nothing",
    )
    return words

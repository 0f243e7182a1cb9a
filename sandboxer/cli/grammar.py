"""
The command line as data: each verb with what it takes, for completion and manual pages.

What comes in: the verbs' own parsers; for `run`, which costs no argparse, the one that is written here. What goes out:
records. It parses nothing, and no start of an application comes by here.
"""

from __future__ import annotations

import argparse
from enum import Enum
from importlib import import_module

from sandboxer.cli import main
from sandboxer.cli.arguments import Parser
from sandboxer.words import Record, changed


class Kind(Enum):
    """What a word is, where one is to be typed; the value is its name in the shells' functions."""

    NOTHING = "nothing"
    APPLICATION = "application"
    BOX = "box"
    CHECKED = "checked"
    COMMAND = "command"
    FILE = "file"
    HANDED = "handed"
    LOGGED = "logged"
    OPTIONS = "options"
    POLICY = "policy"
    SETTING = "setting"
    UNIT = "unit"
    VERB = "verb"


KINDS = {
    "APP": Kind.APPLICATION,
    "[-]PATH": Kind.FILE,
    "BOX": Kind.BOX,
    "BOX|APP": Kind.LOGGED,
    "COMMAND": Kind.COMMAND,
    "DIRECTORY": Kind.FILE,
    "FILE": Kind.FILE,
    "KEY": Kind.NOTHING,
    "KEY=VALUE": Kind.SETTING,
    "N": Kind.NOTHING,
    "NAME.service": Kind.UNIT,
    "NAME=PATH[:rw]": Kind.HANDED,
    "NAME|FILE": Kind.POLICY,
    "NUMBER": Kind.NOTHING,
    "PATH[:ro|:rw]": Kind.FILE,
    "PATH|NUMBER": Kind.FILE,
    "SIGNAL": Kind.NOTHING,
    "TIME": Kind.NOTHING,
}
"""By the metavar that --help shows. A new one is added here: a test says so."""
CHOICES = {"SIGNAL": ("TERM", "KILL", "INT", "HUP", "QUIT", "USR1", "USR2", "STOP", "CONT")}
"""What is offered for a metavar whose verb takes more than these."""
EXCEPTIONS = {("check", "FILE"): Kind.CHECKED, ("explain", "APP"): Kind.POLICY}
"""Where a verb takes more than its metavar says: any policy, by file or name."""
GLOBAL = (
    ("--apart", "a box of its own, even where the application runs already"),
    ("--debug", "tell what is done, and where it fails"),
    ("--version", "print the version"),
)
"""What may stand before an application's name, or alone."""
RUN_DOES = "Starts a command in a box that holds only what a policy grants."
RUN_EXAMPLES = """\
  sandbox run -- ./untrusted-script.sh
  sandbox run --policy firefox --set network.access=none -- firefox page.html
  sandbox run --fd DATA=table.csv -- sh -c 'sort <&$DATA'"""


class Option(Record):
    """An option: `names` ("-h", "--help"), its value's `metavar` ("" for none) with its kind, or its `choices`."""

    names: tuple[str, ...]
    metavar: str
    help: str
    kind: Kind
    choices: tuple[str, ...] = ()


class Operand(Record):
    """A word that is no option. `many`: it takes all that follow; `optional`: it may be left out."""

    metavar: str
    help: str
    kind: Kind
    choices: tuple[str, ...] = ()
    many: bool = False
    optional: bool = False


class Verb(Record):
    """A verb, or a part of one ("unit wrap"). Where it has `parts`, one of their names is its first operand."""

    name: str
    does: str
    usage: str
    examples: str
    options: tuple[Option, ...]
    operands: tuple[Operand, ...]
    parts: tuple[Verb, ...] = ()


def verbs() -> tuple[Verb, ...]:
    """All, `run` first, the others in the order of `main.VERBS`."""
    others = (_verb(name, import_module(f"sandboxer.cli.{name}").parser()) for name in main.VERBS)
    return (_verb("run", run_parser()), *others)


def with_parts(found: tuple[Verb, ...]) -> tuple[Verb, ...]:
    """The verbs, each followed by its parts."""
    return tuple(each for verb in found for each in (verb, *with_parts(verb.parts)))


def run_parser() -> Parser:
    """What `request.run_request` takes, put as argparse would take it."""
    words = Parser("run", RUN_DOES, RUN_EXAMPLES)
    words.add_argument(
        "--policy",
        metavar="NAME|FILE",
        help="the application, set or file whose policy holds; the set strict unless said",
    )
    words.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="one key of the policy, for this start; can be repeated",
    )
    words.add_argument(
        "--keep-fd", action="append", metavar="NUMBER", help="hand over an open descriptor; can be repeated"
    )
    words.add_argument(
        "--fd",
        action="append",
        metavar="NAME=PATH[:rw]",
        help="open a file and hand it over, its number in the variable NAME; can be repeated",
    )
    words.add_argument(
        "--env-file",
        action="append",
        metavar="[-]PATH",
        help="let the variables in that a file sets, as EnvironmentFile= of systemd has it; - where it may be absent; "
        "can be repeated",
    )
    words.add_argument("--die-with-parent", action="store_true", help="end with the program that started it")
    words.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="what is started, after --, with its arguments",
    )
    words.usage = "sandbox run [OPTION...] -- COMMAND [ARGUMENT...]"
    return words


def _verb(name: str, parser: Parser) -> Verb:
    options: list[Option] = []
    operands: list[Operand] = []
    parts: list[Verb] = []
    for action in parser.actions():
        help_text = (action.help or "") % {"default": action.default, "prog": parser.prog}
        if action.help == argparse.SUPPRESS:
            continue
        choices = tuple(map(str, action.choices)) if action.choices is not None else ()
        if isinstance(action.choices, dict):  # parts: their names, each with a parser
            told = {choice.dest: choice.help or "" for choice in getattr(action, "_choices_actions", ())}
            for part, below in action.choices.items():
                found = _verb(f"{name} {part}", below)
                parts.append(changed(found, does=found.does or told.get(part, "")))
        elif action.option_strings:
            metavar = "" if action.nargs == 0 else _metavar(action)
            options.append(
                Option(
                    names=tuple(action.option_strings),
                    metavar=metavar,
                    help=help_text,
                    kind=_kind(name, metavar),
                    choices=choices or CHOICES.get(metavar, ()),
                )
            )
        else:
            metavar = _metavar(action)
            operands.append(
                Operand(
                    metavar=metavar,
                    help=help_text,
                    kind=_kind(name, metavar),
                    choices=choices,
                    many=action.nargs in ("*", "+", argparse.REMAINDER),
                    optional=action.nargs in ("*", "?", argparse.REMAINDER),
                )
            )
    return Verb(
        name=name,
        does=parser.description or "",
        usage=" ".join(parser.format_usage().split()).removeprefix("usage: "),
        examples=(parser.epilog or "").removeprefix("examples\n"),
        options=tuple(options),
        operands=tuple(operands),
        parts=tuple(parts),
    )


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, tuple):
        return action.metavar[0]
    return action.metavar or action.dest.upper()


def _kind(verb: str, metavar: str) -> Kind:
    return EXCEPTIONS.get((verb, metavar)) or KINDS.get(metavar, Kind.NOTHING)

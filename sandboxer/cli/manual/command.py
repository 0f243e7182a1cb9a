"""
sandbox(1): the command.

What comes in: the grammar. What goes out: the page's source. What is said of a verb is what its --help says.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandboxer.cli import grammar
from sandboxer.cli.grammar import Operand, Option, Verb
from sandboxer.cli.manual import roff
from sandboxer.cli.usage import KERNEL_FLOOR

DESCRIPTION = """\
Starts a program in a box that holds only what a policy grants: the files, devices, sockets, variables and system calls
that it names, and no others. No privileges are needed, and none are given: the box is made of namespaces, a system-call
filter and a Landlock domain.

`sandbox APP` starts an application by the policy of that name, or, if there is none, by the set `strict`, and says so.
`sandbox run` starts any command. All other verbs look at policies, at boxes that run, or at how the desktop starts
applications.

BOX, below, is an application that runs once, or a box's id (`firefox.1234`), or the pid of one of its processes, or, of
a box that is a service of systemd's, that service's name; `sandbox ps` lists them."""
STATUSES = (
    ("the program's own", "It ran. 128 and a signal's number, where it was ended by that."),
    ("125", "The box can't be made, or the command line can't be understood. The program hasn't run."),
    ("126", "The program can't be executed."),
    ("127", "The program isn't there."),
)
STATUSES_OF_VERBS = """\
Verbs end with 0 when they have done what was asked, with 125 when they couldn't. `check` and `install --check` end with
1 where something is wrong; `doctor` with 0 where all is well, 1 where something is missing that boxes can do without, 2
where none can be made; `exec` as its command does."""
FILES = (
    ("~/.config/sandboxer/apps/NAME.toml", "The user's policies; sandboxer-policy(5) tells the rest."),
    ("/etc/sandboxer", "The administrator's."),
    ("~/.local/share/sandboxer/homes", "Homes of applications whose policy gives them one (`files.home`)."),
    ("~/.local/state/sandboxer/broker", "What each application asked its broker for, and what it got."),
    ("~/.local/state/sandboxer/desktop", "What `sandbox install` wrote, so that it can be taken back."),
    (
        "~/.cache/sandboxer, $XDG_RUNTIME_DIR/sandboxer/plans",
        "Compiled plans and filters. They can be removed.",
    ),
    ("$XDG_RUNTIME_DIR/sandboxer/boxes", "What runs, for `sandbox ps` and its like. Not for boxes."),
)
VARIABLES = (
    (
        "XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_STATE_HOME, XDG_CACHE_HOME, XDG_RUNTIME_DIR",
        "Where the files above are. Those that hold no absolute path count as unset.",
    ),
    (
        "DISPLAY, XAUTHORITY, WAYLAND_DISPLAY, PULSE_SERVER, PIPEWIRE_REMOTE, SSH_AUTH_SOCK",
        "Where the session's services are that a policy may grant.",
    ),
    ("DBUS_SESSION_BUS_ADDRESS", "The session bus: for scopes, and for telling of failures. No box has it."),
    ("NO_COLOR", "No escape sequences, whatever it holds."),
    ("PATH, LANG, TERM", "As everywhere. A box gets only the variables that its policy names."),
    ("SANDBOXER_BROKER, SANDBOXER_BROKER_FD", "Set in a box that has a broker: how to ask it."),
    ("NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS", "Of a service manager: passed on to a service in a box."),
)
EXAMPLES = (
    ("Start Firefox in its box:", "sandbox firefox"),
    ("See what it may do, and which line says so:", "sandbox explain firefox"),
    ("Start it there from the menu, too, from now on:", "sandbox install firefox"),
    ("Run a script that came from somewhere, without network, with one directory:",
     "sandbox run --set 'files.read=[\"~/Downloads/thing\"]' -- ~/Downloads/thing/install.sh"),
    ("Show a running GIMP a directory for an hour:", "sandbox grant gimp ~/Pictures/holiday:rw --for 1h"),
    ("See what this machine lacks:", "sandbox doctor"),
)  # fmt: skip


def page() -> str:
    """The source, with a line end."""
    found = grammar.verbs()
    lines = [
        *roff.header("sandbox", 1, "start applications in boxes that hold only what a policy grants"),
        *roff.section_head("SYNOPSIS"),
        *_synopsis(),
        *roff.section_head("DESCRIPTION"),
        *roff.markdown(DESCRIPTION),
        *roff.section_head("OPTIONS"),
        *roff.paragraph("Before an application's name or a verb:"),
        *(line for name, words in grammar.GLOBAL for line in roff.tagged(roff.bold(name), _sentence(words))),
        *roff.tagged(roff.bold("--help"), "Print the help; after a verb, that verb's."),
        *roff.section_head("VERBS"),
        *(line for verb in found for line in _verb(verb)),
        *roff.section_head("EXIT STATUS"),
        *(line for tag, words in STATUSES for line in roff.tagged(roff.text(tag), words)),
        *roff.paragraph(STATUSES_OF_VERBS),
        *roff.section_head("ENVIRONMENT"),
        *(line for tag, words in VARIABLES for line in roff.tagged(_names(tag), words)),
        *roff.section_head("FILES"),
        *(line for tag, words in FILES for line in roff.tagged(_names(tag), words)),
        *roff.section_head("NOTES"),
        *roff.paragraph(
            f"Linux {KERNEL_FLOOR} or newer is needed, with user namespaces; `sandbox doctor` tells what is missing."
        ),
        *roff.section_head("EXAMPLES"),
        *(line for words, example in EXAMPLES for line in (*roff.paragraph(words), *roff.example([example]))),
        *roff.section_head("SEE ALSO"),
        *roff.paragraph(
            "**sandbox-broker**(1), **sandboxer-policy**(5), **systemd.resource-control**(5), **namespaces**(7)"
        ),
    ]
    return roff.source(lines)


def _synopsis() -> Iterator[str]:
    argument = f"[{roff.italic('ARGUMENT')}...]"
    sandbox, run = roff.bold("sandbox"), roff.bold("run")
    yield f"{sandbox} [{roff.bold('--apart')}] [{roff.bold('--debug')}] {roff.italic('APP')} {argument}"
    yield ".br"
    yield f"{sandbox} {run} [{roff.italic('OPTION')}...] {roff.bold('--')} {roff.italic('COMMAND')} {argument}"
    yield ".br"
    yield f"{sandbox} {roff.italic('VERB')} [{roff.italic('OPTION')}...] [{roff.italic('WORD')}...]"


def _verb(verb: Verb) -> Iterator[str]:
    yield from roff.below(verb.usage.removeprefix("sandbox ").replace("[-h] ", "").replace("[-h]", ""))
    if verb.does:
        yield from roff.paragraph(_sentence(verb.does))
    for operand in verb.operands:
        if operand.help:
            yield from roff.tagged(_operand(operand), _sentence(operand.help))
    for option in verb.options:
        if "--help" not in option.names:
            yield from roff.tagged(_option(option), _sentence(option.help))
    for part in verb.parts:
        yield from _verb(part)
    if verb.examples:
        yield from roff.paragraph("For example:")
        yield from roff.example(line.strip() for line in verb.examples.splitlines())


def _operand(operand: Operand) -> str:
    return roff.italic(operand.metavar)


def _option(option: Option) -> str:
    value = f" {roff.italic(option.metavar)}" if option.metavar else ""
    return ", ".join(f"{roff.bold(name)}{value}" for name in option.names)


def _names(tag: str) -> str:
    return ", ".join(roff.bold(name) for name in tag.split(", "))


def _sentence(words: str) -> str:
    """A help's clause as a sentence; names of options and the like keep their case."""
    words = words.strip()
    if not words:
        return ""
    upper = words if words.split()[0].isupper() or words[0] in "`-~$/" else f"{words[0].upper()}{words[1:]}"
    return upper if upper.endswith((".", "?", "!")) else f"{upper}."

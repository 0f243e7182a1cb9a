"""
Commands of a unit → the same in boxes.

What comes in: the merged unit, the launcher, the policy and settings that hold. What goes out: the lines of each Exec
key, in which systemd finds the launcher and our options before the command's own words. Those stay as they were, so
that specifiers and variables mean the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from sandboxer.desktop.units.environment import file_words
from sandboxer.desktop.units.specifiers import Meanings
from sandboxer.desktop.units.templates import first_word
from sandboxer.desktop.units.text import Unit
from sandboxer.desktop.units.words import Command, Word, commands, quoted
from sandboxer.errors import ResolveError

IN_OWN_BOX = ("ExecStart", "ExecStartPre", "ExecCondition", "ExecStopPost")
IN_MAIN_BOX = ("ExecStartPost", "ExecReload", "ExecStop")
NO_COMMANDS = ("ExecSearchPath", "ExecPaths", "NoExecPaths")
SEARCHED = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where systemd looks for a program without a directory. Source: DEFAULT_PATH of systemd."""
SHOWN = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/")
"""What every box shows."""
MAIN_PID = "2"
"""The application's number in its box: launchers/init.c forks it before anything else."""
SHELL = "/bin/bash"
AS_ARGV0 = 'exec -a "$0" "$@"'
KILLS = ("/bin/kill", "/usr/bin/kill")
"""By their full paths: what a search finds could be the application's own."""
SIGNAL = re.compile(r"-[A-Z0-9+]+", re.ASCII)
MAIN_PID_BRACED = re.compile(r"(?<!\$)\$\{MAINPID\}")


def path_of(command: Command, unit: Unit, meanings: Meanings) -> str:
    """Where the program is; "" where only systemd can tell."""
    if not meanings.is_known(command.program):
        return ""
    path = os.path.normpath(meanings.expanded(command.program))
    if path.startswith("/"):
        return path
    listed = [place for setting in unit.values("ExecSearchPath") for place in setting.value.split(":")]
    for place in [meanings.expanded(item) for item in listed] or SEARCHED:
        if os.access(os.path.join(place, path), os.X_OK):
            return os.path.join(place, path)
    raise ResolveError(
        "a program of the unit isn't there",
        subject=f"{path}: not found where systemd looks for it",
        hint="install it, or write its full path into the unit",
    )


def written_path(command: Command, unit: Unit, meanings: Meanings) -> str:
    """The program's path with its specifiers, for systemd to replace."""
    if command.program.startswith(("/", "%")):
        return command.program
    return path_of(command, unit, meanings).replace("%", "%%")


def is_shown(command: Command, unit: Unit, meanings: Meanings) -> bool:
    """Whether every box shows a program."""
    path = path_of(command, unit, meanings)
    return os.path.realpath(path).startswith(SHOWN) if path else command.program.startswith(SHOWN)


def is_plain_kill(command: Command) -> bool:
    """Whether a command is nothing but a signal to the main process, sent by the system's own program."""
    words = [word.value for word in command.words]
    if command.program not in KILLS or not os.path.realpath(command.program).startswith("/usr/"):
        return False
    if "@" in command.prefixes or not command.expands or not words:
        return False
    *options, target = words
    if options[-1:] == ["--"]:
        options.pop()
    if len(options) == 2 and options[0] in ("-s", "--signal"):
        options = [f"-{options[1].removeprefix('-')}"]
    elif len(options) == 1:
        options = [options[0].replace("--signal=", "-", 1)]
    return target in ("$MAINPID", "${MAINPID}") and (
        not options or (len(options) == 1 and SIGNAL.fullmatch(options[0]) is not None)
    )


class Lines:
    """The unit's commands as the drop-in has them: key → lines; and what there is to say of them."""

    def __init__(
        self,
        unit: Unit,
        kind: str,
        meanings: Meanings,
        launcher: str,
        policy: str,
        settings: tuple[str, ...],
        *,
        files: tuple[str, ...] = (),
        boxes_kill: bool = False,
    ) -> None:
        """`files` are those of EnvironmentFile=; with `boxes_kill` no command at all stays outside."""
        self._unit, self._meanings, self._launcher = unit, meanings, launcher
        self._policy, self._settings, self._files, self._boxes_kill = policy, settings, files, boxes_kill
        # all keys: what comes into the unit later has no effect, until it is wrapped again
        self.lines: dict[str, list[str]] = {key: [] for key in (*IN_OWN_BOX, *IN_MAIN_BOX)}
        self.notes: list[str] = []
        for key in (*IN_OWN_BOX, *IN_MAIN_BOX):
            joins = key in IN_MAIN_BOX and kind != "oneshot"
            for setting in unit.values(key):
                for command in commands(setting.value):
                    self.lines[key].append(self._line(command, key, joins=joins))
        if kind == "oneshot" and sum(map(len, self.lines.values())) > 1:
            self.notes.append(
                "each command has a box of its own: what one leaves in /tmp, the next doesn't see"
            )

    def _line(self, command: Command, key: str, *, joins: bool) -> str:
        if is_plain_kill(command) and not self._boxes_kill:
            return " ".join([f"{command.prefixes}{command.program}", *(word.text for word in command.words)])
        expands = command.expands
        verb = ("unit", "control", *(("--ends",) if key == "ExecStop" else ())) if joins else ("run",)
        ours = [quoted(word, expands=expands) for word in (*verb, "--policy", self._policy)]
        for setting in self._settings:
            ours += ["--set", quoted(setting, expands=expands, specifiers=True)]
        for path in self._files:
            ours += file_words(path, expands=expands)
        prefixes = command.prefixes.replace("@", "")
        rest = [_rewritten(word, command, joins=joins) for word in command.words[_called(command) :]]
        return " ".join(
            [f"{prefixes}{first_word(self._launcher)}", *ours, "--", *self._started(command), *rest]
        )

    def _started(self, command: Command) -> Iterator[str]:
        """The program, called by the name that "@" gives it."""
        path = path_of(command, self._unit, self._meanings)
        if path and not os.path.exists(path) and "-" not in command.prefixes:
            self.notes.append(f"{path} isn't there now")
        written = written_path(command, self._unit, self._meanings)
        program = quoted(written, expands=command.expands, specifiers=True)
        if "@" not in command.prefixes:
            yield program
            return
        if not command.words:
            raise ResolveError("a command with @ has no name to be called by", subject=command.program)
        name = command.words[0].value
        if command.expands and name.startswith("$") and name[1:2] not in ("{", "$"):
            raise ResolveError(
                "cannot call a program by a name that isn't known",
                subject=f"@{command.program} {name}: the variable may hold no word, or several",
                hint=f"write the name itself, or ${{{name[1:]}}}, which is one word",
            )
        if not os.path.exists(SHELL):
            raise ResolveError(
                "cannot call a program by another name",
                subject=f"@{command.program}: {SHELL}, which does it, isn't there",
                hint="install bash, or take the @ and the name out of the unit",
            )
        yield from (SHELL, "-c", quoted(AS_ARGV0, expands=command.expands), command.words[0].text, program)


def _called(command: Command) -> int:
    return 1 if "@" in command.prefixes else 0


def _rewritten(word: Word, command: Command, *, joins: bool) -> str:
    """A word as it was, but for the main process's number, which is another one in its box."""
    if not joins or not command.expands:
        return word.text
    if word.value == "$MAINPID":
        return MAIN_PID
    return MAIN_PID_BRACED.sub(MAIN_PID, word.text)

"""
Shells to complete in: a person at the keyboard of bash and zsh, and fish's own way of asking.

What comes in: the session's environment, a command line. What goes out: what the shell offers, as it would be typed.
"""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ANSWERS = 20.0
"""Seconds that a shell has for one answer."""


class Typed:
    """A shell on a terminal of its own, until `close`."""

    def __init__(self, words: list[str], env: Mapping[str, str], directory: Path) -> None:
        pid, self._terminal = pty.fork()
        if pid == 0:
            os.chdir(directory)
            os.execve(words[0], words, dict(env))
        self._pid = pid

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def read_until(self, end: str) -> str:
        """What the shell shows, up to and without `end`."""
        shown, last = b"", time.monotonic() + ANSWERS
        while end.encode() not in shown:
            ready, _, _ = select.select([self._terminal], [], [], max(0, last - time.monotonic()))
            assert ready, f"no answer but {shown!r}"
            shown += os.read(self._terminal, 65536)
        return shown.decode(errors="replace").partition(end)[0]

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)


Complete = Callable[[str], list[str]]


def bash(program: str, script: Path, env: Mapping[str, str], directory: Path) -> tuple[Typed, Complete]:
    """Offers are what readline's insert-completions puts into the line."""
    shell = Typed(
        [program, "--norc", "--noprofile", "-i"],
        {**env, "TERM": "dumb", "PS1": "", "HISTFILE": ""},
        directory,
    )
    shell.type(
        "bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; bind '\"\\C-xq\": insert-completions'; "
        "show() { printf '<%s>>>\\n' \"$READLINE_LINE\"; }; bind -x '\"\\C-xp\": show'; "
        f"source '{script}'; printf 'rea%s\\n' dy\n"
    )
    shell.read_until("ready\r\n")

    def complete(line: str) -> list[str]:
        shell.type(f"\x15{line}\x18q\x18p")
        text = shell.read_until(">>>").rpartition("<")[2]
        typed = line.rpartition(" ")[0]
        assert text.startswith(typed), text
        return text[len(typed) :].split()

    return shell, complete


def zsh(program: str, script: Path, env: Mapping[str, str], directory: Path) -> tuple[Typed, Complete]:
    """Offers are what reaches compadd and fits there."""
    shell = Typed([program, "-f", "-i"], {**env, "TERM": "dumb", "PS1": ""}, directory)
    shell.type(
        f"fpath=('{script.parent}' $fpath); autoload -Uz compinit; compinit -u -D; PROMPT=; "
        "unsetopt zle_bracketed_paste; "
        "setopt no_beep no_list_beep no_always_last_prompt; LISTMAX=100000; typeset -ga offered; "
        'compadd() { if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\\ * ]]; then builtin compadd "$@"; return; fi; '
        'local -a fit; builtin compadd -O fit "$@"; offered+=($IPREFIX${^fit}); builtin compadd "$@"; }; '
        'show() { offered=(); zle complete-word; print -r -- "<${(j: :)offered}>>>"; BUFFER=; }; zle -N show; '
        "bindkey '^Xp' show; print rea''dy\n"
    )
    shell.read_until("ready\r\n")

    def complete(line: str) -> list[str]:
        shell.type(f"\x15{line}\x18p")
        return shell.read_until(">>>").rpartition("<")[2].split()

    return shell, complete


def fish(program: str, script: Path, env: Mapping[str, str], directory: Path) -> Complete:
    """Offers are what `complete -C` prints."""

    def complete(line: str) -> list[str]:
        done = subprocess.run(
            [program, "--no-config", "-c", 'source $argv[1]; complete -C "$argv[2]"', str(script), line],
            env={**env, "TERM": "dumb"},
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=ANSWERS,
            check=True,
        )
        assert "" == done.stderr
        return [offer.partition("\t")[0] for offer in done.stdout.splitlines()]

    return complete

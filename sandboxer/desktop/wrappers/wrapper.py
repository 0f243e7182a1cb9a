"""
An entry that starts its application in a box: the text of the origin, with other commands.

What comes in: the text of an entry or of a service, the policy, the launcher. What goes out: the text that goes before
it in the user's directory. Pure: it looks at nothing but what it is given, and `Lookup` finds programs.

Each Exec is rewritten, in whatever group it stands, with a locale or without: a desktop of one's own making may read
any of them. The words behind the program stay as they are written. A line whose program isn't the one that the policy
starts runs that program in a box of the same policy (`run --policy`), so that no action leaves it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence

from sandboxer.desktop.wrappers.entries import ENTRY, SERVICE, is_true
from sandboxer.desktop.wrappers.exec_line import Word, exec_word, split, without_deprecated, without_fields
from sandboxer.desktop.wrappers.key_file import KeyFile, escape
from sandboxer.desktop.wrappers.programs import SHIM_MARK, Candidate, command, is_same
from sandboxer.words import Record

ORIGIN, POLICY, DIGEST = "X-Sandboxer-Origin", "X-Sandboxer-Policy", "X-Sandboxer-Digest"
FROM_MENU = "--from-menu"
ACTION = "Desktop Action "

Lookup = Callable[[str], str]
"""The absolute path of a program that is named in an Exec line; "" when it isn't installed."""


class Target(Record):
    """Into which box, and by which launcher (an absolute path)."""

    launcher: str
    policy: Candidate


class CannotWrap(Exception):
    """Why an entry has no wrapper, in words."""


def digest(content: bytes) -> str:
    """What tells one content of a file from another."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def wrapped(content: bytes, origin: str, target: Target, lookup: Lookup) -> bytes:
    """
    The wrapper of an entry.

    Args:
        content: of the origin. origin: its path.
    Raises:
        CannotWrap: a command can't be understood.
    """
    text = KeyFile(content)
    main = text.text(ENTRY, "Exec")
    found = False
    for pair in list(text.pairs()):
        if pair.bare_key == "Exec":
            found = found or (pair.group, pair.key) == (ENTRY, "Exec")
            text.put(pair.line, escape(boxed(pair.text, target, lookup)))
    if not found:  # an entry that is only ever activated by D-Bus
        text.set(ENTRY, "Exec", escape(" ".join((*_start(target), "%U"))))
    bare = _bare(main, target, lookup)
    for group in text.groups():
        if group.startswith(ACTION) and text.get(group, "Exec") is None:
            text.set(group, "Exec", escape(bare))
    if text.get(ENTRY, "DBusActivatable") is not None:
        text.set(ENTRY, "DBusActivatable", "false")
    program = _program(main, target, lookup)
    tried = text.text(ENTRY, "TryExec")
    if needed := lookup(tried) if tried else program:
        text.set(ENTRY, "TryExec", escape(needed))
    text.set(ENTRY, ORIGIN, escape(origin))
    text.set(ENTRY, POLICY, target.policy.name)
    text.set(ENTRY, DIGEST, digest(content))
    return text.content()


def boxed(line: str, target: Target, lookup: Lookup) -> str:
    """A command that starts what `line` starts, in a box. Raises CannotWrap."""
    try:
        words = split(line)
    except ValueError as error:
        raise CannotWrap(not_understood(error)) from error
    at = command(words)
    head: list[str] = []
    if at.environment:
        head = ["env", *(word.raw for word in at.environment)]
    rest = [word.raw for word in without_deprecated(at.rest)]
    if at.program == "gapplication" or os.path.basename(at.program) == "gapplication":
        rest = [word.raw for word in _opened(at.rest)]
        return " ".join((*head, *_start(target), *rest))
    path = lookup(at.program)
    if path and is_same(path, target.policy):
        return " ".join((*head, *_start(target), *rest))
    run = ("run", "--policy", exec_word(target.policy.name), "--", exec_word(path or at.program))
    return " ".join((*head, exec_word(target.launcher), FROM_MENU, *run, *rest))


def service(name: str, origin: str, target: Target) -> bytes:
    """A D-Bus service file whose program owns the name and starts the application in its box."""
    lines = (
        "# Written by `sandbox install`; `sandbox install --undo` takes it away.",
        f"# It goes before {escape(origin)}, so that D-Bus starts the application in its box.",
        f"[{SERVICE}]",
        f"Name={name}",
        f"Exec={_service_word(target.launcher)} install --serve {name}",
        "",
    )
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def shim(program: str, target: Target) -> bytes:
    """A program for the shell that starts another one, by its path, in a box."""
    words = [_shell_word(target.launcher)]
    if is_same(program, target.policy):
        words.append(target.policy.name)
    else:
        words += ["run", "--policy", target.policy.name, "--", _shell_word(program)]
    lines = (
        "#!/bin/sh",
        f"{SHIM_MARK.decode()}; `sandbox install --undo` takes it away.",
        f'exec {" ".join(words)} "$@"',
        "",
    )
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def program_of(content: bytes, lookup: Lookup) -> str:
    """The path of the program that an entry starts; "" when that can't be told, or it isn't installed."""
    try:
        return lookup(command(split(KeyFile(content).text(ENTRY, "Exec"))).program)
    except ValueError:
        return ""


def not_understood(error: ValueError) -> str:
    """Why a command isn't split into words, in words."""
    return f"its command can't be understood: {error}"


def is_activated_alone(text: KeyFile) -> bool:
    """Whether an entry has no command, because D-Bus is to start it."""
    return is_true(text, "DBusActivatable") and text.get(ENTRY, "Exec") is None


def _start(target: Target) -> tuple[str, ...]:
    return exec_word(target.launcher), FROM_MENU, exec_word(target.policy.name)


def _bare(main: str, target: Target, lookup: Lookup) -> str:
    """The entry's own command without what it opens: for actions that only D-Bus could have told apart."""
    if not main:
        return " ".join(_start(target))
    try:
        kept = without_fields(split(main))
    except ValueError as error:
        raise CannotWrap(not_understood(error)) from error
    return boxed(" ".join(word.raw for word in kept), target, lookup)


def _program(main: str, target: Target, lookup: Lookup) -> str:
    """What must be there for the entry to be shown."""
    try:
        path = lookup(command(split(main)).program) if main else ""
    except ValueError:
        path = ""
    if os.path.basename(path) == "gapplication":
        path = ""
    return path or target.policy.program


def _opened(words: Sequence[Word]) -> tuple[Word, ...]:
    """Of `gapplication launch ID FILE…`, what is opened."""
    return tuple(without_deprecated(words[2:])) if words[:1] and words[0].text == "launch" else ()


def _service_word(text: str) -> str:
    """A word of a service file's Exec: D-Bus splits it as a shell does, and has no field codes."""
    return exec_word(text).replace("%%", "%")


def _shell_word(text: str) -> str:
    import shlex

    return shlex.quote(text)

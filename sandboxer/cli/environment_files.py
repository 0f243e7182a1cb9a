"""
Variables from files, for the box alone: `sandbox run --env-file [-]PATH`.

What comes in: a request that names files. What goes out: the same request without them, in which the names that the
files assign to are let in; and the values, under names that nothing outside the box heeds. So a file may lie where the
application can change it. No link that a box could have made is followed.

Source: systemd.exec(5), EnvironmentFile=; parse_env_file_internal() of systemd (since 254, as to comments).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from sandboxer.cli.descriptors import opened_path
from sandboxer.cli.request import EnvironmentFile, Request, run_request
from sandboxer.desktop.units.environment import PASSED_BY_THE_LAUNCHER
from sandboxer.errors import LaunchError
from sandboxer.policy.checks import check_variable
from sandboxer.words import changed

INSIDE = "SANDBOXER_INSIDE_"
"""Before a variable's name: the value is for the box, and for nothing outside. See launchers/environment.c."""
SIZE_MAX = 64 * 1024
"""Bytes of all files together: the kernel takes 128 KiB in one word of a command line."""
WHITESPACE, LINE_ENDS, COMMENTS = " \t\n\r", "\n\r", "#;"
NEEDS_ESCAPE = '"\\`$'
"""What loses the backslash before it in double quotes."""


def with_variables(request: Request) -> tuple[Request, dict[str, str]]:
    """
    Read the files of a request, and ask for their names instead. Later files win.

    Returns:
        The request, and what is to be added to the launcher's environment.
    Raises:
        LaunchError: a file can't be read, or must not be.
    """
    found: dict[str, str] = {}
    left = SIZE_MAX
    for file in request.environment_files:
        content = _content(file, left)
        left -= len(content)
        found |= _proper(content, file.path)
    words = ["--set", f"environment.keep={_listed(found)}"] if found else []
    end = request.rest.index("--")
    asked = run_request([*request.rest[:end], *words, *request.rest[end:]], debug=request.debug)
    return changed(asked, files=request.files), {f"{INSIDE}{name}": value for name, value in found.items()}


def assignments(text: str) -> Iterator[tuple[str, str]]:
    """Names and values as a file has them, one after another; what a name may be isn't asked here."""
    at = 0
    while at < len(text):
        if text[at] in WHITESPACE:
            at += 1
        elif text[at] in COMMENTS:
            at = _end_of_line(text, at)
        else:
            end = at + 1
            while end < len(text) and text[end] not in f"={LINE_ENDS}":
                end += 1
            if text[end : end + 1] != "=":  # a line that assigns nothing
                at = end
                continue
            value, after = _value(text, end + 1)
            yield text[at:end].rstrip(WHITESPACE), value
            at = after


def _end_of_line(text: str, at: int) -> int:
    while at < len(text) and text[at] not in LINE_ENDS:
        at += 1
    return at


def _value(text: str, at: int) -> tuple[str, int]:
    """A value, and where it ends: quoted pieces, which may span lines, and bare ones, with escapes."""
    found, trailing, bare = "", 0, False
    while at < len(text) and (letter := text[at]) not in LINE_ENDS:
        at += 1
        if letter == "\\":
            bare, trailing = True, 0
            found += text[at : at + 1].strip(LINE_ENDS)  # a line's end is eaten up
            at += 1
        elif not bare and letter in "'\"":
            piece, at = _quoted(text, at, letter)
            found += piece
        elif bare or letter not in WHITESPACE:
            bare = True
            trailing = trailing + 1 if letter in WHITESPACE else 0
            found += letter
    return found[: len(found) - trailing], at


def _quoted(text: str, at: int, quote: str) -> tuple[str, int]:
    """What stands between quotes, and where it goes on; one that isn't closed holds the rest."""
    found = ""
    while at < len(text) and (letter := text[at]) != quote:
        at += 1
        if letter == "\\" and quote == '"' and at < len(text):
            following = text[at]
            at += 1
            found += following if following in NEEDS_ESCAPE else "" if following == "\n" else f"\\{following}"
        elif letter != "\\" or quote == "'":
            found += letter
    return found, at + 1


def _proper(content: bytes, path: str) -> dict[str, str]:
    """Those that can be variables of a program; the others are passed over, as systemd does."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LaunchError(
            "cannot understand a file of variables", subject=f"{path}: it isn't UTF-8"
        ) from error
    if "\0" in text:
        raise LaunchError("cannot understand a file of variables", subject=f"{path}: it has zero bytes")
    return {
        name: value
        for name, value in assignments(text)
        if check_variable(name) is None and name not in PASSED_BY_THE_LAUNCHER
    }


def _listed(names: dict[str, str]) -> str:
    """TOML: names have no letter that Python would write otherwise."""
    return str([*names])


def _content(file: EnvironmentFile, size_max: int) -> bytes:
    try:
        found = opened_path(file.path)
        try:
            facts = os.fstat(found)
            if not stat.S_ISREG(facts.st_mode) or facts.st_uid not in (0, os.getuid()):
                raise LaunchError(
                    "refuses to take variables from what isn't a file of yours, or the system's",
                    subject=file.path,
                    hint="name a file that is yours",
                )
            with open(f"/proc/self/fd/{found}", "rb") as opened:
                content = opened.read(size_max + 1)
        finally:
            os.close(found)
    except OSError as error:
        if file.optional and isinstance(error, FileNotFoundError | NotADirectoryError):
            return b""
        raise LaunchError(
            "cannot read a file of variables",
            subject=f"{file.path}: {error.strerror}",
            hint=f"where it may be absent: --env-file -{file.path}"
            if isinstance(error, FileNotFoundError)
            else "",
        ) from error
    if len(content) > size_max:
        raise LaunchError(
            "too much in files of variables",
            subject=f"{file.path}: over {SIZE_MAX} bytes in all",
            hint="let the program read what is that large",
        )
    return content

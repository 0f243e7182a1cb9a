"""
What is wrong with a group of system calls, in plain words.

What comes in: a file that `deny` couldn't take. What goes out: the error with the line, what was expected, and the
nearest thing that would be right. It is only ever imported once something is wrong.
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches

from sandboxer.errors import PolicyError
from sandboxer.policy.deny import Call, Condition
from sandboxer.policy.diagnosis import syntax_error
from sandboxer.policy.locate import Place, locate
from sandboxer.words import Origin

_KEYS = {
    "": ("summary", "call"),
    "call": tuple(Call.__struct_encode_fields__),
    "when": tuple(Condition.__struct_encode_fields__),
}


def explain(content: bytes, error: Exception, file: str) -> PolicyError:
    """The error for the user, from the one of the decoder, of tomllib or of msgspec."""
    if isinstance(error, UnicodeDecodeError):
        line = content[: error.start].count(b"\n") + 1
        return PolicyError(
            "a group of system calls isn't text",
            subject="it isn't UTF-8",
            origin=Origin(file, line),
            hint="save it as UTF-8",
        )
    if isinstance(error, (tomllib.TOMLDecodeError, RecursionError)):
        return syntax_error(content.decode(), error, file)
    wrong, _, where = str(error).partition(" - at `$")
    place = _place(where.rstrip("`"))
    keys = _KEYS[next((str(part) for part in reversed(place) if part in ("call", "when")), "")]
    quoted = wrong.split("`")[1] if "`" in wrong else ""
    if "unknown field" in wrong:
        near = get_close_matches(quoted, keys, n=1, cutoff=0.5)
        hint = f"write {near[0]}" if near else f"take it out; known here: {', '.join(keys)}"
        return _problem(f'there is no key "{quoted}" here', content, file, (*place, quoted), hint)
    if "missing required field" in wrong:
        return _problem(f'the key "{quoted}" is missing', content, file, place, f"add {quoted} = ...")
    subject = wrong[:1].lower() + wrong[1:] if wrong else str(error)
    return _problem(
        subject, content, file, place, f"known keys here: {', '.join(keys)}; see policies/deny/mount.toml"
    )


def place_of(content: bytes, file: str, *place: str | int) -> Origin:
    """The line where this place of the file begins, or where the nearest thing around it does."""
    lines = locate(content.decode())
    for length in range(len(place), 0, -1):
        if place[:length] in lines:
            return Origin(file, lines[place[:length]])
    return Origin(file, 1)


def _problem(subject: str, content: bytes, file: str, place: Place, hint: str) -> PolicyError:
    return PolicyError(
        "a group of system calls can't be understood",
        subject=subject,
        origin=place_of(content, file, *place),
        hint=hint,
    )


def _place(path: str) -> Place:
    """ ".call[3].when[0]" as ("call", 3, "when", 0)."""
    parts: list[str | int] = []
    for piece in path.replace("[", ".").replace("]", "").split("."):
        if piece.isdigit():
            parts.append(int(piece))
        elif piece and piece != "...":
            parts.append(piece)
    return tuple(parts)

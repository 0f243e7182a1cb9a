"""
The command of a desktop entry: words, quotes, field codes.

What comes in: the text of an Exec key, the escapes of strings taken off. What goes out: words, each as it is written
and as it is meant; and text that every desktop reads as those words. It never looks for a program.

Words that stay are passed on as they are written: what an entry's author has tried out, quotes that the specification
doesn't know included, means afterwards what it meant before.

Source: desktop entry specification 1.5, "The Exec key"; words are split as GLib does (g_shell_parse_argv).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote_to_bytes, urlsplit

from sandboxer.words import Record

BLANKS = " \t\n"
IN_QUOTES = '"`$\\\n'
"""What a backslash is for within double quotes."""
RESERVED = re.compile(r"[\s\"'\\><~|&;$*?#()`]")
DEPRECATED = re.compile(r"%(?:%|[dDnNvm])")
FIELD = re.compile(r"%(.)")
LISTS, SINGLE = ("%F", "%U"), ("%f", "%u")


class Word(Record):
    """`raw` is as written, `text` without quotes; field codes are still in both."""

    raw: str
    text: str


class Fields(Record):
    """What field codes stand for: links or paths that are opened, and what the entry says of itself."""

    files: tuple[str, ...] = ()
    icon: str = ""
    name: str = ""
    location: str = ""


def split(line: str) -> tuple[Word, ...]:
    """
    The words of a command.

    Raises:
        ValueError: a quote isn't closed, or it has no words.
    """
    words: list[Word] = []
    at = 0
    while at < len(line):
        if line[at] in BLANKS:
            at += 1
            continue
        start = at
        text, at = _word(line, start)
        words.append(Word(raw=line[start:at], text=text))
    if not words or not words[0].text:
        raise ValueError("no program is named")
    return tuple(words)


def _word(line: str, at: int) -> tuple[str, int]:
    """The text of the word that starts here, and where it ends."""
    made: list[str] = []
    while at < len(line) and line[at] not in BLANKS:
        letter = line[at]
        if letter in "\"'":
            text, at = _quoted(line, at)
            made.append(text)
            continue
        if letter == "\\":
            at += 1
            if at == len(line):
                raise ValueError("it ends in a backslash")
            letter = line[at]
        made.append(letter)
        at += 1
    return "".join(made), at


def _quoted(line: str, at: int) -> tuple[str, int]:
    quote, made = line[at], []
    at += 1
    while at < len(line) and line[at] != quote:
        if quote == '"' and line[at] == "\\" and line[at + 1 : at + 2] and line[at + 1] in IN_QUOTES:
            at += 1
        made.append(line[at])
        at += 1
    if at == len(line):
        raise ValueError("a quote isn't closed")
    return "".join(made), at + 1


def exec_word(text: str) -> str:
    """A word that means this text, without field codes."""
    text = text.replace("%", "%%")
    if text and not RESERVED.search(text):
        return text
    return '"' + re.sub(r'(["`$\\])', r"\\\1", text) + '"'


def without_deprecated(words: Sequence[Word]) -> Iterator[Word]:
    """The words without the field codes that the specification has retired, which desktops leave out, too."""
    for word in words:
        raw, text = (DEPRECATED.sub(_keep_percent, part) for part in (word.raw, word.text))
        if text or text == word.text:
            yield Word(raw=raw, text=text)


def _keep_percent(match: re.Match[str]) -> str:
    return match.group() if match.group() == "%%" else ""


def without_fields(words: Sequence[Word]) -> tuple[Word, ...]:
    """The words that don't stand for what is opened."""
    return tuple(word for word in words if word.text not in (*LISTS, *SINGLE))


def expand(words: Sequence[str], fields: Fields) -> list[list[str]]:
    """
    What is to be started, each a list of words: once, or for each file where the command takes one at a time.
    """
    if fields.files[1:] and set(SINGLE).intersection(words) and not set(LISTS).intersection(words):
        alone = [
            Fields(files=(file,), icon=fields.icon, name=fields.name, location=fields.location)
            for file in fields.files
        ]
        return [_expanded(words, one) for one in alone]
    return [_expanded(words, fields)]


def _expanded(words: Sequence[str], fields: Fields) -> list[str]:
    made: list[str] = []
    for word in words:
        if word in (*LISTS, *SINGLE):
            given = fields.files if word in LISTS else fields.files[:1]
            made += [path_of(file) for file in given] if word in ("%f", "%F") else given
        elif word == "%i":
            made += ["--icon", fields.icon] if fields.icon else []
        else:
            made.append(FIELD.sub(lambda match: _one(match.group(1), fields), word))
    return made


def _one(letter: str, fields: Fields) -> str:
    """A field code within a word."""
    first = next(iter(fields.files), "")
    values = {"%": "%", "c": fields.name, "k": fields.location, "i": fields.icon}
    if letter in "uU":
        return first
    if letter in "fF":
        return path_of(first)
    return values.get(letter, "")


def is_link(text: str) -> bool:
    """Whether it can be handed on: it is no option, and where it names a file, that has an absolute path."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    path = unquote_to_bytes(parts.path)
    named = parts.scheme != "file" or (path.startswith(b"/") and b"\0" not in path)
    return named and bool(text) and not text.startswith("-") and "\0" not in text


def path_of(link: str) -> str:
    """The path that a file: link names, absolute; whatever else it is stays as it is."""
    try:
        parts = urlsplit(link)
    except ValueError:
        return link
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return link
    path = unquote_to_bytes(parts.path).decode("utf-8", "surrogateescape")
    return path if path.startswith("/") and "\0" not in path else link

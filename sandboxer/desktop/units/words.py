"""
Command lines of systemd units: words, quotes, escapes, prefixes, and back.

What comes in: the value of an Exec line, or a word to be written into one. What goes out: commands whose words keep the
very text that the unit has, so that systemd itself goes on to expand specifiers and variables; and quoted words. It
never expands anything.

Source: systemd.service(5), "COMMAND LINES"; config_parse_exec() and extract_first_word() of systemd.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sandboxer.errors import ResolveError
from sandboxer.words import Record

WHITESPACE = " \t\n\r"
QUOTES = "'\""
PREFIXES = "-@:+!"
ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
SAME = "\\\"'"
NUMBERED = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}
OCTAL_DIGITS = 3
ESCAPED_FIRST = " \t\n\"'\\;"
"""What is written by its number in a command's first word, where quotes would stand before its prefixes."""
PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+", re.ASCII)


class Word(Record):
    """One word: `text` as the unit has it, quotes and escapes included, and `value`, what it means."""

    text: str
    value: str


class Command(Record):
    """
    One command of an Exec line.

    `prefixes` are its modifiers, in their order; `program` is the first word without them, specifiers not expanded;
    `words` are the others: with "@" the first of them is what the program is called by.
    """

    prefixes: str
    program: str
    words: tuple[Word, ...]

    @property
    def expands(self) -> bool:
        """Whether systemd replaces $VARIABLES in it."""
        return ":" not in self.prefixes


def commands(value: str) -> Iterator[Command]:
    """
    The commands of an Exec line: several are separated by a semicolon that stands alone.

    Raises:
        ResolveError: systemd wouldn't understand it either, or it has a prefix that came after this was written.
    """
    at = _skip(value, 0)
    while at < len(value):
        first, at = _word(value, at)
        prefixes, program = _split_prefixes(first.value)
        if not program or program.startswith("|") or program.endswith("/"):
            raise ResolveError(
                "cannot understand a command of the unit",
                subject=f"{value}: {'a login shell (|)' if program.startswith('|') else 'there is no program'}",
                hint="write the program with its full path",
            )
        words: list[Word] = []
        while (at := _skip(value, at)) < len(value):
            if _stands_alone(value, at, ";"):
                at = _skip(value, at + 1)
                break
            if _stands_alone(value, at, "\\;"):
                words.append(Word(text="\\;", value=";"))
                at += 2
                continue
            word, at = _word(value, at)
            words.append(word)
        yield Command(prefixes=prefixes, program=program, words=tuple(words))


def split(value: str) -> tuple[str, ...]:
    """What the words of a list mean (Environment=, PassEnvironment=). Raises ResolveError as `commands`."""
    found, at = [], _skip(value, 0)
    while at < len(value):
        word, at = _word(value, at)
        found.append(word.value)
        at = _skip(value, at)
    return tuple(found)


def quoted(text: str, *, expands: bool = True, specifiers: bool = False) -> str:
    """
    A word as it has to be written so that systemd takes it for this text.

    Args:
        expands: the command's variables are replaced. specifiers: the text has some that are to be expanded.
    """
    if not specifiers:
        text = text.replace("%", "%%")
    if expands:
        text = text.replace("$", "$$")
    if PLAIN.fullmatch(text.replace("%", "").replace("$", "")):
        return text
    if text.isprintable() and "'" not in text and "\\" not in text and text:
        return f"'{text}'"
    return '"' + "".join(_escaped(letter) for letter in text) + '"'


def _escaped(letter: str) -> str:
    if letter in '\\"':
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))


def _skip(value: str, at: int) -> int:
    while at < len(value) and value[at] in WHITESPACE:
        at += 1
    return at


def _stands_alone(value: str, at: int, mark: str) -> bool:
    end = at + len(mark)
    return value.startswith(mark, at) and (end == len(value) or value[end] in WHITESPACE)


def _split_prefixes(word: str) -> tuple[str, str]:
    """The modifiers, each as often as systemd takes it; a letter more belongs to the program's name."""
    at = 0
    while at < len(word) and word[at] in PREFIXES:
        before = word[:at]
        bangs = before.count("!")
        again = word[at] in before and not (word[at] == "!" and bangs == 1)
        excluded = (word[at] == "+" and bangs > 0) or (word[at] == "!" and "+" in before)
        if again or excluded:
            break
        at += 1
    return word[:at], word[at:]


def _word(value: str, start: int) -> tuple[Word, int]:
    """The word that begins at `start`, and where it ends."""
    found, at, quote = "", start, ""
    while at < len(value):
        letter = value[at]
        if letter == "\\":
            piece, at = _escape(value, at)
            found += piece
        elif quote:
            if letter == quote:
                quote = ""
            else:
                found += letter
            at += 1
        elif letter in QUOTES:
            quote = letter
            at += 1
        elif letter in WHITESPACE:
            break
        else:
            found += letter
            at += 1
    if quote:
        raise ResolveError("a quote in the unit isn't closed", subject=value[start:])
    # bytes that were written by their numbers may make a letter together
    means = found.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    return Word(text=value[start:at], value=means), at


def _escape(value: str, at: int) -> tuple[str, int]:
    """What the escape at a backslash means; one that systemd doesn't know stays as it is, as there."""
    if at + 1 == len(value):
        raise ResolveError("a line of the unit ends within an escape", subject=value)
    letter = value[at + 1]
    if letter in SAME:
        return letter, at + 2
    if letter in ESCAPES:
        return ESCAPES[letter], at + 2
    if letter in NUMBERED:
        digits, base = NUMBERED[letter]
        text, end = value[at + 2 : at + 2 + digits], at + 2 + digits
    else:
        digits, base, text, end = (
            OCTAL_DIGITS,
            8,
            value[at + 1 : at + 1 + OCTAL_DIGITS],
            at + 1 + OCTAL_DIGITS,
        )
    try:
        code = int(text, base) if len(text) == digits and text.isalnum() and text.isascii() else 0
    except ValueError:
        code = 0
    if not 0 < code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF or (base == 8 and code > 0xFF):
        return value[at : at + 2], at + 2
    return (chr(code) if letter in "uU" else _byte(code)), end


def _byte(code: int) -> str:
    return bytes((code,)).decode("utf-8", "surrogateescape")

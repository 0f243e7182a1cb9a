"""
What the three scripts have in common: which words follow which.

What comes in: the grammar, the model, the shipped policies. What goes out: tables, as plain texts. The kind of a word
has the name of `grammar.Kind`; where one of several given words is meant, it is "=" and those words.
"""

from __future__ import annotations

import os

from sandboxer.cli import grammar
from sandboxer.cli.grammar import Operand, Option, Verb
from sandboxer.paths import data_dir
from sandboxer.policy.keys import keys
from sandboxer.words import Record

SHIPPED = ("apps", "sets", "deny")
HELP_LENGTH_MAX = 72
HELP = ("--help", "print the help")


class Tables(Record):
    """
    `values` has the kind of what an option takes, by "VERB OPTION"; `operands` the kinds by verb, the last with "*"
    where it can be repeated; `options` names and meanings by verb; `settings` what a key may be; `shipped` the names
    of policies by their directory.
    """

    verbs: tuple[tuple[str, str], ...]
    first: tuple[tuple[str, str], ...]
    values: dict[str, str]
    operands: dict[str, tuple[str, ...]]
    options: dict[str, tuple[tuple[str, str], ...]]
    settings: dict[str, tuple[str, ...]]
    keys: tuple[str, ...]
    shipped: dict[str, tuple[str, ...]]


def tables() -> Tables:
    """Those of this version."""
    verbs = grammar.verbs()
    found = grammar.with_parts(verbs)
    return Tables(
        verbs=tuple((verb.name, _short(verb.does)) for verb in verbs),
        first=(*grammar.GLOBAL, HELP),
        values={
            f"{verb.name} {name}": _kind(option)
            for verb in found
            for option in verb.options
            for name in option.names
            if option.metavar
        },
        operands={verb.name: _operands(verb) for verb in found},
        options={
            verb.name: tuple((option.names[-1], _short(option.help)) for option in verb.options)
            for verb in found
        },
        settings={key.name: key.values for key in keys().values() if key.values},
        keys=tuple(keys()),
        shipped={kind: _shipped(kind) for kind in SHIPPED},
    )


def quoted(text: str) -> str:
    """A word as bash, zsh and fish all read it, whatever is in it: in single quotes."""
    assert "\\" not in text, text  # fish would read it
    return "'" + text.replace("'", "\u2019") + "'"


def _short(text: str) -> str:
    """One line of what --help says, its first sentence or clause."""
    text = " ".join(text.split()).removesuffix(".")
    for end in (". ", "; ", ": "):
        if len(text) > HELP_LENGTH_MAX:
            text = text.partition(end)[0]
    return text


def _operands(verb: Verb) -> tuple[str, ...]:
    if verb.parts:
        return ("=" + " ".join(part.name.rpartition(" ")[2] for part in verb.parts),)
    return tuple(f"{_kind(operand)}{'*' if operand.many else ''}" for operand in verb.operands)


def _kind(word: Option | Operand) -> str:
    if word.choices:
        assert all(" " not in choice for choice in word.choices), word.choices
        return "=" + " ".join(word.choices)
    return word.kind.value


def _shipped(kind: str) -> tuple[str, ...]:
    files = sorted(os.listdir(os.path.join(data_dir("policies"), kind)))
    return tuple(file.removesuffix(".toml") for file in files if file.endswith(".toml"))

"""
What is wrong with a policy, in plain words.

What comes in: a text or a document that `parse` couldn't take. What goes out: errors with the line, what was
expected, and the nearest thing that would be right. It is only ever imported once something is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any

import msgspec

from sandboxer.errors import PolicyError
from sandboxer.policy.checks import check
from sandboxer.policy.keys import Key, either, keys, tables, toml
from sandboxer.policy.locate import Place
from sandboxer.words import Origin

Where = Callable[[Place], Origin]
"""The line of a key or an item, by its place."""

_SYNTAX = {
    "Invalid value": ("there is no value here that TOML knows", 'put text in quotes: home = "private"'),
    "Invalid statement": ("expected KEY = VALUE or [TABLE]", 'write, for example, home = "private"'),
    "Expected '=' after a key": (
        "expected = after a key",
        'write KEY = VALUE; a key has no spaces, and no ":"',
    ),
    "Expected ']'": ("a table's name isn't closed", "write [TABLE] on a line of its own"),
    "Expected ']]'": ("a table's name isn't closed", "write [TABLE] on a line of its own"),
    "Expected newline": ("something follows the value", "put each key on a line of its own"),
    "Illegal character": (
        "a text isn't closed, or holds a character that must be escaped",
        'end the text with "',
    ),
    'Expected "': ("a text isn't closed", "add the missing quote"),
    "Unterminated string": ("a text isn't closed", "add the missing quote"),
    "Unclosed array": ("a list isn't closed, or a comma is missing", 'write ["one", "two"]'),
    "Unclosed inline table": ("a { } table isn't closed on its line", "write a [table] of its own instead"),
    "Cannot overwrite a value": ("a key stands twice", "take one of the two out"),
    "Duplicate inline table key": ("a key stands twice", "take one of the two out"),
    "Cannot declare": ("a table stands twice", "put all its keys under one [table]"),
    "Cannot mutate": ("a table or list that is complete is added to", "put all of it in one place"),
    "Unescaped": ("a backslash in a text", r'write "\\" for a backslash, or put the text in single quotes'),
    "Invalid initial character": ("a table or key has no name", "write [TABLE] or KEY = VALUE"),
    "Exceeds the limit": ("a number is absurdly long", "no limit is so large"),
}

_WHY = {"limits.tasks": "the box's own first process is one of them"}
"""Of keys whose bounds don't speak for themselves: the reason."""


def syntax_error(text: str, error: Exception, file: str) -> PolicyError:
    """What tomllib couldn't read, with line and column."""
    message = str(error)
    if isinstance(error, RecursionError):
        return PolicyError(
            "a policy isn't valid TOML",
            subject="it is nested too deeply",
            origin=Origin(file, 1),
            hint="policies have tables and lists, none in another",
        )
    line, column = _position(text, message)
    unknown = (message.partition(" (at ")[0], "see https://toml.io")
    wrong, hint = next((words for start, words in _SYNTAX.items() if message.startswith(start)), unknown)
    return PolicyError(
        "a policy isn't valid TOML",
        subject=f"line {line}, column {column}: {wrong}",
        origin=Origin(file, line),
        hint=hint,
    )


def _position(text: str, message: str) -> tuple[int, int]:
    """Line and column out of tomllib's message; the end of the text where it says so, or says nothing."""
    _, found, place = message.rpartition(" (at line ")
    if found:
        line, _, column = place.rstrip(")").partition(", column ")
        return int(line), int(column)
    ended = text.rstrip()
    return ended.count("\n") + 1, len(ended) - (ended.rfind("\n") + 1) + 1


def type_errors(plain: dict[str, Any], data: dict[str, Any], where: Where) -> Iterator[PolicyError]:
    """Unknown keys and values of the wrong type. `plain` is `data` as the model is to take it."""
    sections = {table.name for table in tables() if table.name}
    for name, value in plain.items():
        if name in keys():
            yield from _value_errors(keys()[name], value, data[name], (name,), where)
        elif name not in sections:
            yield _unknown("", name, value, where((name,)))
        elif isinstance(value, dict):
            yield from _section_errors(name, value, data[name], where)
        else:
            yield _not_a_table(name, value, where((name,)))


def _section_errors(
    section: str, plain: dict[str, Any], data: dict[str, Any], where: Where
) -> Iterator[PolicyError]:
    for name, value in plain.items():
        key = keys().get(f"{section}.{name}")
        if key is not None:
            yield from _value_errors(key, value, data[name], (section, name), where)
        else:
            yield _unknown(section, name, value, where((section, name)))


def _unknown(section: str, name: str, value: object, origin: Origin) -> PolicyError:
    thing = "table" if isinstance(value, dict) else "key"
    place = f"[{section}]" if section else "a policy"
    return PolicyError(
        f"a policy has an unknown {thing}",
        subject=f"{place} has no {thing} {toml(name)}",
        origin=origin,
        hint=_nearest_key(section, name),
    )


def _nearest_key(section: str, name: str) -> str:
    """The key of this table, of another one, or the table, that was most likely meant."""
    spelt = name.lower().replace("_", "-")
    prefix = f"{section}." if section else ""
    here = {key.removeprefix(prefix): key for key in keys() if key.startswith(prefix)}
    here = {short: key for short, key in here.items() if "." not in short}
    if not section:
        here.update({table.name: f"[{table.name}]" for table in tables() if table.name})
    if near := get_close_matches(spelt, here, n=1, cutoff=0.6):
        return f"write {here[near[0]]}"
    elsewhere = {key.rpartition(".")[2]: key for key in reversed(keys())}
    if near := get_close_matches(spelt, elsewhere, n=1, cutoff=0.7):
        return f"write {elsewhere[near[0]]}"
    if near := get_close_matches(f"{prefix}{spelt}", keys(), n=1, cutoff=0.7):
        return f"write {near[0]}"
    known = sorted(here)
    return f"take it out; known here: {', '.join(known)}"


def _not_a_table(name: str, value: object, origin: Origin) -> PolicyError:
    rows = isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
    wrong = f"[[{name}]] is a list of tables" if rows else f"{name} = {_short(value)}"
    first = next(key for key in keys() if key.startswith(f"{name}."))
    hint = f"write [{name}] once" if rows else f"write [{name}] with keys under it, such as {first}"
    return PolicyError(
        "a policy has a value of the wrong kind",
        subject=f"{wrong}: expected a table",
        origin=origin,
        hint=hint,
    )


def _value_errors(
    key: Key, plain: object, value: object, place: Place, where: Where
) -> Iterator[PolicyError]:
    if _fits(plain, key.annotation):
        return
    if isinstance(value, list) and key.default == "[]":
        for index, item in enumerate(value):
            bare = item[1:] if isinstance(item, str) and item.startswith("!") and key.choices else item
            if bare != "*" and not _fits([bare], key.annotation):
                expected = (
                    either([toml(choice) for choice in key.choices]) if key.choices else "text in quotes"
                )
                hint = _item_hint(key, item)
                yield _wrong(
                    f"{key.name}: item {index + 1} is {_short(item)}", expected, hint, where((*place, index))
                )
    elif isinstance(value, dict) and key.default == "{}":
        for name, item in value.items():
            if not isinstance(item, str):
                hint = f'write {name} = "{_bare(item)}"'
                yield _wrong(f"{name} = {_short(item)}", "text in quotes", hint, where((*place, name)))
    else:
        why = f": {_WHY[key.name]}" if key.name in _WHY and isinstance(value, int) else ""
        hint = _value_hint(key, value)
        yield _wrong(f"{key.name} = {_short(value)}", f"{key.expects}{why}", hint, where(place))


def _wrong(subject: str, expected: str, hint: str, origin: Origin) -> PolicyError:
    return PolicyError(
        "a policy has a value of the wrong kind",
        subject=f"{subject}: expected {expected}",
        origin=origin,
        hint=hint,
    )


def _fits(value: object, annotation: object) -> bool:
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        return False
    return True


def _value_hint(key: Key, value: object) -> str:
    """What to write instead, from what was written."""
    name = key.name
    if key.default == "[]":
        if isinstance(value, str):
            return f"write {name} = [{toml(value)}]"
        return f"write {name} = {key.example}"
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str) and key.default != "{}":
        value = value[0]
        if not key.choices or value in key.choices:
            return f"write {name} = {toml(value)}, without brackets"
    word = str(value).lower()
    if (
        key.example.isdigit()
        and word.isdigit()
        and isinstance(value, str)
        and _fits(int(word), key.annotation)
    ):
        return f"write {name} = {word}, without quotes"
    if "true" in key.expects and word in ("true", "yes", "on", "1", "enabled", "allow"):
        return f"write {name} = true, without quotes"
    if "true" in key.expects and word in ("false", "no", "off", "0", "disabled", "deny", "none"):
        return f"write {name} = false, without quotes"
    spelt = word.replace("_", "-").replace(" ", "-")
    if near := get_close_matches(spelt, key.choices, n=1, cutoff=0.5):
        return f"write {name} = {toml(near[0])}"
    if key.expects == "text in quotes":
        complaint = check(name, _bare(value))  # what is advised has to be right
        return complaint.hint if complaint and complaint.hint else f'write {name} = "{_bare(value)}"'
    return f"write {name} = {key.example}"


def _item_hint(key: Key, item: object) -> str:
    if isinstance(item, list):
        return "write one list, with no list in it"
    if near := get_close_matches(str(item).lower(), key.choices, n=1, cutoff=0.5):
        return f"write {toml(near[0])}"
    if key.choices:
        return f"take it out, or write {either([toml(choice) for choice in key.choices])}"
    return f'write "{_bare(item)}"'


def _bare(value: object) -> str:
    return (
        toml(value) if isinstance(value, bool) else "..." if isinstance(value, (dict, list)) else str(value)
    )


def _short(value: object) -> str:
    written = toml(value)
    return written if len(written) <= 60 else f"{written[:57]}..."

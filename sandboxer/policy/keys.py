"""
The model as a list: each key with its type in plain words.

What comes in: the model. What goes out: what error messages, the JSON Schema and the reference say of each
key. It is slow to make and is never needed to load a right policy.
"""

from __future__ import annotations

from functools import cache
from typing import get_type_hints

import msgspec
from msgspec import inspect

from sandboxer.policy.model import Policy
from sandboxer.words import Record


class Key(Record):
    """
    One key of the model.

    `name` is dotted ("files.read"); `expects` its type in words ('true, false or "if-present"'); `choices`
    the words that it may be (of a list: that its items may be), empty where any text will do; `values` all that
    one word of the command line may set it to, empty where that can't be told or takes TOML; `example` a value, as
    TOML.
    """

    name: str
    expects: str
    choices: tuple[str, ...]
    values: tuple[str, ...]
    default: str
    description: str
    example: str
    annotation: object


class Table(Record):
    """One table of the model; `name` is empty for the top."""

    name: str
    description: str
    keys: tuple[Key, ...]


@cache
def tables() -> tuple[Table, ...]:
    """Every table, in the model's order, the top one first."""
    top, rest = _table("", Policy)
    return (top, *rest)


@cache
def keys() -> dict[str, Key]:
    """Every key by its dotted name."""
    return {key.name: key for table in tables() for key in table.keys}


def _table(name: str, record: type[Record]) -> tuple[Table, list[Table]]:
    hints = get_type_hints(record, include_extras=True)
    info = inspect.type_info(record)
    assert isinstance(info, inspect.StructType)
    found: list[Key] = []
    below: list[Table] = []
    for field in info.fields:
        dotted = f"{name}.{field.encode_name}" if name else field.encode_name
        if isinstance(field.type, inspect.StructType) and issubclass(field.type.cls, Record):
            below.append(_table(dotted, field.type.cls)[0])
        else:
            found.append(_key(dotted, field, hints[field.name]))
    return Table(name=name, description=_first_sentence(record), keys=tuple(found)), below


def _first_sentence(record: type[Record]) -> str:
    return " ".join((record.__doc__ or "").split())


def _key(name: str, field: inspect.Field, annotation: object) -> Key:
    kind = field.type
    description = ""
    if isinstance(kind, inspect.Metadata):
        description = (kind.extra_json_schema or {}).get("description", "")
        kind = kind.type
    default = field.default if field.default is not msgspec.NODEFAULT else {}
    return Key(
        name=name,
        expects=_words(kind),
        choices=_choices(kind),
        values=_values(kind),
        default=toml(default),
        description=description,
        example=_example(kind),
        annotation=annotation,
    )


def toml(value: object) -> str:
    """A value as TOML writes it, on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            return "[" + ", ".join(toml(item) for item in value) + "]"
        case dict():
            inner = ", ".join(f"{key} = {toml(item)}" for key, item in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case str():
            return msgspec.json.encode(value).decode()
    return str(value)


def either(words: tuple[str, ...] | list[str]) -> str:
    """ "a", "a or b", "a, b or c"."""
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _words(kind: inspect.Type) -> str:
    match kind:
        case inspect.StrType():
            return "text in quotes"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number from {kind.ge} to {kind.le}"
        case inspect.LiteralType():
            return either([toml(value) for value in kind.values])
        case inspect.UnionType():
            return either(["true", "false", *(toml(word) for word in _choices(kind))])
        case inspect.VarTupleType(item_type=inspect.LiteralType() as item):
            return f"a list of {either([toml(value) for value in item.values])}"
        case inspect.VarTupleType():
            return "a list of texts"
        case inspect.DictType():
            return "a table of texts"
    raise TypeError(f"the model has a type that has no words: {kind}")


def _choices(kind: inspect.Type) -> tuple[str, ...]:
    match kind:
        case inspect.LiteralType():
            return tuple(str(value) for value in kind.values)
        case inspect.UnionType():
            return tuple(choice for part in kind.types for choice in _choices(part))
        case inspect.VarTupleType():
            return _choices(kind.item_type)
    return ()


def _values(kind: inspect.Type) -> tuple[str, ...]:
    match kind:
        case inspect.BoolType():
            return ("true", "false")
        case inspect.LiteralType():
            return _choices(kind)
        case inspect.UnionType():
            return tuple(value for part in kind.types for value in _values(part))
    return ()


def _example(kind: inspect.Type) -> str:
    match kind:
        case inspect.BoolType() | inspect.UnionType():
            return "true"
        case inspect.IntType():
            return "100"
        case inspect.LiteralType():
            return toml(kind.values[0])
        case inspect.VarTupleType(item_type=inspect.LiteralType() as item):
            return toml([item.values[0]])
        case inspect.VarTupleType():
            return '["..."]'
        case inspect.DictType():
            return '{ NAME = "value" }'
    return '"..."'

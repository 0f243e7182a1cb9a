"""
One policy file's bytes → a typed Layer.

What comes in: the bytes, and the file's name as the user knows it. What goes out: only the keys that are
present, each with its line; or a PolicyError that names the file, the line, what is wrong and what to write.
It reads no file, and it never fills in defaults.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import msgspec

from sandboxer.errors import PolicyError, UsageError
from sandboxer.policy.checks import Complaint, check, check_variable
from sandboxer.policy.layer import COMMAND_LINE, Layer, Setting
from sandboxer.policy.locate import locate
from sandboxer.policy.model import Policy
from sandboxer.words import Origin, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sandboxer.policy.locate import Place

    Lines = Mapping[Place, int]


def parse(content: bytes, file: str) -> Layer:
    """
    Read one policy file.

    Raises:
        PolicyError: the first thing that is wrong with it, by line.
    """
    return _layer(*_document(content, file), file)


def problems(content: bytes, file: str) -> tuple[PolicyError, ...]:
    """All that is wrong with a policy file, by line: for linters. Empty for a file that `parse` takes."""
    try:
        data, lines = _document(content, file)
    except PolicyError as error:
        return (error,)
    return tuple(_complaints(data, lines, file))


def salvage(content: bytes, file: str) -> Layer:
    """What is right of a policy file, however much is wrong with it: for linters, which have told the rest."""
    try:
        data, lines = _document(content, file)
    except PolicyError:
        return Layer(file=file, settings=())
    kept = []
    for setting in _settings(data, lines):
        value = setting.value
        if isinstance(value, tuple):
            right = [index for index, item in enumerate(value) if _is_right(setting.key, [item])]
            numbers = tuple(setting.lines[index] for index in right)
            items = tuple(value[index] for index in right)
            if _is_right(setting.key, list(items)):
                kept.append(Setting(key=setting.key, value=items, line=setting.line, lines=numbers))
        elif _is_right(setting.key, value):
            kept.append(setting)
    return Layer(file=file, settings=tuple(kept))


def _is_right(key: str, value: object) -> bool:
    data: Any = value
    for part in reversed(key.split(".")):
        data = {part: data}
    try:
        msgspec.convert(_without_removals(data), Policy)
    except msgspec.ValidationError:
        return False
    return not any(_text_complaints(data, {}, ""))


def parse_setting(argument: str) -> Layer:
    """
    Read one `--set KEY=VALUE`.

    VALUE is TOML; a word that isn't TOML counts as text, and so does any variable's value.

    Raises:
        UsageError: there is no KEY or no "=".
        PolicyError: as for a file.
    """
    key, equals, value = argument.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UsageError(
            "cannot understand --set",
            subject=f"{argument!r}: expected KEY=VALUE",
            hint="write, for example, --set network.access=host",
        )
    parts = key.split(".")
    data: Any = _setting_value(key, value.strip(), is_text=parts[:2] == ["environment", "set"])
    for part in reversed(parts):
        data = {part: data}
    return _layer(data, {}, COMMAND_LINE)


def policy_of(tree: dict[str, Any]) -> Policy:
    """A merged tree of plain values as a Policy; what the tree doesn't hold has its default."""
    return msgspec.convert(tree, Policy)


def _setting_value(key: str, value: str, *, is_text: bool) -> Any:
    try:
        data = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError) as error:
        if is_text or (value and value[0] not in "\"'[{" and "\n" not in value):
            return value
        raise PolicyError(
            "a setting's value is neither a word nor TOML",
            subject=f"{key}={value}",
            origin=Origin(COMMAND_LINE, 0, key),
            hint=f"""write --set '{key}="text"' or --set '{key}=["one", "two"]'""",
        ) from error
    found = data["value"]
    if is_text and not (isinstance(found, str) and len(data) == 1):
        return value
    if len(data) != 1:
        raise PolicyError(
            "a setting has more than one line",
            subject=f"{key}={value!r}",
            origin=Origin(COMMAND_LINE, 0, key),
            hint="use --set once for each key",
        )
    return found


def _document(content: bytes, file: str) -> tuple[dict[str, Any], Lines]:
    text = _decode(content, file)
    try:
        return tomllib.loads(text), locate(text)
    except (ValueError, RecursionError) as error:
        from sandboxer.policy.diagnosis import syntax_error

        raise syntax_error(text, error, file) from error


def _decode(content: bytes, file: str) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise PolicyError(
            "a policy isn't text in UTF-8",
            subject=f"byte {error.start + 1} (0x{content[error.start]:02x}) is no character",
            origin=Origin(file, content.count(b"\n", 0, error.start) + 1),
            hint="save the file as UTF-8",
        ) from error
    if text.startswith("\ufeff"):
        raise PolicyError(
            "a policy isn't valid TOML",
            subject="it begins with a byte order mark",
            origin=Origin(file, 1),
            hint="save the file as UTF-8 without BOM",
        )
    return text


def _layer(data: dict[str, Any], lines: Lines, file: str) -> Layer:
    try:
        msgspec.convert(_without_removals(data), Policy)
    except msgspec.ValidationError as error:
        raise _complaints(data, lines, file)[0] from error
    for complaint in _text_complaints(data, lines, file):
        raise complaint
    return Layer(file=file, settings=tuple(_settings(data, lines)))


def _complaints(data: dict[str, Any], lines: Lines, file: str) -> list[PolicyError]:
    """Everything that is wrong, by line."""
    from sandboxer.policy.diagnosis import type_errors

    def where(place: Place) -> Origin:
        return Origin(file, lines.get(place, 0), ".".join(str(part) for part in place[:2]))

    found = [*type_errors(_without_removals(data), data, where), *_text_complaints(data, lines, file)]
    return sorted(found, key=lambda error: error.origin.line if error.origin else 0)


def _without_removals(data: dict[str, Any]) -> dict[str, Any]:
    """The same, less the "!" of items that must be one of a few words: "!i386" is as right as "i386"."""
    for table, key in CHOSEN:
        section = data.get(table)
        chosen = section.get(key) if isinstance(section, dict) else None
        if isinstance(chosen, list):
            words = [
                item[1:] if isinstance(item, str) and item.startswith("!") else item
                for item in chosen
                if item != "!*"
            ]
            data = {**data, table: {**section, key: words}}  # type: ignore[dict-item]  # it is a dict here
    return data


def _settings(data: dict[str, Any], lines: Lines) -> Iterator[Setting]:
    for place, value in _values(data):
        key, line = ".".join(place), lines.get(place, 0)
        if isinstance(value, list):
            items = tuple(lines.get((*place, index), 0) for index in range(len(value)))
            yield Setting(key=key, value=tuple(value), line=line, lines=items)
        elif isinstance(value, dict):
            items = tuple(lines.get((*place, name), 0) for name in value)
            yield Setting(key=key, value=value, line=line, lines=items)
        else:
            yield Setting(key=key, value=value, line=line)


def _values(data: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every key that holds a value, not a table of the model."""
    for name, value in data.items():
        if name in SECTIONS and isinstance(value, dict):
            for key, inner in value.items():
                yield (name, key), inner
        else:
            yield (name,), value


def _text_complaints(data: dict[str, Any], lines: Lines, file: str) -> Iterator[PolicyError]:
    """What types can't say; values of the wrong type are passed over."""
    for place, value in _values(data):
        key = ".".join(place)
        if isinstance(value, str):
            if complaint := check(key, value):
                yield _error(complaint, value, Origin(file, lines.get(place, 0), key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, str) and (complaint := check(key, item)):
                    yield _error(complaint, item, Origin(file, lines.get((*place, index), 0), key))
        elif isinstance(value, dict):
            for name, item in value.items():
                if not isinstance(item, str):
                    continue
                if complaint := check_variable(name) or check(key, item):
                    yield _error(complaint, name, Origin(file, lines.get((*place, name), 0), key))


def _error(complaint: Complaint, text: str, origin: Origin) -> PolicyError:
    return PolicyError(
        "a policy has a text that can't be right",
        subject=f"{msgspec.json.encode(text).decode()}: {complaint.wrong}",
        origin=origin,
        hint=complaint.hint,
    )


CHOSEN = (("syscalls", "foreign"), ("broker", "connect"))
"""Lists whose items are of a few words."""
SECTIONS = frozenset(
    name
    for name, default in zip(Policy.__struct_encode_fields__, Policy.__struct_defaults__, strict=True)
    if isinstance(default, Record)
)
"""The tables of a policy; read from the struct itself, since type hints cost a millisecond."""

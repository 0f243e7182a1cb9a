"""
Layers → one Effective policy.

What comes in: layers in the order in which they hold, later ones last. What goes out: the values that hold,
and for each value and each list item the line that made it. It reads nothing: see `layers`.

Later values win; lists are appended; "!X" takes away an earlier X, "!*" all of them; tables go key by key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandboxer.errors import PolicyError
from sandboxer.policy.effective import Effective
from sandboxer.policy.layer import Layer, Setting
from sandboxer.policy.parse import policy_of
from sandboxer.words import Origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ORDERED = frozenset({"arguments"})
"""Lists in which a word may stand twice, since its place means something."""

Items = dict[str | tuple[str, int], tuple[str, Origin]]
"""A list as it grows: what makes an item the same one → how it is written, and by which line."""


def merge(name: str, layers: Sequence[Layer], *, sets: Mapping[str, Origin], found: bool) -> Effective:
    """
    Apply layers, one over the other.

    Args:
        layers: those of the sets too, in order. Their `extends` has been followed and is passed over.
        sets: the sets that took part, in order, with the lines that extend them.
    Raises:
        PolicyError: a "!X" finds no X to take away.
    """
    origins: dict[tuple[str, str], Origin] = {}
    values: dict[str, Any] = {}
    lists: dict[str, Items] = {}
    for layer in layers:
        for setting in layer.settings:
            key, value = setting.key, setting.value
            if key == "extends":
                continue
            origins[key, ""] = layer.origin(setting)
            if isinstance(value, tuple):
                _extend(lists.setdefault(key, {}), layer, setting, value)
            elif isinstance(value, dict):
                values.setdefault(key, {}).update(value)
                for index, item in enumerate(value):
                    origins[key, item] = layer.origin(setting, index)
            else:
                values[key] = value
    for key, items in lists.items():
        values[key] = [text for text, _ in items.values()]
        for text, origin in items.values():
            origins.setdefault((key, text), origin)
    values["extends"] = list(sets)
    origins.update({("extends", item): origin for item, origin in sets.items()})
    return Effective(name=name, policy=policy_of(_tree(values)), origins=origins, found=found)


def merge_list(key: str, layers: Iterable[Layer]) -> tuple[tuple[str, Origin], ...]:
    """One list alone, each item with its line: `extends` is needed before the rest can be merged."""
    items: Items = {}
    for layer in layers:
        for setting in layer.settings:
            if setting.key == key and isinstance(setting.value, tuple):
                _extend(items, layer, setting, setting.value)
    return tuple(items.values())


def _extend(items: Items, layer: Layer, setting: Setting, added: tuple[str, ...]) -> None:
    for index, text in enumerate(added):
        if text == "!*":
            items.clear()
        elif text.startswith("!"):
            _take_away(items, text, layer.origin(setting, index))
        elif setting.key in ORDERED:
            count = len(items)
            while (text, count) in items:
                count += 1
            items[text, count] = (text, layer.origin(setting, index))
        else:
            identity = _identity(text)
            # Written differently ("?~/x" and "~/x"), the later one holds, in the earlier one's place.
            if identity not in items or items[identity][0] != text:
                items[identity] = (text, layer.origin(setting, index))


def _take_away(items: Items, text: str, origin: Origin) -> None:
    wanted = _identity(text[1:])
    gone = [identity for identity, (written, _) in items.items() if _identity(written) == wanted]
    for identity in gone:
        del items[identity]
    if not gone:
        raise _nothing_there(items, text, origin)


def _nothing_there(items: Items, text: str, origin: Origin) -> PolicyError:
    from difflib import get_close_matches

    there = [written for written, _ in items.values()]
    near = get_close_matches(text[1:], there, n=1) or there[:1]
    return PolicyError(
        "a policy takes away what no earlier layer grants",
        subject=f'"{text}": {origin.key} holds no "{text[1:]}" before it',
        origin=origin,
        hint=f'write "!{near[0]}", or take the line out' if near else "take the line out",
    )


def _identity(text: str) -> str:
    """What makes two items of a list the same: "?~/x", "~/x" and "~/x/" are one path."""
    return text.removeprefix("?").rstrip("/") or text


def _tree(values: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested tables."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        table, _, name = key.rpartition(".")
        (tree.setdefault(table, {}) if table else tree)[name] = value
    return tree

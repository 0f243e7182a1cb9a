"""
Files that a unit's commands name, and that their box won't have.

What comes in: the merged unit, and what its box shows. What goes out: paths that are there outside: `python3 %h/a.py`
names one. Which of them the program needs only the user can tell: it grants nothing, and no word hides a path that a
shell's script names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from sandboxer.desktop.units.commands import IN_MAIN_BOX, IN_OWN_BOX, SHOWN, is_plain_kill
from sandboxer.desktop.units.specifiers import Meanings
from sandboxer.desktop.units.text import Unit
from sandboxer.desktop.units.words import commands
from sandboxer.grants.paths import within

IN_EVERY_BOX = (*SHOWN, "/dev/", "/etc/", "/proc/", "/sys/")
"""Each box has these, as far as any has."""


def not_shown(unit: Unit, meanings: Meanings, shown: Sequence[str]) -> tuple[str, ...]:
    """
    The paths, each once.

    Args:
        shown: files and directories that this unit's box shows besides those of every box.
    """
    places = [os.path.realpath(place) for place in shown]
    found = dict.fromkeys(_named(unit, meanings))
    return tuple(path for path in found if not _is_shown(os.path.realpath(path), places))


def _named(unit: Unit, meanings: Meanings) -> Iterator[str]:
    """What is there of all that looks like a path: a word, or an option's value."""
    for key in (*IN_OWN_BOX, *IN_MAIN_BOX):
        for setting in unit.values(key):
            for command in commands(setting.value):
                for word in () if is_plain_kill(command) else command.words:
                    value = word.value.partition("=")[2] if word.value.startswith("-") else word.value
                    path = meanings.expanded(value) if meanings.is_known(value) else ""
                    if path.startswith("/") and os.path.lexists(path):
                        yield os.path.normpath(path)


def _is_shown(path: str, places: Sequence[str]) -> bool:
    return f"{path}/".startswith(IN_EVERY_BOX) or any(within(path, place) for place in places)

"""
Specifiers of units (%h, %i, ...), as far as their meaning is needed before systemd replaces them.

What comes in: a text of a unit, its name, the user's directories. What goes out: the text with each specifier replaced;
one that isn't known here becomes "*", for a pattern of file names. What is written into units keeps its specifiers.

Source: systemd.unit(5), "SPECIFIERS".
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping

from sandboxer.desktop.units.files import SUFFIX, instance_of
from sandboxer.words import Record

UNKNOWN = "*"
SPECIFIER = re.compile("%(.)")
ESCAPED = re.compile(r"\\x([0-9a-fA-F]{2})")
STATE_HOME_SINCE = 254
"""The first systemd whose user units keep state in $XDG_STATE_HOME; before, it is in the configuration."""


class Meanings(Record):
    """What specifiers stand for, by their letter."""

    known: Mapping[str, str]

    def expanded(self, text: str) -> str:
        """The text as systemd would have it, with "*" for what only it knows."""
        return SPECIFIER.sub(lambda match: self.known.get(match.group(1), UNKNOWN), text)

    def is_known(self, text: str) -> bool:
        """Whether all of a text's specifiers are known here."""
        return all(letter in self.known for letter in SPECIFIER.findall(text))


def meanings(
    name: str, user: str, uid: int, home: str, variables: Mapping[str, str], version: int
) -> Meanings:
    """
    The specifiers of a user unit.

    Args:
        variables: the session's environment. version: systemd's; 0 where it isn't known.
    """

    def base(variable: str, default: str) -> str:
        value = variables.get(variable, "")
        return value if value.startswith("/") else os.path.join(home, default)

    config, state = base("XDG_CONFIG_HOME", ".config"), base("XDG_STATE_HOME", ".local/state")
    kept = state if version >= STATE_HOME_SINCE else config
    known = {
        "%": "%",
        "h": home,
        "u": user,
        "U": str(uid),
        "E": config,
        "C": base("XDG_CACHE_HOME", ".cache"),
        "t": variables.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}",
        "S": kept,
        "L": os.path.join(kept, "log"),
        "T": "/tmp",  # noqa: S108
        "V": "/var/tmp",  # noqa: S108
    }
    prefix, instance, template = instance_of(name)
    last = prefix.rpartition("-")[2]
    known |= {"p": prefix, "P": _unescaped(prefix), "j": last, "J": _unescaped(last)}
    if "@" not in name or template:
        known |= {"n": name, "N": name.removesuffix(SUFFIX)}
        known |= {"i": instance, "I": _unescaped(instance), "f": f"/{_unescaped(instance or prefix)}"}
    return Meanings(known=known)


def _unescaped(text: str) -> str:
    return ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), text.replace("-", "/"))

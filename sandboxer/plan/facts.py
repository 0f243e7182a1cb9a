"""
What the session may know of a running box: lines for its state file.

What comes in: a Resolved record and the plan's flags. What goes out: lines `key=value`, at most FACTS_MAX bytes, each
closed by a newline (`steward.boxes` reads them). It asks nobody: a hole is one by the weight that the grant itself has.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sandboxer.grants.grant import Weight
from sandboxer.plan.ops import FACTS_MAX, PlanFlag

if TYPE_CHECKING:
    from sandboxer.resolve import Resolved

HOLE_MAX = 240
"""Characters of one hole."""
TOPICS_SIZE_MAX = 512
"""Bytes of the lines with topics: there are some ten of some ten letters."""
MORE_MAX = 40
"""Bytes that the last line, about those left out, can need."""
STRICT = "strict"
"""What holds where no policy has the application's name."""


def facts(resolved: Resolved, flags: PlanFlag) -> str:
    """
    Lines `network=none|host`, `policy=NAME`, `topic=TEXT` for each topic that holes are about ("display"), and
    `hole=TEXT`, once for each hole, as `explain` words it.

    Holes that there is no room for are counted in a last one; topics come before them.
    """
    network = "none" if flags & PlanFlag.PRIVATE_NETWORK else "host"
    text = f"network={network}\npolicy={_one_line(STRICT if resolved.notice else resolved.app)}\n"
    open_ones = [grant for grant in resolved.grants if grant.weight is Weight.HOLE]
    text += _topics(grant.topic for grant in open_ones)
    holes = list(dict.fromkeys(_one_line(grant.words) for grant in open_ones))
    size = len(os.fsencode(text))
    for number, hole in enumerate(holes):
        line = f"hole={hole}\n"
        size += len(os.fsencode(line))
        if size > FACTS_MAX - MORE_MAX:
            return f"{text}hole=and {len(holes) - number} more\n"
        text += line
    return text


def _topics(topics: Iterable[str]) -> str:
    """Their lines, as many as there is room for."""
    text = ""
    for topic in dict.fromkeys(map(_one_line, topics)):
        line = f"topic={topic}\n"
        if len(os.fsencode(text + line)) > TOPICS_SIZE_MAX:
            break
        text += line
    return text


def _one_line(text: str) -> str:
    """Printable, and not longer than it is of use: paths in it are whatever the user's files are called."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= HOLE_MAX else f"{shown[: HOLE_MAX - 1]}…"

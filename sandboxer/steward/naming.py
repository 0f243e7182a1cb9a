"""
Which running box a word of the command line means.

What comes in: the word, the boxes that run. What goes out: one of them, or the errors that tell which there are. A
process's number is followed up to its launcher by what the kernel says; nothing is believed of what a program says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sandboxer.errors import StewardError
from sandboxer.steward import descendants, services
from sandboxer.steward.boxes import Box

LISTED_MAX = 8
LIST = "sandbox ps"
CUTOFF = 0.6
"""How alike a name has to be to be proposed, of 1."""


def named(word: str, boxes: Sequence[Box], otherwise: Callable[[], str] = str) -> Box:
    """
    The one that a word means: its id, its launcher's pid, its application, when that has only one box, its service
    (with or without ".service"), or one of its processes.

    Args:
        otherwise: makes the hint for a word that means none and is like none; "" for the usual one.
    Raises:
        StewardError: none, or several.
    """
    found = meant(word, boxes)
    if len(found) == 1:
        return found[0]
    if found:
        raise StewardError(
            f"{word} runs {len(found)} times",
            subject=listed(found),
            hint=f"name one of them ({found[-1].id})",
        )
    raise unknown(word, boxes, otherwise)


def meant(word: str, boxes: Sequence[Box]) -> tuple[Box, ...]:
    """All that a word means, the oldest first; of an application, or of a service, there can be several."""
    exact = tuple(box for box in boxes if word in (box.id, str(box.monitor)))
    if exact or not word:
        return exact
    found = tuple(box for box in boxes if box.app == word)
    if found:
        return found
    wanted = word if word.endswith(services.SUFFIX) else f"{word}{services.SUFFIX}"
    found = tuple(box for box in boxes if services.service_of(box.monitor) == wanted)
    if found:
        return found
    box = of_process(word, boxes)
    return (box,) if box is not None else ()


def of_process(word: str, boxes: Sequence[Box]) -> Box | None:
    """The box that a process is in, or that a companion of the launcher's serves; the innermost."""
    if not (word.isascii() and word.isdigit()) or len(word) > 19:
        return None
    monitors = {box.monitor: box for box in boxes}
    table, pid = descendants.parents(), int(word)
    for _ in range(descendants.ANCESTORS_MAX):
        if pid in monitors:
            return monitors[pid]
        pid = table.get(pid, 0)
        if pid == 0:
            break
    return None


def unknown(word: str, boxes: Sequence[Box], otherwise: Callable[[], str] = str) -> StewardError:
    """The error for a word that means none."""
    return StewardError(
        "no such box runs",
        subject=f"{word}; {f'there are: {listed(boxes)}' if boxes else 'no box runs at all'}",
        hint=_like(word, boxes) or otherwise() or (LIST if boxes else ""),
    )


def listed(boxes: Sequence[Box]) -> str:
    """For messages: the ids, the newest last, and how many more there are."""
    shown = [box.id for box in boxes[-LISTED_MAX:]]
    more = len(boxes) - len(shown)
    return ", ".join([*shown, f"and {more} older ones"] if more > 0 else shown)


def _like(word: str, boxes: Sequence[Box]) -> str:
    """The name of one that runs and is like the word, as a question."""
    from difflib import get_close_matches

    if word.isdigit():  # numbers that are alike mean nothing
        return ""
    known = [box.app for box in boxes] + [services.service_of(box.monitor) for box in boxes]
    if word.rpartition(".")[2].isdigit():
        known += [box.id for box in boxes]
    near = get_close_matches(word, dict.fromkeys(filter(None, known)), n=1, cutoff=CUTOFF)
    return f"did you mean {near[0]}?" if near else ""

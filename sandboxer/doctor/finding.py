"""
What doctor finds: records, and nothing else.

A finding is one thing that was looked at. What comes in and goes out: values; no module decides here.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from sandboxer.doctor.child import Outcome, Steps
from sandboxer.words import Record


class State(Enum):
    """How a finding stands, the most serious first; the value is its name in JSON."""

    UNUSABLE = "unusable"
    """No box can be made."""
    DEGRADED = "degraded"
    """Boxes can be made, and something that sandboxer offers is missing here."""
    NOTE = "note"
    """Good to know; nothing is broken, and nothing that a box needs is missing."""
    SKIPPED = "skipped"
    """Not looked at: it needs something that has failed."""
    FINE = "fine"


class Finding(Record):
    """
    One result.

    `found` is what was seen, in a few words; `cause` why, a sentence; `remedy` one line, a command wherever one does;
    `lost` what doesn't work without it; `evidence` what the system itself said, line by line.
    """

    name: str
    title: str
    state: State
    found: str
    cause: str = ""
    remedy: str = ""
    lost: str = ""
    evidence: tuple[str, ...] = ()


class Verdict(Record):
    """A finding without its name: what a check's `judge` gives."""

    state: State
    found: str
    cause: str = ""
    remedy: str = ""
    lost: str = ""
    evidence: tuple[str, ...] = ()


class Check(Record):
    """
    One thing to look at.

    `work` runs in a child process and says which step it is at; its value has to be one that JSON has. `judge` makes of
    what became of it a verdict. `needs` are checks without which this one says nothing: where one of them has failed,
    it is skipped.
    """

    name: str
    title: str
    work: Callable[[Steps], Any]
    judge: Callable[[Outcome], Verdict]
    needs: tuple[str, ...] = ()
    seconds: float = 5.0


def fine(found: str) -> Verdict:
    """Nothing to do."""
    return Verdict(state=State.FINE, found=found)

"""
A grant: one permission, in words and in effect.

`explain` prints what `build` executes: both read the same records.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from sandboxer.plan.ops import EnvEntry, Op, PlanFlag
from sandboxer.words import HostPath, Origin, Record

if TYPE_CHECKING:
    from sandboxer.broker.rules import Outward, Rule, Service

    Brokered = Rule | Service | Outward


class Weight(IntEnum):
    """How much a grant opens, for the order and colour of `explain`: holes first."""

    HOLE = 0
    """Something in the session can be attacked through it (X11, the host's network, a writable home)."""
    ACCESS = 1
    """The user's own data or devices."""
    NOTICE = 2
    """Ordinary needs of programs (fonts, /usr)."""


class Grant(Record):
    """
    What one line of policy comes to on this machine.

    `topic` is the room it belongs to ("files", "display"), `words` one sentence as a person would say it, without a
    full stop ("can read and change ~/Downloads"), `detail` what makes it a hole or how it is bounded, may be empty.
    `brokered` is what the broker goes by, `hidden` what no rule of the broker's reaches.
    """

    topic: str
    words: str
    weight: Weight
    origin: Origin
    detail: str = ""
    ops: tuple[Op, ...] = ()
    environment: tuple[EnvEntry, ...] = ()
    flags: PlanFlag = PlanFlag(0)
    brokered: tuple[Brokered, ...] = ()
    hidden: tuple[HostPath, ...] = ()


class Withheld(Record):
    """What the box doesn't have, for `explain` ("no network", "no microphone")."""

    topic: str
    words: str

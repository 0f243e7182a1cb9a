"""
Whether there is anything to ask a broker for.

What comes in: `[broker]`. What goes out: what `brokered` makes of it, or the word that there is no broker. It is apart
from `brokered` because most policies have nothing in that table, and a compile is mostly imports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from sandboxer.grants.grant import Grant, Withheld
from sandboxer.host.view import Host
from sandboxer.policy.effective import Effective
from sandboxer.policy.model import Broker

if TYPE_CHECKING:
    from sandboxer.broker.rules import Rules

NOTHING = Broker()


def grants(effective: Effective, host: Host) -> Iterator[Grant | Withheld]:
    """All of `[broker]`; then the way to the broker, where there is anything to ask for."""
    found: list[Grant | Withheld] = []
    if effective.policy.broker != NOTHING:
        from sandboxer.grants import brokered

        found = list(brokered.grants(effective, host))
        yield from found
    if not any(isinstance(item, Grant) and item.brokered for item in found):
        yield Withheld(
            topic="broker", words="can't ask for more while it runs, nor have links opened outside"
        )


def rules_of(effective: Effective, host: Host, granted: Iterable[Grant]) -> Rules | None:
    """
    All that the broker goes by, but its own filter, which is made later; None where the box has no broker.

    Args:
        granted: every grant, those of `files.hidden` too.
    """
    granted = list(granted)
    if not any(grant.brokered for grant in granted):
        return None
    from sandboxer.grants import brokered

    return brokered.rules_of(effective, host, granted)

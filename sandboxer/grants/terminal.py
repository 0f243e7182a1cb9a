"""
The terminal that the application is started from.

What comes in: `[terminal]`. What goes out: nothing, or a switch by which the launcher takes the input away. It never
touches the terminals that the application makes itself: those are in a devpts instance of its own, and /dev/tty is
whichever terminal a process has.

Abuse: what is written to a terminal, the terminal interprets. A process that leaves the terminal's session keeps what
it has open, and the kernel no longer stops it from reading in the background: it would get what the user types at the
shell, passwords for sudo among it. Hence `output` for whatever has windows: the box has a session of its own, without a
terminal, so that /dev/tty leads nowhere; its descriptors are opened anew for writing only; and Landlock refuses to open
them for reading by their /proc names. Pushing characters into the terminal is refused by the filter in any case.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandboxer.grants import landlock
from sandboxer.grants.grant import Grant, Weight
from sandboxer.host.view import Host
from sandboxer.plan.ops import PlanFlag
from sandboxer.policy.effective import Effective


def grants(effective: Effective, host: Host) -> Iterator[Grant]:
    """One grant."""
    origin = effective.origin("terminal.access")
    if effective.policy.terminal.access == "full":
        yield Grant(
            topic="terminal",
            words="can read what is typed in the terminal that it is started from, and write there",
            detail="also while it runs in the background",
            weight=Weight.ACCESS,
            origin=origin,
        )
        return
    guarded = host.landlock_abi >= landlock.FILES_ABI
    yield Grant(
        topic="terminal",
        words="can write to the terminal that it is started from"
        + (", not read what is typed there" if guarded else ", and read what is typed there"),
        detail="" if guarded else "by opening it again; Linux 6.2 with Landlock would refuse it",
        weight=Weight.NOTICE if guarded else Weight.HOLE,
        origin=origin,
        flags=PlanFlag.TERMINAL_OUTPUT,
    )

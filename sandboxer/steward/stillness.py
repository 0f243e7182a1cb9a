"""
Whether anything in a box runs.

What comes in: the box's first process, which goes on by itself. What goes out: what all others do, and since when. The
box may be out to seem still: a process that lives for a moment, and starts another before it ends, is in no listing.
What it can't do without is to start processes, and the kernel counts those of the whole machine: a listing during which
none was started lacks nobody. And what has run has used the processor, of which the kernel keeps account: where two
such listings say the same, and by both all stand still, nothing has run between them, and nobody is left to let
anything go on.
"""

from __future__ import annotations

import contextlib
import os

from sandboxer.steward import descendants, processes
from sandboxer.words import Record

STOPPED = "TtZX"
WAITING = "D"
"""One that waits in the kernel: it stops when that is over, before it runs."""


class Look(Record):
    """
    What there is of a box: each thread by its process and its own number, with its state and the processor time that it
    has had. `is_whole`: nobody can have been missed.
    """

    threads: tuple[tuple[int, int, str, bytes], ...]
    is_whole: bool

    def is_still(self, *, with_waiting: bool) -> bool:
        """Whether none of those runs, or could at any moment."""
        fine = STOPPED + (WAITING if with_waiting else "")
        return all(state in fine for _, _, state, _ in self.threads)


def look(first: int) -> Look:
    """All threads of a box but those of its first process."""
    before = _started()
    table = descendants.parents()
    is_whole = before == _started() != "" and not _lost_way_up(table)
    threads = [one for pid in descendants.members_in(table, first) for one in _threads(pid)]
    return Look(threads=tuple(sorted(threads)), is_whole=is_whole)


def _lost_way_up(table: dict[int, int]) -> bool:
    """Whether one has ended meanwhile by whom others would have been known. A parent may be hidden, and lives then."""
    return any(
        above and above not in table and processes.parent(pid) != above for pid, above in table.items()
    )


def _threads(pid: int) -> list[tuple[int, int, str, bytes]]:
    """The first of a process's threads may have ended, and others run."""
    found = []
    with contextlib.suppress(OSError):  # it is gone
        for name in os.listdir(f"/proc/{pid}/task"):
            place = f"/proc/{pid}/task/{name}"
            fields = processes.fields(f"{place}/stat")
            spent = processes.read(f"{place}/schedstat") or b" ".join(fields[11:13])
            state = fields[0].decode("ascii", "replace") if fields else "X"
            found.append((pid, int(name), state, spent.partition(b" ")[0]))
    return found


def _started() -> str:
    """How many processes and threads the machine has started; "" where that isn't told. Source: proc_stat(5)."""
    lines = processes.read("/proc/stat").decode("ascii", "replace").splitlines()
    return next((line for line in lines if line.startswith("processes ")), "")

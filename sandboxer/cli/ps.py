"""
`sandbox ps`: the boxes that run.

What comes in: the words after the verb. What goes out: a table, or JSON; with --watch again and again. What it tells is
the launcher's (the state file, the plan's facts) and the kernel's; nothing is the application's to say.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

from sandboxer.cli import output
from sandboxer.cli.arguments import Parser
from sandboxer.cli.output import Block, Part, Table, Tone, line, quiet
from sandboxer.errors import StewardError
from sandboxer.host import session
from sandboxer.steward import boxes, freezing, naming, processes, services
from sandboxer.steward.boxes import Box
from sandboxer.words import Record

DOES = "Lists the boxes that run."
EXAMPLES = """\
  sandbox ps
  sandbox ps firefox
  sandbox ps --watch
  sandbox ps --json"""
EVERY_S = 2.0
LOOK_S = 1.0
"""For looking into the memory of processes; see `processes.usage`."""
CLEAR = "\x1b[H\x1b[2J"
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Row(Record):
    """
    One box. `pids` are all of its processes, outside, its first among them; `cpu_percent` of one processor, since it
    began or since the last look; `counted_by` is "cgroup" or "processes"; `service` is "" for what is none.
    """

    box: Box
    pids: tuple[int, ...]
    application: int
    is_frozen: bool
    memory_bytes: int
    cpu_s: float
    cpu_percent: float
    counted_by: str
    service: str = ""


def main(argv: list[str]) -> int:
    """List. Returns 0. Raises SandboxerError."""
    options = parser().parse_args(argv)
    before: dict[str, tuple[float, float]] = {}
    if options.box is not None:
        chosen(options.box, boxes.all_running(session.current()))
    while True:
        rows = look(before, options.box)
        now = time.time()
        if options.json:
            output.write(json.dumps(facts(rows), indent=None if options.watch else 2) + "\n")
        else:
            if options.watch:
                output.write(CLEAR if sys.stdout is not None and sys.stdout.isatty() else "")
            output.show(page(rows, now))
        if not options.watch:
            return 0
        before = {row.box.id: (time.monotonic(), row.cpu_s) for row in rows}
        time.sleep(EVERY_S)


def chosen(word: str, there: Sequence[Box]) -> tuple[Box, ...]:
    """The boxes that a word means: an application's are all of them. Raises StewardError: there is none."""
    found = naming.meant(word, there)
    if not found:
        raise naming.unknown(word, there)
    return found


def look(before: Mapping[str, tuple[float, float]], word: str | None = None) -> list[Row]:
    """
    The boxes as they are now.

    Args:
        before: when each was looked at last, by the monotonic clock, and the processor time that it had then.
        word: which are wanted; None for all.
    """
    there = boxes.all_running(session.current())
    wanted = there if word is None else naming.meant(word, there)
    until = time.monotonic() + LOOK_S
    found = (_row(box, before.get(box.id), until) for box in wanted)
    return [row for row in found if row is not None]


def _row(box: Box, before: tuple[float, float] | None, until: float) -> Row | None:
    try:
        found = processes.find(box)
    except StewardError:  # it is being made, or has just ended
        return None
    usage = processes.usage(found, until)
    since, cpu_s = before or (time.monotonic() - max(0.0, time.time() - box.started), 0.0)
    passed = time.monotonic() - since
    return Row(
        box=box,
        pids=found.members,
        application=found.application,
        is_frozen=freezing.is_frozen(box, found),
        memory_bytes=usage.memory_bytes,
        cpu_s=usage.cpu_s,
        cpu_percent=max(0.0, (usage.cpu_s - cpu_s) / passed * 100) if passed >= 0.1 else 0.0,
        counted_by=usage.counted_by,
        service=services.service_of(box.monitor),
    )


def page(rows: Sequence[Row], now: float) -> Iterable[Block]:
    """For people: a line of 80 columns for a box where that can be. Services have a column if there are any."""
    if not rows:
        yield line("No box runs.")
        return
    with_services = any(row.service for row in rows)
    headings = ("box", *(("unit",) if with_services else ()), "since", "memory", "cpu", "pids", "holes")
    yield Table(headings=headings, rows=tuple(_cells(row, now, with_services) for row in rows))


def _cells(row: Row, now: float, with_services: bool) -> tuple[Part, ...]:
    box = row.box
    return (
        Part(text=f"{box.id} (frozen)", tone=Tone.WARNING)
        if row.is_frozen
        else Part(text=box.id, tone=Tone.HEADING),
        *((Part(text=row.service),) if with_services else ()),
        Part(text=since(box.started, now)),
        Part(text=size(row.memory_bytes)),
        Part(text=f"{row.cpu_percent:.0f}% {row.cpu_s:.1f}s"),
        Part(text=_pids(row)),
        Part(text=_holes(box), tone=Tone.HOLE) if box.holes else quiet("none"),
    )


def _holes(box: Box) -> str:
    """What they are about, as in `sandbox list`; `sandbox inspect` has the sentences."""
    return ", ".join(box.topics) or f"{len(box.holes)}"


def _pids(row: Row) -> str:
    """The application's; the box's own first process isn't of interest to people, and others are counted."""
    pids = [row.application] if row.application else []
    pids += [pid for pid in row.pids[1:] if pid not in pids]
    more = f" +{len(pids) - 1}" if len(pids) > 1 else ""
    return f"{pids[0]}{more}" if pids else ""


def since(started: int, now: float) -> str:
    """The time of day, or the day where that was another."""
    then = time.localtime(started)
    today = time.localtime(now)[:3] == then[:3]
    return time.strftime("%H:%M" if today else "%Y-%m-%d", then)


def size(count: float) -> str:
    """Bytes as people read them."""
    unit = 0
    while count >= 1024 and unit < len(UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} {UNITS[unit]}" if count >= 10 or not unit else f"{count:.1f} {UNITS[unit]}"


def facts(rows: Sequence[Row]) -> dict[str, object]:
    """For machines."""
    return {
        "boxes": [
            {
                "application": row.box.app,
                "box": row.box.id,
                "policy": row.box.policy,
                "launcher": row.box.monitor,
                "process": row.application or None,
                "pids": list(row.pids),
                "started": row.box.started,
                "frozen": row.is_frozen,
                "memory-bytes": row.memory_bytes,
                "cpu-seconds": round(row.cpu_s, 3),
                "cpu-percent": round(row.cpu_percent, 1),
                "counted-by": row.counted_by,
                "network": row.box.network or None,
                "holes": list(row.box.holes),
                "topics": list(row.box.topics),
                "unit": row.service or None,
            }
            for row in rows
        ]
    }


def parser() -> Parser:
    """The verb's words."""
    words = Parser("ps", DOES, EXAMPLES)
    words.add_argument(
        "box",
        metavar="BOX",
        nargs="?",
        help="an application, a box's id, one of its processes' pid, or its service; all boxes unless said",
    )
    words.add_argument("--json", action="store_true", help="for machines; see sandboxer/cli/README.md")
    words.add_argument(
        "--watch", action="store_true", help=f"again every {EVERY_S:.0f} seconds, until Ctrl-C"
    )
    return words

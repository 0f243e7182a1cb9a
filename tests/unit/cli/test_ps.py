"""The table of running boxes, and its figures."""

from __future__ import annotations

import time

import pytest

from sandboxer.cli import ps
from sandboxer.cli.output import plain
from sandboxer.cli.ps import Row
from sandboxer.errors import StewardError
from sandboxer.steward.boxes import Box

NOW = 1_767_225_600


def row(*pids: int, application: int = 0, **facts: object) -> Row:
    box = Box(
        id="a.7",
        app="a",
        monitor=7,
        started=NOW,
        directory="/d",
        network=str(facts.get("network", "none")),
        holes=("can do whatever a client of the X server can, in many words", "\x1b[2J"),
        topics=facts.get("topics", ("display", "\x1b[2J")),  # type: ignore[arg-type] # texts
    )
    return Row(
        box=box,
        pids=pids,
        application=application,
        is_frozen=bool(facts.get("is_frozen")),
        memory_bytes=3 << 20,
        cpu_s=1.25,
        cpu_percent=12.4,
        counted_by="cgroup",
        service=str(facts.get("service", "")),
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10 << 20, "10 MiB"), (1536 << 20, "1.5 GiB")],
)
def test_sizes_are_short(count: int, text: str) -> None:
    assert text == ps.size(count)


def test_since_is_the_time_of_today_or_the_day() -> None:
    assert time.strftime("%H:%M", time.localtime(NOW)) == ps.since(NOW, NOW + 1)
    assert time.strftime("%Y-%m-%d", time.localtime(NOW)) == ps.since(NOW, NOW + 3 * 24 * 3600)


def test_a_box_is_one_line_with_the_application_s_pid_and_what_its_holes_are_about() -> None:
    head, line = plain(ps.page([row(1, 2, 3, 4, 5, 6, application=5)], NOW)).splitlines()
    assert ["BOX", "SINCE", "MEMORY", "CPU", "PIDS", "HOLES"] == head.split()
    assert "  5 +4  " in line
    assert line.endswith(r"  display, \x1b[2J")
    assert len(line) <= 80
    assert "a.7 (frozen)" in plain(ps.page([row(1, is_frozen=True)], NOW))
    assert plain(ps.page([row(1, topics=())], NOW)).endswith("  2\n")  # of a launcher that didn't tell them


def test_services_have_a_column_where_there_are_any() -> None:
    head, *lines = plain(ps.page([row(1, service="web.service"), row(2)], NOW)).splitlines()
    assert ["BOX", "UNIT", "SINCE"] == head.split()[:3]
    assert ["a.7", "web.service"] == lines[0].split()[:2]
    units = [one["unit"] for one in ps.facts([row(1, service="web.service"), row(2)])["boxes"]]  # type: ignore[attr-defined] # plain values
    assert ["web.service", None] == units


def test_a_word_chooses_all_boxes_of_an_application_or_one() -> None:
    there = [Box(id=f"a.{pid}", app="a", monitor=pid, started=pid, directory="/") for pid in (7, 8)]
    assert there == list(ps.chosen("a", there))
    assert [there[1]] == list(ps.chosen("a.8", there))
    with pytest.raises(StewardError, match="no such box runs"):
        ps.chosen("b", there)


def test_nothing_runs() -> None:
    assert "No box runs.\n" == plain(ps.page([], NOW))
    assert {"boxes": []} == ps.facts([])

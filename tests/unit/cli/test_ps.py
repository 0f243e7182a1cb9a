"""The table of running boxes, and its figures."""

from __future__ import annotations

import time

import pytest

from sandboxer.cli import ps
from sandboxer.cli.output import plain
from sandboxer.cli.ps import Row
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
        holes=("X11", "\x1b[2J"),
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


def test_the_application_comes_first_and_only_some_pids_are_shown() -> None:
    page = plain(ps.page([row(1, 2, 3, 4, 5, 6, application=5)], NOW))
    assert "5 2 3 +2" in page
    assert r"X11, \x1b[2J" in page
    assert "a.7 (frozen)" in plain(ps.page([row(1, is_frozen=True)], NOW))


def test_nothing_runs() -> None:
    assert "No box runs.\n" == plain(ps.page([], NOW))
    assert {"boxes": []} == ps.facts([])

"""
The scope's part of the benchmark: what it costs a start that the user manager makes a control group for the box.

What comes in: a directory and how often. What goes out: `Scoped`, and the table. Both competitors are the same start in
one real session (tests/sessions.py): one in the session's runtime directory, where the scope service listens, one in a
runtime directory without a user manager. Rounds alternate. Where no session can be made it says so, and misses nothing.
"""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path

from bench.machine import SANDBOX, program, stop
from sessions import DesktopSession, desktop_session

from sandboxer.words import Record

WARM = 3
MOST_MS = 8.0


class Scoped(Record):
    """Medians of each round in milliseconds, with the scope and without it. `why`: why there are none, or ""."""

    rounds: tuple[tuple[float, float], ...] = ()
    why: str = ""


def measure(directory: Path, rounds: int, runs: int) -> Scoped:
    """Both starts, as often as said."""
    import pytest

    place = directory / "scope"
    place.mkdir()
    try:
        with desktop_session(place) as desktop:
            return Scoped(rounds=tuple(_rounds(desktop, rounds, runs)))
    except (pytest.skip.Exception, pytest.fail.Exception) as error:
        return Scoped(why=str(error))


def _rounds(desktop: DesktopSession, rounds: int, runs: int) -> list[tuple[float, float]]:
    without = desktop.home / "runtime"
    without.mkdir(mode=0o700)
    export = desktop.home / "round.json"
    start = f"{SANDBOX} run --policy strict -- /bin/true"
    commands = [f"env XDG_RUNTIME_DIR={place} {start}" for place in (desktop.env["XDG_RUNTIME_DIR"], without)]
    for command in commands:  # compiles the plan; the first one starts the service, too
        if (done := desktop.run(*command.split())).returncode != 0:
            raise stop(f"a box can't be started in the session:\n{done.stderr}")
    listens = desktop.runtime / "sandboxer/scopes"
    desktop.until(listens.exists, "the scope service")
    found = []
    for number in range(rounds):
        order = commands if number % 2 else commands[::-1]
        words = [program("hyperfine"), "-N", "--style=none", f"--warmup={WARM}", f"--runs={runs}"]
        done = desktop.run(*words, "--export-json", str(export), *order, timeout_s=120)
        if done.returncode != 0:
            raise stop(f"hyperfine failed:\n{done.stdout}{done.stderr}")
        medians = {
            result["command"]: result["median"] * 1000 for result in json.loads(export.read_text())["results"]
        }
        found.append((medians[commands[0]], medians[commands[1]]))
    if len(os.listdir(without / "sandboxer")) == 0 or (without / "sandboxer/scopes").exists():
        raise stop("the start without a scope wasn't one")
    return found


def table(scoped: Scoped) -> int:
    """Print what was measured. Returns how many targets were missed."""
    if scoped.why:
        print(f"The scope's cost isn't measured: {scoped.why}")
        return 0
    cost = statistics.median(with_scope - without for with_scope, without in scoped.rounds)
    ours, theirs = (statistics.median(medians) for medians in zip(*scoped.rounds, strict=True))
    print("| what | with | without | costs | target | |")
    print("|---|---:|---:|---:|---:|---|")
    print(
        f"| a start in a scope of its own, service running | {ours:.2f} ms | {theirs:.2f} ms | {cost:.2f} ms | "
        f"{MOST_MS:.0f} ms | {'ok' if cost <= MOST_MS else 'MISSED'} |"
    )
    return int(cost > MOST_MS)

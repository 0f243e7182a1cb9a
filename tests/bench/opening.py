"""
How long opening a file takes, by each way: this runs in a box, with `sandboxer.client` in the path of modules.

What comes in: words (the file, the socket of the C server, the C client, openings a round), and lines on standard input
that say what to do. What goes out: a line of JSON for each, times in microseconds. Files are closed outside of what is
measured; so does the C client.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

WARM = 200


def median_us(opened: Callable[[str], int], path: str, count: int) -> float:
    """The median opening, as the C client takes it."""
    times = []
    for number in range(-WARM, count):
        start = time.perf_counter_ns()
        fd = opened(path)
        end = time.perf_counter_ns()
        os.close(fd)
        if number >= 0:
            times.append(end - start)
    return statistics.median(times) / 1000


def first_ms() -> float:
    """From the connection to the first answer, in milliseconds, with nothing imported in between."""
    from sandboxer import client

    start = time.perf_counter()
    client.hello()
    return (time.perf_counter() - start) * 1000


def by_ways(path: str, server: str, program: str, count: int, backwards: bool) -> dict[str, float]:
    """One round: every way once."""
    from sandboxer import client

    def by_python(address: str | None) -> float:
        with client.connect(address) as broker:
            return median_us(broker.open, path, count)

    def by_c(address: str) -> float:
        done = subprocess.run(
            [program, address, path, str(count)], stdout=subprocess.PIPE, text=True, check=True
        )
        return int(done.stdout) / 1000

    ours = os.environ["SANDBOXER_BROKER"]
    ways: dict[str, Callable[[], float]] = {
        "plain": lambda: median_us(lambda name: os.open(name, os.O_RDONLY | os.O_CLOEXEC), path, count),
        "broker": lambda: by_python(None),
        "C server": lambda: by_python(server),
        "C, broker": lambda: by_c(ours),
        "C, C server": lambda: by_c(server),
        "C, plain": lambda: by_c("-"),
    }
    order = list(ways)
    return {name: ways[name]() for name in (reversed(order) if backwards else order)}


def main() -> None:
    """Say that this runs, then answer each line."""
    path, server, program, count = sys.argv[1:]
    print(json.dumps("running"), flush=True)
    for line in sys.stdin:
        said: object = first_ms() if line == "first\n" else None
        if line.startswith("round"):
            said = by_ways(path, server, program, int(count), line == "round backwards\n")
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()

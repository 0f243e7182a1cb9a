"""
The broker's part of the benchmark: openings by it against a server in C that makes the same calls, its start, its size.

What comes in: the environment of a session. What goes out: `Brokered`, and the table. One box holds all ways of opening
a file, for the same client and the same file: plainly, by our broker, by the C server. The C server runs outside, as
the broker does, and listens in a directory that the box is granted.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.machine import HERE, SANDBOX, built, children, kilobytes, stop

import sandboxer
from sandboxer.words import Record

OPENINGS = 3000
"""A round, by each way. More than the broker serves one client in a second would measure its pauses."""
STARTS = 9
CLIENT_FILES = (
    *("__init__.py", "client.py"),
    *("broker/__init__.py", "broker/channel.py", "broker/protocol.py"),
)
"""What `sandboxer.client` needs of the package."""
PYTHON = "/usr/bin/python3"
"""The box's: every box shows /usr."""


class Way(Record):
    """`ours` may take at most `most` times as long as `theirs`, by the names in opening.py; without it, it is shown."""

    name: str
    ours: str
    theirs: str
    most: float | None = None


WAYS = (
    Way(
        name="opened by the broker, against C client and C server",
        ours="broker",
        theirs="C, C server",
        most=3.0,
    ),
    Way(name="the same, the C server asked by our client, too", ours="broker", theirs="C server"),
    Way(name="the same, both asked by the C client", ours="C, broker", theirs="C, C server"),
    Way(name="opened by the broker, against opened plainly", ours="broker", theirs="plain"),
)
START_MOST_MS = 100.0
MEMORY_MOST_KB = 12 * 1024


class Brokered(Record):
    """Medians of each round in microseconds, by way; the starts in milliseconds; processes and kilobytes."""

    rounds: tuple[dict[str, float], ...]
    starts: tuple[float, ...]
    before: int
    """Processes of ours beside monitor and first process, before anything was asked for."""
    used: int
    account: str


class Inside:
    """opening.py in a box of its own, which answers one word at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def said(self) -> object:
        """The next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise stop("the box for the broker's measurement has ended")
        said: object = json.loads(line)
        return said

    def ask(self, word: str) -> object:
        """Tell it to do something, and wait for what it says."""
        assert self._process.stdin is not None
        print(word, file=self._process.stdin, flush=True)
        return self.said()

    def companions(self) -> list[int]:
        """Our processes outside, beside the monitor and the box's first process."""
        return [child for child in children(self.pid) if "sandboxer.companion" in command_line(child)]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")


@contextmanager
def inside(env: Mapping[str, str], shared: Path) -> Iterator[Inside]:
    """Start the box. `shared` holds what it needs, among it the one file that the broker may open."""
    settings = [f'files.read=["{shared}"]', f'broker.read=["{shared / "file"}"]']
    words = [str(SANDBOX), "run", *(word for setting in settings for word in ("--set", setting)), "--"]
    words += ["/usr/bin/env", f"PYTHONPATH={shared / 'modules'}", PYTHON, "-P", str(shared / "opening.py")]
    words += [str(shared / name) for name in ("file", "server", "open_client")] + [str(OPENINGS)]
    with subprocess.Popen(
        words, env=dict(env), cwd=env["HOME"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        box = Inside(process)
        box.said()
        yield box
        assert process.stdin is not None
        process.stdin.close()


def provide(shared: Path) -> None:
    """The directory that the box is shown."""
    for name in CLIENT_FILES:
        place = shared / "modules" / "sandboxer" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(str(sandboxer.__file__)).parent / name, place)
    shutil.copy(HERE / "opening.py", shared)
    (shared / "file").write_text("content")
    built("open_client", shared)


def measure(env: Mapping[str, str], directory: Path, rounds: int) -> Brokered:
    """Some starts, each in a new box; then, in one box, every way in each round, every other round backwards."""
    shared = directory / "brokered"
    shared.mkdir()
    provide(shared)
    starts: list[float] = []
    before = 0
    for _ in range(STARTS):
        with inside(env, shared) as box:
            before += len(box.companions())
            start = box.ask("first")
            assert isinstance(start, float)
            starts.append(start)
    with subprocess.Popen([built("open_server", directory), shared / "server", shared]) as server:
        try:
            while not (shared / "server").exists() and server.poll() is None:
                time.sleep(0.01)
            with inside(env, shared) as box:
                measured = [box.ask("round" if number % 2 else "round backwards") for number in range(rounds)]
                used, account = memory(box)
        finally:
            server.terminate()
    taken = tuple(one for one in measured if isinstance(one, dict))
    return Brokered(rounds=taken, starts=tuple(starts), before=before, used=used, account=account)


def memory(box: Inside) -> tuple[int, str]:
    """What the broker holds now, in kB. It lets nobody look closer; its resident set is more than its share."""
    brokers = [pid for pid in box.companions() if "\0broker\0" in command_line(pid)]
    if len(brokers) != 1:
        raise stop(f"there are {len(brokers)} brokers")
    share = kilobytes(f"/proc/{brokers[0]}/smaps_rollup", "Pss")
    bound = kilobytes(f"/proc/{brokers[0]}/status", "VmRSS")
    if bound is None:
        raise stop("cannot look at the broker")
    return (share, "PSS") if share is not None else (bound, "resident, its share is less")


def table(measured: Brokered) -> int:
    """Print what was measured. Returns how many targets were missed."""
    missed = 0
    print("| what | ours | theirs | ratio | target | |")
    print("|---|---:|---:|---:|---:|---|")
    for way in WAYS:
        ratio = statistics.median(one[way.ours] / one[way.theirs] for one in measured.rounds)
        ours, theirs = (
            statistics.median(one[name] for one in measured.rounds) for name in (way.ours, way.theirs)
        )
        good = way.most is None or ratio <= way.most
        missed += not good
        target, verdict = (f"{way.most:.1f}", "ok" if good else "MISSED") if way.most else ("", "")
        print(f"| {way.name} | {ours:.1f} µs | {theirs:.1f} µs | {ratio:.2f} | {target} | {verdict} |")
    start = statistics.median(measured.starts)
    for name, value, most, unit in (
        ("first use, from the connection to the answer", start, START_MOST_MS, "ms"),
        ("our processes before the first use, launcher apart", measured.before, 0, ""),
        (f"memory of the broker, {measured.account}", measured.used, MEMORY_MOST_KB, "kB"),
    ):
        missed += value > most
        verdict = "ok" if value <= most else "MISSED"
        print(f"| {name} | {round(value, 1)} {unit} | | | {most:.0f} {unit} | {verdict} |")
    return missed

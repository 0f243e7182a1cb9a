"""
The benchmark: how long `sandbox` takes to start a program, its broker to open a file and its scope to be made, against
others and against what was promised.

All of it is one run on one machine, as the ordinary user. Rounds alternate between the competitors, in both
directions; what counts is the median, over the rounds, of the ratio of two medians of one round, so that a busy moment
strikes both or is dropped. Times are hyperfine's, which starts each program without a shell.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import broker, scope
from bench.bubblewrap import Descriptors, arguments
from bench.machine import PACKAGES, SANDBOX, built, children, kilobytes, machine, program, stop

from sandboxer.plan.decode import decode
from sandboxer.plan.ops import OpKind, Plan, PlanFlag
from sandboxer.words import Record

POLICY = "gui"
"""The set as it is shipped: a display, looks, a kept home, and a network of its own with nothing in it."""
FIRST_DESCRIPTOR = 20
WARM = 3


class Target(Record):
    """`ours` may take at most `most` times as long as `theirs`; without `most` it is only shown."""

    name: str
    ours: str
    theirs: str
    most: float | None = None


TARGETS = (
    Target(
        name="against bubblewrap with the same binds and filter", ours="sandbox", theirs="bwrap", most=0.85
    ),
    Target(name="against firejail with its default profile", ours="sandbox", theirs="firejail", most=1 / 15),
    Target(name="against a bare clone3 with the same namespaces", ours="sandbox", theirs="floor", most=2.0),
    Target(name="the same, both with the machine's network", ours="sandbox shared", theirs="floor shared"),
    Target(name="compiled cold, against `python3 -c pass`", ours="cold", theirs="python", most=8.0),
)
MEMORY_MOST_KB = 1536


def require_programs() -> None:
    """Stop at once, and name all that is missing."""
    missing = [package for name, package in PACKAGES.items() if shutil.which(name) is None]
    if missing:
        raise stop(f"not everything is installed: apt install {' '.join(missing)}")


@contextmanager
def session(directory: Path) -> Iterator[dict[str, str]]:
    """A user's environment: empty directories, and the sockets of a compositor and a sound server to be granted."""
    home, runtime = directory / "home", directory / "runtime"
    for made in (home, home / "Downloads", runtime, runtime / "pulse"):
        made.mkdir(mode=0o700)
    with ExitStack() as stack:
        for name in ("wayland-0", "pulse/native"):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(runtime / name))
            listener.listen()
        kept = {name: os.environ[name] for name in ("PATH", "USER", "LOGNAME", "TERM") if name in os.environ}
        variables = {"LANG": "C.UTF-8", "HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)}
        yield kept | variables | {"WAYLAND_DISPLAY": "wayland-0"}


def compiled_plan(words: Sequence[str], env: Mapping[str, str]) -> tuple[Path, Plan]:
    """Start the box once, and read the plan that this left in the cache."""
    subprocess.run([str(SANDBOX), *words], env=dict(env), check=True, cwd=env["HOME"])
    (path,) = Path(env["XDG_RUNTIME_DIR"], "sandboxer", "plans").glob("*.plan")
    return path, decode(path.read_bytes())


def provided(contents: Sequence[bytes], directory: Path) -> tuple[int, ...]:
    """Open descriptors from FIRST_DESCRIPTOR on that hold these contents."""
    for number, content in enumerate(contents, FIRST_DESCRIPTOR):
        path = directory / f"content-{number}"
        path.write_bytes(content)
        fd = os.open(path, os.O_RDONLY)
        os.dup2(fd, number, inheritable=True)
        os.close(fd)
    return tuple(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + len(contents)))


def check_box(bwrap: Sequence[str], env: Mapping[str, str], descriptors: tuple[int, ...]) -> None:
    """A competitor that confines less would win: bubblewrap's box must have a filter, too, and as good as no files."""
    look = [
        "grep",
        "-E",
        "^(Seccomp|NoNewPrivs):",
        "/proc/self/status",
        "/etc/shadow",
        env["HOME"] + "/secret",
    ]
    done = subprocess.run(
        [*bwrap, *look],
        env=dict(env),
        cwd=env["HOME"],
        pass_fds=descriptors,
        capture_output=True,
        text=True,
        check=False,
    )
    if (
        "NoNewPrivs:\t1" not in done.stdout
        or "Seccomp:\t2" not in done.stdout
        or done.stderr.count("No such file") != 2
    ):
        raise stop(f"bubblewrap's box isn't what it should be:\n{done.stdout}{done.stderr}")


class Race:
    """Competitors, and the medians that they had: one for each round, in milliseconds."""

    def __init__(
        self, env: Mapping[str, str], directory: Path, descriptors: tuple[int, ...], rewind: str
    ) -> None:
        self._env = dict(env)
        self._directory = directory
        self._descriptors = descriptors
        self._rewind = f"{rewind} {descriptors[0]} {descriptors[-1]}"
        self.medians: dict[str, list[float]] = {}
        self.fastest: dict[str, float] = {}

    def round(self, commands: Mapping[str, str], runs: int, removed: Path | None = None) -> None:
        """Run each command so often; before each run `removed` is removed."""
        export = self._directory / "round.json"
        words = [program("hyperfine"), "-N", "--style=none", f"--warmup={WARM}", f"--runs={runs}"]
        words += ["--prepare", f"{self._rewind} {removed or ''}".strip(), "--export-json", str(export)]
        done = subprocess.run(
            [*words, *commands.values()],
            env=self._env,
            cwd=self._env["HOME"],
            pass_fds=self._descriptors,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise stop(f"hyperfine failed:\n{done.stdout}{done.stderr}")
        results = json.loads(export.read_text())["results"]
        for name, result in zip(commands, results, strict=True):
            self.medians.setdefault(name, []).append(result["median"] * 1000)
            self.fastest[name] = min(self.fastest.get(name, result["min"]), result["min"])

    def ratio(self, ours: str, theirs: str) -> float:
        """The median over the rounds of one's time divided by the other's."""
        return statistics.median(a / b for a, b in zip(self.medians[ours], self.medians[theirs], strict=True))


def backwards(commands: Mapping[str, str]) -> dict[str, str]:
    return dict(reversed(list(commands.items())))


def memory(words: Sequence[str], env: Mapping[str, str]) -> tuple[int, str]:
    """
    What our processes hold while an application runs, in kB, and an account of it.

    The box's first process lets nobody look closer; its resident set is taken, which is more than its share.
    """
    with subprocess.Popen([str(SANDBOX), *words], env=dict(env), cwd=env["HOME"]) as monitor:
        deadline = time.monotonic() + 10
        application: list[int] = []
        while not application and time.monotonic() < deadline:
            time.sleep(0.05)
            init = children(monitor.pid)
            application = children(init[0]) if init else []
        time.sleep(0.2)
        share = kilobytes(f"/proc/{monitor.pid}/smaps_rollup", "Pss")
        inner = kilobytes(f"/proc/{init[0]}/smaps_rollup", "Pss")
        bound = kilobytes(f"/proc/{init[0]}/status", "VmRSS")
        image = Path(f"/proc/{monitor.pid}/exe").resolve()
        monitor.terminate()
    if share is None or bound is None or not application:
        raise stop("cannot look at the launcher's processes")
    if image != SANDBOX.resolve() or len(init) != 1:
        raise stop(f"the launcher is {image}, with {len(init)} children")
    said = f"{inner} kB (PSS)" if inner is not None else f"at most {bound} kB (resident)"
    return share + (
        inner if inner is not None else bound
    ), f"monitor {share} kB (PSS), first process {said}, no Python"


def main() -> int:
    """Measure, print, compare."""
    parser = argparse.ArgumentParser(
        prog="tests/bench/run", description="Start times and memory, against targets."
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    quick = parser.parse_args().quick
    if os.getuid() == 0:
        raise stop("start it as an ordinary user: the sandbox refuses to run as root")
    require_programs()
    if not SANDBOX.exists():
        raise stop(f"{SANDBOX}: install the project into this environment")
    rounds, runs = (5, 30) if quick else (12, 40)
    with tempfile.TemporaryDirectory(prefix="sandboxer-bench-") as place, session(Path(place)) as env:
        directory = Path(place)
        words = ["run", "--policy", POLICY, "--", "/bin/true"]
        cached, plan = compiled_plan(words, env)
        descriptors = Descriptors(FIRST_DESCRIPTOR)
        hidden = [
            str(op.box_path) for op in plan.ops if op.kind is OpKind.HIDE and Path(op.box_path).is_dir()
        ]
        bwrap = [program("bwrap"), *arguments(plan, descriptors, hidden)]
        if not plan.flags & PlanFlag.PRIVATE_NETWORK:
            raise stop(f"the policy {POLICY} has no network of its own")
        shared = ["run", "--policy", POLICY, "--set", "network.access=host", "--", "/bin/true"]
        subprocess.run([str(SANDBOX), *shared], env=env, check=True, cwd=env["HOME"])
        fds = provided(descriptors.contents, directory)
        Path(env["HOME"], "secret").write_text("not for a box")
        check_box(bwrap, env, fds)
        race = Race(env, directory, fds, built("rewind", directory))
        warm = {
            "sandbox": " ".join([str(SANDBOX), *words]),
            "bwrap": " ".join([*bwrap, "/bin/true"]),
            "floor": f"{built('floor', directory)} private /bin/true",
            "sandbox shared": " ".join([str(SANDBOX), *shared]),
            "floor shared": f"{directory / 'floor'} host /bin/true",
        }
        cold = {"cold": warm["sandbox"], "python": f"{Path(sys.executable)} -c pass"}
        for number in range(rounds):
            race.round(warm if number % 2 else backwards(warm), runs)
            race.round({"firejail": f"{program('firejail')} --quiet /bin/true"}, max(runs // 8, 3))
            race.round(cold if number % 2 else backwards(cold), max(runs // 4, 5), removed=cached)
        subprocess.run([str(SANDBOX), *words], env=env, check=True, cwd=env["HOME"])
        used, account = memory(["run", "--policy", POLICY, "--", "sleep", "30"], env)
        brokered = broker.measure(env, directory, rounds)
        scoped = scope.measure(directory, rounds, runs)
    print(machine())
    print(f"The box: policy {POLICY}, {len(plan.ops)} operations, {len(plan.stamps)} stamps, ", end="")
    print(f"a filter of {len(plan.program) // 8} instructions; {rounds} rounds of {runs} runs.\n")
    missed = table(race, used, account)
    print(
        f"\nThe broker: {rounds} rounds of {broker.OPENINGS} openings in one box, {broker.STARTS} starts.\n"
    )
    missed += broker.table(brokered)
    print(f"\nThe scope: {rounds} rounds of {runs} starts in one session.\n")
    return 1 if missed + scope.table(scoped) else 0


def table(race: Race, used: int, account: str) -> int:
    """Print what was measured. Returns how many targets were missed."""
    missed = 0
    print("| what | ours | theirs | ratio | of the fastest runs | target | |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for target in TARGETS:
        ratio = race.ratio(target.ours, target.theirs)
        ours, theirs = (statistics.median(race.medians[name]) for name in (target.ours, target.theirs))
        best = race.fastest[target.ours] / race.fastest[target.theirs]
        good = target.most is None or ratio <= target.most
        missed += not good
        most, verdict = (f"{target.most:.3f}", "ok" if good else "MISSED") if target.most else ("", "")
        print(
            f"| {target.name} | {ours:.2f} ms | {theirs:.2f} ms | {ratio:.3f} | {best:.3f} | {most} | {verdict} |"
        )
    good = used <= MEMORY_MOST_KB
    missed += not good
    verdict = "ok" if good else "MISSED"
    print(f"| memory of our processes: {account} | {used} kB | | | | {MEMORY_MOST_KB} kB | {verdict} |")
    return missed


if __name__ == "__main__":
    sys.exit(main())

"""`sandbox ps`, `kill`, `freeze`, `thaw`, `inspect` and `logs` on real boxes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boxes import read_until
from companions import init_of, status_of
from conftest import run_to_end
from running import RunningBox, within

from sandboxer.errors import StewardError
from sandboxer.steward import boxes, control

Start = Callable[..., RunningBox]
COUNTER = "[subprocess.Popen(['sh', '-c', 'i=0; while :; do i=$((i+1)); echo $i >/tmp/c; done'])] and None"
HOSTILE = "\n)\x1b]0;x\x07\x1b[2J"
"""What a program may call itself."""


def said(box: RunningBox, *words: str) -> Any:
    ended = run_to_end([box.sandbox, *words], env=box.environment)
    assert (0, "") == (ended.returncode, ended.stderr)
    return json.loads(ended.stdout) if "--json" in words else ended.stdout


def row(box: RunningBox) -> Any:
    (found,) = [one for one in said(box, "ps", "--json")["boxes"] if str(one["launcher"]) == box.id]
    return found


def test_ps_tells_of_each_box_what_is_so(running_box: Start) -> None:
    box = running_box()
    other = running_box("network.access=host")
    found = row(box)
    first = init_of(box.process)
    assert (f"strict.{box.id}", "strict", "strict") == (found["box"], found["application"], found["policy"])
    assert ("none", [], False) == (found["network"], found["holes"], found["frozen"])
    assert [first, found["process"]] == found["pids"]
    assert abs(time.time() - found["started"]) < 30
    assert 4 << 20 < found["memory-bytes"] < 200 << 20
    assert 0 < found["cpu-seconds"] < 5
    assert "host" == row(other)["network"]
    assert any("network" in hole for hole in row(other)["holes"])
    page = said(box, "ps")
    assert "BOX" == page.split()[0]
    assert ["network"] == [
        text.split()[-1] for text in page.splitlines() if text.startswith(f"strict.{other.id}")
    ]
    assert ([], None) == (found["topics"], found["unit"])
    assert max(map(len, page.splitlines())) <= 80
    assert [f"strict.{box.id}"] == [one["box"] for one in said(box, "ps", box.id, "--json")["boxes"]]
    assert 2 == len(said(box, "ps", "strict", "--json")["boxes"])


def test_a_process_of_a_box_names_it_but_ends_nothing_else(running_box: Start) -> None:
    box = running_box()
    pid = str(row(box)["process"])
    ended = run_to_end([box.sandbox, "exec", pid, "echo", "inside"], env=box.environment)
    assert (0, "inside\n") == (ended.returncode, ended.stdout)
    assert f"strict.{box.id}" == said(box, "inspect", pid, "--json")["box"]
    ended = run_to_end([box.sandbox, "kill", pid], env=box.environment)
    assert (125, f"{pid} is a process of strict.{box.id}") == (
        ended.returncode,
        ended.stderr.splitlines()[0].removeprefix("sandboxer: "),
    )
    assert row(box)["process"] == int(pid)


def test_a_box_that_was_started_elsewhere_is_found(running_box: Start) -> None:
    """By cron, or after su, there is no XDG_RUNTIME_DIR: the launcher keeps boxes with the user's caches then."""
    box = running_box()
    runtime = Path(box.environment["XDG_RUNTIME_DIR"])
    kept = Path(box.environment["XDG_CACHE_HOME"]) / "sandboxer"
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    (kept / "boxes").symlink_to(runtime / "sandboxer/boxes")
    ended = run_to_end([box.sandbox, "ps"], env={**box.environment, "XDG_RUNTIME_DIR": "/nonexistent"})
    assert (125, "") == (ended.returncode, ended.stdout), "a link was followed"
    (kept / "boxes").unlink()
    (runtime / "sandboxer/boxes").rename(kept / "boxes")
    assert f"strict.{box.id}" == row(box)["box"]
    (kept / "boxes").rename(runtime / "sandboxer/boxes")


def test_memory_and_processor_time_are_those_of_all_its_processes(running_box: Start) -> None:
    box = running_box()
    before = row(box)
    box.eval("kept.append(bytearray(os.urandom(1 << 20)) * 64)")
    box.eval("subprocess.run(['sh', '-c', 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done']).returncode")
    after = row(box)
    assert 60 << 20 < after["memory-bytes"] - before["memory-bytes"] < 80 << 20
    assert after["cpu-seconds"] - before["cpu-seconds"] > 0.1


def test_what_has_ended_is_gone(running_box: Start) -> None:
    box = running_box()
    box.process.stdin.close()  # type: ignore[union-attr]
    box.process.wait(10)
    assert [] == said(box, "ps", "--json")["boxes"]
    assert "No box runs.\n" == said(box, "ps")
    box = running_box()
    box.process.kill()
    box.process.wait(10)
    assert [] == said(box, "ps", "--json")["boxes"]


def test_watching_goes_on_until_it_is_interrupted(running_box: Start) -> None:
    box = running_box()
    with subprocess.Popen(
        [box.sandbox, "ps", "--watch", "--json"], env=box.environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(10)
    assert [[f"strict.{box.id}"]] * 2 == [[one["box"] for one in line["boxes"]] for line in lines]


def test_what_a_program_calls_itself_is_shown_harmlessly(running_box: Start) -> None:
    box = running_box()
    box.eval(f"put('/proc/self/comm', {HOSTILE!r})")
    page = said(box, "inspect", box.id)
    assert "\x1b" not in page
    assert r"\x0a)\x1b]0;x\x07\x1b[2J" in page
    found = said(box, "inspect", box.id, "--json")
    assert HOSTILE in [one["name"] for one in found["processes"]]
    assert row(box)["process"] == found["process"]["pid"]


def test_inspect_tells_what_the_kernel_holds_and_what_was_granted_since(
    running_box: Start, tmp_path: Path
) -> None:
    box = running_box()
    (tmp_path / "shared").mkdir()
    box.done("grant", tmp_path / "shared")
    found = said(box, "inspect", box.id, "--json")
    assert [str(tmp_path / "shared")] == [one["path"] for one in found["grants"]]
    process = found["process"]
    assert {"none"} == set(process["capabilities"].values())
    assert ("filtered", True) == (process["seccomp"], process["no-new-privs"])
    assert {True} == {
        process["namespaces"][name] for name in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
    }
    assert any(mount.startswith(f"{tmp_path}/shared: read; ") for mount in process["mounts"])
    assert "4096" == process["limits"]["processes"]
    assert [str(number) for number in range(3)] == [one.partition(":")[0] for one in process["descriptors"]]
    page = said(box, "inspect", box.id)
    assert f"{tmp_path}/shared" in page
    assert "NOT" not in page
    assert not {"Mounts", "Descriptors", "Flags of its plan"} & {*page.splitlines()}
    assert len(page.splitlines()) < 60
    page = said(box, "inspect", box.id, "--verbose")
    assert {"Mounts", "Descriptors", "Flags of its plan"} <= {*page.splitlines()}


def test_kill_asks_first(running_box: Start) -> None:
    box = running_box()
    assert f"strict.{box.id} has ended, 0." in box.done("kill")
    assert 128 + signal.SIGTERM == box.process.wait(10)


def test_kill_ends_what_does_not_want_to(running_box: Start) -> None:
    box = running_box()
    box.eval("[__import__('signal').signal(15, 1)] and None")
    box.eval("[subprocess.Popen(['sleep', '60']) for _ in range(2)] and None")
    began = time.monotonic()
    assert (
        "didn't end in 5 s after SIGTERM, and was killed with all that was in it: 3 processes."
        in box.done("kill")
    )
    assert 5 <= time.monotonic() - began < 10
    assert 128 + signal.SIGKILL == box.process.wait(10)


def test_a_signal_that_is_named_is_all_that_is_sent(running_box: Start) -> None:
    box = running_box()
    box.eval("[__import__('signal').signal(10, lambda *_: kept.append(10))] and None")
    assert "SIGUSR1 was sent to the application" in box.done("kill", "--signal", "usr1")
    within(lambda: [10] == box.eval("kept"), "the signal")
    assert "there is no such signal" in box.refused("kill", "--signal", "NOSUCH")


def test_a_frozen_box_stands_still_and_goes_on(running_box: Start) -> None:
    box = running_box()
    box.eval(COUNTER)
    within(lambda: box.eval("os.path.exists('/tmp/c')"), "it counts")
    assert "wasn't frozen, and runs: 3 processes." in box.done("thaw")
    assert "stands still: 3 processes" in box.done("freeze")
    assert "was frozen already. To let it go on: " in box.done("freeze")
    pids = row(box)["pids"]
    spent = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in pids]
    time.sleep(0.5)
    assert spent == [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in pids]
    assert {"T"} == {status_of(pid)["State"][0] for pid in pids[1:]}
    assert row(box)["frozen"]
    assert "S" == status_of(box.process.pid)["State"][0], (
        "the launcher has taken it for a stop by job control"
    )
    assert "frozen" in box.refused("exec", "true")
    assert "(frozen)" in said(box, "ps")
    assert "goes on" in box.done("thaw")
    before = int(box.eval("text('/tmp/c')") or 0)
    within(lambda: int(box.eval("text('/tmp/c')") or 0) > before, "it counts on")
    assert not row(box)["frozen"]
    assert "S" == status_of(box.process.pid)["State"][0]


def test_a_box_that_forks_all_the_time_is_frozen_too(running_box: Start) -> None:
    box = running_box()
    box.eval(
        "[subprocess.Popen(['sh', '-c', 'while :; do (kill -CONT -1; :) & wait; done'], stderr=-3)] and None"
    )
    for _ in range(3):
        box.done("freeze")
        assert {"T"} >= {status_of(pid).get("State", "T")[0] for pid in row(box)["pids"][1:]} - {"Z", "X"}
        box.done("thaw")


@pytest.mark.parametrize("chains", [1, 4])
def test_what_lives_for_a_moment_is_frozen_too(
    running_box: Start, native_program: Callable[..., Path], tmp_path: Path, chains: int
) -> None:
    """It counts in memory that both sides have: no look at a process is needed to see that none of it runs."""
    shared = tmp_path / "shared"
    shared.mkdir()
    counter = shared / "counter"
    counter.write_bytes(bytes(4096))
    program = shared / "chain"
    shutil.copy(native_program("chain"), program)
    box = running_box(f'files.write=["{shared}"]')
    box.eval(f"[subprocess.Popen([{str(program)!r}, {str(counter)!r}, '{chains}'])] and None")

    def count() -> int:
        return int.from_bytes(counter.read_bytes()[:8], sys.byteorder)

    for _ in range(2):
        before = count()
        within(lambda before=before: count() > before, "it counts")  # type: ignore[misc]
        assert "stands still" in box.done("freeze")
        before = count()
        time.sleep(0.5)
        assert before == count()
        assert row(box)["frozen"]
        box.done("thaw")
    assert not row(box)["frozen"]


def test_nothing_is_run_in_a_frozen_box_by_whoever_asks_its_steward(running_box: Start) -> None:
    box = running_box()
    box.done("freeze")
    (found,) = [one for one in boxes.running(str(box.state.parent)) if str(one.monitor) == box.id]
    with pytest.raises(StewardError, match="cannot run anything in a box that is frozen"):
        control.ask(found, control.Tell(words=("x",)))
    os.kill(box.steward(), signal.SIGKILL)
    with pytest.raises(StewardError, match="cannot run anything in a box that is frozen"):
        control.ask(found, control.Tell(words=("x",)))
    box.done("thaw")


def test_a_frozen_box_can_be_ended(running_box: Start) -> None:
    box = running_box()
    box.done("freeze")
    assert "has ended, 0." in box.done("kill")
    assert 128 + signal.SIGTERM == box.process.wait(10)


def test_a_steward_or_a_broker_that_is_killed_changes_nothing_of_what_is_told(running_box: Start) -> None:
    box = running_box()
    box.done("grants")
    before = row(box)
    os.kill(box.steward(), signal.SIGKILL)
    assert before["pids"] == row(box)["pids"]
    assert before["process"] == said(box, "inspect", box.id, "--json")["process"]["pid"]


def test_logs_tell_what_was_done_of_boxes_that_have_ended_too(running_box: Start, tmp_path: Path) -> None:
    box = running_box()
    assert f"Nothing has been said of strict.{box.id}.\n" == box.done("logs")
    (tmp_path / "shared").mkdir()
    box.done("grant", tmp_path / "shared")
    box.command("exec", "echo", "\x1b[31mred")
    box.refused("grant", "/proc")
    box.done("revoke", "--all")
    told = box.done("logs")
    assert "\x1b" not in told
    lines = [line.split(" ", 3)[3] for line in told.splitlines()]
    assert [
        f"outside: grant {tmp_path}/shared: allowed (grant 1, at {tmp_path}/shared)",
        r"outside: exec echo \x1b[31mred: allowed (process",
        "outside: grant /proc: denied (refuses to grant a part of the kernel as a file: /proc: in /proc)",
        f"outside: revoke {tmp_path}/shared: allowed (grant 1)",
    ] == [line if "process" not in line else line[: line.index("process") + 7] for line in lines]
    box.process.kill()
    box.process.wait(10)
    other = running_box()
    other.done("exec", "true")
    assert told == said(box, "logs", f"strict.{box.id}")
    assert 5 == len(said(box, "logs", "strict").splitlines())
    assert 2 == len(said(box, "logs", "strict", "-n", "2").splitlines())
    ended = run_to_end([box.sandbox, "logs", "strict", "-n", "1", "--json"], env=box.environment)
    assert ("steward", "exec", "true") == tuple(
        json.loads(ended.stdout)[key] for key in ("source", "request", "path")
    )
    assert (
        "nothing was said of such a box"
        in run_to_end([box.sandbox, "logs", "nosuch"], env=box.environment).stderr
    )


def test_logs_are_followed(running_box: Start) -> None:
    box = running_box()
    box.done("exec", "echo", "before")
    with subprocess.Popen(
        [box.sandbox, "logs", box.id, "--follow"], env=box.environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        read_until(process.stdout.fileno(), b"exec echo before: allowed")
        box.done("exec", "echo", "after")
        read_until(process.stdout.fileno(), b"exec echo after: allowed")
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(10)


@pytest.mark.parametrize("verb", ["kill", "freeze", "thaw", "inspect", "exec"])
def test_a_box_that_is_not_there_is_said_so(running_box: Start, verb: str) -> None:
    box = running_box()
    words: list[str | Path] = [box.sandbox, verb, "nosuch", *(["true"] if verb == "exec" else [])]
    ended = run_to_end(words, env=box.environment)
    assert (125, "") == (ended.returncode, ended.stdout)
    assert f"no such box runs\n  nosuch; there are: strict.{box.id}\n  try: sandbox ps\n" in ended.stderr


def test_the_first_start_of_all_leaves_no_signal_ignored(running_box: Start) -> None:
    """Python, which has compiled the plan and become the launcher, ignores some: the application must not."""
    box = running_box()
    assert "0" * 16 == box.done("exec", "sed", "-n", "s/^SigIgn:.//p", "/proc/self/status").rstrip()

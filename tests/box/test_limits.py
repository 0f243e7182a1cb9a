"""Limits that the box's first process sets: they hold for all that runs in the box, and can't be raised in it."""

from __future__ import annotations

import resource
import subprocess

import pytest
from boxes import PlannedBox, read_until

from sandboxer.plan.ops import LimitKind

REPORT = """
import resource
for name in ("NPROC", "NOFILE", "FSIZE", "DATA"):
    print(name, *resource.getrlimit(getattr(resource, "RLIMIT_" + name)))
for name in ("NPROC", "NOFILE", "FSIZE", "DATA"):
    soft, hard = resource.getrlimit(getattr(resource, "RLIMIT_" + name))
    try:
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (soft + 1, hard + 1))
        print("raised", name)
    except (ValueError, OSError):
        pass
"""
FORKS = """
import os, sys, time
made = 0
try:
    while made < 5000:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        made += 1
except OSError as error:
    print(made, error.errno, flush=True)
sys.stdin.read()
"""


def limited(box: PlannedBox, script: str, *limits: tuple[LimitKind, int]) -> list[str]:
    return box.plan("/usr/bin/python3", "-IS", "-c", script, parts={"limits": limits})


def test_each_limit_is_set_soft_and_hard_and_nothing_in_the_box_raises_it(planned_box: PlannedBox) -> None:
    limits = (
        (LimitKind.PROCESSES, 100),
        (LimitKind.OPEN_FILES, 64),
        (LimitKind.FILE_SIZE, 4096),
        (LimitKind.DATA, 2**28),
    )
    done = planned_box.run(limited(planned_box, REPORT, *limits))
    expected = "NPROC 100 100\nNOFILE 64 64\nFSIZE 4096 4096\nDATA 268435456 268435456\n"
    assert (0, expected) == (done.returncode, done.stdout)


def test_what_isn_t_limited_stays_as_the_caller_has_it(planned_box: PlannedBox) -> None:
    done = planned_box.run(limited(planned_box, REPORT, (LimitKind.OPEN_FILES, 64)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert f"FSIZE {soft} {hard}" in done.stdout


def test_a_limit_above_the_caller_s_own_is_the_caller_s(planned_box: PlannedBox) -> None:
    words = limited(planned_box, REPORT, (LimitKind.OPEN_FILES, 2**40))
    done = planned_box.run(["/bin/sh", "-c", 'ulimit -n 77; exec "$@"', "sh", *words])
    assert "NOFILE 77 77" in done.stdout


@pytest.mark.parametrize("tasks", [20, 60])
def test_a_fork_bomb_meets_the_limit_of_its_box_and_of_no_other(planned_box: PlannedBox, tasks: int) -> None:
    """Two boxes of one user: each has its own count, and the user's other programs have theirs."""
    words = limited(planned_box, FORKS, (LimitKind.PROCESSES, tasks))
    boxes = [planned_box.start(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for box in boxes:
        assert box.stdout is not None
        made, number = map(int, read_until(box.stdout.fileno(), b"\n").split())
        assert 11 == number, "not EAGAIN"
        assert tasks - 3 <= made <= tasks
    assert (
        "started\n"
        == subprocess.run(["/bin/echo", "started"], capture_output=True, text=True, check=True).stdout
    )


def test_no_file_can_be_made_longer_than_the_limit(planned_box: PlannedBox) -> None:
    script = "import signal; signal.signal(25, signal.SIG_IGN)\nopen('/tmp/a', 'wb', buffering=0).write(b'x')"
    done = planned_box.run(limited(planned_box, script, (LimitKind.FILE_SIZE, 0)))
    assert "File too large" in done.stderr

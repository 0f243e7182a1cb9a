"""Signals to the monitor reach the application once; whoever ends, everything of the box ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from boxes import PlannedBox, read_until, wait_for_end_of

from sandboxer.plan.ops import PlanFlag

CAUGHT = ("HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "WINCH", "CONT", "PIPE")
LOOP = "echo ready; while :; do sleep 0.05; done"


def sleeping(
    box: PlannedBox, flags: PlanFlag = PlanFlag(0), script: str = "echo ready; exec sleep 60"
) -> tuple[subprocess.Popen[bytes], int]:
    """A started box, and a descriptor that ends when nobody of the box is left: each process holds standard error."""
    process = box.start(
        box.plan("/bin/sh", "-c", script, flags=flags),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    read_until(process.stdout.fileno(), b"ready\n")
    return process, process.stderr.fileno()


@pytest.mark.parametrize("name", CAUGHT)
def test_a_signal_to_the_launcher_reaches_the_application_once(planned_box: PlannedBox, name: str) -> None:
    script = f"trap 'echo caught' {name}; trap 'exit 5' {'TERM' if name != 'TERM' else 'HUP'}; {LOOP}"
    process = planned_box.start(
        planned_box.plan("/bin/sh", "-c", script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    read_until(process.stdout.fileno(), b"ready\n")
    process.send_signal(getattr(signal, f"SIG{name}"))
    got = read_until(process.stdout.fileno(), b"caught\n")
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM if name != "TERM" else signal.SIGHUP)
    got += wait_for_end_of(process.stdout.fileno())
    assert 5 == process.wait(10)
    assert 1 == got.count(b"caught")


def test_a_signal_that_the_application_does_not_catch_ends_it(planned_box: PlannedBox) -> None:
    process, everybody = sleeping(planned_box)
    process.send_signal(signal.SIGTERM)
    assert 128 + signal.SIGTERM == process.wait(10)
    assert b"" == wait_for_end_of(everybody)


def test_a_signal_at_any_moment_of_the_start_ends_the_box(planned_box: PlannedBox) -> None:
    words = planned_box.plan("/usr/bin/sleep", "60")
    seen = set()
    for attempt in range(40):
        process = planned_box.start(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(attempt * 0.0004)
        process.send_signal(signal.SIGTERM)
        seen.add(process.wait(10))
        assert process.stderr is not None
        wait_for_end_of(process.stderr.fileno())
    assert seen <= {-signal.SIGTERM, 128 + signal.SIGTERM}


def test_killing_the_launcher_ends_the_box(planned_box: PlannedBox) -> None:
    process, everybody = sleeping(planned_box, PlanFlag.LINGER)
    process.kill()
    process.wait(10)
    wait_for_end_of(everybody)


@pytest.mark.parametrize("flags", [PlanFlag(0), PlanFlag.DIE_WITH_PARENT])
def test_the_box_ends_with_its_caller_when_the_plan_says_so(planned_box: PlannedBox, flags: PlanFlag) -> None:
    words = planned_box.plan("/bin/sh", "-c", "echo ready; exec sleep 60", flags=flags)
    caller = planned_box.start(
        ["/bin/sh", "-c", '"$@" & echo "$!"; wait', "sh", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert caller.stdout is not None
    assert caller.stderr is not None
    monitor = int(read_until(caller.stdout.fileno(), b"ready\n").split()[0])
    caller.kill()
    caller.wait(10)
    if not flags:
        time.sleep(0.3)
        os.kill(monitor, signal.SIGKILL)  # it was still there
    wait_for_end_of(caller.stderr.fileno())


def test_what_the_application_leaves_in_the_background_ends_with_it(planned_box: PlannedBox) -> None:
    process, everybody = sleeping(planned_box, script="setsid sleep 60 & echo ready; exit 6")
    assert 6 == process.wait(10)
    wait_for_end_of(everybody)


def test_a_lingering_box_lives_until_its_last_process_ends(planned_box: PlannedBox) -> None:
    script = "(sleep 0.5; echo last >&2) & echo ready; exit 6"
    process, everybody = sleeping(planned_box, PlanFlag.LINGER, script)
    assert 6 == process.wait(10)
    assert b"last\n" == wait_for_end_of(everybody)


def test_a_lingering_box_can_be_ended_by_a_signal(planned_box: PlannedBox) -> None:
    process, everybody = sleeping(planned_box, PlanFlag.LINGER, "sleep 60 & echo ready; exit 6")
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert 6 == process.wait(5)
    wait_for_end_of(everybody)


def test_orphans_are_reaped(planned_box: PlannedBox) -> None:
    script = """
        for i in 1 2 3 4 5 6 7 8 9; do (sleep 0.05 &); done
        sleep 0.5
        grep -l "^State:.Z" /proc/[0-9]*/status
        ls -d /proc/[0-9]* | tr "\\n" " "
    """
    assert ["/proc/1", "/proc/2"] == planned_box.shell(script).stdout.split()[:2]
    assert "status" not in planned_box.shell(script).stdout


def test_signals_from_inside_do_not_reach_the_boxs_first_process(planned_box: PlannedBox) -> None:
    script = "trap 'echo forwarded' TERM USR1; for s in TERM USR1 KILL STOP INT; do kill -$s 1; done; sleep 0.2; exit 8"
    done = planned_box.shell(script)
    assert (8, "") == (done.returncode, done.stdout)


def _ignore_children() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def _block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD})


@pytest.mark.parametrize("prepare", [_ignore_children, _block_signals])
def test_what_the_caller_does_with_signals_does_not_confuse_the_launcher(
    planned_box: PlannedBox, prepare: Callable[[], None]
) -> None:
    assert 7 == planned_box.shell("sleep 0.05; /bin/true; exit 7", preexec_fn=prepare).returncode


def test_the_application_has_the_signal_mask_of_the_caller(planned_box: PlannedBox) -> None:
    words = ["/usr/bin/grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]
    inside = planned_box.run(planned_box.plan(*words), preexec_fn=_block_signals)
    outside = subprocess.run(words, preexec_fn=_block_signals, capture_output=True, text=True, check=True)
    assert outside.stdout == inside.stdout


def test_the_application_is_not_bothered_by_a_stopped_launcher(planned_box: PlannedBox) -> None:
    process, everybody = sleeping(planned_box)
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGCONT)
    assert 128 + signal.SIGTERM == process.wait(10)
    wait_for_end_of(everybody)


def test_a_box_that_is_stopped_can_be_ended(planned_box: PlannedBox) -> None:
    process, everybody = sleeping(planned_box, script="echo ready; kill -STOP $$; sleep 60")
    time.sleep(0.3)
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGTERM)
    assert 128 + signal.SIGTERM == process.wait(10)
    wait_for_end_of(everybody)

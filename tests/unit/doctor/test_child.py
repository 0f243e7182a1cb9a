"""Probes in children: whatever becomes of one is a result, and nothing of it reaches this process."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import pytest

from sandboxer.doctor.child import Outcome, Steps, run
from sandboxer.errors import LaunchError


def test_a_probes_value_comes_back() -> None:
    def work(step: Steps) -> dict[str, list[int]]:
        step("first")
        step("second")
        return {"a": [1]}

    assert Outcome(step="second", value={"a": [1]}) == run(work, 5)


def test_an_error_comes_back_with_the_step_that_failed() -> None:
    def work(step: Steps) -> None:
        step("mounting")
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    outcome = run(work, 5)
    assert (True, errno.EPERM) == (outcome.failed, outcome.error)
    assert "mounting: Operation not permitted" == outcome.told()


@pytest.mark.parametrize("number", [signal.SIGXCPU, signal.SIGSYS, signal.SIGKILL])
def test_a_crash_is_a_result(number: signal.Signals) -> None:
    def work(step: Steps) -> None:
        step("trying")
        os.kill(os.getpid(), number)

    outcome = run(work, 5)
    assert (True, number) == (outcome.failed, outcome.signal)
    assert f"trying: killed by {number.name}" == outcome.told()


def test_a_probe_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    def work(step: Steps) -> None:
        step("waiting")
        child = os.fork()
        if child:
            (tmp_path / "pid").write_text(str(child))
        time.sleep(60)

    begun = time.monotonic()
    outcome = run(work, 0.5)
    assert outcome.hung
    assert "waiting: no answer in time" == outcome.told()
    assert time.monotonic() - begun < 5
    deadline = time.monotonic() + 5
    while _runs(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline, "what it started still runs"
        time.sleep(0.01)


def test_an_exception_is_this_probes_result_alone() -> None:
    outcome = run(lambda _: int("x"), 5)
    assert outcome.failed
    assert "ValueError" in outcome.told()


def test_an_error_of_ours_is_told_by_its_subject() -> None:
    def work(_: Steps) -> None:
        raise LaunchError("cannot", subject="/a/b: no such file", hint="look")

    assert "/a/b: no such file" == run(work, 5).told()


def test_a_probe_that_ends_without_a_word_has_failed() -> None:
    outcome = run(lambda _: os._exit(7), 5)
    assert outcome.failed
    assert "status 7" in outcome.told()


def test_what_a_probe_does_to_itself_stays_there() -> None:
    before = os.getcwd()
    assert not run(lambda _: os.chdir("/"), 5).failed
    assert before == os.getcwd()


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"

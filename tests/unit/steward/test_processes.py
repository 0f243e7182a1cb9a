"""Which process is the application, who may be sent a signal, and for how long figures are looked for."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from sandboxer.steward import cgroups, descendants, processes
from sandboxer.steward.boxes import Box
from sandboxer.steward.processes import Found

BOX = Box(id="a.7", app="a", monitor=7, started=1, directory="/d")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_the_second_process_of_a_namespace_below_the_box_s_is_not_the_application(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {11: [11, 1], 12: [12, 5, 2], 13: [13, 2]}
    monkeypatch.setattr(descendants, "first_process", lambda _monitor: 11)
    monkeypatch.setattr(descendants, "members", lambda _first: [12, 13])
    monkeypatch.setattr(processes, "numbers", lambda pid: known[pid])
    monkeypatch.setattr(processes, "parent", lambda _pid: 11)
    monkeypatch.setattr(cgroups, "own", lambda _first, _monitor: None)
    assert 13 == processes.find(BOX).application
    del known[13]
    monkeypatch.setattr(descendants, "members", lambda _first: [12])
    assert 0 == processes.find(BOX).application


def test_what_has_come_by_the_first_process_s_number_is_sent_nothing(
    sleeper: subprocess.Popen[bytes],
) -> None:
    assert not processes.send(sleeper.pid, sleeper.pid, signal.SIGKILL)
    assert sleeper.poll() is None


def test_a_group_that_may_not_be_sent_a_signal_is_not_sent_it_in_another_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda _pid, number: sent.append(number))

    def refused(number: int) -> None:
        def send(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(signal, "pidfd_send_signal", send)

    refused(errno.EPERM)
    with pytest.raises(PermissionError):
        processes._send_to_group(11, 3, 15)
    refused(errno.EINVAL)
    processes._send_to_group(11, 3, 15)
    assert [15] == sent


def test_memory_that_takes_too_long_to_be_told_is_what_is_resident(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that keeps changing its memory can keep the kernel from looking through it."""
    read = processes.read

    def slow(path: str) -> bytes:
        if path.endswith("smaps_rollup"):
            time.sleep(60)
        return read(path)

    monkeypatch.setattr(processes, "read", slow)
    found = Found(first=sleeper.pid, application=0, members=(sleeper.pid,))
    began = time.monotonic()
    usage = processes.usage(found, began + 0.2)
    assert time.monotonic() - began < 5
    assert usage.memory_bytes == int(processes.status(sleeper.pid)["VmRSS"].split()[0]) * 1024 > 0

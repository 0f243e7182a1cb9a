"""`sandbox exec` in a terminal: keys, size and job control are the program's; afterwards all is as it was."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from boxes import read_until
from running import PYTHON, RunningBox, within

Start = Callable[..., RunningBox]
TYPES = "import fcntl, sys; fcntl.ioctl(0, 0x5412, b'x'); print('typed')"


def take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Typist:
    """A terminal, and `sandbox exec` in its foreground."""

    def __init__(self, box: RunningBox, *words: str) -> None:
        self.master, self.slave = os.openpty()
        self.before = termios.tcgetattr(self.slave)
        termios.tcsetwinsize(self.slave, (33, 99))
        self.process = subprocess.Popen(
            [str(box.sandbox), "exec", box.id, *words],
            env=box.environment | {"TERM": "vt220"},
            cwd=box.directory,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=take_terminal,  # noqa: PLW1509  # one thread
        )

    def types(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def reads(self, wanted: bytes) -> bytes:
        return read_until(self.master, wanted, 20)

    def is_restored(self) -> bool:
        now: list[Any] = termios.tcgetattr(self.slave)
        return now == self.before

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def typist(running_box: Start) -> Iterator[Callable[..., Typist]]:
    made: list[Typist] = []

    def start(*words: str) -> Typist:
        made.append(Typist(running_box(), *words))
        return made[-1]

    yield start
    for one in made:
        one.end()


def test_the_program_has_a_terminal_of_its_own_of_the_same_size_and_kind(
    typist: Callable[..., Typist],
) -> None:
    one = typist(
        "sh", "-c", "stty size; echo $TERM; stty -echo; echo ready; read line; stty size; echo got $line"
    )
    assert b"33 99\r\nvt220\r\nready\r\n" == one.reads(b"ready\r\n")
    termios.tcsetwinsize(one.master, (20, 70))
    time.sleep(0.3)
    one.types(b"a line\r")
    assert b"20 70\r\ngot a line\r\n" == one.reads(b"line\r\n")
    assert 0 == one.process.wait(20)
    assert one.is_restored()


def test_ctrl_c_is_the_program_s(typist: Callable[..., Typist]) -> None:
    one = typist("sh", "-c", "trap 'echo caught; exit 4' INT; echo ready; while :; do sleep 0.05; done")
    one.reads(b"ready\r\n")
    one.types(b"\x03")
    assert b"caught" in one.reads(b"caught\r\n")
    assert 4 == one.process.wait(20)
    assert one.is_restored()


def test_a_shell_in_it_has_job_control(typist: Callable[..., Typist]) -> None:
    one = typist("bash", "--norc", "-i")
    one.reads(b"$ ")
    one.types(b"PS1=; cat\r")
    time.sleep(0.3)
    one.types(b"one\r")
    one.reads(b"one\r\none\r\n")
    one.types(b"\x1a")
    one.reads(b"Stopped")
    one.types(b"echo $((6*7)); fg\r")
    one.reads(b"42\r\n")
    one.types(b"two\r")
    one.reads(b"two\r\ntwo\r\n")
    one.types(b"\x04")
    one.types(b"exit 6\r")
    assert 6 == one.process.wait(20)
    assert one.is_restored()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_terminal_is_restored_when_it_is_told_to_end(
    typist: Callable[..., Typist], number: signal.Signals
) -> None:
    one = typist("sh", "-c", "echo ready; exec sleep 60")
    one.reads(b"ready\r\n")
    assert not one.is_restored()
    one.process.send_signal(number)
    assert 128 + number == one.process.wait(20)
    assert one.is_restored()


def test_the_terminal_is_restored_when_it_cannot_be_started(typist: Callable[..., Typist]) -> None:
    one = typist("no-such-program")
    assert 127 == one.process.wait(20)
    assert one.is_restored()
    assert b"no such program in the box" in one.reads(b"in the box")


def test_a_stop_from_outside_gives_the_terminal_back_until_it_goes_on(typist: Callable[..., Typist]) -> None:
    one = typist("sh", "-c", "echo ready; read line; echo got $line")
    one.reads(b"ready\r\n")
    one.process.send_signal(signal.SIGTSTP)
    within(one.is_restored, "the terminal is restored")
    one.process.send_signal(signal.SIGCONT)
    within(lambda: not one.is_restored(), "the terminal is raw again")
    one.types(b"this\r")
    one.reads(b"got this\r\n")
    assert 0 == one.process.wait(20)
    assert one.is_restored()


def test_the_end_of_the_command_hangs_up_what_it_ran(typist: Callable[..., Typist]) -> None:
    one = typist("sh", "-c", "echo $$; exec sleep 61")
    one.reads(b"\r\n")
    one.process.kill()
    one.process.wait(20)

    def is_gone() -> bool:
        found = subprocess.run(["pgrep", "-fx", "sleep 61"], capture_output=True, check=False)
        return found.returncode == 1

    within(is_gone, "what ran there has ended")


def test_it_cannot_type_into_the_terminal_in_which_it_was_asked_for(typist: Callable[..., Typist]) -> None:
    """Neither by its own, which the filter forbids, nor by any other name: no terminal but its own is to be had."""
    one = typist(
        PYTHON, "-Ic", f"import os; print(os.ttyname(0) if os.isatty(3) else os.fstat(0).st_rdev); {TYPES}"
    )
    assert 1 == one.process.wait(20)
    said = one.reads(b"Operation not permitted")
    number = re.search(rb"(\d+)\r\n", said)
    assert number is not None
    assert int(number[1]) != os.fstat(one.slave).st_rdev
    assert one.is_restored()


def test_where_only_the_output_is_a_terminal_there_are_pipes(running_box: Start) -> None:
    box = running_box()
    master, slave = os.openpty()
    process = subprocess.Popen(
        [str(box.sandbox), "exec", box.id, "sh", "-c", "test -t 1 || echo pipe; cat"],
        env=box.environment,
        stdin=subprocess.PIPE,
        stdout=slave,
        stderr=slave,
    )
    process.communicate(b"text", timeout=20)
    assert 0 == process.returncode
    assert b"pipe\r\ntext" == read_until(master, b"text")
    os.close(master)
    os.close(slave)

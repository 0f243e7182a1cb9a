"""At a real terminal, a boxed application behaves as if the shell had started it directly."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from boxes import PlannedBox, read_until, wait_for_end_of
from conftest import need
from stepping import landlock_flags, offers_landlock_scope

from sandboxer.plan.ops import PlanFlag

CTRL_C, CTRL_D, CTRL_Z = b"\x03", b"\x04", b"\x1a"
PROMPT = b"ready-for-more> "


class Terminal:
    """A shell on a terminal of its own, as its session's leader."""

    def __init__(self, shell: Sequence[str], environment: dict[str, str]) -> None:
        until_executed, held = os.pipe()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            for number in (
                signal.SIGPIPE,
                signal.SIGXFSZ,
            ):  # Python ignores these; a shell's children must not
                signal.signal(number, signal.SIG_DFL)
            os.execve(shell[0], list(shell), environment)
        os.close(held)
        os.read(until_executed, 1)  # until then, Python's own handler would swallow Ctrl-C
        os.close(until_executed)
        self.resize(24, 80)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, keys: bytes) -> None:
        os.write(self.fd, keys)

    def expect(self, wanted: bytes, seconds: float = 10) -> bytes:
        return read_until(self.fd, wanted, seconds)

    def quiet(self, seconds: float = 0.3) -> bytes:
        """All that comes until nothing has come for so long."""
        got = b""
        while select.select([self.fd], [], [], seconds)[0]:
            got += os.read(self.fd, 65536)
        return got

    def line(self, text: str) -> None:
        self.send(text.encode() + b"\n")

    def status(self) -> int:
        """The exit status of the last command, at a prompt."""
        self.line('printf "status""=%s;" "$?"')
        return int(self.expect(b";" + PROMPT).rsplit(b"status=", 1)[1].split(b";")[0])

    def end(self) -> int:
        """Hang up, and wait for the shell, at most 5 seconds; returns its wait status."""
        if self.fd < 0:
            return 0
        os.close(self.fd)
        self.fd = -1
        return self.wait(hung_up=True)

    def wait(self, *, hung_up: bool = False) -> int:
        """Wait for the shell, at most 5 seconds, then kill it; returns its wait status, and the terminal is gone."""
        deadline = time.monotonic() + 5
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        if not hung_up:
            os.close(self.fd)
            self.fd = -1
        return status


@pytest.fixture
def at_terminal(planned_box: PlannedBox) -> Iterator[Callable[[], Terminal]]:
    """Starts an interactive bash on a terminal."""
    bash = need("bash")
    started: list[Terminal] = []

    def start() -> Terminal:
        terminal = Terminal(
            [bash, "--norc", "--noprofile", "--noediting", "-i"],
            planned_box.environment | {"PS1": PROMPT.decode(), "HISTFILE": "/dev/null"},
        )
        started.append(terminal)
        terminal.expect(PROMPT)
        return terminal

    yield start
    for terminal in started:
        terminal.end()


def shell_in_box(box: PlannedBox, script: str, flags: PlanFlag = PlanFlag.PRIVATE_NETWORK) -> str:
    return " ".join(box.plan("/bin/sh", "-c", script, flags=flags))


FLAGS = [
    pytest.param(PlanFlag.PRIVATE_NETWORK, id="plain"),
    pytest.param(PlanFlag.PRIVATE_NETWORK | PlanFlag.LANDLOCK_SCOPE, id="with Landlock"),
]


@pytest.fixture
def flags(request: pytest.FixtureRequest) -> PlanFlag:
    chosen: PlanFlag = request.param
    if chosen & PlanFlag.LANDLOCK_SCOPE and not offers_landlock_scope():
        pytest.skip("this kernel's Landlock has no scopes: no plan asks for them here")
    return chosen


def test_control_c_reaches_the_application_once(
    planned_box: PlannedBox, at_terminal: Callable[[], Terminal]
) -> None:
    terminal = at_terminal()
    terminal.line(
        shell_in_box(planned_box, "trap 'echo caught-it' INT; echo started; while :; do sleep 0.05; done")
    )
    terminal.expect(b"started")
    terminal.send(CTRL_C)
    got = terminal.expect(b"caught-it") + terminal.quiet()
    assert 0 == got.count(b"caught-it", got.index(b"caught-it") + 1)
    terminal.send(CTRL_C)
    terminal.expect(b"caught-it")


def test_control_c_ends_an_application_that_does_not_catch_it(
    planned_box: PlannedBox, at_terminal: Callable[[], Terminal]
) -> None:
    terminal = at_terminal()
    terminal.line(shell_in_box(planned_box, "echo started; exec sleep 60"))
    terminal.expect(b"started")
    terminal.send(CTRL_C)
    terminal.expect(PROMPT)
    assert 130 == terminal.status()


@pytest.mark.parametrize("flags", FLAGS, indirect=True)
def test_control_z_stops_and_fg_resumes(
    planned_box: PlannedBox, at_terminal: Callable[[], Terminal], flags: PlanFlag
) -> None:
    terminal = at_terminal()
    terminal.line(" ".join(planned_box.plan("/usr/bin/cat", flags=flags)))
    terminal.line("one")
    terminal.expect(b"one\r\none\r\n")
    for word in ("two", "three"):
        terminal.send(CTRL_Z)
        assert b"Stopped" in terminal.expect(PROMPT)
        terminal.line("fg")
        terminal.expect(b"--again t\r\n")
        terminal.line(word)
        terminal.expect(f"{word}\r\n{word}\r\n".encode())
        time.sleep(0.1)  # as nobody types faster: SIGCONT arrives twice
    terminal.send(CTRL_D)
    terminal.expect(PROMPT)
    assert 0 == terminal.status()


@pytest.mark.parametrize("flags", FLAGS, indirect=True)
@pytest.mark.parametrize("target", ["0", "$$"])
def test_an_application_that_stops_itself_is_seen_as_stopped(
    planned_box: PlannedBox, at_terminal: Callable[[], Terminal], flags: PlanFlag, target: str
) -> None:
    """As full-screen programs do when they read Ctrl-Z as a key: to their process group, or to themselves alone."""
    terminal = at_terminal()
    terminal.line(
        shell_in_box(planned_box, f"kill -TSTP {target}; echo resumed; read line; echo got-$line", flags)
    )
    assert b"Stopped" in terminal.expect(PROMPT)
    terminal.line("fg")
    terminal.expect(b"resumed")
    terminal.line("words")
    assert b"got-words" in terminal.expect(PROMPT)
    assert 0 == terminal.status()


def test_a_box_in_the_background_stops_when_it_reads_the_terminal(
    planned_box: PlannedBox, at_terminal: Callable[[], Terminal]
) -> None:
    terminal = at_terminal()
    terminal.line(shell_in_box(planned_box, "sleep 0.2; read line; echo got-$line") + " &")
    terminal.expect(PROMPT)
    time.sleep(0.6)
    terminal.line("jobs")
    terminal.expect(b"Stopped")
    terminal.line("fg")
    terminal.line("words")
    terminal.expect(b"got-words")


def test_the_application_learns_of_a_new_window_size_once(
    planned_box: PlannedBox, at_terminal: Callable[[], Terminal]
) -> None:
    terminal = at_terminal()
    script = "stty size; trap 'echo now=$(stty size).' WINCH; echo started; while :; do sleep 0.05; done"
    terminal.line(shell_in_box(planned_box, script))
    assert b"24 80\r\n" in terminal.expect(b"started")
    terminal.resize(30, 100)
    got = terminal.expect(b"now=30 100.") + terminal.quiet()
    assert 1 == got.count(b"now=")


def test_the_terminal_has_a_name_and_is_one(
    planned_box: PlannedBox, at_terminal: Callable[[], Terminal]
) -> None:
    terminal = at_terminal()
    script = "tty; test -t 0 && test -t 1 && test -t 2 && echo allthree; test -w $(tty) && echo writable"
    terminal.line(shell_in_box(planned_box, script))
    got = terminal.expect(b"writable")
    assert b"/dev/console\r\nallthree\r\n" in got


def test_a_plan_can_leave_only_the_output_of_a_terminal(
    planned_box: PlannedBox, at_terminal: Callable[[], Terminal]
) -> None:
    terminal = at_terminal()
    script = """
        test -t 0 || echo no-terminal-to-read
        test -e /dev/console || echo no-console
        for fd in 1 2; do read line <&$fd || echo cannot-read-$fd; done
        for fd in 1 2; do (read line </proc/$$/fd/$fd) || echo cannot-open-$fd; done
        echo done >&2
    """
    flags = PlanFlag.TERMINAL_OUTPUT | landlock_flags()
    terminal.line(shell_in_box(planned_box, script, flags))
    got = terminal.expect(b"done")
    for said in (b"no-terminal-to-read", b"no-console", b"cannot-read-1", b"cannot-read-2"):
        assert said in got
    if PlanFlag.LANDLOCK_FILES in flags:
        assert b"cannot-open-1" in got
        assert b"cannot-open-2" in got


def test_without_a_terminal_there_is_no_console(planned_box: PlannedBox) -> None:
    done = planned_box.shell("tty; test -e /dev/console")
    assert (1, "not a tty\n") == (done.returncode, done.stdout)


def test_ptys_of_the_boxs_own_work(planned_box: PlannedBox) -> None:
    script = (
        "import os, pty; a, b = pty.openpty(); print(os.ttyname(b)); os.write(b, b'x'); print(os.read(a, 1))"
    )
    done = planned_box.run(planned_box.plan("/usr/bin/python3", "-I", "-S", "-c", script))
    assert ["/dev/pts/0", "b'x'"] == done.stdout.splitlines()


def test_kill_percent_one_ends_a_job(planned_box: PlannedBox, at_terminal: Callable[[], Terminal]) -> None:
    terminal = at_terminal()
    terminal.line(shell_in_box(planned_box, "echo started; exec sleep 60") + " &")
    terminal.expect(b"started")
    terminal.line("kill %1; wait %1")
    terminal.expect(PROMPT)
    terminal.quiet()
    terminal.line("jobs; echo e''nd")
    assert b"Running" not in terminal.expect(b"end\r\n")


def test_a_stopped_job_can_be_killed(planned_box: PlannedBox, at_terminal: Callable[[], Terminal]) -> None:
    terminal = at_terminal()
    terminal.line(shell_in_box(planned_box, "echo started; exec sleep 60"))
    terminal.expect(b"started")
    terminal.send(CTRL_Z)
    assert b"Stopped" in terminal.expect(PROMPT)
    terminal.line("kill %1; fg")
    terminal.expect(PROMPT)
    assert 143 == terminal.status()


def test_control_c_at_any_moment_of_the_start_ends_the_box(planned_box: PlannedBox) -> None:
    words = planned_box.plan("/usr/bin/sleep", "60")
    for attempt in range(40):
        leader = Terminal(words, planned_box.environment)
        time.sleep(attempt * 0.0004)
        leader.send(CTRL_C)
        status = os.waitstatus_to_exitcode(leader.wait())
        assert status in (-signal.SIGINT, 128 + signal.SIGINT), attempt


def test_an_application_that_is_stopped_and_continued_inside_ends_without_a_terminal(
    planned_box: PlannedBox,
) -> None:
    script = "(sleep 0.2; kill -CONT $$) & kill -STOP $$; exit 9"
    assert 9 == planned_box.shell(script, start_new_session=True).returncode


def test_a_terminal_that_hangs_up_ends_the_box_that_it_was_opened_for(planned_box: PlannedBox) -> None:
    words = planned_box.plan("/bin/sh", "-c", "echo started; exec sleep 60")
    leader = Terminal(words, planned_box.environment)  # the session's leader, as in `xterm -e`
    leader.expect(b"started")
    assert 128 + signal.SIGHUP == os.waitstatus_to_exitcode(leader.end())


def test_a_terminal_that_hangs_up_ends_the_boxes_of_its_shell(
    planned_box: PlannedBox, at_terminal: Callable[[], Terminal], tmp_path: Path
) -> None:
    terminal = at_terminal()
    os.mkfifo(tmp_path / "fifo")
    everybody = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        terminal.line(shell_in_box(planned_box, "echo started; exec sleep 60") + f" 2>{tmp_path}/fifo")
        terminal.expect(b"started")
        terminal.end()
        assert b"" == wait_for_end_of(everybody)
    finally:
        os.close(everybody)


def test_control_z_does_not_stop_an_application_that_ignores_it(
    planned_box: PlannedBox, at_terminal: Callable[[], Terminal]
) -> None:
    terminal = at_terminal()
    terminal.line(shell_in_box(planned_box, "trap '' TSTP; echo started; read line; echo got-$line"))
    terminal.expect(b"started")
    terminal.send(CTRL_Z)
    time.sleep(0.3)
    terminal.line("words")
    assert b"Stopped" not in terminal.expect(b"got-words")


def test_a_pipeline_ends_when_its_reader_does(
    planned_box: PlannedBox, at_terminal: Callable[[], Terminal]
) -> None:
    terminal = at_terminal()
    terminal.line(shell_in_box(planned_box, "while :; do echo line; done") + " | head -n 1")
    assert b"line\r\n" in terminal.expect(PROMPT)
    assert 0 == terminal.status()

"""`sandbox exec`: a program in a running box, as confined as the application, with its streams and status passed on."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest
from boxes import read_until
from companions import connected_to
from conftest import run_to_end
from running import PYTHON, RunningBox, within

from sandboxer.steward import control
from sandboxer.steward.control import Exec, Executed

Start = Callable[..., RunningBox]
KEPT = (
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "Uid",
    "Gid",
)
CONFINEMENT = f"""
import json, os
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
print(json.dumps([
    {{name: status[name].strip() for name in {KEPT}}},
    {{name: os.readlink("/proc/self/ns/" + name) for name in sorted(os.listdir("/proc/self/ns"))}},
    open("/proc/self/mountinfo").read(), open("/proc/self/limits").read(), dict(os.environ), os.getcwd()]))
"""
AT_ONCE = 12


class Begin(Protocol):
    """See the fixture `begin`."""

    def __call__(self, box: RunningBox, *words: str | Path, **options: Any) -> subprocess.Popen[bytes]: ...


@pytest.fixture
def begin() -> Iterator[Begin]:
    """`sandbox exec`, not waited for."""
    begun: list[subprocess.Popen[bytes]] = []

    def start(box: RunningBox, *words: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [str(word) for word in (box.sandbox, "exec", box.id, *words)]
        given: dict[str, Any] = {"env": box.environment, "cwd": box.directory} | pipes | options
        process: subprocess.Popen[bytes] = subprocess.Popen(command, **given)
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait(10)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def test_it_has_the_confinement_and_the_environment_of_the_application(running_box: Start) -> None:
    box = running_box()
    words = [PYTHON, "-I", "-c", CONFINEMENT]
    of_application = box.eval(f"subprocess.run({words!r}, capture_output=True, text=True).stdout")
    ended = box.command("exec", *words, env={"SECRET": "of the caller"})
    assert json.loads(of_application) == json.loads(ended.stdout)
    assert "of the caller" not in ended.stdout


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 42"), 42),
        (("sh", "-c", "kill -TERM $$"), 128 + signal.SIGTERM),
        (("/usr/share",), 126),
        (("no-such-program",), 127),
        (("--", "sh", "-c", "exit 3"), 3),
    ],
)
def test_its_status_is_the_command_s(running_box: Start, words: tuple[str, ...], status: int) -> None:
    assert status == running_box().command("exec", *words).returncode


def test_what_cannot_be_done_is_said_with_125(running_box: Start) -> None:
    box = running_box()
    assert "no command is given" in box.refused("exec")
    for words in (("--cwd", "/nowhere", box.id, "pwd"), ("nosuch", "pwd"), ("--cwd", "etc", box.id, "pwd")):
        ended = run_to_end([box.sandbox, "exec", *words], env=box.environment)
        assert (125, "") == (ended.returncode, ended.stdout)


def test_it_starts_where_it_is_told_to(running_box: Start) -> None:
    box = running_box()
    ended = run_to_end([box.sandbox, "exec", "--cwd", "/usr/bin", box.id, "pwd"], env=box.environment)
    assert "/usr/bin\n" == ended.stdout
    assert box.eval("os.getcwd()") == box.done("exec", "pwd").rstrip()


def test_input_output_and_errors_are_three_sockets_of_its_own(
    running_box: Start, begin: Begin, tmp_path: Path
) -> None:
    """Whatever they are outside: a file of the caller's can't be opened again through them."""
    box = running_box()
    (tmp_path / "in").write_text("from a file")
    with (tmp_path / "in").open() as source, (tmp_path / "out").open("w") as out:
        script = "cat; echo >&2 error; ls -l /proc/self/fd >&2; exec 3<>/proc/self/fd/0 && echo mine >&3 && cat >&2"
        process = begin(box, "sh", "-c", script, stdin=source, stdout=out)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert "from a file" == (tmp_path / "out").read_text() == (tmp_path / "in").read_text()
    assert err.startswith(b"error\n")
    links = [line.partition(b" -> ")[2] for line in err.splitlines() if b" -> " in line]
    assert 3 <= len(links)
    assert {b"sock", b"/proc/"} == {link[:6] if link.startswith(b"/proc") else link[:4] for link in links}


def test_no_more_descriptors_come_in(running_box: Start, begin: Begin, tmp_path: Path) -> None:
    box = running_box()
    kept = os.open(tmp_path, os.O_RDONLY)
    process = begin(box, PYTHON, "-Ic", "import os; print(os.listdir('/proc/self/fd'))", pass_fds=[kept])
    out, _ = process.communicate(timeout=20)
    os.close(kept)
    assert b"['0', '1', '2', '3']\n" == out  # the last is of listdir itself


def test_much_passes_through_it(running_box: Start, begin: Begin) -> None:
    process = begin(running_box(), "cat")
    sent = os.urandom(3 << 20)
    out, _ = process.communicate(sent, timeout=30)
    assert (0, True) == (process.returncode, sent == out)


def test_a_reader_that_goes_away_ends_the_writer(running_box: Start, begin: Begin) -> None:
    process = begin(running_box(), "sh", "-c", "yes; exit $?")
    assert process.stdout is not None
    assert b"y\n" == process.stdout.read(2)
    process.stdout.close()
    assert process.wait(20) in (
        128 + signal.SIGPIPE,
        1,
    )  # 1: it waited for room that moment, and had an error


@pytest.mark.parametrize("left", ["sleep 60", "yes", "(trap '' HUP PIPE; while :; do echo y; done)"])
def test_what_it_leaves_behind_does_not_keep_it(running_box: Start, begin: Begin, left: str) -> None:
    process = begin(running_box(), "sh", "-c", f"echo said; {left} & exit 7")
    out, _ = process.communicate(b"", timeout=10)
    assert (7, b"said") == (process.returncode, out[:4])


def test_what_it_leaves_behind_does_not_keep_the_terminal(running_box: Start, begin: Begin) -> None:
    box = running_box()
    master, slave = os.openpty()
    kept = termios.tcgetattr(slave)
    script = "(trap '' HUP; while :; do echo y; done) & sleep 0.2; exit 7"
    process = begin(box, "sh", "-c", script, stdin=slave, stdout=slave, start_new_session=True)
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < 10:
        if select.select([master], [], [], 0.1)[0]:
            os.read(master, 65536)
    assert 7 == process.returncode
    assert kept == termios.tcgetattr(slave)
    os.close(master)
    os.close(slave)


def test_its_streams_can_be_opened_by_nobody_else_in_the_box(running_box: Start, begin: Begin) -> None:
    """To forge what it says, to read what it is told, to keep it from ending."""
    box = running_box()
    process = begin(box, "sh", "-c", "echo $$; exec sleep 60")
    assert process.stdout is not None
    number = int(read_until(process.stdout.fileno(), b"\n"))
    for fd in range(3):
        for flags in ("O_RDONLY", "O_WRONLY", "O_RDWR"):
            assert "ENXIO" == box.eval(f"error(os.open, '/proc/{number}/fd/{fd}', os.{flags})")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_program(running_box: Start, begin: Begin, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    process = begin(running_box(), "sh", "-c", script)
    assert process.stdout is not None
    read_until(process.stdout.fileno(), b"ready\n")
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert (9, b"got\n") == (process.returncode, out)


def test_a_stop_stops_it_and_going_on_lets_it_go_on(running_box: Start, begin: Begin) -> None:
    process = begin(running_box(), "sh", "-c", "while :; do echo x; sleep 0.02; done")
    assert process.stdout is not None
    read_until(process.stdout.fileno(), b"x\n")
    process.send_signal(signal.SIGTSTP)
    within(
        lambda: "T" == Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0], "a stop"
    )
    process.send_signal(signal.SIGCONT)
    read_until(process.stdout.fileno(), b"x\nx\nx\n")
    process.terminate()
    assert 128 + signal.SIGTERM == process.wait(20)


def test_many_run_at_once_each_with_its_own_streams(running_box: Start) -> None:
    box = running_box()

    def one(number: int) -> tuple[int, str, str]:
        ended = box.command("exec", "sh", "-c", f"sleep 0.2; echo {number}; exit {number}")
        return ended.returncode, ended.stdout, ended.stderr

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert [(n, f"{n}\n", "") for n in range(AT_ONCE)] == list(pool.map(one, range(AT_ONCE)))


def test_more_than_can_be_run_are_refused_and_places_become_free(running_box: Start) -> None:
    box = running_box()
    found = box_record(box)
    kept = [raw_exec(found, ("sleep", "60")) for _ in range(32)]
    with pytest.raises(Exception, match="cannot start a program in the box"):
        raw_exec(found, ("true",))
    box.eval("subprocess.run(['pkill', '-x', 'sleep']).returncode")
    within(lambda: 0 == box.command("exec", "true").returncode, "a free place")
    for fd in kept:
        os.close(fd)


def test_a_box_that_ends_meanwhile_ends_it(running_box: Start, begin: Begin) -> None:
    box = running_box()
    process = begin(box, "sh", "-c", "echo ready; sleep 60")
    assert process.stdout is not None
    read_until(process.stdout.fileno(), b"ready\n")
    box.process.kill()
    _, err = process.communicate(timeout=20)
    assert 125 == process.returncode
    assert b"the box has ended, and with it what ran there" in err


def test_the_steward_s_end_changes_nothing_for_what_runs(running_box: Start, begin: Begin) -> None:
    box = running_box()
    process = begin(box, "sh", "-c", "echo ready; cat; exit 5")
    assert process.stdout is not None
    read_until(process.stdout.fileno(), b"ready\n")
    os.kill(box.steward(), signal.SIGKILL)
    out, _ = process.communicate(b"more", timeout=20)
    assert (5, b"more") == (process.returncode, out)
    assert "again\n" == box.done("exec", "echo", "again")


def test_a_steward_killed_at_any_moment_leaves_either_the_program_or_an_error(
    running_box: Start, begin: Begin
) -> None:
    """What has come to the box's first process runs, and its status is told; what hasn't is an error."""
    box = running_box()
    seen = set()
    for step in range(4):
        box.done("exec", "true")
        steward = box.steward()
        process = begin(box, "sh", "-c", "echo ran")
        time.sleep(0.03 + step * 0.02)
        os.kill(steward, signal.SIGKILL)
        out, err = process.communicate(b"", timeout=20)
        seen.add(process.returncode)
        assert (process.returncode, out) in ((0, b"ran\n"), (125, b"")), err
        within(lambda: 0 == box.command("exec", "true").returncode, "another steward")
    assert seen <= {0, 125}


def box_record(box: RunningBox) -> Any:
    from sandboxer.steward import boxes

    (found,) = [one for one in boxes.running(str(box.state.parent)) if str(one.monitor) == box.id]
    return found


def raw_exec(found: Any, words: tuple[str, ...]) -> int:
    """By the protocol itself. Returns the reading end of the status."""
    reading, writing = socket.socketpair()
    reading.shutdown(socket.SHUT_WR)
    writing.shutdown(socket.SHUT_RD)
    ending, told = os.pipe()
    try:
        answer = control.ask(found, Exec(words=words), (reading.fileno(), *[writing.fileno()] * 2, told))
    except BaseException:
        os.close(ending)
        raise
    finally:
        reading.close()
        writing.close()
        os.close(told)
    assert isinstance(answer, Executed)
    return ending


def test_a_directory_a_file_and_the_caller_s_terminal_are_refused_by_the_steward(
    running_box: Start, tmp_path: Path
) -> None:
    """Even from a program of the user's that speaks to it directly."""
    box = running_box()
    box.done("grants")
    reading, writing = os.pipe()
    for path in (tmp_path, "/etc/passwd", "/dev/null"):
        handed = os.open(path, os.O_RDONLY)
        with connected_to(box.state / "control") as client:
            content = control.encode(Exec(words=("true",)))
            socket.send_fds(client, [content], [handed, writing, writing, writing])
            assert b"refuses to hand a descriptor into the box" in client.recv(65536)
        os.close(handed)
    for fd in (reading, writing):
        os.close(fd)


def test_the_application_cannot_ask_for_it(running_box: Start) -> None:
    """The control socket is nowhere in the box, as before; the command itself isn't either."""
    box = running_box()
    assert "" == box.eval(f"''.join(name for name in os.listdir('/run') if {str(box.state)!r} in name)")
    assert not box.eval(f"os.path.exists({str(box.state / 'control')!r})")

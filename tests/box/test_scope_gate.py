"""
The application waits for its scope: what the launcher asks of the service, and that nothing starts unless it says yes.

The service is played; the real one is tried in tests/desktop.
"""

from __future__ import annotations

import array
import ast
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from boxes import PlannedBox, read_until

REQUEST = b'{"app":"t"}'
FIRST_ACT = "touch /tmp/ran; echo ran"


class Service:
    """A scope service that answers as the test says."""

    def __init__(self, directory: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here = os.open(directory, os.O_PATH)
        try:
            self.socket.bind(f"/proc/self/fd/{here}/scopes")
        finally:
            os.close(here)
        self.socket.listen(4)
        self.socket.settimeout(10)
        self.requests: list[tuple[bytes, list[str]]] = []
        self.thread: threading.Thread | None = None

    def answers(self, answer: bytes | None, before: Callable[[int], None] = lambda _pid: None) -> None:
        """Serve one request; `before` is called with the first process's pid. None: close without a word."""
        self.thread = threading.Thread(target=self._serve, args=(answer, before))
        self.thread.start()

    def _serve(self, answer: bytes | None, before: Callable[[int], None]) -> None:
        client, _ = self.socket.accept()
        with client:
            content, control, _, _ = client.recvmsg(65536, socket.CMSG_SPACE(64))
            numbers = [number for _, _, data in control for number in array.array("i", data)]
            infos = [Path(f"/proc/self/fdinfo/{number}").read_text() for number in numbers]
            self.requests.append((content, infos))
            pid = next(int(line.split(":")[1]) for line in infos[0].splitlines() if line.startswith("Pid:"))
            before(pid)
            for number in numbers:
                os.close(number)
            if answer is not None:
                with contextlib.suppress(BrokenPipeError):
                    client.send(answer)

    def end(self) -> None:
        if self.thread is not None:
            self.thread.join(10)
        self.socket.close()


@pytest.fixture
def service(planned_box: PlannedBox) -> Iterator[Service]:
    played = Service(planned_box.plans.parent)
    yield played
    played.end()


def words(box: PlannedBox, script: str = FIRST_ACT, **parts: Any) -> list[str]:
    return box.plan("/bin/sh", "-c", script, parts={"scope": REQUEST} | parts)


def test_the_application_starts_when_the_service_has_said_yes(
    planned_box: PlannedBox, service: Service
) -> None:
    children: list[str] = []

    def look(pid: int) -> None:
        time.sleep(0.2)
        children.append(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    service.answers(b"Kapp.scope", look)
    done = planned_box.run(words(planned_box))
    assert (0, "ran\n", "") == (done.returncode, done.stdout, done.stderr)
    assert [""] == children, "something ran before the scope was there"
    ((content, infos),) = service.requests
    assert (REQUEST, 1) == (content, len(infos))


def test_the_descriptor_is_of_the_box_s_first_process(planned_box: PlannedBox, service: Service) -> None:
    found: list[str] = []
    service.answers(b"K", lambda pid: found.append(Path(f"/proc/{pid}/status").read_text()))
    assert 0 == planned_box.run(words(planned_box)).returncode
    (line,) = [line for line in found[0].splitlines() if line.startswith("NSpid:")]
    assert "1" == line.split()[-1]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"Eno cgroup for you", "no cgroup for you"),
        (None, "the service for scopes ended without an answer"),
        (b"E", "the service for scopes ended without an answer"),
        (b"x", "the service for scopes ended without an answer"),
        (b"Esly\x1b[31m", "sly?[31m"),
    ],
)
def test_without_a_yes_nothing_starts(
    planned_box: PlannedBox, service: Service, answer: bytes | None, told: str
) -> None:
    service.answers(answer)
    done = planned_box.run(words(planned_box))
    assert (125, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("sandboxer: t: the box could not be given its limits\n")
    assert told in done.stderr
    assert "sandbox doctor" in done.stderr
    assert [] == list(planned_box.boxes.iterdir()), "the box's directory was left"


def test_a_service_that_says_nothing_doesn_t_keep_ctrl_c_from_ending_the_start(
    planned_box: PlannedBox, service: Service
) -> None:
    release = threading.Event()

    def wait(_pid: int) -> None:
        release.wait(10)

    service.answers(None, wait)
    leader, follower = os.openpty()
    process = planned_box.start(
        words(planned_box),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    deadline = time.monotonic() + 10
    while not service.requests and time.monotonic() < deadline:
        time.sleep(0.01)
    os.write(leader, b"\x03")
    try:
        assert 128 + signal.SIGINT == process.wait(5)
    finally:
        release.set()
        os.close(leader)
        os.close(follower)
    assert [] == list(planned_box.boxes.iterdir())


def test_a_box_that_is_killed_while_it_waits_is_reported(planned_box: PlannedBox, service: Service) -> None:
    def kill(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.3)

    service.answers(b"K", kill)
    done = planned_box.run(words(planned_box))
    assert (125, "") == (done.returncode, done.stdout)


def test_a_socket_of_somebody_else_s_making_is_not_spoken_to(planned_box: PlannedBox) -> None:
    (planned_box.plans.parent / "scopes").write_text("no socket")
    done = planned_box.run(words(planned_box))
    assert (125, "") == (done.returncode, done.stdout)
    assert "Operation not permitted" in done.stderr


def test_where_nobody_listens_the_service_is_started_and_holds_nothing_of_the_caller_s(
    planned_box: PlannedBox, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    half.mkdir()
    launcher = half / "sandbox"
    launcher.write_bytes(Path(planned_box.launcher).read_bytes())
    launcher.chmod(0o755)
    report = tmp_path / "report"
    (half / "sandboxer").write_text(f"#!{half / 'python'}\n")
    (half / "python").write_text(
        f"""#!/usr/bin/python3 -IS
import os, socket, sys
words = sys.argv[1:]
fd = int(words[-1].partition("=")[2])
client = socket.socket(fileno=fd)
content, fds, _, _ = socket.recv_fds(client, 65536, 4)
held = {{n: os.path.realpath("/proc/self/fd/" + n) for n in os.listdir("/proc/self/fd")}}
with open({str(report)!r}, "w") as file:
    print([words[3:], content, len(fds), os.getcwd(), os.getsid(0) != os.getpid(),
        sorted(int(n) for n in held if int(n) not in fds), [held[n] for n in "012"]], file=file)
client.send(b"K")
"""
    )
    (half / "python").chmod(0o755)
    planned_box.launcher = str(launcher)
    ours, theirs = os.pipe()
    process = planned_box.start(
        ["/bin/sh", "-c", 'exec "$@" 5</dev/zero', "sh", *words(planned_box)],
        stdout=theirs,
        pass_fds=(theirs,),
    )
    os.close(theirs)
    assert b"ran\n" == read_until(ours, b"\n")
    assert 0 == process.wait(10)
    assert b"" == os.read(ours, 1), "the service holds the caller's output"
    os.close(ours)
    directory = str(planned_box.plans.parent)
    told, content, count, where, _, numbers, standard = ast.literal_eval(report.read_text())
    assert ["scopes", directory, "connection=3"] == told[-3:]
    assert (REQUEST, 1, "/", ["/dev/null"] * 3) == (content, count, where, standard)
    assert {0, 1, 2, 3} >= set(numbers) - {max(numbers)}


def test_without_a_python_half_the_start_fails(planned_box: PlannedBox, tmp_path: Path) -> None:
    launcher = tmp_path / "sandbox"
    launcher.write_bytes(Path(planned_box.launcher).read_bytes())
    launcher.chmod(0o755)
    planned_box.launcher = str(launcher)
    done = planned_box.run(words(planned_box))
    assert (125, "") == (done.returncode, done.stdout)
    assert "the box could not be given its limits" in done.stderr


def test_the_state_file_tells_the_plan_s_facts(planned_box: PlannedBox) -> None:
    process = planned_box.start(
        planned_box.plan("/bin/cat", parts={"facts": "network=none\nhole=one\n"}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"x\n")
    process.stdin.flush()
    read_until(process.stdout.fileno(), b"\n")
    lines = (planned_box.state(process) / "box").read_text().splitlines()
    assert ["app=t", f"monitor={process.pid}"] == lines[:2]
    assert ["network=none", "hole=one"] == lines[3:]

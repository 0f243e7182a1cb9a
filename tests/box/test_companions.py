"""
The broker and the steward, as the launcher knows them: when they are started, with what, and what their end means.

Both are played by tests/programs/companion.py, so that nothing here depends on the Python half.
"""

from __future__ import annotations

import errno
import itertools
import os
import pty
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import plans
import pytest
from boxes import PlannedBox, read_until, wait_for_end_of
from companions import (
    BROKER,
    CODE,
    QUIET_S,
    RULES,
    AccompaniedBox,
    Application,
    children_of,
    descriptors_of,
    init_of,
    is_gone,
    status_of,
    wait_until_gone,
)
from conftest import need
from plans import listen

from sandboxer.plan.ops import BROKER_DESCRIPTOR, PlanFlag

PLAIN = PlanFlag.PRIVATE_NETWORK
WITH_DESCRIPTOR = PLAIN | PlanFlag.BROKER_DESCRIPTOR
SEALED = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, SHRINK, GROW, WRITE
LISTENING, CONNECTED = 1, 0
ENDS = [("end 0", 0), ("end 1", 1), ("end 125", 1), ("die", 1)]
"""How a companion ends, and whether that is a failure."""
PAUSE_S = 1.0
BACKLOG = 128


def numbered(facts: dict[str, Any]) -> dict[str, int]:
    """The descriptors that a companion was told of, by name."""
    pairs = [word.split("=") for word in facts["words"][6:]]
    return {name: int(number) for name, number in pairs}


def quiet(box: AccompaniedBox, word: str, count: int) -> None:
    """For a while no further companion of that name is started."""
    time.sleep(QUIET_S)
    assert count == len(box.history(word))


def test_nothing_runs_beside_a_box_before_its_first_use(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application(flags=WITH_DESCRIPTOR)
    quiet(accompanied_box, "broker", 0)
    assert [init_of(application.process)] == children_of(application.process.pid)
    assert 7 == application.ends(7)
    assert [] == accompanied_box.history("broker") + accompanied_box.history("steward")


def test_the_first_connection_starts_the_broker(accompanied_box: AccompaniedBox) -> None:
    more = [listen("ssh-agent", stream=True)]
    application = accompanied_box.application(flags=WITH_DESCRIPTOR, more=more)
    told = int(application.asks())
    broker = accompanied_box.wait_for("broker")
    assert (told, application.process.pid) == (broker["pid"], broker["parent"])
    sockets = numbered(broker)
    assert ["-E", "-P", "-c", CODE, "broker", str(accompanied_box.state(application.process))] == broker[
        "words"
    ][:6]
    assert ["broker", "ssh-agent", "descriptor", "steward"] == list(sockets)
    assert {
        "broker": [socket.AF_UNIX, socket.SOCK_SEQPACKET, LISTENING],
        "ssh-agent": [socket.AF_UNIX, socket.SOCK_STREAM, LISTENING],
        "descriptor": [socket.AF_UNIX, socket.SOCK_SEQPACKET, CONNECTED],
        "steward": [socket.AF_UNIX, socket.SOCK_SEQPACKET, CONNECTED],
    } == broker["sockets"]
    assert RULES == bytes.fromhex(broker["input"])


def test_a_broker_is_not_told_of_what_the_plan_has_not(accompanied_box: AccompaniedBox) -> None:
    accompanied_box.application().asks()
    assert ["broker", "steward"] == list(numbered(accompanied_box.wait_for("broker")))


def test_a_stream_socket_starts_the_broker_too(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application(more=[listen("ssh-agent", stream=True)])
    application.asks(place="/run/sandboxer/ssh-agent")
    assert 1 == len(accompanied_box.history("broker"))


def test_a_command_of_the_users_starts_the_steward(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application()
    told = int(accompanied_box.control(application.process))
    steward = accompanied_box.wait_for("steward")
    assert (told, application.process.pid) == (steward["pid"], steward["parent"])
    assert ["control", "broker", "orders"] == list(numbered(steward))
    assert [LISTENING, CONNECTED, CONNECTED] == [kind[2] for kind in steward["sockets"].values()]
    assert {socket.SOCK_SEQPACKET} == {kind[1] for kind in steward["sockets"].values()}
    image = (accompanied_box.plans / plans.file_name(["app", "t"])).read_bytes()
    assert image == bytes.fromhex(steward["input"])
    assert [] == accompanied_box.history("broker")


def test_a_box_without_a_broker_has_a_steward(accompanied_box: AccompaniedBox) -> None:
    words = accompanied_box.plan("/bin/sh", "-c", "echo ready; exec sleep 60", broker=b"")
    process = accompanied_box.start(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    read_until(process.stdout.fileno(), b"ready\n")
    accompanied_box.control(process)
    assert ["control", "orders"] == list(numbered(accompanied_box.wait_for("steward")))


def test_the_brokers_word_starts_the_steward(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application()
    broker = int(application.asks())
    quiet(accompanied_box, "steward", 0)
    told = int(application.asks("tell pid"))
    assert told == accompanied_box.wait_for("steward")["pid"] != broker


@pytest.mark.parametrize("word", ["broker", "steward"])
def test_a_companion_is_alone_with_what_it_is_given(accompanied_box: AccompaniedBox, word: str) -> None:
    accompanied_box.environment["OF_THE_CALLER"] = "yes"
    application = accompanied_box.application(flags=WITH_DESCRIPTOR, options={"preexec_fn": _odd_mask})
    application.asks("tell pid")
    facts = accompanied_box.wait_for(word)
    assert (facts["pid"], facts["pid"], signal.SIGKILL) == (facts["session"], facts["group"], facts["death"])
    assert facts["blocked"] == f"{1 << (signal.SIGUSR2 - 1):016x}"
    # the steward starts programs for the user; the broker may be taken over
    assert (word == "steward") == ("OF_THE_CALLER" in facts["environment"])
    assert (0, SEALED, False) == (facts["place"], facts["seals"], facts["writable"])
    opened = facts["descriptors"]
    assert sorted(["0", "1", "2", *map(str, numbered(facts).values())]) == sorted(opened)
    assert opened["0"]["is"].startswith("/memfd:")
    assert "/dev/null" == opened["1"]["is"]
    assert descriptors_of(application.process.pid)[2] == opened["2"]["is"]
    assert not any(one["closes"] for one in opened.values())


def test_the_broker_alone_gets_namespaces_of_its_own_and_what_it_takes_to_empty_its_root(
    accompanied_box: AccompaniedBox,
) -> None:
    """CAP_SYS_CHROOT and CAP_SYS_ADMIN, in a user namespace in which nothing of the session's is."""
    application = accompanied_box.application()
    application.asks("tell pid")
    ours = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("user", "mnt", "net", "pid")}
    two = f"{1 << 18 | 1 << 21:016x}"
    broker, steward = accompanied_box.wait_for("broker"), accompanied_box.wait_for("steward")
    assert [two, two] == broker["capabilities"]
    assert {"user", "mnt"} == {name for name in ours if ours[name] != broker["namespaces"][name]}
    assert ["0" * 16, "0" * 16] == steward["capabilities"]
    assert ours == steward["namespaces"]


@pytest.mark.parametrize("word", ["broker", "steward"])
def test_a_companion_stands_where_no_application_can_put_anything(
    accompanied_box: AccompaniedBox, word: str
) -> None:
    application = accompanied_box.application()
    application.asks("tell pid")
    assert "/" == accompanied_box.wait_for(word)["directory"]


def _odd_mask() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR2})


def test_no_descriptor_of_the_monitors_gets_into_the_application_or_what_is_ordered(
    accompanied_box: AccompaniedBox,
) -> None:
    application = accompanied_box.application(flags=WITH_DESCRIPTOR)
    application.asks("tell pid")  # both run
    assert [0, 1, 2, 3, BROKER_DESCRIPTOR] == sorted(application.does("opened()"))  # 3 it has opened itself
    script = "ls -l /proc/self/fd >&2; echo end-of-list >&2"
    accompanied_box.order(application.process, "/bin/sh", "-c", script)
    assert application.process.stderr is not None
    listed = read_until(application.process.stderr.fileno(), b"end-of-list\n").decode().splitlines()
    links = [line.split(" -> ")[0].rsplit(" ", 1)[1] for line in listed if " -> " in line]
    assert ["0", "1", "2", "3"] == links  # 3 is the directory that ls reads


def test_the_monitor_keeps_its_own_ends_only(accompanied_box: AccompaniedBox) -> None:
    fd = os.open("/dev/zero", os.O_RDONLY)
    os.dup2(fd, 40, inheritable=True)
    options = {"pass_fds": [40]}
    application = accompanied_box.application(flags=WITH_DESCRIPTOR, keep_fds=(40,), options=options)
    os.close(fd)
    os.close(40)
    held = descriptors_of(application.process.pid)
    assert "/dev/zero" not in held.values()
    assert BROKER_DESCRIPTOR not in held
    assert [] == [name for name in held.values() if name.startswith("/dev/pts") or name == "/dev/null"]


@pytest.mark.parametrize(("how", "failed"), ENDS)
def test_the_brokers_end_is_not_the_applications(
    accompanied_box: AccompaniedBox, how: str, failed: int
) -> None:
    application = accompanied_box.application()
    first = int(application.asks())
    application.does(f"ask({BROKER!r}, {how.encode()!r})")
    wait_until_gone(first)
    second = int(application.asks())
    assert first != second
    one, other = accompanied_box.history("broker")
    if failed:
        assert other["time"] - one["time"] > PAUSE_S * 0.9
    else:
        assert other["time"] - one["time"] < PAUSE_S * 0.9
    quiet(accompanied_box, "broker", 2)
    assert 9 == application.ends(9)


@pytest.mark.parametrize(("how", "failed"), ENDS)
def test_a_steward_that_failed_is_started_again_by_itself(
    accompanied_box: AccompaniedBox, how: str, failed: int
) -> None:
    application = accompanied_box.application()
    first = int(accompanied_box.control(application.process))
    with pytest.raises(ConnectionError):  # it ends without an answer
        _answer_of(accompanied_box, application, how)
    wait_until_gone(first)
    if not failed:
        quiet(accompanied_box, "steward", 1)
        accompanied_box.control(application.process)
        assert 2 == len(accompanied_box.history("steward"))
        return
    second = accompanied_box.wait_for("steward", 2)
    assert second["time"] - accompanied_box.history("steward")[0]["time"] > PAUSE_S * 0.9
    quiet(accompanied_box, "steward", 2)
    assert application.asks() != ""


def _answer_of(box: AccompaniedBox, application: Application, message: str) -> bytes:
    answer = box.control(application.process, message.encode())
    if not answer:
        raise ConnectionResetError
    return answer


def test_a_companion_that_fails_at_once_is_tried_once_a_second(accompanied_box: AccompaniedBox) -> None:
    accompanied_box.first("broker", "end 3")
    application = accompanied_box.application()
    application.begin(f"ask({BROKER!r})")
    accompanied_box.wait_for("broker", 3)
    times = [one["time"] for one in accompanied_box.history("broker")[:3]]
    assert all(later - earlier > PAUSE_S * 0.9 for earlier, later in itertools.pairwise(times))
    accompanied_box.first("broker", "")
    assert int(application.answer()) == accompanied_box.history("broker")[-1]["pid"]


def test_a_steward_that_keeps_failing_is_tried_once_a_second_without_harm(
    accompanied_box: AccompaniedBox,
) -> None:
    accompanied_box.first("steward", "die")
    application = accompanied_box.application()
    with pytest.raises(TimeoutError):
        _ask_briefly(accompanied_box, application)
    accompanied_box.wait_for("steward", 3)
    times = [one["time"] for one in accompanied_box.history("steward")]
    assert all(later - earlier > PAUSE_S * 0.9 for earlier, later in itertools.pairwise(times))
    assert 0 == application.ends()


def _ask_briefly(box: AccompaniedBox, application: Application) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(QUIET_S)
        directory = os.open(box.state(application.process), os.O_PATH)
        client.connect(f"/proc/self/fd/{directory}/control")
        os.close(directory)
        client.recv(1)


def test_a_broker_that_fails_keeps_neither_the_steward_nor_the_application(
    accompanied_box: AccompaniedBox,
) -> None:
    accompanied_box.first("broker", "end 3")
    application = accompanied_box.application()
    application.does(f"ask({BROKER!r}, None)")
    wait_until_gone(accompanied_box.wait_for("broker")["pid"])
    began = time.monotonic()
    accompanied_box.control(application.process)
    assert 6 == application.ends(6)
    assert time.monotonic() - began < PAUSE_S * 0.8


def test_companions_that_come_and_go_leave_nothing_in_the_monitor(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application()
    application.asks("tell pid")
    held = descriptors_of(application.process.pid)
    for number in range(2, 22):
        wait_until_gone(_end_of(accompanied_box, application, "broker"))
        application.asks()
        if number % 4 == 0:
            wait_until_gone(_end_of(accompanied_box, application, "steward"))
        accompanied_box.control(application.process)
    after = descriptors_of(application.process.pid)
    assert sorted(held.values()) == sorted(after.values())
    assert 3 == len(
        children_of(application.process.pid)
    )  # the box and the two that run, and nothing unreaped


def _end_of(box: AccompaniedBox, application: Application, word: str) -> int:
    """Have the companion that runs end with status 0; returns its pid."""
    pid: int = box.history(word)[-1]["pid"]
    if word == "broker":
        application.asks("end 0")
    else:
        box.control(application.process, b"end 0")
    return pid


def test_connections_that_come_while_no_broker_runs_are_served_by_the_next(
    accompanied_box: AccompaniedBox,
) -> None:
    application = accompanied_box.application()
    first = int(application.asks())
    application.asks("die")
    wait_until_gone(first)
    application.does(f"[ask({BROKER!r}, None) for _ in range(20)]")  # none waits for a broker
    assert [str(accompanied_box.wait_for("broker", 2)["pid"])] * 20 == application.does(
        "[say(one, b'pid').decode() for one in kept[-20:]]"
    )


def test_more_connections_than_fit_are_refused_and_harm_nobody(accompanied_box: AccompaniedBox) -> None:
    accompanied_box.first("broker", "end 3")  # so that nobody takes them
    application = accompanied_box.application()
    application.does(
        "(setattr(socket.socket, 'settimeout', lambda self, seconds: self.setblocking(False)), 0)[1]"
    )
    got = application.does(f"[ask({BROKER!r}, None) for _ in range({BACKLOG})] and 'connected'")
    assert "connected" == got
    assert f"error {errno.EAGAIN}" == application.does(f"[ask({BROKER!r}, None) for _ in range(20)]")
    assert 5 == application.ends(5)


def test_the_descriptor_is_a_first_use_and_works(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application(flags=WITH_DESCRIPTOR)
    told = int(application.does(f"say(descriptor({BROKER_DESCRIPTOR}), b'pid')"))
    assert told == accompanied_box.wait_for("broker")["pid"]
    assert told == int(application.does("say(kept[0], b'pid')"))
    assert 1 == len(accompanied_box.history("broker"))


@pytest.mark.parametrize("how", ["end 0", "end 1", "die"])
def test_the_descriptor_ends_with_the_broker(accompanied_box: AccompaniedBox, how: str) -> None:
    application = accompanied_box.application(flags=WITH_DESCRIPTOR)
    broker = int(application.does(f"say(descriptor({BROKER_DESCRIPTOR}), b'pid')"))
    application.asks(how)
    wait_until_gone(broker)
    assert b"" == application.does("kept[0].recv(100)")
    assert f"error {errno.EPIPE}" == application.does("kept[0].send(b'pid')")
    quiet(accompanied_box, "broker", 1)
    application.asks()  # by its path it is still there
    assert "descriptor" not in numbered(accompanied_box.wait_for("broker", 2))


def test_a_descriptor_that_is_closed_starts_nothing(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application(flags=WITH_DESCRIPTOR)
    application.does(f"os.close({BROKER_DESCRIPTOR})")
    quiet(accompanied_box, "broker", 0)
    used = status_of(application.process.pid)["voluntary_ctxt_switches"]
    quiet(accompanied_box, "broker", 0)
    assert used == status_of(application.process.pid)["voluntary_ctxt_switches"]  # it isn't busy with it
    application.asks()
    assert "descriptor" not in numbered(accompanied_box.wait_for("broker"))


@pytest.mark.parametrize("how", ["SHUT_RD", "SHUT_WR", "SHUT_RDWR"])
def test_a_descriptor_that_is_shut_down_keeps_nobody_busy(accompanied_box: AccompaniedBox, how: str) -> None:
    application = accompanied_box.application(flags=WITH_DESCRIPTOR)
    application.does(f"descriptor({BROKER_DESCRIPTOR}).shutdown(socket.{how})")
    time.sleep(QUIET_S)
    used = _processor_time(application.process.pid)
    time.sleep(QUIET_S)
    assert _processor_time(application.process.pid) - used <= 2  # clock ticks of 10 ms
    application.asks()
    assert len(accompanied_box.history("broker")) <= 2
    assert 0 == application.ends()


def _processor_time(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_the_descriptor_of_an_application_that_closes_it_late_keeps_the_broker(
    accompanied_box: AccompaniedBox,
) -> None:
    application = accompanied_box.application(flags=WITH_DESCRIPTOR)
    broker = int(application.does(f"say(descriptor({BROKER_DESCRIPTOR}), b'pid')"))
    application.does("kept.pop().close()")
    assert broker == int(application.asks())
    quiet(accompanied_box, "broker", 1)


@pytest.mark.parametrize(
    "end", ["the application ends", "the monitor is killed", "the first process is killed"]
)
def test_companions_end_with_the_box(accompanied_box: AccompaniedBox, end: str) -> None:
    application = accompanied_box.application()
    application.asks("tell pid")
    companions = [accompanied_box.wait_for(word)["pid"] for word in ("broker", "steward")]
    assert not any(is_gone(pid) for pid in companions)
    assert application.process.stderr is not None
    if end == "the application ends":
        assert 3 == application.ends(3)
        assert all(is_gone(pid) for pid in companions)  # before the shell goes on
    elif end == "the monitor is killed":
        application.process.kill()
    else:
        os.kill(init_of(application.process), signal.SIGKILL)
    assert b"" == wait_for_end_of(application.process.stderr.fileno())
    for pid in companions:
        wait_until_gone(pid)


def test_companions_that_will_not_end_do_not_keep_the_box(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application()
    application.asks("tell pid")
    broker = accompanied_box.wait_for("broker")["pid"]
    os.kill(broker, signal.SIGSTOP)
    assert 4 == application.ends(4)
    assert is_gone(broker)


def test_without_the_python_half_an_application_runs_on(accompanied_box: AccompaniedBox) -> None:
    (accompanied_box.half / "python").unlink()
    application = accompanied_box.application()
    application.begin(f"ask({BROKER!r})")
    assert application.process.stderr is not None
    said = read_until(application.process.stderr.fileno(), b"No such file or directory\n")
    assert said.startswith(b"sandboxer: t: cannot start a companion\n")
    assert application.process.poll() is None


def test_a_box_can_be_ended_while_a_companion_starts(accompanied_box: AccompaniedBox) -> None:
    words = accompanied_box.plan("/bin/sh", "-c", "echo ready; exec sleep 60")
    for attempt in range(20):
        process = accompanied_box.start(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        read_until(process.stdout.fileno(), b"ready\n")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            directory = os.open(accompanied_box.state(process), os.O_PATH)
            client.connect(f"/proc/self/fd/{directory}/control")
            os.close(directory)
            time.sleep(attempt * 0.001)
            process.send_signal((signal.SIGKILL, signal.SIGTERM)[attempt % 2])
            process.wait(10)
        wait_for_end_of(process.stderr.fileno())
        assert (attempt % 2 == 0) == accompanied_box.state(process).exists()


@pytest.fixture
def terminal(accompanied_box: AccompaniedBox) -> Iterator[Callable[..., tuple[int, int]]]:
    """Starts an interactive bash on a terminal of its own: its pid, and our end."""
    bash = need("bash")
    started: list[tuple[int, int]] = []

    def start() -> tuple[int, int]:
        pid, fd = pty.fork()
        if pid == 0:
            environment = accompanied_box.environment | {"PS1": "more> ", "HISTFILE": "/dev/null"}
            os.execve(bash, [bash, "--norc", "--noprofile", "--noediting", "-i"], environment)
        started.append((pid, fd))
        read_until(fd, b"more> ")
        return pid, fd

    yield start
    for pid, fd in started:
        os.kill(pid, signal.SIGKILL)
        os.close(fd)
        os.waitpid(pid, 0)


def test_keys_at_the_terminal_reach_the_companions_neither_as_signals_nor_as_input(
    accompanied_box: AccompaniedBox, terminal: Callable[..., tuple[int, int]], tmp_path: Path
) -> None:
    script = tmp_path / "script"
    words = accompanied_box.plan(
        "/usr/bin/python3", "-IS", "-c", ASK_AND_WAIT, more=[plans.bind("/script", str(tmp_path))]
    )
    script.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in words) + "\n")
    script.chmod(0o755)
    _, fd = terminal()
    os.write(fd, f"{script}\n".encode())
    read_until(fd, b"told=")
    broker = accompanied_box.wait_for("broker")["pid"]
    opened = Path(f"/proc/{broker}/fdinfo/2").read_text().split("flags:\t")[1].split()[0]
    assert os.O_WRONLY == int(opened, 8) & os.O_ACCMODE  # who is in another session could read what is typed
    assert descriptors_of(broker)[2].startswith("/dev/pts/")
    os.write(fd, b"\x03")
    read_until(fd, b"interrupted")
    assert "S" == status_of(broker)["State"][0]
    os.write(fd, b"\x1a")
    read_until(fd, b"Stopped")
    assert "S" == status_of(broker)["State"][0]
    os.write(fd, b"fg\n")
    time.sleep(0.2)
    os.write(fd, b"\x03")
    read_until(fd, b"interrupted")
    assert [broker] == [one["pid"] for one in accompanied_box.history("broker")]


ASK_AND_WAIT = f"""
import os, signal, socket, time
signal.signal(signal.SIGINT, lambda *_: os.write(1, b"interrupted "))
client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
client.connect("{BROKER}")
client.send(b"pid")
os.write(1, b"told=" + client.recv(100))
while True:
    time.sleep(1)
"""


def test_a_box_without_a_broker_listens_nowhere(planned_box: PlannedBox) -> None:
    assert "no\n" == planned_box.shell("test -e /run/sandboxer || echo no").stdout

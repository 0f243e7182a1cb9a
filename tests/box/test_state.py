"""The directory by which the session knows a running box: there as long as the box is, and no start without it."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from boxes import PlannedBox, read_until, wait_for_end_of
from companions import AccompaniedBox, connected_to

from sandboxer.plan.ops import PlanFlag

SCRIPT = "echo ready; exec sleep 60"
PARTS = re.compile(r"sandboxer: t: .+\n  .+\n  try: .+\n")


def running(box: PlannedBox, script: str = SCRIPT, **plan: object) -> subprocess.Popen[bytes]:
    words = box.plan("/bin/sh", "-c", script, **plan)  # type: ignore[arg-type] # as given
    process = box.start(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    read_until(process.stdout.fileno(), b"ready\n")
    return process


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock: what whoever looks for boxes asks."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def mode_of(path: Path) -> str:
    return stat.filemode(path.lstat().st_mode)


def refusal(box: PlannedBox) -> str:
    """The box doesn't start, and says why in all parts; returns what it says."""
    done = box.run(box.plan("/bin/echo", "ran"))
    assert (125, "") == (done.returncode, done.stdout)
    assert PARTS.fullmatch(done.stderr), done.stderr
    return done.stderr


def test_a_running_box_has_a_directory_of_its_own(planned_box: PlannedBox) -> None:
    before = int(time.time())
    process = running(planned_box)
    state = planned_box.state(process)
    assert ["drwx------"] * 2 == [mode_of(path) for path in (planned_box.boxes, state)]
    assert {"box": "-rw-------", "control": "s"} == {
        path.name: mode_of(path) if path.is_file() else mode_of(path)[0] for path in state.iterdir()
    }
    lines = dict(line.split("=", 1) for line in (state / "box").read_text().splitlines())
    assert ["app", "monitor", "started"] == list(lines)
    assert ("t", str(process.pid)) == (lines["app"], lines["monitor"])
    assert before <= int(lines["started"]) <= int(time.time())


def test_the_directory_is_locked_as_long_as_the_box_runs_and_gone_afterwards(planned_box: PlannedBox) -> None:
    process = running(planned_box, "echo ready; read line; exit 3", flags=PlanFlag(0))
    assert 3 == process.wait(10)  # its input is empty
    assert [] == list(planned_box.boxes.iterdir())
    process = running(planned_box)
    assert is_locked(planned_box.state(process) / "box")
    process.terminate()
    assert 128 + signal.SIGTERM == process.wait(10)
    assert [] == list(planned_box.boxes.iterdir())


@pytest.mark.parametrize("status", [0, 1, 125])
def test_the_directory_is_gone_when_the_shell_goes_on(planned_box: PlannedBox, status: int) -> None:
    assert status == planned_box.shell(f"exit {status}").returncode
    assert [] == list(planned_box.boxes.iterdir())


def test_the_directory_is_gone_when_the_box_could_not_be_made(planned_box: PlannedBox) -> None:
    done = planned_box.run(planned_box.plan("/bin/true", home="/proc/nothing"))
    assert 125 == done.returncode
    assert [] == list(planned_box.boxes.iterdir())


def test_a_killed_launcher_leaves_a_directory_whose_lock_is_free(accompanied_box: AccompaniedBox) -> None:
    """At once: no companion, and nothing in the box, holds it."""
    application = accompanied_box.application(flags=PlanFlag.PRIVATE_NETWORK | PlanFlag.LINGER)
    application.asks("tell pid")
    state = accompanied_box.state(application.process)
    application.process.kill()
    application.process.wait(10)
    assert not is_locked(state / "box")


def test_what_the_steward_has_written_is_removed_with_the_directory(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application()
    accompanied_box.control(application.process)
    for name in ("grants", ".grants"):
        (accompanied_box.state(application.process) / name).write_text("{}")
    assert 0 == application.ends()
    assert [] == list(accompanied_box.boxes.iterdir())


def test_what_is_strange_in_the_directory_is_left_and_changes_nothing(planned_box: PlannedBox) -> None:
    process = running(planned_box)
    state = planned_box.state(process)
    (state / "strange").mkdir()
    process.terminate()
    assert 128 + signal.SIGTERM == process.wait(10)
    assert ["strange"] == os.listdir(state)


def test_two_boxes_of_an_application_have_two_directories(planned_box: PlannedBox) -> None:
    processes = [running(planned_box) for _ in range(2)]
    assert sorted(f"t.{process.pid}" for process in processes) == sorted(os.listdir(planned_box.boxes))
    processes[0].terminate()
    processes[0].wait(10)
    assert [f"t.{processes[1].pid}"] == os.listdir(planned_box.boxes)


def test_a_box_sees_nothing_of_its_directory(planned_box: PlannedBox) -> None:
    """Not even its descriptors, which a process of the box closes first of all."""
    done = planned_box.shell("ls -l /proc/self/fd; cat /proc/self/mountinfo; ls /run")
    assert 0 == done.returncode
    assert "boxes" not in done.stdout


def leave(directory: Path, content: tuple[str, ...]) -> None:
    """A directory as a killed launcher leaves it."""
    directory.mkdir(parents=True, mode=0o700)
    directory.parent.chmod(0o700)
    if "box" in content:
        (directory / "box").write_text("app=t\nmonitor=1\nstarted=1\n")
    if "control" in content:
        descriptor = os.open(directory, os.O_PATH)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:
            left.bind(f"/proc/self/fd/{descriptor}/control")
        os.close(descriptor)
    if "grants" in content:
        (directory / "grants").write_text("{}")


@pytest.mark.parametrize(
    "content", [(), ("box",), ("box", "control"), ("box", "control", "grants"), ("control",)]
)
def test_what_was_left_under_the_same_number_is_replaced(
    planned_box: PlannedBox, tmp_path: Path, content: tuple[str, ...]
) -> None:
    """A shell waits, and is then replaced by the launcher: so its number is known before."""
    words = planned_box.plan("/bin/sh", "-c", SCRIPT)
    process = planned_box.start(
        ["/bin/sh", "-c", 'read line; exec "$@"', "sh", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    leave(planned_box.state(process), content)
    process.stdin.write(b"go\n")
    process.stdin.flush()
    read_until(process.stdout.fileno(), b"ready\n")
    state = planned_box.state(process)
    assert {"box", "control"} == set(os.listdir(state))
    assert f"monitor={process.pid}" in (state / "box").read_text()
    assert is_locked(state / "box")


def refused_beside(
    planned_box: PlannedBox, prepare: Callable[[Path], object]
) -> subprocess.CompletedProcess[bytes]:
    """Start a launcher whose directory `prepare` has put there before."""
    words = planned_box.plan("/bin/sh", "-c", "echo ran")
    process = planned_box.start(
        ["/bin/sh", "-c", 'read line; exec "$@"', "sh", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    prepare(planned_box.state(process))
    out, err = process.communicate(b"go\n", 10)
    return subprocess.CompletedProcess([], process.returncode, out, err)


def test_the_directory_of_another_box_that_runs_is_not_taken(planned_box: PlannedBox) -> None:
    """Two launchers can have one number, in two pid namespaces."""

    held: list[int] = []

    def lock(directory: Path) -> None:
        leave(directory, ("box",))
        held.append(os.open(directory / "box", os.O_RDONLY))
        fcntl.flock(held[0], fcntl.LOCK_EX)

    done = refused_beside(planned_box, lock)
    os.close(held[0])
    assert (125, b"") == (done.returncode, done.stdout)
    assert b"another box has this number" in done.stderr
    assert ["box"] == os.listdir(next(planned_box.boxes.iterdir()))


def test_a_link_under_the_same_number_is_not_followed(planned_box: PlannedBox, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "box").touch()

    def link(directory: Path) -> None:
        directory.parent.mkdir(mode=0o700)
        directory.symlink_to(elsewhere)

    done = refused_beside(planned_box, link)
    assert (125, b"") == (done.returncode, done.stdout)
    assert ["box"] == os.listdir(elsewhere)


def test_a_start_waits_for_whoever_looks_for_boxes(planned_box: PlannedBox) -> None:
    """A lock that is shared for a moment is no reason not to start."""
    looking = planned_box.start(
        ["/usr/bin/python3", "-c", LOOK, str(planned_box.boxes)], stdout=subprocess.PIPE
    )
    assert looking.stdout is not None
    read_until(looking.stdout.fileno(), b"looking\n")
    for _ in range(100):
        assert 0 == planned_box.run(planned_box.plan("/bin/true")).returncode
    assert looking.poll() is None


LOOK = """
import fcntl, os, sys
print("looking", flush=True)
while True:
    try:
        for name in os.listdir(sys.argv[1]):
            fd = os.open(f"{sys.argv[1]}/{name}/box", os.O_RDONLY)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            finally:
                os.close(fd)
    except OSError:
        pass
"""


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o750, 0o701, 0o777])
def test_a_directory_of_boxes_that_is_open_to_others_is_refused(
    planned_box: PlannedBox, tmp_path: Path, mode: int
) -> None:
    planned_box.boxes.mkdir()
    planned_box.boxes.chmod(mode)
    assert "somebody else" in refusal(planned_box)
    assert [] == os.listdir(planned_box.boxes)


def test_a_link_in_place_of_the_directory_of_boxes_is_refused(
    planned_box: PlannedBox, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    planned_box.boxes.symlink_to(elsewhere)
    assert os.strerror(errno.ENOTDIR) in refusal(planned_box)
    assert [] == os.listdir(elsewhere)


def test_a_file_in_place_of_the_directory_of_boxes_is_refused(
    planned_box: PlannedBox, tmp_path: Path
) -> None:
    planned_box.boxes.touch()
    assert os.strerror(errno.ENOTDIR) in refusal(planned_box)


@pytest.mark.parametrize("where", ["the directory of boxes", "what holds it"])
def test_where_nothing_can_be_made_no_box_starts(planned_box: PlannedBox, tmp_path: Path, where: str) -> None:
    closed = planned_box.boxes if where == "the directory of boxes" else planned_box.boxes.parent
    planned_box.boxes.mkdir(mode=0o700)
    words = planned_box.plan("/bin/sh", "-c", "echo ran")
    if where != "the directory of boxes":
        planned_box.boxes.rmdir()
    closed.chmod(0o500)
    try:
        done = planned_box.run(words)
    finally:
        closed.chmod(0o700)
    assert (125, "") == (done.returncode, done.stdout)
    assert PARTS.fullmatch(done.stderr), done.stderr
    assert os.strerror(errno.EACCES) in done.stderr


def test_without_room_on_the_disk_no_box_starts(planned_box: PlannedBox, tmp_path: Path) -> None:
    """As the quota would: no byte can be written to a file."""
    done = planned_box.run(
        ["/bin/sh", "-c", 'trap "" XFSZ; ulimit -f 0; exec "$@"', "sh", *planned_box.plan("/bin/echo", "ran")]
    )
    assert (125, "") == (done.returncode, done.stdout)
    assert PARTS.fullmatch(done.stderr), done.stderr


def test_a_private_runtime_directory_is_where_boxes_are_known(
    planned_box: PlannedBox, runtime_dir: Path
) -> None:
    words = planned_box.plan("/bin/sh", "-c", SCRIPT)
    (planned_box.plans.parent).rename(runtime_dir / "sandboxer")
    planned_box.environment["XDG_RUNTIME_DIR"] = str(runtime_dir)
    process = planned_box.start(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    read_until(process.stdout.fileno(), b"ready\n")
    assert [f"t.{process.pid}"] == os.listdir(runtime_dir / "sandboxer" / "boxes")


def test_a_long_path_is_no_hindrance_to_the_control_socket(planned_box: PlannedBox, tmp_path: Path) -> None:
    """An address of a socket has 108 bytes; paths may have 4096."""
    deep = tmp_path
    for _ in range(5):
        deep /= "d" * 200
    deep.mkdir(parents=True)
    words = planned_box.plan("/bin/sh", "-c", SCRIPT)
    (planned_box.plans.parent).rename(deep / "sandboxer")
    planned_box.environment["XDG_CACHE_HOME"] = str(deep)
    process = planned_box.start(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    read_until(process.stdout.fileno(), b"ready\n")
    with connected_to(deep / "sandboxer" / "boxes" / f"t.{process.pid}" / "control"):
        pass


def test_a_signal_at_any_moment_of_the_start_leaves_no_directory_that_looks_alive(
    planned_box: PlannedBox,
) -> None:
    words = planned_box.plan("/usr/bin/sleep", "60")
    for attempt in range(40):
        process = planned_box.start(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(attempt * 0.0004)
        process.send_signal((signal.SIGKILL, signal.SIGTERM)[attempt % 2])
        process.wait(10)
        assert process.stderr is not None
        wait_for_end_of(process.stderr.fileno())
        left = list(planned_box.boxes.iterdir()) if planned_box.boxes.exists() else []
        assert attempt % 2 == 0 or left == []
        for directory in left:
            assert not (directory / "box").exists() or not is_locked(directory / "box")
            for file in directory.iterdir():
                file.unlink()
            directory.rmdir()


def test_of_many_starts_at_once_one_makes_the_box_and_the_others_join_it(
    accompanied_box: AccompaniedBox,
) -> None:
    """The plan says that a second start joins: what joins is handed to Python, here to the player."""
    words = accompanied_box.plan("/bin/sleep", "60", flags=PlanFlag.PRIVATE_NETWORK | PlanFlag.JOINS, broker=b"")
    started = [accompanied_box.start(words, stderr=subprocess.DEVNULL) for _ in range(12)]
    deadline = time.monotonic() + 20
    while sum(process.poll() is None for process in started) > 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    (runs,) = [process for process in started if process.poll() is None]
    assert [accompanied_box.state(runs)] == [
        path for path in accompanied_box.boxes.iterdir() if not path.name.startswith(".")
    ]

"""
Sockets of a service manager (sd_listen_fds(3)): handed on to the application, which finds them as it would outside.

What is passed is believed only when it was passed to the launcher itself, and none of it may be a directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from boxes import PlannedBox, read_until
from conftest import run_to_end

from sandboxer.plan.ops import PlanFlag

EXECUTE = """
import os, socket, sys
fds, pid, names = sys.argv[1:4]
for number, place in enumerate(sys.argv[4].split(",") if sys.argv[4] else [], start=3):
    fd = int(place) if place.isdigit() else os.open(place, os.O_RDONLY)
    if fd != number:
        os.dup2(fd, number, inheritable=True)
        os.close(fd)
    os.set_inheritable(number, True)
os.environ["LISTEN_FDS"] = fds
os.environ["LISTEN_PID"] = pid.replace("OWN", str(os.getpid()))
if names:
    os.environ["LISTEN_FDNAMES"] = names
os.execv(sys.argv[5], sys.argv[5:])
"""
"""As a service manager starts a service: the descriptors from 3 on, then the program, in the same process."""

SAY = """
import json, os
names = [n for n in os.listdir("/proc/self/fd") if os.path.islink("/proc/self/fd/" + n)]
print(json.dumps({"pid": os.getpid(), "fds": sorted(map(int, names)),
    "is": [os.path.realpath("/proc/self/fd/" + n) for n in names],
    "variables": {n: v for n, v in os.environ.items() if n.startswith("LISTEN")}}))
"""


def as_service(
    words: list[str], *, fds: str, pid: str = "OWN", names: str = "", places: tuple[str, ...] = ()
) -> list[str]:
    return ["/usr/bin/python3", "-c", EXECUTE, fds, pid, names, ",".join(places), *words]


def inside(box: PlannedBox, **plan: Any) -> list[str]:
    return box.plan("/usr/bin/python3", "-IS", "-c", SAY, **plan)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert (0, "") == (done.returncode, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("count", [1, 2, 32])
def test_what_a_service_manager_passes_is_handed_on(planned_box: PlannedBox, count: int) -> None:
    names = ":".join(f"name-{number}" for number in range(count))
    places = ("/dev/null",) * count
    words = as_service(inside(planned_box), fds=str(count), names=names, places=places)
    found = told(planned_box.run(words))
    assert {"LISTEN_FDS": str(count), "LISTEN_PID": str(found["pid"]), "LISTEN_FDNAMES": names} == found[
        "variables"
    ]
    assert [0, 1, 2, *range(3, 3 + count)] == found["fds"]


def test_without_names_none_are_passed(planned_box: PlannedBox) -> None:
    found = told(planned_box.run(as_service(inside(planned_box), fds="1", places=("/dev/null",))))
    assert {"LISTEN_FDS": "1", "LISTEN_PID": "2"} == found["variables"]


@pytest.mark.parametrize("pid", ["1", "0", "", "-1", "OWN0", "OWN ", "0x10", "99999999999999999999", "OWN\n"])
def test_what_was_passed_to_somebody_else_is_closed(planned_box: PlannedBox, pid: str) -> None:
    words = as_service(inside(planned_box), fds="2", pid=pid, names="a:b", places=("/dev/null",) * 2)
    found = told(planned_box.run(words))
    assert ([0, 1, 2], {}) == (found["fds"], found["variables"])


def test_a_caller_that_says_nothing_of_a_process_passes_nothing(planned_box: PlannedBox) -> None:
    planned_box.environment["LISTEN_FDS"] = "1"
    found = told(planned_box.run(["/bin/sh", "-c", 'exec "$@" 3</dev/null', "sh", *inside(planned_box)]))
    assert ([0, 1, 2], {}) == (found["fds"], found["variables"])


@pytest.mark.parametrize("fds", ["0", ""])
def test_nothing_passed_is_nothing(planned_box: PlannedBox, fds: str) -> None:
    found = told(planned_box.run(as_service(inside(planned_box), fds=fds, places=("/dev/null",))))
    assert ([0, 1, 2], {}) == (found["fds"], found["variables"])


@pytest.mark.parametrize(
    "fds",
    ["33", "-1", "1x", "0x1", "1e3", "1 ", "4294967296", "4294967297", "18446744073709551617", "9" * 100],
)
def test_a_number_that_makes_no_sense_is_refused(planned_box: PlannedBox, fds: str) -> None:
    done = planned_box.run(as_service(planned_box.plan("/bin/echo", "ran"), fds=fds, places=("/dev/null",)))
    assert (125, "") == (done.returncode, done.stdout)
    assert "cannot hand over the sockets of the service manager" in done.stderr
    assert "LISTEN_FDS is a number up to 32" in done.stderr


def test_a_directory_is_refused(planned_box: PlannedBox) -> None:
    words = as_service(planned_box.plan("/bin/echo", "ran"), fds="2", places=("/dev/null", "/etc"))
    done = planned_box.run(words)
    assert (125, "") == (done.returncode, done.stdout)
    assert "is a directory" in done.stderr


def test_fewer_descriptors_than_announced_are_refused(planned_box: PlannedBox) -> None:
    done = planned_box.run(as_service(planned_box.plan("/bin/echo", "ran"), fds="2", places=("/dev/null",)))
    assert (125, "") == (done.returncode, done.stdout)
    assert "isn't open" in done.stderr


def test_other_descriptors_are_closed_and_kept_ones_kept(planned_box: PlannedBox) -> None:
    """A number that both ask for is the service manager's."""
    words = inside(planned_box, keep_fds=(4, 6, 9))
    command = as_service(words, fds="2", places=("/dev/null", "/dev/zero"))
    opened = 'exec "$@" 5</dev/full 6</dev/full 7</dev/full 9</dev/zero'
    found = told(planned_box.run(["/bin/sh", "-c", opened, "sh", *command]))
    assert [0, 1, 2, 3, 4, 6, 9] == found["fds"]
    assert "2" == found["variables"]["LISTEN_FDS"]


def test_what_is_passed_is_not_left_in_the_monitor_or_the_first_process(planned_box: PlannedBox) -> None:
    """Whoever is at a pipe's other end learns when the application closes its own."""
    ours, theirs = os.pipe()
    script = "exec 3>&-; echo closed; exec sleep 60"
    words = as_service(planned_box.plan("/bin/bash", "-c", script), fds="1", places=(str(theirs),))
    process = planned_box.start(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, pass_fds=[theirs])
    os.close(theirs)
    assert process.stdout is not None
    read_until(process.stdout.fileno(), b"closed\n")
    try:
        assert b"" == os.read(ours, 1)
    finally:
        os.close(ours)


SERVE = """
import os, socket
assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "1"
listener = socket.socket(fileno=3)
print("serving", flush=True)
client, _ = listener.accept()
client.sendall(b"from " + os.uname().nodename.encode())
try:
    socket.create_connection(("127.0.0.1", listener.getsockname()[1]), 1)
except OSError:
    client.sendall(b", which has no network")
"""


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("landlock", [PlanFlag(0), PlanFlag.LANDLOCK_FILES], ids=["plain", "with Landlock"])
def test_a_connection_from_the_network_is_accepted_in_a_box_without_one(
    planned_box: PlannedBox, landlock: PlanFlag
) -> None:
    words = planned_box.plan(
        "/usr/bin/python3", "-IS", "-c", SERVE, flags=PlanFlag.PRIVATE_NETWORK | landlock
    )
    with listening() as server:
        process = planned_box.start(
            as_service(words, fds="1", places=(str(server.fileno()),)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=[server.fileno()],
        )
        assert process.stdout is not None
        read_until(process.stdout.fileno(), b"serving\n")
        with socket.create_connection(server.getsockname(), 10) as client:
            client.settimeout(10)
            said = b""
            while piece := client.recv(100):
                said += piece
    assert b"from box, which has no network" == said
    assert 0 == process.wait(10)


def test_activation_works_on_the_first_start_and_on_the_next(
    sandbox_program: Path, session: Mapping[str, str], box: Callable[..., object], tmp_path: Path
) -> None:
    """The first one goes through Python, which compiles a plan and comes back in the same process."""
    words = [str(sandbox_program), "run", "--", "/usr/bin/python3", "-IS", "-c", SAY]
    for _ in range(2):
        done = run_to_end(
            as_service(words, fds="2", names="one:two", places=("/dev/null", "/dev/zero")),
            env=session,
            cwd=tmp_path,
        )
        assert 0 == done.returncode, done.stderr
        found = json.loads(done.stdout)
        assert [0, 1, 2, 3, 4] == found["fds"]
        assert {
            "LISTEN_FDS": "2",
            "LISTEN_PID": str(found["pid"]),
            "LISTEN_FDNAMES": "one:two",
        } == found["variables"]


def test_activation_works_beside_keep_fd(
    sandbox_program: Path, session: Mapping[str, str], box: Callable[..., object], tmp_path: Path
) -> None:
    words = [str(sandbox_program), "run", "--keep-fd", "7", "--", "/usr/bin/python3", "-IS", "-c", SAY]
    service = as_service(words, fds="1", places=("/dev/null",))
    for _ in range(2):
        done = run_to_end(
            ["/bin/sh", "-c", 'exec "$@" 7</dev/zero', "sh", *service], env=session, cwd=tmp_path
        )
        assert 0 == done.returncode, done.stderr
        assert [0, 1, 2, 3, 7] == json.loads(done.stdout)["fds"]

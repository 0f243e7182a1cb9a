"""Sockets of the host's that are connected before the box is made, and handed over in place of their files."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from boxes import PlannedBox, read_until
from companions import descriptors_of
from plans import ASKED, connect
from stepping import landlock_flags

from sandboxer.plan.ops import CONNECT_FIRST, CONNECT_MAX, PlanFlag

KEEP_FDS_AT = struct.calcsize("<8s5I")
PATIENCE_S = 5
SPEAK = """
import os, socket, sys
for number in map(int, sys.argv[1:]):
    connection = socket.socket(fileno=number)
    connection.sendall(b"from %d" % number)
    print(connection.recv(100).decode(), os.get_inheritable(number), flush=True)
"""


@contextlib.contextmanager
def listening(path: Path, backlog: int = 8) -> Iterator[socket.socket]:
    """A server of the host's."""
    directory = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(10)
        server.bind(f"/proc/self/fd/{directory}/{path.name}")
        server.listen(backlog)
        os.close(directory)
        yield server


def speaking(box: PlannedBox, *sockets: Path, flags: PlanFlag = PlanFlag.PRIVATE_NETWORK) -> list[str]:
    numbers = range(CONNECT_FIRST, CONNECT_FIRST + len(sockets))
    return box.plan(
        *("/usr/bin/python3", "-IS", "-c", SPEAK, *map(str, numbers)),
        flags=flags,
        more=[connect(str(path), number) for path, number in zip(sockets, numbers, strict=True)],
    )


def assert_refused(done: subprocess.CompletedProcess[str], path: Path, reason: str) -> None:
    assert (125, "") == (done.returncode, done.stdout)
    assert re.fullmatch(
        f"sandboxer: t: cannot connect to the socket that the policy grants\n  {re.escape(str(path))}: {reason}\n"
        f"  asked for by {re.escape(str(ASKED))}\n  try: .+\n",
        done.stderr,
    ), done.stderr


@pytest.mark.parametrize("count", [1, CONNECT_MAX])
@pytest.mark.parametrize("landlock", ["plain", "with Landlock"])
def test_the_application_has_the_connection_and_not_the_socket(
    planned_box: PlannedBox, tmp_path: Path, count: int, landlock: str
) -> None:
    paths = [tmp_path / f"socket-{number}" for number in range(count)]
    flags = PlanFlag.PRIVATE_NETWORK | (landlock_flags() if landlock != "plain" else PlanFlag(0))
    with contextlib.ExitStack() as servers:
        found = [servers.enter_context(listening(path)) for path in paths]
        process = planned_box.start(
            speaking(planned_box, *paths, flags=flags), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        for number, server in enumerate(found, start=CONNECT_FIRST):
            client = servers.enter_context(server.accept()[0])
            client.settimeout(10)
            assert f"from {number}".encode() == client.recv(100)
            client.sendall(f"answer {number}".encode())
            assert b"" == client.recv(100)  # the application has ended, and nobody else has it
        out, _ = process.communicate(timeout=10)
    assert [f"answer {CONNECT_FIRST + n} True" for n in range(count)] == out.decode().splitlines()


def test_only_the_application_holds_the_connection(planned_box: PlannedBox, tmp_path: Path) -> None:
    with listening(tmp_path / "socket") as server:
        script = f"exec {CONNECT_FIRST}>&-; echo closed; exec sleep 60"
        words = planned_box.plan("/bin/bash", "-c", script, more=[connect(str(tmp_path / "socket"))])
        process = planned_box.start(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        client, _ = server.accept()
        with client:
            client.settimeout(10)
            assert process.stdout is not None
            read_until(process.stdout.fileno(), b"closed\n")
            assert b"" == client.recv(1)
        assert CONNECT_FIRST not in descriptors_of(process.pid)
        assert process.poll() is None


def test_a_connected_descriptor_stands_beside_kept_ones(planned_box: PlannedBox, tmp_path: Path) -> None:
    script = "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd') if n != '4'))"  # 4 lists
    with listening(tmp_path / "socket"):
        words = planned_box.plan(
            *("/usr/bin/python3", "-IS", "-c", script),
            keep_fds=(3, 99, CONNECT_FIRST + 1),
            more=[connect(str(tmp_path / "socket"))],
        )
        keep = "import os, sys\nfor n in (3, 99, 101): os.dup2(0, n)\nos.execv(sys.argv[1], sys.argv[1:])"
        done = planned_box.run(["/usr/bin/python3", "-c", keep, *words])
    assert ("[0, 1, 2, 3, 99, 100, 101]\n", "") == (done.stdout, done.stderr)


def test_a_socket_that_is_gone_is_an_error(planned_box: PlannedBox, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    assert_refused(planned_box.run(speaking(planned_box, path)), path, "No such file or directory")


def test_a_socket_that_nobody_listens_on_is_an_error(planned_box: PlannedBox, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening(path):
        pass
    assert_refused(planned_box.run(speaking(planned_box, path)), path, "Connection refused")


def test_a_socket_of_another_type_is_an_error(planned_box: PlannedBox, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        directory = os.open(tmp_path, os.O_PATH)
        other.bind(f"/proc/self/fd/{directory}/socket")
        os.close(directory)
        assert_refused(planned_box.run(speaking(planned_box, path)), path, "Protocol wrong type for socket")


@pytest.mark.parametrize("kind", ["a file", "a directory", "a pipe"])
def test_what_is_no_socket_is_an_error(planned_box: PlannedBox, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "socket"
    if kind == "a file":
        path.touch()
    elif kind == "a directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    assert_refused(planned_box.run(speaking(planned_box, path)), path, "Connection refused")


@pytest.mark.parametrize("where", ["the socket", "its directory"])
def test_a_link_in_the_way_is_refused(planned_box: PlannedBox, tmp_path: Path, where: str) -> None:
    """An application could have put it there, to a socket that the policy doesn't grant."""
    (tmp_path / "real").mkdir()
    with listening(tmp_path / "real" / "socket"):
        if where == "the socket":
            path = tmp_path / "socket"
            path.symlink_to("real/socket")
        else:
            (tmp_path / "link").symlink_to("real")
            path = tmp_path / "link" / "socket"
        done = planned_box.run(speaking(planned_box, path))
    assert_refused(done, path, "(Too many levels of symbolic links|Symbolic link loop)")


def test_a_server_that_takes_no_more_does_not_keep_a_start_for_ever(
    planned_box: PlannedBox, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    with listening(path, 0), contextlib.ExitStack() as waiting:
        directory = os.open(tmp_path, os.O_PATH)
        waiting.callback(os.close, directory)
        with contextlib.suppress(BlockingIOError):
            while True:
                one = waiting.enter_context(socket.socket(socket.AF_UNIX))
                one.setblocking(False)
                one.connect(f"/proc/self/fd/{directory}/socket")
        started = time.monotonic()
        done = planned_box.run(speaking(planned_box, path))
        assert PATIENCE_S - 0.5 < time.monotonic() - started < PATIENCE_S + 3
    assert_refused(done, path, "Resource temporarily unavailable")
    assert [] == list(planned_box.boxes.glob("*"))


@pytest.mark.parametrize("number", [CONNECT_FIRST, CONNECT_FIRST + CONNECT_MAX - 1])
def test_a_kept_descriptor_of_the_same_number_is_refused(
    planned_box: PlannedBox, tmp_path: Path, number: int
) -> None:
    """The encoder refuses such a plan; the launcher doesn't rely on it."""
    paths = [tmp_path / f"socket-{n}" for n in range(number - CONNECT_FIRST + 1)]
    with contextlib.ExitStack() as servers:
        for path in paths:
            servers.enter_context(listening(path))
        more = [connect(str(path), n) for n, path in enumerate(paths, start=CONNECT_FIRST)]
        planned_box.plan("/bin/echo", "ran", keep_fds=(98,), more=more)
        stored = next(planned_box.plans.iterdir())
        image = bytearray(stored.read_bytes())
        assert (98,) == struct.unpack_from("<I", image, KEEP_FDS_AT)
        struct.pack_into("<I", image, KEEP_FDS_AT, number)
        planned_box.store(bytes(image))
        script = "import os, sys; os.dup2(0, int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"
        launch = [planned_box.launcher, "--again", "t"]
        done = planned_box.run(["/usr/bin/python3", "-c", script, str(number), *launch])
    assert (125, "") == (done.returncode, done.stdout)
    assert "two descriptors would have the same number" in done.stderr

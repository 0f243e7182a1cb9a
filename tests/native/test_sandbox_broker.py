"""The command `sandbox-broker`, and the same program as xdg-open: what they ask for, print and end with."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from conftest import BESIDE_PYTHON, missing
from scripted import Answer, ScriptedBroker, ends, says, says_bytes, scripted

from sandboxer.broker import outward, protocol
from sandboxer.broker.protocol import REPLY, VERSION
from sandboxer.broker.rules import Outward

COMMAND = BESIDE_PYTHON / "sandbox-broker"
DONE, FAILED, USAGE, NO_BROKER, NOT_EXECUTABLE, NOT_FOUND = 0, 1, 2, 3, 126, 127
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ScriptedBroker]:
    with scripted(tmp_path / "s") as made:
        yield made


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command, where `broker` listens."""
    if not COMMAND.exists():
        missing(f"{COMMAND}: install the project into this environment")

    def run_it(
        *words: str | bytes,
        stdin: bytes = b"",
        cwd: Path = tmp_path,
        name: Path = COMMAND,
        pass_fds: Sequence[int] = (),
        **env: str,
    ) -> subprocess.CompletedProcess[bytes]:
        environment = {"PATH": "/usr/bin:/bin", protocol.VARIABLE: str(tmp_path / "s")} | env
        return subprocess.run(
            [name, *words],
            env=environment,
            input=stdin,
            cwd=cwd,
            pass_fds=pass_fds,
            capture_output=True,
            check=False,
            timeout=20,
        )

    return run_it


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(b"content\0\n")
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


STAT = protocol.STAT.pack(1, 2, 3, 4, 5, -6, 0o100640, 7, 8, 9)
R, W, A, C, T = protocol.READ, protocol.WRITE, protocol.APPEND, protocol.CREATE, protocol.TRUNCATE

VERBS: tuple[tuple[str, Answer, tuple[object, ...], bytes], ...] = (
    ("hello", says(value=1), (protocol.HELLO, 0, 0, b"", b""), b""),
    (
        "stat /a",
        says(STAT),
        (protocol.STAT_, 0, 0, b"/a", b""),
        b"type=file mode=0640 links=7 uid=8 gid=9 size=3 device=1 inode=2 mtime_ns=4 ctime_ns=5 atime_ns=-6\n",
    ),
    ("access /a", says(), (protocol.ACCESS, 0, 0, b"/a", b""), b""),
    ("access -r /a", says(), (protocol.ACCESS, 0, 4, b"/a", b""), b""),
    ("access --read -w /a", says(), (protocol.ACCESS, 0, 6, b"/a", b""), b""),
    ("readlink /a", says(b"../b"), (protocol.READLINK, 0, 0, b"/a", b""), b"../b\n"),
    ("list /a", says(b"fx\0dy\0"), (protocol.LIST, 0, 0, b"/a", b""), b"x\ny\n"),
    ("list -t /a", says(b"fx\0dy\0"), (protocol.LIST, 0, 0, b"/a", b""), b"f x\nd y\n"),
    ("list -0 --types /a", says(b"fx\0dy\0"), (protocol.LIST, 0, 0, b"/a", b""), b"f x\0d y\0"),
    ("list /a", says(), (protocol.LIST, 0, 0, b"/a", b""), b""),
    ("mkdir /a", says(), (protocol.MKDIR, 0, 0, b"/a", b""), b""),
    ("mkdir -m 0750 /a", says(), (protocol.MKDIR, 0, 0o750, b"/a", b""), b""),
    ("rename /a /b", says(), (protocol.RENAME, 0, 0, b"/a", b"/b"), b""),
    ("rename -n /a /b", says(), (protocol.RENAME, protocol.NO_REPLACE, 0, b"/a", b"/b"), b""),
    ("unlink /a", says(), (protocol.UNLINK, 0, 0, b"/a", b""), b""),
    ("unlink -- /a", says(), (protocol.UNLINK, 0, 0, b"/a", b""), b""),
    ("rmdir /a", says(), (protocol.UNLINK, protocol.DIRECTORY, 0, b"/a", b""), b""),
    ("present https://x", says(), (protocol.PRESENT, 0, 0, b"https://x", b""), b""),
    ("present /a.pdf", says(), (protocol.PRESENT, 0, 0, b"/a.pdf", b""), b""),
)


@pytest.mark.parametrize(("line", "answer", "asked", "printed"), VERBS, ids=[row[0] for row in VERBS])
def test_each_verb_asks_for_what_it_is_named_for(
    broker: ScriptedBroker, run: Run, line: str, answer: Answer, asked: tuple[object, ...], printed: bytes
) -> None:
    broker.script(answer)
    done = run(*line.split())
    assert (DONE, printed, b"") == (done.returncode, done.stdout, done.stderr)
    (request,) = broker.requests
    assert asked == (request.command, request.flags, request.argument, *request.paths)
    assert VERSION == request.version


@pytest.mark.parametrize("line", [row[0] for row in VERBS])
def test_a_refusal_is_one_line_that_names_the_errno(broker: ScriptedBroker, run: Run, line: str) -> None:
    broker.script(says(error=errno.EACCES))
    done = run(*line.split())
    assert (FAILED, b"") == (done.returncode, done.stdout)
    assert done.stderr.startswith(b"sandbox-broker: " + line.split(maxsplit=1)[0].encode())
    assert done.stderr.endswith(b": Permission denied (EACCES)\n")
    assert 1 == done.stderr.count(b"\n")


def test_an_unusual_errno_has_its_number(broker: ScriptedBroker, run: Run) -> None:
    broker.script(says(error=errno.EUCLEAN))
    assert b"(errno 117)\n" in run("unlink", "/a").stderr


def test_messages_hold_no_control_characters(broker: ScriptedBroker, run: Run) -> None:
    broker.script(says(error=errno.EACCES))
    done = run("unlink", b"/\x1b[31m\n\xc2\x9bx")
    assert b"sandbox-broker: unlink /?[31m??" == done.stderr.partition(b"x: Perm")[0].replace(b"\x9b", b"")


# Files


def test_open_copies_a_file_to_standard_output(broker: ScriptedBroker, run: Run, file: int) -> None:
    broker.script(says(fds=[file]))
    done = run("open", "/a")
    assert (DONE, b"content\0\n", b"") == (done.returncode, done.stdout, done.stderr)
    assert (protocol.OPEN, R, 0, (b"/a", b"")) == (
        broker.requests[0].command,
        broker.requests[0].flags,
        broker.requests[0].argument,
        broker.requests[0].paths,
    )


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (["-w"], (W | T, 0)),
        (["--write", "--create"], (W | T | C, 0)),
        (["-w", "-c", "-m", "644"], (W | T | C, 0o644)),
        (["-a"], (A, 0)),
        (["--append", "-c", "--mode", "0600"], (A | C, 0o600)),
    ],
)
def test_open_copies_standard_input_to_a_file(
    broker: ScriptedBroker, run: Run, file: int, tmp_path: Path, options: list[str], asked: tuple[int, int]
) -> None:
    os.ftruncate(file, 0)
    broker.script(says(fds=[file]))
    content = bytes(range(256)) * 1000
    done = run("open", *options, "/a", stdin=content)
    assert (DONE, b"", b"") == (done.returncode, done.stdout, done.stderr)
    assert content == (tmp_path / "file").read_bytes()
    assert asked == (broker.requests[0].flags, broker.requests[0].argument)


def test_a_command_gets_the_file_as_descriptor_3_and_nothing_else(
    broker: ScriptedBroker, run: Run, file: int
) -> None:
    broker.script(says(fds=[file]), says(fds=[file]))
    done = run("open", "/a", "--", "sh", "-c", 'ls /proc/$$/fd; cat <&3; exit "$1"', "sh", "7")
    assert (7, b"0\n1\n2\n3\ncontent\0\n", b"") == (done.returncode, done.stdout, done.stderr)
    run("open", "-u", "/a", "--", "true")
    assert [R, R | W] == [request.flags for request in broker.requests]


def test_a_descriptor_3_of_the_callers_makes_way(broker: ScriptedBroker, run: Run, file: int, tmp_path: Path) -> None:
    broker.script(says(fds=[file]))
    done = run("-c", f"exec {COMMAND} open /a -- cat /dev/fd/3 3</dev/null", name=Path("/bin/sh"))
    assert (DONE, b"content\0\n", b"") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(("command", "status"), [("no-such-command", NOT_FOUND), ("/etc/passwd", NOT_EXECUTABLE)])
def test_a_command_that_cannot_be_run_has_the_shells_statuses(
    broker: ScriptedBroker, run: Run, file: int, command: str, status: int
) -> None:
    broker.script(says(fds=[file]))
    done = run("open", "/a", "--", command)
    assert status == done.returncode
    assert command.encode() in done.stderr


def test_a_full_disk_is_told(broker: ScriptedBroker, run: Run, file: int) -> None:
    broker.script(says(fds=[file]))
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [COMMAND, "open", "/a"],
            env={protocol.VARIABLE: str(broker.path)},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (FAILED, b"sandbox-broker: open /a: No space left on device (ENOSPC)\n") == (done.returncode, done.stderr)


# Lists, events, services


def test_a_long_directory_is_asked_for_in_parts(broker: ScriptedBroker, run: Run) -> None:
    broker.script(says(b"fa\0db\0", value=1), says(b"lc\0"))
    assert b"a\nb\nc\n" == run("list", "/d").stdout
    assert [b"", b"b"] == [request.paths[1] for request in broker.requests]


def test_watch_prints_events_until_the_watched_is_gone(broker: ScriptedBroker, run: Run, tmp_path: Path) -> None:
    libc = ctypes.CDLL(None)
    inotify = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    watched = tmp_path / "watched"
    watched.mkdir()
    assert libc.inotify_add_watch(inotify, bytes(watched), 0xFCE) > 0
    broker.script(says(value=1, fds=[inotify]), says(value=1, fds=[inotify]))
    (watched / "a").touch()
    first = run("watch", "-1", "/d")
    assert (DONE, b"create a\nclose_write a\n") == (first.returncode, first.stdout)
    (watched / ("x" * 255)).touch()
    (watched / "a").rename(watched / "b")
    shutil.rmtree(watched)
    done = run("watch", "/d")
    os.close(inotify)
    assert (DONE, b"") == (done.returncode, done.stderr)
    assert b"create " + b"x" * 255 == done.stdout.splitlines()[0]
    assert b"moved_from a\nmoved_to b\n" in done.stdout
    assert done.stdout.endswith(b"delete_self\n")
    assert (protocol.WATCH, 0xFCE) == (broker.requests[0].command, broker.requests[0].argument)


@pytest.fixture
def service() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection to a service: the client's end, the service's."""
    with contextlib.ExitStack() as stack:
        here, there = (stack.enter_context(end) for end in socket.socketpair())
        yield here, there


def test_connect_relays_both_ways(
    broker: ScriptedBroker, run: Run, service: tuple[socket.socket, socket.socket]
) -> None:
    here, there = service
    broker.script(says(fds=[here.fileno()]))
    size = 1_000_000

    def shout() -> None:
        first = there.recv(65536)
        here.close()  # by now the command has its own
        there.sendall(first.upper())
        while piece := there.recv(65536):
            there.sendall(piece.upper())
        there.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=shout)
    thread.start()
    done = run("connect", "echo", stdin=b"x" * size)
    thread.join()
    assert (DONE, b"") == (done.returncode, done.stderr)
    assert b"X" * size == done.stdout
    assert (protocol.CONNECT, (b"echo", b"")) == (broker.requests[0].command, broker.requests[0].paths)


def test_a_service_that_hangs_up_ends_the_relay(
    broker: ScriptedBroker, run: Run, service: tuple[socket.socket, socket.socket]
) -> None:
    here, there = service
    there.sendall(b"bye")
    broker.script(says(fds=[here.fileno()]))
    there.close()
    done = run("connect", "x", stdin=b"unheard")
    assert (DONE, b"bye") == (done.returncode, done.stdout)


def test_a_command_gets_the_service_as_descriptor_3(
    broker: ScriptedBroker, run: Run, service: tuple[socket.socket, socket.socket]
) -> None:
    here, there = service
    broker.script(says(fds=[here.fileno()]))
    assert DONE == run("connect", "x", "--", "sh", "-c", "echo hello >&3").returncode
    assert b"hello\n" == there.recv(10)


# The command line


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no-such-verb",
        "open",
        "open /a /b",
        "open /a --",
        "open -w -a /a",
        "open -c /a",
        "open -u /a",
        "open -m 0600 /a",
        "open -w -c -m 0666 /a",
        "open -w -c -m 9 /a",
        "open -w -c -m",
        "open -x /a",
        "open --writes /a",
        "open -wc /a",
        "stat",
        "stat -w /a",
        "access -x /a",
        "list /a -- true",
        "rename /a",
        "rename /a /b /c",
        "hello /a",
        "connect",
        "mkdir -m 04755 /a",
    ],
)
def test_what_cannot_be_understood_is_asked_of_nobody(broker: ScriptedBroker, run: Run, line: str) -> None:
    done = run(*line.split())
    assert (USAGE, b"") == (done.returncode, done.stdout)
    assert done.stderr.startswith(b"sandbox-broker: ")
    assert 1 == done.stderr.count(b"\n")
    assert [] == broker.requests


@pytest.mark.parametrize("line", ["--help", "-h", "open --help"])
def test_help_names_every_verb(run: Run, line: str) -> None:
    done = run(*line.split())
    assert (DONE, b"") == (done.returncode, done.stderr)
    for verb in "open stat access readlink list mkdir rename unlink rmdir watch connect present hello".split():
        assert f"\n  {verb}".encode() in done.stdout
    assert max(len(row) for row in done.stdout.splitlines()) <= 110


def test_version_is_the_protocols(run: Run) -> None:
    assert f"sandbox-broker, protocol {VERSION}\n".encode() == run("--version").stdout


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("x", "{}/x"),
        ("./x//y/", "{}/x/y"),
        ("..", "{parent}"),
        ("../../../../../../../x", "/x"),
        ("/", "/"),
        ("/a/../b", "/a/../b"),
    ],
)
def test_paths_are_as_the_python_client_makes_them(
    broker: ScriptedBroker, run: Run, tmp_path: Path, given: str, sent: str
) -> None:
    broker.script(says())
    run("unlink", given)
    assert sent.format(tmp_path, parent=tmp_path.parent).encode() == broker.requests[0].paths[0]


def test_a_path_that_is_too_long_is_not_sent(broker: ScriptedBroker, run: Run) -> None:
    for path in ("/" + "x" * 4095, "x" * 4090, "https:" + "x" * 4090):
        done = run("present", path)
        assert FAILED == done.returncode
        assert b"(ENAMETOOLONG)\n" in done.stderr
    assert [] == broker.requests


def test_a_path_of_the_largest_size_is_sent(broker: ScriptedBroker, run: Run) -> None:
    broker.script(says())
    assert DONE == run("unlink", "/" + "x" * 4094).returncode
    assert 4095 == len(broker.requests[0].paths[0])


# Where the broker is, and where it is gone


@pytest.mark.parametrize("line", [row[0] for row in VERBS])
def test_without_a_broker_the_status_says_so(run: Run, tmp_path: Path, line: str) -> None:
    done = run(*line.split())
    assert NO_BROKER == done.returncode
    assert f" {tmp_path}/s: No such file or directory (ENOENT)\n".encode() in done.stderr


def test_a_socket_that_nobody_listens_on_is_no_broker(run: Run, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(tmp_path / "s"))
    done = run("hello")
    assert NO_BROKER == done.returncode
    assert b"(ECONNREFUSED)" in done.stderr


@pytest.mark.parametrize("line", ["hello", "stat /a", "access /a", "readlink /a", "list /a", "open /a"])
def test_what_changes_nothing_is_asked_again_once(broker: ScriptedBroker, run: Run, line: str) -> None:
    broker.script(ends, says(error=errno.EMFILE), ends, ends, says(error=errno.EMFILE))
    assert b"(EMFILE)" in run(*line.split()).stderr
    assert b"(EPIPE)" in run(*line.split()).stderr
    assert 4 == broker.connections


@pytest.mark.parametrize(
    "line",
    "open -w -c /a,open -w /a,mkdir /a,rename /a /b,unlink /a,rmdir /a,watch /a,connect x,present x:".split(","),
)
def test_what_changes_something_is_asked_once(broker: ScriptedBroker, run: Run, line: str) -> None:
    broker.script(ends)
    done = run(*line.split())
    assert (FAILED, True) == (done.returncode, b": Broken pipe (EPIPE)\n" in done.stderr)
    assert 1 == broker.connections


def test_the_descriptor_serves_where_there_is_no_path(run: Run, tmp_path: Path) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there, scripted(tmp_path / "other") as broker:
        broker.script(says(b"given"), says(b"again"))
        broker.adopt(there.dup())
        number = here.fileno()
        words = {protocol.DESCRIPTOR_VARIABLE: str(number)}
        for target in (b"given\n", b"again\n"):
            assert target == run("readlink", "/a", pass_fds=[number], **words).stdout
        fcntl.fcntl(here, fcntl.F_SETOWN, os.getpid())
        assert NO_BROKER == run("readlink", "/a", pass_fds=[number], **words).returncode, "somebody uses it"


def test_the_path_comes_before_the_descriptor(broker: ScriptedBroker, run: Run) -> None:
    broker.script(says(b"path"))
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        done = run("readlink", "/a", pass_fds=[here.fileno()], **{protocol.DESCRIPTOR_VARIABLE: str(here.fileno())})
    assert b"path\n" == done.stdout


@pytest.mark.parametrize("word", ["", "x", "-1", "12345678901234567890", "0", "77"])
def test_a_word_that_names_no_descriptor_is_no_broker(run: Run, word: str) -> None:
    assert NO_BROKER == run("hello", **{protocol.DESCRIPTOR_VARIABLE: word}).returncode


# Answers that are none

HEAD = REPLY.pack(VERSION, protocol.OPEN, 0, 0)


def test_an_answer_that_is_none_is_a_failure(broker: ScriptedBroker, run: Run, file: int, tmp_path: Path) -> None:
    directory, device = os.open(tmp_path, os.O_RDONLY), os.open("/dev/zero", os.O_RDONLY)
    hostile = {
        "no descriptor": says_bytes(HEAD),
        "two descriptors": says_bytes(HEAD, [file, file]),
        "two hundred descriptors": says_bytes(HEAD, [file] * 200),
        "a directory": says_bytes(HEAD, [directory]),
        "a device": says_bytes(HEAD, [device]),
        "an error and a descriptor": says(error=errno.EACCES, fds=[file]),
        "a negative error": says(error=-13),
        "an error that is none": says(error=4096),
        "an error and more": says(b"x", error=errno.EACCES),
        "another command": says(command=protocol.STAT_, fds=[file]),
        "far too long": says_bytes(HEAD + bytes(100_000), [file]),
        "too short": says_bytes(HEAD[:-1], [file]),
        "one byte": says_bytes(b"x"),
    }
    for what, answer in hostile.items():
        broker.script(answer)
        done = run("open", "/a")
        assert (what, FAILED, b"") == (what, done.returncode, done.stdout)
        assert b"sandbox-broker: open /a: Protocol error (EPROTO)\n" == done.stderr
    os.close(directory)
    os.close(device)


def test_another_version_is_said_to_be_one(broker: ScriptedBroker, run: Run) -> None:
    broker.script(says(version=VERSION + 1))
    assert b"(EPROTONOSUPPORT)" in run("hello").stderr


@pytest.mark.parametrize(
    ("line", "data", "value"),
    [
        ("stat /a", STAT[:-1], 0),
        ("stat /a", STAT + b"x", 0),
        ("list /a", b"fa", 0),
        ("list /a", b"f\0", 0),
        ("list /a", b"\0", 0),
        ("list /a", b"xa\0", 0),
        ("list /a", b"fb\0fa\0", 0),
        ("list /a", b"fa/b\0", 0),
        ("list /a", b"f" + b"x" * 256 + b"\0", 0),
        ("list /a", b"", 1),
        ("list /a", b"fa\0", 2),
    ],
)
def test_sizes_and_contents_are_looked_at(
    broker: ScriptedBroker, run: Run, line: str, data: bytes, value: int
) -> None:
    broker.script(says(data, value=value))
    done = run(*line.split())
    assert (FAILED, True) == (done.returncode, b"(EPROTO)\n" in done.stderr)


def test_a_list_that_goes_round_ends(broker: ScriptedBroker, run: Run) -> None:
    broker.script(*[says(b"fa\0fb\0", value=1)] * 3)
    assert FAILED == run("list", "/a").returncode
    assert 2 == len(broker.requests)


# xdg-open


@pytest.fixture
def xdg_open(tmp_path: Path, run: Run) -> Run:
    link = tmp_path / "xdg-open"
    link.symlink_to(COMMAND)
    return lambda *words, **options: run(*words, name=link, **options)


def test_xdg_open_presents_its_word(broker: ScriptedBroker, xdg_open: Run, tmp_path: Path) -> None:
    broker.script(says(), says(), says())
    for word in ("https://example.org/?q=a b", "report.pdf", "file:///x%20y"):
        done = xdg_open(word)
        assert (DONE, b"", b"") == (done.returncode, done.stdout, done.stderr)
    assert {protocol.PRESENT} == {request.command for request in broker.requests}
    paths = [request.paths[0] for request in broker.requests]
    assert [b"https://example.org/?q=a%20b", bytes(tmp_path / "report.pdf"), b"file:///x%20y"] == paths


def test_every_byte_of_a_link_is_made_one_that_the_broker_takes(broker: ScriptedBroker, xdg_open: Run) -> None:
    broker.script(says())
    assert DONE == xdg_open(b"https:" + bytes(range(1, 256))).returncode
    outcome = outward.check((Outward(kind="link", value="https", origin=""),), broker.requests[0].paths[0])
    assert 0 == outcome.error


@pytest.mark.parametrize(
    ("number", "status"), [(errno.ENOENT, 2), (errno.EACCES, 4), (errno.EBUSY, 4), (errno.ETIMEDOUT, 4)]
)
def test_xdg_open_ends_as_its_manual_says(
    broker: ScriptedBroker, xdg_open: Run, number: int, status: int
) -> None:
    broker.script(says(error=number))
    assert status == xdg_open("x.pdf").returncode


def test_xdg_open_without_a_broker_lacks_a_tool(xdg_open: Run) -> None:
    assert 3 == xdg_open("https://x").returncode


@pytest.mark.parametrize("words", [[], ["a", "b"], ["-x"], ["--new-window"], ["-"], ["--"], [""], ["--", "https://x"]])
def test_xdg_open_takes_one_word_and_no_option(broker: ScriptedBroker, xdg_open: Run, words: list[str]) -> None:
    assert 1 == xdg_open(*words).returncode
    assert [] == broker.requests


@pytest.mark.parametrize("word", ["--help", "--manual", "--version"])
def test_xdg_open_tells_what_it_is(broker: ScriptedBroker, xdg_open: Run, word: str) -> None:
    done = xdg_open(word)
    assert (DONE, b"") == (done.returncode, done.stderr)
    assert b"xdg-open" in done.stdout
    assert [] == broker.requests

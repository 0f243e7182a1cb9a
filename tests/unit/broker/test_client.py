"""The client: what each of its functions asks for and gives, how it goes on, and what it believes."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted import Answer, Request, ScriptedBroker, ends, is_silent, says, says_bytes, scripted

from sandboxer import client
from sandboxer.broker import channel, outward, protocol
from sandboxer.broker.protocol import REPLY, VERSION
from sandboxer.broker.rules import Outward
from sandboxer.client import Broker

FILE = "/granted/file"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ScriptedBroker]:
    with scripted(tmp_path / "s") as made:
        yield made


@pytest.fixture
def box(broker: ScriptedBroker) -> Iterator[Broker]:
    """The client that is tested, connected to `broker`."""
    with client.connect(str(broker.path)) as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


def held(fds: Iterable[int]) -> int:
    """How many descriptors of this process are for what these are for."""
    wanted = {os.readlink(f"/proc/self/fd/{fd}") for fd in fds}
    links = (Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return sum(os.path.islink(link) and os.readlink(link) in wanted for link in links)


REQUESTS: tuple[tuple[str, Callable[[Broker], object], Answer, tuple[object, ...]], ...] = (
    ("hello", Broker.hello, says(value=9), (protocol.HELLO, 0, 0, b"", b"")),
    ("access", lambda box: box.access("/a"), says(), (protocol.ACCESS, 0, 0, b"/a", b"")),
    ("access of both", lambda box: box.access("/a", os.R_OK | os.W_OK), says(), (protocol.ACCESS, 0, 6, b"/a", b"")),
    ("readlink", lambda box: box.readlink("/a"), says(b"b"), (protocol.READLINK, 0, 0, b"/a", b"")),
    ("listdir", lambda box: box.listdir("/a"), says(), (protocol.LIST, 0, 0, b"/a", b"")),
    ("mkdir", lambda box: box.mkdir("/a"), says(), (protocol.MKDIR, 0, 0o700, b"/a", b"")),
    ("mkdir with a mode", lambda box: box.mkdir("/a", 0o777), says(), (protocol.MKDIR, 0, 0o755, b"/a", b"")),
    ("rename", lambda box: box.rename("/a", "/b"), says(), (protocol.RENAME, 0, 0, b"/a", b"/b")),
    (
        "rename to what isn't there",
        lambda box: box.rename("/a", "/b", replace=False),
        says(),
        (protocol.RENAME, protocol.NO_REPLACE, 0, b"/a", b"/b"),
    ),
    ("unlink", lambda box: box.unlink("/a"), says(), (protocol.UNLINK, 0, 0, b"/a", b"")),
    ("rmdir", lambda box: box.rmdir("/a"), says(), (protocol.UNLINK, protocol.DIRECTORY, 0, b"/a", b"")),
    ("present a link", lambda box: box.present("x-y:a b'%é"), says(), (11, 0, 0, b"x-y:a%20b%27%%C3%A9", b"")),
    ("present a file", lambda box: box.present("/a.pdf"), says(), (protocol.PRESENT, 0, 0, b"/a.pdf", b"")),
    ("present a path", lambda box: box.present(Path("/a")), says(), (protocol.PRESENT, 0, 0, b"/a", b"")),
)


@pytest.mark.parametrize(("call", "answer", "wanted"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS])
def test_each_function_asks_for_what_it_is_named_for(
    broker: ScriptedBroker, box: Broker, call: Callable[[Broker], object], answer: Answer, wanted: tuple[object, ...]
) -> None:
    broker.script(answer)
    call(box)
    (request,) = broker.requests
    assert VERSION == request.version
    assert wanted == (request.command, request.flags, request.argument, *request.paths)


R, W, A = protocol.READ, protocol.WRITE, protocol.APPEND
C, X, T = protocol.CREATE, protocol.EXCLUSIVE, protocol.TRUNCATE


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        (os.O_RDONLY, R),
        (os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, R),
        (os.O_WRONLY, W),
        (os.O_RDWR, R | W),
        (os.O_WRONLY | os.O_APPEND, A),
        (os.O_RDWR | os.O_APPEND, R | A),
        (os.O_WRONLY | os.O_TRUNC, W | T),
        (os.O_WRONLY | os.O_APPEND | os.O_TRUNC, W | A | T),
        (os.O_WRONLY | os.O_CREAT | os.O_TRUNC, W | C | T),
        (os.O_RDWR | os.O_CREAT | os.O_EXCL, R | W | C | X),
    ],
)
def test_open_asks_for_no_more_than_its_flags_mean(
    broker: ScriptedBroker, box: Broker, file: int, flags: int, asked: int
) -> None:
    broker.script(says(fds=[file]))
    os.close(box.open(FILE, flags, 0o640))
    mode = 0o640 if asked & C else 0
    assert (asked, mode) == (broker.requests[0].flags, broker.requests[0].argument)


@pytest.mark.parametrize("flag", [os.O_DIRECTORY, os.O_PATH, os.O_NOFOLLOW, os.O_TMPFILE, os.O_SYNC])
def test_open_refuses_flags_that_the_broker_could_only_ignore(broker: ScriptedBroker, box: Broker, flag: int) -> None:
    with pytest.raises(OSError, match=FILE) as caught:
        box.open(FILE, flag)
    assert errno.EINVAL == caught.value.errno
    assert [] == broker.requests


def test_an_opened_file_is_the_one_that_came_and_closes_on_exec(broker: ScriptedBroker, box: Broker, file: int) -> None:
    broker.script(says(fds=[file]))
    fd = box.open(FILE)
    try:
        assert os.path.sameopenfile(file, fd)
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_it_is_an_opener_of_the_built_in_open(broker: ScriptedBroker, box: Broker, file: int) -> None:
    broker.script(says(fds=[file]), says(fds=[file]))
    with open(FILE, "rb", opener=box.open) as opened:
        assert b"content" == opened.read()
    with open(FILE, "xb", opener=box.open):
        pass
    assert (W | C | X, 0o600) == (broker.requests[1].flags, broker.requests[1].argument)


def test_stat_gives_what_os_stat_gives(broker: ScriptedBroker, box: Broker, tmp_path: Path) -> None:
    real = os.stat(tmp_path)
    fields = (real.st_dev, real.st_ino, real.st_size, real.st_mtime_ns, real.st_ctime_ns, real.st_atime_ns)
    packed = protocol.STAT.pack(*fields, real.st_mode, real.st_nlink, real.st_uid, real.st_gid)
    broker.script(says(packed), says(packed))
    for found in (box.stat("/a"), box.lstat("/a")):
        names = [name for name in dir(real) if name.startswith("st_")]
        untold = {"st_blocks", "st_blksize", "st_rdev"}
        assert {n: getattr(real, n) for n in names if n not in untold} == {
            n: getattr(found, n) for n in names if n not in untold
        }
        assert tuple(real) == tuple(found)
        assert stat.S_ISDIR(found.st_mode)
    assert [0, protocol.NO_FOLLOW] == [request.flags for request in broker.requests]


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT, errno.EROFS, errno.EPERM, errno.ELOOP])
def test_access_says_no(broker: ScriptedBroker, box: Broker, number: int) -> None:
    broker.script(says(error=number))
    assert box.access(FILE) is False


def test_access_does_not_take_a_failure_for_a_no(broker: ScriptedBroker, box: Broker) -> None:
    broker.script(says(error=errno.EIO))
    with pytest.raises(OSError, match=FILE) as caught:
        box.access(FILE)
    assert errno.EIO == caught.value.errno


def test_access_does_not_take_an_absent_broker_for_a_no(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        Broker(str(tmp_path / "none")).access(FILE)
    assert str(tmp_path / "none") == caught.value.filename


def test_names_are_bytes_where_the_path_is(broker: ScriptedBroker, box: Broker) -> None:
    broker.script(says(b"a\xff"), says(b"a\xff"), says(b"fa\xff\0"), says(b"fa\xff\0"))
    assert "a\udcff" == box.readlink("/l")
    assert b"a\xff" == box.readlink(b"/l")
    assert ["a\udcff"] == box.listdir(Path("/d"))
    assert [b"a\xff"] == box.listdir(b"/d")


def test_a_long_directory_is_asked_for_in_parts(broker: ScriptedBroker, box: Broker) -> None:
    broker.script(says(b"fa\0db\0", value=1), says(b"lc\0", value=1), says(b"od\0"))
    assert [("a", "f"), ("b", "d"), ("c", "l"), ("d", "o")] == box.entries("/d")
    assert [b"", b"b", b"c"] == [request.paths[1] for request in broker.requests]


def test_watch_gives_an_inotify_descriptor(broker: ScriptedBroker, box: Broker) -> None:
    inotify = ctypes.CDLL(None).inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    broker.script(says(value=1, fds=[inotify]))
    fd = box.watch("/d", 2)
    assert 2 == broker.requests[0].argument
    os.close(fd)
    os.close(inotify)


def test_a_service_is_a_connected_socket(broker: ScriptedBroker, box: Broker) -> None:
    here, there = socket.socketpair()
    with here, there:
        broker.script(says(fds=[there.fileno()]))
        with box.connect_to("pulseaudio") as service:
            service.send(b"x")
            assert b"x" == here.recv(1)
            assert not service.get_inheritable()
    assert (b"pulseaudio", b"") == broker.requests[0].paths


# Paths


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("/a//b/./c/", b"/a/b/c"),
        ("/a/../b", b"/a/../b"),
        ("/.hidden", b"/.hidden"),
        ("/", b"/"),
        ("//", b"/"),
        (b"/\xff", b"/\xff"),
        ("/\udcff", b"/\xff"),
        (Path("/x/y"), b"/x/y"),
    ],
)
def test_paths_are_made_plain(
    broker: ScriptedBroker, box: Broker, given: str | bytes | os.PathLike[str], sent: bytes
) -> None:
    broker.script(says())
    box.unlink(given)
    assert sent == broker.requests[0].paths[0]


@pytest.mark.parametrize(
    ("given", "sent"),
    [("x", "/d/e/x"), ("./x", "/d/e/x"), (".", "/d/e"), ("..", "/d"), ("../../../x", "/x"), ("x/../y", "/d/e/x/../y")],
)
def test_relative_paths_begin_at_the_working_directory(
    broker: ScriptedBroker, box: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, sent: str
) -> None:
    monkeypatch.setattr(os, "getcwdb", lambda: b"/d/e")
    broker.script(says())
    box.unlink(given)
    assert sent.encode() == broker.requests[0].paths[0]


def test_a_relative_path_from_the_root(
    broker: ScriptedBroker, box: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getcwdb", lambda: b"/")
    broker.script(says())
    box.unlink("x")
    assert b"/x" == broker.requests[0].paths[0]


def test_paths_that_cannot_be_are_refused_here(broker: ScriptedBroker, box: Broker) -> None:
    with pytest.raises(ValueError, match="null byte"):
        box.open("/a\0b")
    with pytest.raises(ValueError, match="null byte"):
        box.present("https://a\0b")
    with pytest.raises(FileNotFoundError):
        box.open("")
    with pytest.raises(OSError, match="too long") as caught:
        box.open("/" + "x" * 4095)
    assert errno.ENAMETOOLONG == caught.value.errno
    with pytest.raises(TypeError):
        box.open(3)  # type: ignore[arg-type]
    assert [] == broker.requests


@pytest.mark.parametrize(
    ("text", "is_link"),
    [("https://x", True), ("mailto:a@b", True), ("a+b.c-1:", True), ("1x:y", False), ("x/y:z", False), (":x", False)],
)
def test_what_begins_with_a_scheme_is_a_link(text: str, is_link: bool) -> None:
    assert is_link == client.is_link(text.encode())


def test_every_byte_of_a_link_is_made_one_that_the_broker_takes(broker: ScriptedBroker, box: Broker) -> None:
    broker.script(says())
    box.present(b"https:" + bytes(range(1, 256)))
    outcome = outward.check((Outward(kind="link", value="https", origin=""),), broker.requests[0].paths[0])
    assert 0 == outcome.error


# Errors


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_the_brokers_errno_is_raised_with_the_path_as_it_was_given(
    broker: ScriptedBroker, box: Broker, number: int
) -> None:
    broker.script(says(error=number), says(error=number), says(error=number))
    given = Path("/x")
    with pytest.raises(OSError, match=r".") as caught:
        box.open(given)
    assert (number, given, os.strerror(number)) == (
        caught.value.errno,
        caught.value.filename,
        caught.value.strerror,
    )
    with pytest.raises(OSError, match=r".") as caught:
        box.rename("/a", b"/b")
    assert (number, "/a", b"/b") == (caught.value.errno, caught.value.filename, caught.value.filename2)
    with pytest.raises(OSError, match=r".") as caught:
        box.hello()
    assert number == caught.value.errno
    assert 1 == broker.connections


def test_refusals_have_the_classes_that_os_gives_them(broker: ScriptedBroker, box: Broker) -> None:
    broker.script(says(error=errno.EACCES), says(error=errno.ENOENT), says(error=errno.EEXIST))
    with pytest.raises(PermissionError):
        box.open(FILE)
    with pytest.raises(FileNotFoundError):
        box.open(FILE)
    with pytest.raises(FileExistsError):
        box.mkdir(FILE)


@pytest.mark.parametrize(
    "number", [errno.ENOENT, errno.ECONNREFUSED], ids=["no socket", "a socket that nobody listens on"]
)
def test_without_a_broker_the_socket_is_named(tmp_path: Path, number: int) -> None:
    path = str(tmp_path / "s")
    if number == errno.ECONNREFUSED:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
            dead.bind(path)
    for call in (lambda: client.connect(path), lambda: Broker(path).open(FILE)):
        with pytest.raises(OSError, match=r".") as caught:
            call()
        assert (number, path) == (caught.value.errno, caught.value.filename)


def test_a_socket_with_too_long_a_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"x{200}"):
        client.connect(str(tmp_path / ("x" * 200)))


# The end of a broker

REPEATABLE: tuple[Callable[[Broker], object], ...] = (
    Broker.hello,
    lambda box: box.stat(FILE),
    lambda box: box.access(FILE),
    lambda box: box.readlink(FILE),
    lambda box: box.listdir(FILE),
    lambda box: box.open(FILE),
    lambda box: box.open(FILE, os.O_RDWR),
)
ONCE: tuple[Callable[[Broker], object], ...] = (
    lambda box: box.open(FILE, os.O_WRONLY | os.O_CREAT),
    lambda box: box.open(FILE, os.O_WRONLY | os.O_TRUNC),
    lambda box: box.mkdir(FILE),
    lambda box: box.rename(FILE, "/b"),
    lambda box: box.unlink(FILE),
    lambda box: box.rmdir(FILE),
    lambda box: box.watch(FILE),
    lambda box: box.connect_to("x"),
    lambda box: box.present("https://x"),
)

OPENING = (*REPEATABLE[-2:], *ONCE[:2])
"""Those that give the descriptor of a file."""


@pytest.mark.parametrize("call", REPEATABLE)
def test_what_changes_nothing_is_asked_again_when_the_broker_ended_on_it(
    broker: ScriptedBroker, box: Broker, call: Callable[[Broker], object]
) -> None:
    broker.script(ends, says(error=errno.EMFILE))
    with pytest.raises(OSError, match=r".") as caught:
        call(box)
    assert errno.EMFILE == caught.value.errno
    assert (2, 2) == (broker.connections, len(broker.requests))


@pytest.mark.parametrize("call", REPEATABLE)
def test_it_is_asked_again_only_once(
    broker: ScriptedBroker, box: Broker, call: Callable[[Broker], object]
) -> None:
    broker.script(ends, ends, says(error=errno.EMFILE))
    with pytest.raises(BrokenPipeError):
        call(box)
    assert (2, 2) == (broker.connections, len(broker.requests))


@pytest.mark.parametrize("call", ONCE)
def test_what_changes_something_is_asked_once(
    broker: ScriptedBroker, box: Broker, call: Callable[[Broker], object]
) -> None:
    broker.script(ends)
    with pytest.raises(BrokenPipeError):
        call(box)
    assert (1, 1) == (broker.connections, len(broker.requests))


@pytest.mark.parametrize("call", [*REPEATABLE, *ONCE])
def test_a_broker_that_ended_between_two_requests_is_not_noticed(
    broker: ScriptedBroker, box: Broker, call: Callable[[Broker], object]
) -> None:
    broker.script(says())
    box.unlink("/first")
    broker.hang_up()
    broker.script(says(error=errno.EMFILE))
    with pytest.raises(OSError, match=r".") as caught:
        call(box)
    assert errno.EMFILE == caught.value.errno
    assert (2, 2) == (broker.connections, len(broker.requests))


def test_after_an_end_it_connects_again(broker: ScriptedBroker, box: Broker) -> None:
    broker.script(ends, says())
    with pytest.raises(BrokenPipeError):
        box.unlink("/a")
    box.unlink("/b")
    assert 2 == broker.connections


def test_a_broker_that_answers_nothing_is_given_up(
    broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "TIMEOUT_S", 1)
    broker.script(is_silent, says(error=errno.EMFILE))
    with Broker(str(broker.path)) as box:
        with pytest.raises(TimeoutError) as caught:
            box.open(FILE)
        assert FILE == caught.value.filename
        with pytest.raises(OSError, match=r".") as second:
            box.open(FILE)
        assert errno.EMFILE == second.value.errno
    assert 2 == broker.connections


def test_a_late_answer_is_nobodys(broker: ScriptedBroker, box: Broker, file: int) -> None:
    """An exception out of a signal handler leaves an answer under way; the next request mustn't get it."""
    asked = threading.Event()

    def slow(peer: socket.socket, _: object) -> bool:
        asked.set()
        select.select([], [], [], 0.3)
        peer.sendmsg([REPLY.pack(VERSION, protocol.READLINK, 0, 0) + b"late"])
        return True

    def interrupt(_: int, __: object) -> None:
        raise InterruptedError("by a signal")

    kept = signal.signal(signal.SIGUSR1, interrupt)

    def send_the_signal() -> None:
        asked.wait(10)
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=send_the_signal)
    try:
        broker.script(slow, says(b"right"))
        thread.start()
        with pytest.raises(InterruptedError):
            box.readlink("/a")
        assert "right" == box.readlink("/b")
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, kept)


# Answers that are none

HEAD = REPLY.pack(VERSION, protocol.OPEN, 0, 0)


def test_every_answer_that_is_none_is_an_error_and_leaves_nothing_open(
    broker: ScriptedBroker, box: Broker, file: int, tmp_path: Path
) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    device = os.open("/dev/null", os.O_RDONLY)
    pipe = os.pipe()
    here, there = socket.socketpair()
    hostile = {
        "no descriptor": says_bytes(HEAD),
        "two descriptors": says_bytes(HEAD, [file, file]),
        "three descriptors": says_bytes(HEAD, [file, file, file]),
        "two hundred descriptors": says_bytes(HEAD, [file] * 200),
        "a directory": says_bytes(HEAD, [directory]),
        "a device": says_bytes(HEAD, [device]),
        "a pipe": says_bytes(HEAD, [pipe[0]]),
        "a socket": says_bytes(HEAD, [there.fileno()]),
        "an error and a descriptor": says(error=errno.EACCES, fds=[file]),
        "a negative error": says(error=-13),
        "an error that is none": says(error=4096),
        "an error and more": says(b"x", error=errno.EACCES),
        "another command": says(command=protocol.STAT_, fds=[file]),
        "a command that there isn't": says(command=99, error=errno.EACCES),
        "too long": says_bytes(HEAD + b"x", [file]),
        "far too long": says_bytes(HEAD + bytes(100_000), [file]),
        "too short": says_bytes(HEAD[:-1], [file]),
        "one byte": says_bytes(b"x"),
        "one byte and a descriptor": says_bytes(b"x", [file]),
    }
    with here, there:
        sent = (file, directory, device, *pipe, there.fileno())
        before = held(sent)
        for what, answer in hostile.items():
            broker.script(answer)
            with pytest.raises(OSError, match=r".") as caught:
                box.open(FILE)
            assert (what, errno.EPROTO) == (what, caught.value.errno)
            assert (what, before) == (what, held(sent))
    assert len(hostile) == broker.connections, "the connection must not be used any more"
    for fd in (directory, device, *pipe):
        os.close(fd)


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda box: box.stat(FILE), says(bytes(63))),
        (lambda box: box.stat(FILE), says(bytes(65))),
        (lambda box: box.stat(FILE), says()),
        (lambda box: box.readlink(FILE), says()),
        (lambda box: box.readlink(FILE), says(b"a\0b")),
        (lambda box: box.readlink(FILE), says(bytes(4096))),
        (lambda box: box.unlink(FILE), says(b"x")),
        (lambda box: box.hello(), says(b"x")),
        (lambda box: box.listdir(FILE), says(b"fa")),
        (lambda box: box.listdir(FILE), says(b"\0")),
        (lambda box: box.listdir(FILE), says(b"f\0")),
        (lambda box: box.listdir(FILE), says(b"xa\0")),
        (lambda box: box.listdir(FILE), says(b"fa/b\0")),
        (lambda box: box.listdir(FILE), says(b"fb\0fa\0")),
        (lambda box: box.listdir(FILE), says(b"fa\0fa\0")),
        (lambda box: box.listdir(FILE), says(value=1)),
        (lambda box: box.listdir(FILE), says(b"fa\0", value=2)),
        (lambda box: box.listdir(FILE), says(bytes(20_000))),
    ],
)
def test_sizes_and_contents_are_looked_at(
    broker: ScriptedBroker, box: Broker, call: Callable[[Broker], object], answer: Answer
) -> None:
    broker.script(answer)
    with pytest.raises(OSError, match=r".") as caught:
        call(box)
    assert errno.EPROTO == caught.value.errno


def test_a_list_that_goes_round_ends(broker: ScriptedBroker, box: Broker) -> None:
    broker.script(says(b"fa\0fb\0", value=1), says(b"fa\0fb\0", value=1))
    with pytest.raises(OSError, match=r".") as caught:
        box.listdir(FILE)
    assert errno.EPROTO == caught.value.errno


def test_no_descriptor_comes_uncalled_for(broker: ScriptedBroker, box: Broker, file: int) -> None:
    before = held([file])
    for call, data in ((box.unlink, b""), (box.readlink, b"x"), (box.listdir, b"fa\0"), (box.mkdir, b"")):
        broker.script(says(data, fds=[file]))
        with pytest.raises(OSError, match=r".") as caught:
            call(FILE)
        assert errno.EPROTO == caught.value.errno
    assert before == held([file])


@pytest.mark.parametrize("call", [lambda box: box.watch(FILE), lambda box: box.connect_to("x")])
def test_a_descriptor_is_of_the_kind_that_was_asked_for(
    broker: ScriptedBroker, box: Broker, file: int, call: Callable[[Broker], object]
) -> None:
    before = held([file])
    broker.script(says(fds=[file]))
    with pytest.raises(OSError, match=r".") as caught:
        call(box)
    assert errno.EPROTO == caught.value.errno
    assert before == held([file])


ANSWERS = st.builds(
    lambda version, command, error, value, data: REPLY.pack(version, command, error, value) + data,
    st.sampled_from([VERSION, VERSION, VERSION, 0, 2]),
    st.integers(0, 12),
    st.sampled_from([0, 0, 0, 1, 13, -1, 4095, 4096, -(2**31)]),
    st.sampled_from([0, 1, 2, 2**64 - 1]),
    st.binary(max_size=80) | st.sampled_from([bytes(64), b"fa\0", b"fa\0db\0", b"/x"]),
)


@given(st.lists(ANSWERS | st.binary(min_size=1, max_size=40), min_size=1, max_size=3), st.integers(0, 2), st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_answered_it_gives_a_value_or_an_oserror(
    broker: ScriptedBroker, box: Broker, file: int, messages: list[bytes], count: int, data: st.DataObject
) -> None:
    call = data.draw(st.sampled_from([*REPEATABLE, *ONCE]))
    before = held([file])
    broker.answers[:] = [says_bytes(message, [file] * count) for message in messages]
    with contextlib.suppress(OSError):
        got = call(box)
        if call in OPENING:
            assert isinstance(got, int)
            os.close(got)
    assert before == held([file])


@pytest.mark.parametrize("call", [Broker.hello, lambda box: box.open(FILE), lambda box: box.unlink(FILE)])
def test_another_version_is_said_to_be_one(
    broker: ScriptedBroker, box: Broker, call: Callable[[Broker], object]
) -> None:
    broker.script(says(version=VERSION + 1, error=errno.EPROTONOSUPPORT))
    with pytest.raises(OSError, match=r".") as caught:
        call(box)
    assert errno.EPROTONOSUPPORT == caught.value.errno


def test_a_thousand_openings_leave_nothing_open(broker: ScriptedBroker, box: Broker, file: int) -> None:
    before = held([file])
    broker.script(*[says(fds=[file]), says(error=errno.EACCES)] * 500)
    for _ in range(500):
        os.close(box.open(FILE))
        with pytest.raises(PermissionError):
            box.open(FILE)
    assert before == held([file])


# Threads and processes


def test_threads_get_their_own_answers(broker: ScriptedBroker, box: Broker) -> None:
    def echo(peer: socket.socket, request: Request) -> bool:
        peer.sendmsg([REPLY.pack(VERSION, request.command, 0, 0) + request.paths[0][1:]])
        return True

    def ask(name: str) -> None:
        wrong.extend(got for _ in range(200) if (got := box.readlink(f"/{name}")) != name)

    wrong: list[str] = []
    broker.script(*[echo] * 1600)
    threads = [threading.Thread(target=ask, args=(f"thread-{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == wrong
    assert (1600, 1) == (len(broker.requests), broker.connections)


def run(code: str, *, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()) -> str:
    """Run a program that imports the client, as if it were in a box."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | dict(env or {}),
        pass_fds=pass_fds,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.strip()


FORKS = """
import os
from sandboxer import client
assert "one" == client.readlink("/parent")
child = os.fork()
if child == 0:
    assert "two" == client.readlink("/child")
    os._exit(0)
assert (child, 0) == os.waitpid(child, 0)
assert "three" == client.readlink("/parent")
"""


def test_a_child_has_a_connection_of_its_own(broker: ScriptedBroker) -> None:
    broker.script(says(b"one"), says(b"two"), says(b"three"))
    run(FORKS, env={protocol.VARIABLE: str(broker.path)})
    assert 2 == broker.connections


def test_a_child_of_a_thread_that_waits_is_not_blocked(broker: ScriptedBroker) -> None:
    code = """
import os, threading, time
from sandboxer import client
client.hello()
thread = threading.Thread(target=client.readlink, args=("/slow",))
thread.start()
time.sleep(0.2)
child = os.fork()
if child == 0:
    os._exit(0 if client.readlink("/child") == "quick" else 1)
assert (child, 0) == os.waitpid(child, 0)
thread.join()
"""
    answered = threading.Event()

    def slow(peer: socket.socket, request: Request) -> bool:
        answered.wait(10)
        return says(b"slow")(peer, request)

    def quick(peer: socket.socket, request: Request) -> bool:
        answered.set()
        return says(b"quick")(peer, request)

    broker.script(says(), slow, quick)
    run(code, env={protocol.VARIABLE: str(broker.path)})


def test_the_functions_of_the_module_use_the_environments_socket(broker: ScriptedBroker, file: int) -> None:
    broker.script(says(fds=[file]), says(b"fa\0"))
    code = """
from sandboxer import client
print(open("/x", "rb", opener=client.open).read(), client.listdir("/d"))
"""
    assert "b'content' ['a']" == run(code, env={protocol.VARIABLE: str(broker.path)})
    assert 1 == broker.connections


def test_it_imports_little() -> None:
    code = "import sys; before = set(sys.modules); import sandboxer.client; print(*sorted(set(sys.modules) - before))"
    imported = set(run(code).split())
    allowed = {"__future__", "_socket", "_struct", "struct", "errno", "sandboxer"}
    ours = {"sandboxer.client", "sandboxer.broker", "sandboxer.broker.channel", "sandboxer.broker.protocol"}
    assert imported <= allowed | ours


# The descriptor that a policy can give

USES_IT = "from sandboxer import client; print(client.readlink('/x'))"


@pytest.fixture
def connected(broker: ScriptedBroker) -> Iterator[socket.socket]:
    """A connected descriptor; the scripted broker answers on its other side."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    broker.adopt(there)
    with here:
        yield here


def environment(broker: ScriptedBroker, number: int | str) -> dict[str, str]:
    return {protocol.VARIABLE: str(broker.path), protocol.DESCRIPTOR_VARIABLE: str(number)}


def test_a_given_descriptor_is_used_before_the_path(broker: ScriptedBroker, connected: socket.socket) -> None:
    broker.script(says(b"here"))
    assert "here" == run(USES_IT, env=environment(broker, connected.fileno()), pass_fds=[connected.fileno()])
    assert 1 == broker.connections, "that of the descriptor"


def test_a_given_descriptor_is_not_inherited_any_more(broker: ScriptedBroker, connected: socket.socket) -> None:
    broker.script(says(b"here"))
    code = f"{USES_IT}; import os; print(os.get_inheritable({connected.fileno()}))"
    assert "here\nFalse" == run(code, env=environment(broker, connected.fileno()), pass_fds=[connected.fileno()])


def test_a_given_descriptor_that_another_process_uses_is_left_alone(
    broker: ScriptedBroker, connected: socket.socket
) -> None:
    fcntl.fcntl(connected, fcntl.F_SETOWN, os.getpid())
    broker.script(says(b"here"))
    assert "here" == run(USES_IT, env=environment(broker, connected.fileno()), pass_fds=[connected.fileno()])
    assert 2 == broker.connections, "one by the path"


def test_a_given_descriptor_serves_one_connection_of_a_process(
    broker: ScriptedBroker, connected: socket.socket
) -> None:
    broker.script(says(b"one"), says(b"two"))
    code = f"{USES_IT}; print(client.connect().readlink('/y'))"
    assert "one\ntwo" == run(code, env=environment(broker, connected.fileno()), pass_fds=[connected.fileno()])
    assert 2 == broker.connections


def test_after_the_end_of_a_given_descriptor_the_path_serves(broker: ScriptedBroker, connected: socket.socket) -> None:
    broker.script(ends, says(b"again"))
    assert "again" == run(USES_IT, env=environment(broker, connected.fileno()), pass_fds=[connected.fileno()])
    assert 2 == broker.connections


@pytest.mark.parametrize("word", ["", "x", "-1", "99999999999", "77", "\u0663"])
def test_a_word_that_names_no_descriptor_is_passed_over(broker: ScriptedBroker, word: str) -> None:
    broker.script(says(b"here"))
    assert "here" == run(USES_IT, env=environment(broker, word))


@pytest.mark.parametrize(
    ("family", "kind"), [(socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)]
)
def test_a_descriptor_of_something_else_is_left_as_it_is(
    broker: ScriptedBroker, family: socket.AddressFamily, kind: socket.SocketKind
) -> None:
    broker.script(says(b"here"))
    with socket.socket(family, kind) as other:
        number = other.fileno()
        code = f"{USES_IT}; import os; os.fstat({number}); print(os.get_inheritable({number}))"
        assert "here\nTrue" == run(code, env=environment(broker, number), pass_fds=[number])

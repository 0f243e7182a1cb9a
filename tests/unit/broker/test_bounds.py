"""What one client can do to a broker, and to the others: nothing much."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from brokers import Client, RunningBroker, message, rule, rules_for, until

from sandboxer.broker import protocol
from sandboxer.broker import server as module
from sandboxer.broker.beneath import Replaced
from sandboxer.broker.log import Log
from sandboxer.broker.protocol import HELLO, OPEN, READ, REQUEST, REQUEST_SIZE_MAX, STAT_
from sandboxer.broker.roots import open_roots
from sandboxer.broker.server import CLIENTS_MAX, Server
from sandboxer.broker.verdicts import Table

CONNECTIONS = 10_000
HELLO_MESSAGE = message(HELLO)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    (place / "file").write_text("content")
    return place


@pytest.fixture
def broker(place: Path, tmp_path: Path) -> Iterator[RunningBroker]:
    with RunningBroker(rules_for(tmp_path / "log", [rule(place)]), tmp_path) as running:
        yield running


class Inner:
    """A server in a thread of this process, so that its bounds can be set."""

    def __init__(self, place: Path, tmp_path: Path) -> None:
        self.table = Table(rules_for(tmp_path / "log", [rule(place)]))
        self.log = Log(os.fsencode(tmp_path / "log"), "app", "app.1")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.address = f"\0inner-{os.getpid()}-{id(self)}"
        self.listener.bind(self.address)
        self.listener.listen(256)
        self.listener.setblocking(False)
        self.ground = open_roots(self.table)
        self.server = Server(self.table, self.ground, self.log, {"broker": self.listener.fileno()})
        self.thread = threading.Thread(target=self.run)
        self.ended: object = None

    def run(self) -> None:
        try:
            self.server.run()
        except Replaced as error:
            self.ended = error

    def connect(self) -> Client:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(self.address)
        return Client(connection)

    def wait(self) -> None:
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def inner(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Inner]]:
    """`inner(RATE=5)` starts a server with this bound; it ends 0.2 s after its last client."""
    made: list[Inner] = []

    def start(**bounds: float) -> Inner:
        for name, value in ({"END_S": 0.2} | bounds).items():
            monkeypatch.setattr(module, name, value)
        one = Inner(place, tmp_path)
        made.append(one)
        one.thread.start()
        return one

    yield start
    for one in made:
        one.wait()
        one.listener.close()
        one.log.close()
        one.ground.watches.close()
        one.server.close()
        for held in {held.fd for held in one.table.places if held.fd >= 0}:
            os.close(held)


def test_silent_clients_delay_nobody(broker: RunningBroker, place: Path) -> None:
    with broker.serve() as client:
        silent = [broker.connect() for _ in range(CLIENTS_MAX - 1)]
        started = time.monotonic()
        for _ in range(200):
            assert b"content" == client.read(place / "file")
        assert time.monotonic() - started < 2
        for one in silent:
            one.socket.close()


def test_a_client_that_never_reads_is_dropped_and_delays_nobody(broker: RunningBroker, place: Path) -> None:
    with broker.serve() as client, broker.connect() as greedy:
        greedy.socket.settimeout(0.2)
        request = message(OPEN, place / "file", flags=READ)
        sent = 0
        try:
            for _ in range(20_000):
                greedy.send(request)
                sent += 1
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass
        assert sent < 20_000, "it was never dropped"
        assert b"content" == client.read(place / "file")


def test_what_is_left_unread_takes_few_descriptors(broker: RunningBroker, place: Path) -> None:
    """Descriptors under way count against the user's limit, whoever sent them."""
    with broker.serve() as client:
        greedy = [broker.connect() for _ in range(8)]
        request = message(OPEN, place / "file", flags=READ)
        for one in greedy:
            one.socket.settimeout(0.2)
            try:
                for _ in range(500):
                    one.send(request)
            except (BrokenPipeError, ConnectionResetError, TimeoutError):
                pass
        assert client.read(place / "file") in (b"content", b"ETOOMANYREFS")
        for one in greedy:
            one.socket.close()
        assert until(lambda: client.read(place / "file") == b"content")


def test_ten_thousand_connections_one_after_the_other(broker: RunningBroker) -> None:
    broker.serve().socket.close()
    for _ in range(CONNECTIONS):
        with broker.connect() as client:
            client.send(HELLO_MESSAGE)
    with broker.connect() as client:
        assert "ok" == client.ask(HELLO_MESSAGE).name
    assert broker.is_running()


def test_many_connections_at_once_leave_the_one_that_works(broker: RunningBroker, place: Path) -> None:
    with broker.serve() as client:
        crowd = []
        for number in range(500):
            crowd.append(broker.connect())
            if number % 25 == 0:
                assert b"content" == client.read(place / "file")
        assert b"content" == client.read(place / "file")
        time.sleep(0.1)
        closed = 0
        for one in crowd:
            one.socket.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                closed += one.socket.recv(1) == b""
            one.socket.close()
        assert 500 - CLIENTS_MAX <= closed < 500


def test_when_it_is_full_the_longest_idle_makes_room(inner: Callable[..., Inner]) -> None:
    one = inner(CLIENTS_MAX=3, IDLE_S=0.3)
    clients = [one.connect() for _ in range(3)]
    for client in clients:
        assert "ok" == client.ask(HELLO_MESSAGE).name
    with one.connect() as early:
        assert early.receive() is None, "nobody was idle yet"
    time.sleep(0.35)
    for client in (clients[0], clients[2]):
        assert "ok" == client.ask(HELLO_MESSAGE).name
    with one.connect() as late:
        assert "ok" == late.ask(HELLO_MESSAGE).name
        assert clients[1].receive() is None
        assert "ok" == clients[0].ask(HELLO_MESSAGE).name
    for client in clients:
        client.socket.close()


def test_descriptors_that_come_along_end_the_connection(broker: RunningBroker, place: Path) -> None:
    with broker.serve() as client:
        reader, writer = os.pipe()
        for count in (1, 2, 250):
            with broker.connect() as flood:
                flood.send(message(OPEN, place / "file", flags=READ), [writer] * count)
                answer = flood.receive()
                assert answer is not None
                assert ("EPROTO", []) == (answer.name, answer.fds)
                assert flood.receive() is None
        for _ in range(100):
            # one after the other: what is under way counts for all of the user's programs, other tests among them
            with broker.connect() as flood, contextlib.suppress(OSError):
                flood.send(HELLO_MESSAGE, [writer] * 100)
                flood.receive()
        # the kernel lets go of what was under way a moment later
        assert until(lambda: client.read(place / "file") == b"content")
        os.close(writer)
        os.set_blocking(reader, True)
        assert b"" == os.read(reader, 1), "the broker holds a descriptor that was sent to it"
        os.close(reader)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"x", "EPROTO"),
        (message(HELLO)[:-1], "EPROTO"),
        (message(HELLO) + b"x", "EPROTO"),
        (message(OPEN, "/a" * 100)[:-1], "EPROTO"),
        (message(OPEN, b"/" + b"a" * REQUEST_SIZE_MAX), "EPROTO"),
        (b"\0" * (REQUEST_SIZE_MAX + 1), "EPROTO"),
        (b"\xff" * 200_000, "EPROTO"),
        (REQUEST.pack(1, OPEN, 1, 0, 65535, 65535) + b"/a", "EPROTO"),
        (message(HELLO, version=2), "EPROTONOSUPPORT"),
        (message(HELLO, version=0), "EPROTONOSUPPORT"),
    ],
)
def test_a_malformed_message_is_answered_and_ends_the_connection(
    broker: RunningBroker, data: bytes, error: str
) -> None:
    with broker.serve() as client:
        with broker.connect() as wrong:
            wrong.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            wrong.send(data)
            answer = wrong.receive()
            assert answer is not None
            assert error == answer.name
            assert wrong.receive() is None
        assert "ok" == client.ask(HELLO_MESSAGE).name


def test_an_empty_message_is_the_end(broker: RunningBroker) -> None:
    with broker.serve(), broker.connect() as empty:
        empty.send(b"")
        assert empty.receive() is None


def test_a_request_that_is_refused_does_not_end_the_connection(broker: RunningBroker, place: Path) -> None:
    with broker.serve() as client:
        for data in (message(99), message(STAT_, "relative"), message(OPEN, "/a\0b", flags=READ)):
            assert client.ask(data).name in ("EACCES", "EINVAL")
        assert b"content" == client.read(place / "file")


def test_one_client_that_asks_without_a_pause_is_paused_and_the_others_are_not(
    inner: Callable[..., Inner], place: Path
) -> None:
    one = inner(RATE=50)
    with one.connect() as fast, one.connect() as slow:
        started = time.monotonic()
        for _ in range(120):
            assert "ok" == fast.ask(HELLO_MESSAGE).name
            if time.monotonic() - started < 0.5:
                begun = time.monotonic()
                assert "ok" == slow.ask(HELLO_MESSAGE).name if _ < 40 else True
                assert time.monotonic() - begun < 0.3
        assert 1.5 < time.monotonic() - started < 6


def test_it_ends_when_nobody_needs_it(inner: Callable[..., Inner]) -> None:
    one = inner(END_S=0.2)
    with one.connect() as client:
        assert "ok" == client.ask(HELLO_MESSAGE).name
        time.sleep(0.5)
        assert "ok" == client.ask(HELLO_MESSAGE).name, "it ended while it had a client"
    one.wait()
    assert one.ended is None


def test_a_connection_that_comes_as_it_ends_waits_for_the_next(inner: Callable[..., Inner]) -> None:
    one = inner(END_S=0.1)
    one.wait()
    with one.connect() as late:
        late.send(HELLO_MESSAGE)
        next_one = Server(one.table, one.ground, one.log, {"broker": one.listener.fileno()})
        thread = threading.Thread(target=next_one.run)
        thread.start()
        answer = late.receive()
        assert answer is not None
        assert "ok" == answer.name
    thread.join(10)
    next_one.close()


def test_nothing_is_handed_out_that_cannot_be_logged(
    inner: Callable[..., Inner], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = inner()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with one.connect() as client:
        assert b"content" == client.read(place / "file")
        monkeypatch.setattr(Log, "write", full)
        answer = client.open(place / "file")
        assert ("EIO", []) == (answer.name, answer.fds)
        answer = client.open("/etc/passwd")
        assert ("EIO", []) == (answer.name, answer.fds)
        assert "ok" == client.ask(HELLO_MESSAGE).name


def test_a_large_answer_fits_into_the_queue(broker: RunningBroker, place: Path) -> None:
    for number in range(200):
        (place / f"{number:0200}").touch()
    with broker.serve() as client:
        for _ in range(20):
            assert len(client.ask(message(protocol.LIST, place)).data) > 15_000

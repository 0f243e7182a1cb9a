"""Asking the steward to open something outside."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import Client, RunningBroker, message, rules_for

from sandboxer.broker.outward import ANSWER, ASK, FILE, LINK
from sandboxer.broker.protocol import HELLO, PRESENT
from sandboxer.broker.rules import Outward

OUTWARD = (
    Outward(kind="link", value="https", origin="p:1"),
    Outward(kind="file", value="application/pdf", origin="p:2"),
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with RunningBroker(rules_for(tmp_path / "log", outward=OUTWARD), tmp_path, steward=True) as running:
        yield running


@pytest.fixture
def client(broker: RunningBroker) -> Iterator[Client]:
    with broker.serve() as connected:
        yield connected


def asked(broker: RunningBroker) -> tuple[int, int, bytes]:
    """What the steward is asked: id, kind, text."""
    assert broker.steward is not None
    data = broker.steward.recv(8192)
    number, kind = ASK.unpack_from(data)
    return number, kind, data[ASK.size :]


def answer(broker: RunningBroker, number: int, error: int) -> None:
    assert broker.steward is not None
    broker.steward.send(ANSWER.pack(number, error))


@pytest.mark.parametrize(
    ("text", "kind", "passed"),
    [
        ("https://example.org/", LINK, b"https://example.org/"),
        ("HTTPS://example.org/", LINK, b"https://example.org/"),
        ("/tmp/a b", FILE, b"/tmp/a b"),
        ("file:///tmp/a%20b", FILE, b"/tmp/a b"),
    ],
)
@pytest.mark.parametrize("error", ["ok", "ENOENT", "EACCES"])
def test_the_steward_is_asked_and_its_answer_handed_on(
    client: Client, broker: RunningBroker, text: str, kind: int, passed: bytes, error: str
) -> None:


    client.send(message(PRESENT, text))
    number, told, content = asked(broker)
    assert (kind, passed) == (told, content)
    answer(broker, number, 0 if error == "ok" else getattr(errno, error))
    received = client.receive()
    assert received is not None
    assert (error, PRESENT) == (received.name, received.command)


@pytest.mark.parametrize(("text", "error"), [("http://x", "EACCES"), ("a b", "EINVAL"), ("/a/../b", "EINVAL")])
def test_the_steward_never_hears_of_what_is_refused(
    client: Client, broker: RunningBroker, text: str, error: str
) -> None:
    assert error == client.ask(message(PRESENT, text)).name
    assert broker.steward is not None
    broker.steward.settimeout(0.05)
    with pytest.raises(TimeoutError):
        broker.steward.recv(100)


def test_others_are_served_while_one_waits_for_the_steward(client: Client, broker: RunningBroker) -> None:
    client.send(message(PRESENT, "https://example.org/"))
    number, _, _ = asked(broker)
    with broker.connect() as other:
        assert "ok" == other.ask(message(HELLO)).name
    client.send(message(HELLO))
    client.socket.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.receive()  # one request at a time
    client.socket.settimeout(5)
    answer(broker, number, 0)
    first, second = client.receive(), client.receive()
    assert first is not None
    assert second is not None
    assert [PRESENT, HELLO] == [first.command, second.command]


def test_answers_that_nobody_waits_for_are_nobodys(client: Client, broker: RunningBroker) -> None:
    client.send(message(PRESENT, "https://example.org/"))
    number, _, _ = asked(broker)
    assert broker.steward is not None
    broker.steward.send(b"x")
    answer(broker, number ^ 1, 0)
    answer(broker, number, -7)
    received = client.receive()
    assert received is not None
    assert "EIO" == received.name
    answer(broker, number, 0)
    assert "ok" == client.ask(message(HELLO)).name


def test_a_client_that_leaves_is_forgotten(client: Client, broker: RunningBroker) -> None:
    with broker.connect() as gone:
        gone.send(message(PRESENT, "https://example.org/"))
        number, _, _ = asked(broker)
    assert "ok" == client.ask(message(HELLO)).name
    answer(broker, number, 0)
    assert "ok" == client.ask(message(HELLO)).name


def test_a_client_that_asks_on_and_leaves_is_forgotten_whole(client: Client, broker: RunningBroker) -> None:
    with broker.connect() as gone:
        for _ in range(3):
            gone.send(message(PRESENT, "https://example.org/"))
        number, _, _ = asked(broker)
    answer(broker, number, 0)
    assert "ok" == client.ask(message(HELLO)).name
    assert broker.steward is not None
    broker.steward.settimeout(0.05)
    with pytest.raises(TimeoutError):
        asked(broker)
    assert "ok" == client.ask(message(HELLO)).name


def test_the_sixth_in_a_row_is_too_many(client: Client, broker: RunningBroker) -> None:
    for _ in range(5):
        client.send(message(PRESENT, "https://example.org/"))
        answer(broker, asked(broker)[0], 0)
        received = client.receive()
        assert received is not None
        assert "ok" == received.name
    assert "EBUSY" == client.ask(message(PRESENT, "https://example.org/")).name
    assert "EACCES" == client.ask(message(PRESENT, "http://example.org/")).name


def test_a_steward_that_does_not_answer_costs_ten_seconds(client: Client, broker: RunningBroker) -> None:
    client.socket.settimeout(20)
    started = time.monotonic()
    assert "ETIMEDOUT" == client.ask(message(PRESENT, "https://example.org/")).name
    assert 9 < time.monotonic() - started < 12


def test_a_steward_that_has_gone_is_an_error_at_once(client: Client, broker: RunningBroker) -> None:
    client.send(message(PRESENT, "https://example.org/"))
    asked(broker)
    assert broker.steward is not None
    broker.sockets.pop("steward").close()
    broker.steward.close()
    received = client.receive()
    assert received is not None
    assert "EPIPE" == received.name
    assert "ENOTSUP" == client.ask(message(PRESENT, "https://example.org/")).name


def test_without_a_steward_nothing_is_presented(tmp_path: Path) -> None:
    with RunningBroker(rules_for(tmp_path / "log", outward=OUTWARD), tmp_path) as running, running.serve() as client:
        assert "ENOTSUP" == client.ask(message(PRESENT, "https://example.org/")).name


def test_who_hangs_up_as_the_steward_answers_ends_nothing(broker: RunningBroker) -> None:
    """A second request lies in the queue, and the broker must not take it up for one that still waits."""
    with broker.serve() as other:
        for _ in range(4):
            with broker.connect() as client:
                client.send(message(PRESENT, "https://x"))
                number, _, _ = asked(broker)
                client.send(message(PRESENT, "https://x"))
                os.kill(broker.pid, signal.SIGSTOP)  # so that it finds all of it at once
                answer(broker, number, 0)
                client.socket.shutdown(socket.SHUT_RDWR)
                os.kill(broker.pid, signal.SIGCONT)
            assert "ok" == other.ask(message(HELLO)).name
        assert broker.is_running()

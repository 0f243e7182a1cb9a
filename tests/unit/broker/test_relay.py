"""The SSH agent, filtered: a real broker between a client and an agent that answers as it is told."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from brokers import Client, RunningBroker, message, rules_for

from sandboxer.broker.agent import fingerprint
from sandboxer.broker.protocol import CONNECT, HELLO
from sandboxer.broker.rules import Service

FAILURE = b"\x05"
KEYS = ((b"blob one", b"me@home"), (b"blob two", b"work"), (b"blob three", b"deploy"))


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def identities(*keys: tuple[bytes, bytes]) -> bytes:
    return b"\x0c" + struct.pack(">I", len(keys)) + b"".join(string(blob) + string(note) for blob, note in keys)


def sign(blob: bytes, data: bytes = b"data") -> bytes:
    return b"\x0d" + string(blob) + string(data) + struct.pack(">I", 0)


class Agent:
    """Lists KEYS, signs with what it is asked for; remembers every request. `answers` override, by request type."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[bytes] = []
        self.answers: dict[int, bytes] = {}
        self.delay_s = 0.0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(16)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection:
            while header := connection.recv(4, socket.MSG_WAITALL):
                request = connection.recv(struct.unpack(">I", header)[0], socket.MSG_WAITALL)
                self.asked.append(request)
                time.sleep(self.delay_s)
                usual = {11: string(identities(*KEYS)), 13: string(b"\x0e" + string(b"signature"))}
                connection.sendall((usual | self.answers).get(request[0], string(FAILURE)))


class Speaker:
    """A client of the agent's protocol."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def receive(self) -> bytes:
        header = self.socket.recv(4, socket.MSG_WAITALL)
        return self.socket.recv(struct.unpack(">I", header)[0], socket.MSG_WAITALL) if header else b""

    def ask(self, request: bytes) -> bytes:
        self.socket.sendall(string(request))
        return self.receive()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with RunningBroker(b"", tmp_path) as short:  # for the directory: a socket's path is short
        one = Agent(Path(short.address).with_name("agent"))
        yield one
        one.listener.close()


@pytest.fixture(params=["work", fingerprint(b"blob two").decode()])
def broker(request: pytest.FixtureRequest, agent: Agent, tmp_path: Path) -> Iterator[RunningBroker]:
    service = Service(name="ssh-agent", path=str(agent.path), origin="p:9", keys=(request.param,))
    with RunningBroker(rules_for(tmp_path / "log", services=[service]), tmp_path, agent=True) as running:
        yield running


@pytest.fixture
def client(broker: RunningBroker) -> Iterator[Client]:
    with broker.serve() as connected:
        yield connected


def speak(broker: RunningBroker) -> Speaker:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(broker.agent_address)
    return Speaker(connection)


@pytest.fixture
def speaker(client: Client, broker: RunningBroker) -> Iterator[Speaker]:
    with speak(broker) as one:
        yield one


def test_only_the_named_key_is_listed(speaker: Speaker) -> None:
    assert identities(KEYS[1]) == speaker.ask(b"\x0b")


def test_only_the_named_key_signs(speaker: Speaker, agent: Agent) -> None:
    assert b"\x0e" + string(b"signature") == speaker.ask(sign(b"blob two"))
    for blob in (b"blob one", b"blob three", b"unknown", b"blob tw"):
        assert FAILURE == speaker.ask(sign(blob))
    assert [sign(b"blob two")] == [request for request in agent.asked if request[0] == 13]


def test_nothing_else_reaches_the_agent(speaker: Speaker, agent: Agent) -> None:
    for number in set(range(256)) - {11, 13}:
        assert FAILURE == speaker.ask(bytes((number,)) + b"x")
    assert [] == agent.asked


def test_requests_in_pieces_and_in_a_row_are_served(speaker: Speaker) -> None:
    for byte in string(b"\x0b"):
        speaker.socket.sendall(bytes((byte,)))
        time.sleep(0.01)
    assert identities(KEYS[1]) == speaker.receive()
    speaker.socket.sendall(string(b"\x0b") * 3 + string(b"\x01") + string(sign(b"blob two")))
    assert [identities(KEYS[1])] * 3 == [speaker.receive() for _ in range(3)]
    assert [FAILURE, b"\x0e" + string(b"signature")] == [speaker.receive() for _ in range(2)]


def test_a_slow_agent_delays_nobody(speaker: Speaker, client: Client, agent: Agent) -> None:
    agent.delay_s = 0.5
    speaker.socket.sendall(string(b"\x0b"))
    time.sleep(0.05)
    started = time.monotonic()
    assert "ok" == client.ask(message(HELLO)).name
    assert time.monotonic() - started < 0.3
    assert identities(KEYS[1]) == speaker.receive()


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        string(b"\x0c"),
        string(identities(*KEYS)[:-1]),
        struct.pack(">I", 0),
        struct.pack(">I", 1 << 30) + b"x",
        string(identities(*KEYS)) + b"more",
    ],
)
def test_an_agent_that_answers_nonsense_is_a_failure(speaker: Speaker, agent: Agent, wrong: bytes) -> None:
    agent.answers[11] = wrong or string(FAILURE)
    assert FAILURE == speaker.ask(b"\x0b")
    agent.answers.clear()
    assert identities(KEYS[1]) == speaker.ask(b"\x0b")


def test_an_answer_to_signing_that_is_no_signature_does_not_pass(speaker: Speaker, agent: Agent) -> None:
    agent.answers[13] = string(identities(*KEYS))
    assert FAILURE == speaker.ask(sign(b"blob two"))


def test_an_agent_that_is_not_there_is_a_failure(speaker: Speaker, agent: Agent) -> None:
    agent.listener.shutdown(socket.SHUT_RDWR)
    assert FAILURE == speaker.ask(b"\x0b")
    assert FAILURE == speaker.ask(sign(b"blob two"))


@pytest.mark.parametrize("wrong", [struct.pack(">I", 0), struct.pack(">I", 65537), b"\xff" * 100])
def test_a_malformed_request_ends_the_connection(speaker: Speaker, wrong: bytes) -> None:
    speaker.socket.sendall(wrong)
    with contextlib.suppress(ConnectionResetError):
        assert b"" == speaker.socket.recv(10)


def test_the_seventeenth_waits_for_nobody(client: Client, broker: RunningBroker) -> None:
    first = [speak(broker) for _ in range(16)]
    for one in first:
        assert identities(KEYS[1]) == one.ask(b"\x0b")
    with speak(broker) as late:
        assert b"" == late.receive()
    time.sleep(1.1)
    with speak(broker) as late:
        assert identities(KEYS[1]) == late.ask(b"\x0b")
    assert b"" == first[0].receive()
    for one in first:
        one.socket.close()
    assert "ok" == client.ask(message(HELLO)).name


def test_connect_gives_the_filtered_agent_and_not_the_agent(client: Client, agent: Agent) -> None:
    answer = client.ask(message(CONNECT, "ssh-agent"))
    assert "ok" == answer.name
    with Speaker(socket.socket(fileno=answer.fds[0])) as speaker:
        assert identities(KEYS[1]) == speaker.ask(b"\x0b")
        assert FAILURE == speaker.ask(sign(b"blob one"))
        assert FAILURE == speaker.ask(b"\x13")
    assert {b"\x0b"} == set(agent.asked)


def test_each_use_of_a_key_is_a_line(speaker: Speaker, tmp_path: Path) -> None:
    speaker.ask(sign(b"blob two"))
    speaker.ask(sign(b"blob one"))
    speaker.ask(b"\x11")
    rows = [json.loads(line) for line in (tmp_path / "log/app/app.log").read_text().splitlines()]
    assert [
        ("agent sign", fingerprint(b"blob two").decode(), "allowed", "p:9"),
        ("agent sign", fingerprint(b"blob one").decode(), "denied", ""),
        ("agent 17", "", "denied", ""),
    ] == [(row["request"], row["path"], row["verdict"], row["rule"]) for row in rows]


def test_without_keys_none_can_be_used(agent: Agent, tmp_path: Path) -> None:
    service = Service(name="ssh-agent", path=str(agent.path), origin="p:9")
    given = rules_for(tmp_path / "log", services=[service])
    with RunningBroker(given, tmp_path, agent=True) as running, running.serve(), speak(running) as speaker:
        assert identities() == speaker.ask(b"\x0b")
        assert FAILURE == speaker.ask(sign(b"blob two"))


def test_a_listener_without_a_rule_serves_nobody(tmp_path: Path) -> None:
    given = rules_for(tmp_path / "log")
    with RunningBroker(given, tmp_path, agent=True) as running, running.serve(), speak(running) as speaker:
        assert b"" == speaker.receive()

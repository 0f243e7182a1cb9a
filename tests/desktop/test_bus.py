"""The D-Bus connection, against a real dbus-daemon and against servers that behave badly."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import need

from sandboxer.desktop.bus import BlockingBus, Bus, Call, Refusal, Signal, Variant, connect
from sandboxer.desktop.wire import Message
from sandboxer.errors import BusError

NAME = "org.example.Sandboxer"
PATH = "/org/example/Sandboxer"
DAEMON = "org.freedesktop.DBus"
LARGE = 300_000
"""More than a socket's buffer holds."""

Handler = Callable[[Call], tuple[str, list[Any]] | None]


@pytest.fixture
def daemon(runtime_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """A session bus of the test's own; its address is unix:path=RUNTIME/bus."""
    process = subprocess.Popen(
        [
            need("dbus-daemon"),
            "--session",
            "--nofork",
            "--print-address",
            f"--address=unix:path={runtime_dir}/bus",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def address(daemon: subprocess.Popen[str], runtime_dir: Path) -> str:
    return f"unix:path={runtime_dir}/bus"


@contextlib.contextmanager
def serving(address: str, handler: Handler, idle_s: float = 20.0) -> Iterator[list[Exception]]:
    """A service with our name in a thread; "Stop" ends it. What it raised is in the list."""
    ready, faults = threading.Event(), list[Exception]()

    def work() -> None:
        try:
            with connect(address) as bus:

                def answer(call: Call) -> tuple[str, list[Any]] | None:
                    if call.member == "Stop":
                        bus.stop()
                        return "", []
                    return handler(call)

                bus.serve(answer)
                bus.own(NAME)
                ready.set()
                bus.run(idle_s)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            faults.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(10)
    try:
        yield faults
    finally:
        with contextlib.suppress(BusError), connect(address) as bus:
            ask(bus, "Stop")
        thread.join(30)
        assert not thread.is_alive()


def ask(
    bus: BlockingBus, member: str, signature: str = "", *body: object, fds: tuple[int, ...] = ()
) -> list[Any]:
    return bus.call(NAME, PATH, NAME, member, signature, body, descriptors=fds, timeout_s=10)


def echo(call: Call) -> tuple[str, list[Any]] | None:
    """Answers with what it was asked."""
    return (call.signature, call.body) if call.member == "Echo" else None


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_call_brings_the_reply_s_body(address: str) -> None:
    with connect(address) as bus:
        names = bus.call(DAEMON, "/org/freedesktop/DBus", DAEMON, "ListNames")[0]
        assert DAEMON in names
        assert bus.name in names


def test_arguments_of_all_kinds_arrive_as_they_were_sent(address: str) -> None:
    body = ["text", 7, {"key": Variant("t", 2**64 - 1)}, [["a", 1]]]
    with serving(address, echo), connect(address) as bus:
        assert body == ask(bus, "Echo", "sua{sv}a(su)", *body)


def test_a_message_larger_than_the_sockets_buffer_gets_through(address: str) -> None:
    async def many() -> list[list[Any]]:
        bus = await Bus.connect(address)
        calls = (bus.call(NAME, PATH, NAME, "Echo", "ay", [bytes([number]) * LARGE]) for number in range(20))
        replies = await asyncio.gather(*calls)
        bus.close()
        return replies

    with serving(address, echo):
        assert [[bytes([number]) * LARGE] for number in range(20)] == asyncio.run(many())


def test_a_service_s_error_has_its_name_and_its_text(address: str) -> None:
    def refuse(call: Call) -> tuple[str, list[Any]]:
        raise Refusal("not today", "org.example.Error.Closed")

    with serving(address, refuse), connect(address) as bus, pytest.raises(BusError) as caught:
        ask(bus, "Open")
    assert ("a service refuses", "org.example.Error.Closed") == (caught.value.what, caught.value.name)
    assert caught.value.subject.endswith("not today")


def test_a_fault_of_the_service_tells_its_caller_no_path_and_doesn_t_end_it(address: str) -> None:
    def break_down(call: Call) -> tuple[str, list[Any]] | None:
        if call.member == "Break":
            raise KeyError(__file__)
        return echo(call)

    with serving(address, break_down), connect(address) as bus:
        with pytest.raises(BusError) as caught:
            ask(bus, "Break")
        assert "a fault of the service: KeyError" in caught.value.subject
        assert __file__ not in str(caught.value)
        assert ["still there"] == ask(bus, "Echo", "s", "still there")


def test_nobody_of_that_name_and_no_such_method_are_errors(address: str) -> None:
    with connect(address) as bus, pytest.raises(BusError) as caught:
        ask(bus, "Echo")
    assert "org.freedesktop.DBus.Error.ServiceUnknown" == caught.value.name
    with serving(address, echo), connect(address) as bus, pytest.raises(BusError) as caught:
        ask(bus, "Unheard")
    assert "org.freedesktop.DBus.Error.UnknownMethod" == caught.value.name


def test_a_service_that_doesn_t_answer_is_waited_for_no_longer_than_asked(address: str) -> None:
    def sleep(call: Call) -> tuple[str, list[Any]]:
        time.sleep(1.0)
        return "", []

    with serving(address, sleep), connect(address) as bus:
        since = time.monotonic()
        with pytest.raises(BusError, match="doesn't answer"):
            bus.call(NAME, PATH, NAME, "Sleep", timeout_s=0.2)
        assert time.monotonic() - since < 0.9


def test_a_name_is_owned_by_one_alone(address: str) -> None:
    with serving(address, echo), connect(address) as bus, pytest.raises(BusError, match="is taken"):
        bus.own(NAME)


def test_a_service_ends_when_nobody_calls(address: str) -> None:
    with connect(address) as bus:
        bus.serve(echo)
        bus.own(NAME)
        since = time.monotonic()
        bus.run(0.2)
        assert 0.2 <= time.monotonic() - since < 5


def test_a_service_learns_when_the_bus_ends(daemon: subprocess.Popen[str], address: str) -> None:
    with connect(address) as bus:
        threading.Timer(0.2, daemon.kill).start()
        with pytest.raises(BusError, match="has ended"):
            bus.run(20)
        with pytest.raises(BusError, match="has ended"):
            ask(bus, "Echo")


def test_a_caller_s_name_is_the_bus_s_word_for_it(address: str) -> None:
    def tell(call: Call) -> tuple[str, list[Any]]:
        return "s", [call.sender]

    with serving(address, tell), connect(address) as bus:
        assert [bus.name] == ask(bus, "Who")


def test_a_descriptor_arrives_closed_at_an_exec_and_is_closed_after_the_call(address: str) -> None:
    def look(call: Call) -> tuple[str, list[Any]]:
        (fd,) = call.descriptors
        return "ub", [os.fstat(fd).st_ino, bool(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC)]

    with serving(address, look), connect(address) as bus, open(os.devnull, "rb") as file:
        before = descriptors()
        for _ in range(3):
            assert [os.fstat(file.fileno()).st_ino, True] == ask(bus, "Look", "h", 0, fds=(file.fileno(),))
        assert before == descriptors()


def test_descriptors_of_calls_that_nobody_handles_are_closed(address: str) -> None:
    with serving(address, echo), connect(address) as bus, open(os.devnull, "rb") as file:
        before = descriptors()
        for _ in range(5):
            with pytest.raises(BusError):
                ask(bus, "Unheard", "h", 0, fds=(file.fileno(),))
        assert before == descriptors()


def test_no_descriptor_is_left_after_a_connection(address: str) -> None:
    before = descriptors()
    for _ in range(3):
        with connect(address):
            pass
        with pytest.raises(BusError):
            connect("unix:path=/nonexistent/bus").__enter__()
    assert before == descriptors()


def test_signals_count_only_from_the_one_who_owns_the_name(address: str) -> None:
    """Anybody may send a signal straight to a connection whose name he knows."""
    heard: list[Signal] = []
    changed = {"path": "/org/freedesktop/DBus", "interface": DAEMON, "member": "NameOwnerChanged"}
    with connect(address) as bus, connect(address) as forger:
        bus.listen(heard.append, sender=NAME, member="Said")
        bus.listen(heard.append, sender=DAEMON, **changed)
        heard.clear()
        emit(address, bus.name, "forged")
        with owning(address) as owner:
            emit(address, bus.name, "forged too")
            say(owner, bus.name, "real")
            bus.run(0.3)
        assert ["real"] == [signal.body[0] for signal in heard if signal.member == "Said"]
        assert NAME in [signal.body[0] for signal in heard if signal.member == "NameOwnerChanged"]
        assert forger.name not in [signal.body[0] for signal in heard if signal.member == "Said"]


@contextlib.contextmanager
def owning(address: str) -> Iterator[BlockingBus]:
    with connect(address) as owner:
        owner.own(NAME)
        yield owner


def emit(address: str, receiver: str, text: str) -> None:
    """A signal from a connection of its own, sent to one receiver."""
    with connect(address) as bus:
        say(bus, receiver, text)


def say(bus: BlockingBus, receiver: str, text: str) -> None:
    message = Message.new_signal(PATH, NAME, "Said", "s", [text])
    message.destination = receiver
    bus._loop.run_until_complete(send(bus, message))


async def send(bus: BlockingBus, message: Message) -> None:
    await bus._bus._connection.send(message)


def test_an_address_with_several_places_is_tried_in_order(address: str) -> None:
    with connect(f"tcp:host=localhost,port=1;unix:path=/nonexistent/bus;{address},guid=0123") as bus:
        assert bus.name.startswith(":")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("", "not an address of a Unix socket"),
        ("tcp:host=localhost,port=1", "not an address of a Unix socket"),
        ("unix:path=/nonexistent/bus", "No such file or directory"),
    ],
)
def test_an_address_where_nothing_is_gives_an_error_of_four_parts(wrong: str, why: str) -> None:
    with pytest.raises(BusError) as caught, connect(wrong):
        pass
    assert f"{wrong or 'no address'}: {why}" == caught.value.subject
    assert "see what is missing: sandbox doctor" == caught.value.hint


@pytest.mark.parametrize(
    ("says", "why"), [(None, "no answer"), (b"", "it ends the connection"), (b"REJECTED\r\n", "REJECTED")]
)
def test_a_server_that_is_no_bus_is_left_in_time(tmp_path: Path, says: bytes | None, why: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "odd"))
        listener.listen()

        def answer() -> None:
            select.select([listener], [], [], 10)
            client, _ = listener.accept()
            with client:
                if says is None:
                    time.sleep(1.0)
                else:
                    said = b""
                    while not said.endswith(b"\r\n"):
                        said += client.recv(100)
                    client.sendall(says)
                    client.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            with pytest.raises(BusError) as caught, connect(f"unix:path={tmp_path}/odd", 0.3):
                pass
        finally:
            thread.join()
        assert why in caught.value.subject

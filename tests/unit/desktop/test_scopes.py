"""The scope service's life, on a bus where somebody plays the user manager, or nobody does."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sandboxer.desktop.scopes import service as scopes
from sandboxer.desktop.scopes.service import Service

RIGHT = b'{"app":"firefox","properties":{}}'
BUS = "nonexistent"


@pytest.fixture
def directory(runtime_dir: Path) -> Path:
    made = runtime_dir / "sandboxer"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def child() -> Iterator[int]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        fd = os.pidfd_open(process.pid)
        yield fd
        process.kill()
        os.close(fd)


def service(directory: Path, idle_s: float, listener: socket.socket | None = None) -> Service:
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    os.umask(0o077)
    return Service(str(directory), place, listener, idle_s)


@contextlib.asynccontextmanager
async def running(directory: Path, idle_s: float = 60.0) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(service(directory, idle_s).run(None, is_unit=True))
    for _ in range(500):
        if (directory / "scopes").exists():
            break
        await asyncio.sleep(0.01)
    yield task
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def connected(directory: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(str(directory / "scopes"))
    client.setblocking(False)
    return client


async def answer(client: socket.socket, content: bytes, *descriptors: int) -> bytes:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    client.sendmsg([content], rights)
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 1000), 10)


def test_its_socket_is_the_user_s_alone(directory: Path) -> None:
    async def look() -> int:
        async with running(directory):
            return (directory / "scopes").stat().st_mode & 0o777

    assert 0o700 == asyncio.run(look()) & 0o770
    assert 0 == asyncio.run(look()) & 0o077


def test_without_a_bus_it_says_so_in_one_line_that_fits(directory: Path, child: int) -> None:
    async def look() -> bytes:
        async with running(directory):
            with connected(directory) as client:
                return await answer(client, RIGHT, child)

    said = asyncio.run(look())
    assert said.startswith(b"Ethe user manager: cannot connect to the bus: ")
    assert b"No such file or directory" in said
    assert len(said) <= 501
    assert b"\n" not in said


def test_a_wrong_request_is_answered_and_the_next_one_heard(directory: Path) -> None:
    async def look() -> list[bytes]:
        async with running(directory):
            said = []
            for content in (b"nonsense", RIGHT):
                with connected(directory) as client:
                    said.append(await answer(client, content))
            return said

    assert 2 * [b"Eone process is to be named, not 0"] == asyncio.run(look())


def test_who_says_nothing_keeps_nobody_else_waiting(directory: Path) -> None:
    async def look() -> bytes:
        async with running(directory):
            with connected(directory), connected(directory) as client:
                return await asyncio.wait_for(answer(client, b"x"), 2)

    assert asyncio.run(look()).startswith(b"E")


def test_it_ends_when_nothing_is_asked_and_takes_its_socket_away(directory: Path) -> None:
    async def look() -> None:
        async with running(directory, idle_s=0.3) as task:
            await asyncio.wait_for(task, 5)

    asyncio.run(look())
    assert not (directory / "scopes").exists()


def test_a_request_keeps_it_alive_for_as_long_again(directory: Path) -> None:
    async def look() -> float:
        loop = asyncio.get_running_loop()
        async with running(directory, idle_s=0.6) as task:
            since = loop.time()
            await asyncio.sleep(0.4)
            with connected(directory) as client:
                await answer(client, b"x")
            await asyncio.wait_for(task, 5)
            return loop.time() - since

    assert 1.0 <= asyncio.run(look()) < 4


def test_whoever_has_connected_before_its_end_is_served_and_later_ones_are_refused(directory: Path) -> None:
    async def look() -> bytes:
        one = service(directory, 60.0)
        one._listen()
        assert one._listener is not None
        one._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(one._listener.fileno(), lambda: None)  # it looks away
        place = os.open(directory / "scopes", os.O_PATH)
        with connected(directory) as early, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as late:
            early.send(b"x")
            ending = asyncio.create_task(one._end())
            await ending
            with pytest.raises(ConnectionRefusedError):
                late.connect(f"/proc/self/fd/{place}")
            os.close(place)
            return await asyncio.get_running_loop().sock_recv(early, 1000)

    assert asyncio.run(look()).startswith(b"Eone process")


def test_a_second_one_leaves_the_place_to_the_first(directory: Path) -> None:
    async def look() -> bool:
        async with running(directory):
            inode = (directory / "scopes").stat().st_ino
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with ours:
                ours.setblocking(False)
                second = asyncio.create_task(service(directory, 60.0).run(theirs, is_unit=False))
                assert (await answer(ours, b"x")).startswith(b"E")
                await asyncio.wait_for(second, 5)
            return inode == (directory / "scopes").stat().st_ino

    assert asyncio.run(look())


def test_what_a_killed_one_has_left_is_replaced(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stale:
        stale.bind(str(directory / "scopes"))
        stale.listen()

    async def look() -> bytes:
        async with running(directory) as _:
            await asyncio.sleep(0.1)
            with connected(directory) as client:
                return await answer(client, b"x")

    assert asyncio.run(look()).startswith(b"E")


@pytest.mark.parametrize("idle_s", [0.1, 60.0])
def test_a_socket_that_systemd_has_put_in_its_place_is_left_there(
    directory: Path, idle_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scopes, "LOOKS_S", 0.2)

    async def look() -> None:
        async with running(directory, idle_s) as task:
            (directory / "scopes").unlink()
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
                other.bind(str(directory / "scopes"))
                await asyncio.wait_for(task, 5)

    asyncio.run(look())
    assert (directory / "scopes").exists()


def test_one_whose_place_is_taken_ends_at_once_and_leaves_the_lock_to_the_next(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scopes, "LOOKS_S", 0.2)

    async def look() -> bytes:
        async with running(directory) as first:
            (directory / "scopes").unlink()
            await asyncio.wait_for(first, 5)
            async with running(directory):
                with connected(directory) as client:
                    return await answer(client, b"x")

    assert asyncio.run(look()).startswith(b"E")


def test_a_directory_that_others_may_enter_is_not_used(directory: Path) -> None:
    directory.chmod(0o755)
    assert scopes.UNUSABLE == scopes.main(str(directory), {})
    assert scopes.UNUSABLE == scopes.main(str(directory / "missing"), {})
    assert [] == list(directory.iterdir())


def test_a_listener_of_systemd_s_is_known_by_its_process() -> None:
    mine = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    assert {"listener": 3} == scopes._inherited(mine)
    assert {} == scopes._inherited(mine | {"LISTEN_PID": "1"})
    assert {} == scopes._inherited({})

"""The Python client against a real broker, confined as it is beside a box: what each function does to real files."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import RunningBroker, rule, rules_for, until

from sandboxer import client
from sandboxer.broker.protocol import REQUEST_SIZE_MAX
from sandboxer.broker.rules import Service
from sandboxer.client import Broker

NAME = b"f\xc3\xbcr \xff"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What the rules are for: everything in it, but for a file beside it."""
    directory = tmp_path / "granted"
    directory.mkdir()
    (directory / "file").write_bytes(b"content")
    (directory / "link").symlink_to("file")
    (directory / "sub").mkdir()
    (tmp_path / "outside").write_bytes(b"secret")
    return directory


@pytest.fixture
def service(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "service"))
        listener.listen()
        yield listener


@pytest.fixture
def running(tmp_path: Path, place: Path, service: socket.socket) -> Iterator[RunningBroker]:
    services = [Service(name="pipewire", path=service.getsockname(), origin="here:1")]
    rules = rules_for(tmp_path / "log", [rule(place, follow=True)], services=services)
    with RunningBroker(rules, tmp_path) as broker:
        broker.start()
        yield broker


@pytest.fixture
def box(running: RunningBroker) -> Iterator[Broker]:
    with client.connect(running.address) as made:
        yield made


def test_it_says_that_it_is_there(box: Broker) -> None:
    assert REQUEST_SIZE_MAX == box.hello()


def test_files_are_read_written_made_and_added_to(box: Broker, place: Path) -> None:
    with open(place / "file", "rb", opener=box.open) as file:
        assert b"content" == file.read()
    with open(place / "new", "wb", opener=box.open) as file:
        file.write(b"one")
    with open(place / "new", "ab", opener=box.open) as file:
        file.write(b" two")
    with open(place / "new", "r+b", opener=box.open) as file:
        file.write(b"ONE")
    assert b"ONE two" == (place / "new").read_bytes()
    assert 0o600 == (place / "new").stat().st_mode & 0o777
    os.close(box.open(place / "shown", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    assert 0o644 == (place / "shown").stat().st_mode & 0o777
    with pytest.raises(FileExistsError), open(place / "new", "xb", opener=box.open):
        pass


def test_what_no_rule_permits_is_refused(box: Broker, place: Path) -> None:
    for path in ("/etc/passwd", place.parent / "outside", place / "none" / ".." / "file", place / "sub"):
        with pytest.raises(OSError, match=r".") as caught:
            box.open(path)
        assert path == caught.value.filename
        assert caught.value.errno in {errno.EACCES, errno.EINVAL, errno.EISDIR}, path


def test_it_looks_as_the_kernel_does(box: Broker, place: Path) -> None:
    real, found = os.stat(place / "file"), box.stat(place / "link")
    assert tuple(real) == tuple(found)
    assert real.st_mtime_ns == found.st_mtime_ns
    assert os.lstat(place / "link").st_ino == box.lstat(place / "link").st_ino
    assert "file" == box.readlink(str(place / "link"))
    assert box.access(place / "file", os.R_OK | os.W_OK)
    assert not box.access(place / "file", os.X_OK)
    assert not box.access(place / "none")


def test_names_are_listed_whatever_their_bytes(box: Broker, place: Path) -> None:
    (place / os.fsdecode(NAME)).touch()
    assert [b"file", b"f\xc3\xbcr \xff", b"link", b"sub"] == box.listdir(bytes(place))
    kinds = {"file": "f", os.fsdecode(NAME): "f", "link": "l", "sub": "d"}
    assert kinds == dict(box.entries(place))


def test_a_large_directory_is_listed_whole(box: Broker, place: Path) -> None:
    names = [f"{number:05}-{'x' * 100}" for number in range(1000)]
    for name in names:
        (place / "sub" / name).touch()
    assert names == box.listdir(place / "sub")


def test_names_are_made_changed_and_removed(box: Broker, place: Path) -> None:
    box.mkdir(place / "made", 0o777)
    assert 0o755 == (place / "made").stat().st_mode & 0o777
    box.rename(place / "file", place / "made" / "moved")
    with pytest.raises(FileExistsError):
        box.rename(place / "link", place / "made" / "moved", replace=False)
    with pytest.raises(OSError, match=r".") as caught:
        box.rmdir(place / "made")
    assert errno.ENOTEMPTY == caught.value.errno
    box.unlink(place / "made" / "moved")
    box.rmdir(place / "made")
    assert ["link", "sub"] == box.listdir(place)


def test_changes_are_told(box: Broker, place: Path) -> None:
    fd = box.watch(place)
    try:
        (place / "later").touch()
        assert select.select([fd], [], [], 10)[0]
        _, mask, _, size = struct.unpack_from("iIII", data := os.read(fd, 4096))
        assert (0x100, b"later") == (mask, data[16 : 16 + size].rstrip(b"\0"))
    finally:
        os.close(fd)


def test_a_service_is_connected_to(box: Broker, service: socket.socket) -> None:
    with box.connect_to("pipewire") as ours:
        theirs, _ = service.accept()
        with theirs:
            theirs.send(b"hello")
            assert b"hello" == ours.recv(5)
    with pytest.raises(PermissionError):
        box.connect_to("wayland")


def test_a_link_without_a_rule_is_refused(box: Broker) -> None:
    with pytest.raises(PermissionError):
        box.present("https://example.org/")


def test_the_death_of_a_broker_is_not_noticed(running: RunningBroker, box: Broker, place: Path) -> None:
    assert b"content" == read(box, place / "file")
    running.end()
    running.start()
    assert b"content" == read(box, place / "file")


def test_a_broker_that_is_killed_again_and_again_loses_no_reading(
    running: RunningBroker, box: Broker, place: Path
) -> None:
    ended = threading.Event()
    failed: list[object] = []

    def ask() -> None:
        while not ended.is_set():
            try:
                got = read(box, place / "file")
            except BrokenPipeError:  # killed twice on one request
                continue
            if got != b"content":
                failed.append(got)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(5):
            until(lambda: False, 0.2)
            running.end()
            running.start()
    finally:
        ended.set()
        thread.join()
    assert [] == failed
    assert b"content" == read(box, place / "file")


def read(box: Broker, path: Path) -> bytes:
    with open(path, "rb", opener=box.open) as file:
        return file.read()

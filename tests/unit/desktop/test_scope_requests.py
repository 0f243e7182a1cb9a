"""Whom the scope service believes, and what it understands: everything else is refused with one line."""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandboxer.desktop.scopes import manager as scope_units
from sandboxer.desktop.scopes.manager import escaped, scope_name
from sandboxer.desktop.scopes.requests import PROPERTIES, Request, RequestError, lives, process_of, receive

RIGHT = b'{"app":"firefox-esr","properties":{"TasksMax":4096,"MemoryMax":2147483648}}'


@pytest.fixture
def child() -> Iterator[int]:
    """A pidfd of a child of ours, as the launcher has one of the box's first process."""
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        fd = os.pidfd_open(process.pid)
        yield fd
        process.kill()
        os.close(fd)


def ask(content: bytes, *descriptors: int) -> Request | None:
    """What the service makes of a message that this process sends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        rights = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        )
        if content or descriptors:
            ours.sendmsg([content], rights)
        else:
            ours.close()
        return receive(theirs)


def refused(content: bytes, *descriptors: int) -> str:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(RequestError) as caught:
        ask(content, *descriptors)
    assert before == len(os.listdir("/proc/self/fd")), "a descriptor was left open"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_launcher_s_request_is_understood(child: int) -> None:
    request = ask(RIGHT, child)
    assert request is not None
    assert ("firefox-esr", {"TasksMax": 4096, "MemoryMax": 2 << 30}) == (request.app, request.properties)
    assert (process_of(child), os.getpid()) == (request.pid, request.monitor)
    assert not os.get_inheritable(request.pidfd)
    os.close(request.pidfd)


def test_a_connection_that_ends_without_a_word_asks_for_nothing() -> None:
    assert ask(b"") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"nonsense",
        b"\xff\xfe",
        b"[" * 4000,
        b'{"app":"a"}',
        b'{"app":"a","properties":[]}',
        b'{"app":1,"properties":{}}',
        b'{"app":"","properties":{}}',
        b'{"app":"a/b","properties":{}}',
        b'{"app":"a b","properties":{}}',
        b'{"app":"\\u0000","properties":{}}',
        b'{"app":"%s","properties":{}}' % (b"a" * 65),
        b'{"app":"a","properties":{},"slice":"session.slice"}',
    ],
)
def test_what_no_launcher_sends_is_refused(content: bytes, child: int) -> None:
    assert "can't be understood" in refused(content, child)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ExecStart", 1),
        ("PIDs", 1),
        ("Slice", 1),
        ("Delegate", 1),
        ("TasksMax", 0),
        ("TasksMax", -1),
        ("TasksMax", 1 << 63),
        ("TasksMax", True),
        ("TasksMax", "5"),
        ("TasksMax", 5.0),
        ("MemoryMax", 0),
        ("MemorySwapMax", -1),
        ("IOWeight", 10_001),
        ("CPUQuotaPerSecUSec", None),
    ],
)
def test_only_limits_of_resources_are_passed_on(name: str, value: object, child: int) -> None:
    content = json.dumps({"app": "a", "properties": {name: value}}).encode()
    assert "no such limit can be set" in refused(content, child)


def test_every_limit_has_a_file_to_be_read_back_from() -> None:
    assert set(PROPERTIES) == set(scope_units.FILES)


def test_exactly_one_process_is_named(child: int) -> None:
    assert "not 0" in refused(RIGHT)
    assert "not 2" in refused(RIGHT, child, child)


def test_more_descriptors_than_fit_leave_none_open(child: int) -> None:
    assert "too long" in refused(RIGHT, *[child] * 20)


def test_a_request_that_is_too_long_is_refused(child: int) -> None:
    assert "too long" in refused(b'{"app":"' + b"a" * 5000, child)


def test_a_descriptor_that_is_of_no_process_is_refused() -> None:
    with open(os.devnull, "rb") as file:
        assert "of no process" in refused(RIGHT, file.fileno())


def test_a_process_that_has_ended_is_refused() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        fd = os.pidfd_open(process.pid)
        process.wait()
    assert not lives(fd)
    assert "of no process" in refused(RIGHT, fd)
    os.close(fd)


@pytest.mark.parametrize("other", [os.getppid(), 1])
def test_a_process_that_isn_t_a_child_of_who_asks_is_refused(other: int) -> None:
    """Nobody has a process of somebody else's moved: a terminal, another box's launcher."""
    fd = os.pidfd_open(other)
    assert "isn't a child" in refused(RIGHT, fd)
    os.close(fd)


def test_units_are_named_as_systemd_names_them() -> None:
    name = r"firefox\x2desr"
    assert f"app-sandboxer-{name}-0a1b.scope" == scope_name("firefox-esr", "0a1b")
    assert r"\x2ehidden.x_Y:1\x2b\x2f" == "".join(escaped(".hidden.x_Y:1+/"))


def test_a_unit_s_name_is_never_too_long_and_never_cut_within_a_letter() -> None:
    name = scope_name("-" * 64, "0a1b2c3d")
    assert len(name) <= 255
    assert name == f"app-sandboxer-{chr(92)}x2d" + r"\x2d" * 49 + "-0a1b2c3d.scope"


@pytest.mark.parametrize(
    ("name", "value", "shown", "holds"),
    [
        ("TasksMax", 4096, "4096", True),
        ("TasksMax", 4096, "max", False),
        ("MemoryMax", 2**20 + 5, str(2**20), True),
        ("MemoryMax", 2**20, str(2**21), False),
        ("TasksMax", 4096, "100", True),
        ("TasksMax", 4096, "4097", False),
        ("MemoryMax", 2**20, "max", False),
        ("MemoryHigh", 2**20, "", False),
        ("MemorySwapMax", 0, "0", True),
        ("MemorySwapMax", 0, "4096", False),
        ("MemorySwapMax", 0, "max", False),
        ("MemorySwapMax", 0, "", False),
        ("IOWeight", 50, "", False),
        ("CPUQuotaPerSecUSec", 1_500_000, "150000 100000", True),
        ("CPUQuotaPerSecUSec", 10_000, "1000 100000", True),
        ("CPUQuotaPerSecUSec", 1_500_000, "max 100000", False),
        ("CPUQuotaPerSecUSec", 1_500_000, "300000 100000", False),
        ("IOWeight", 50, "default 50", True),
        ("IOWeight", 50, "default 100\n8:0 50", False),
    ],
)
def test_a_limit_holds_when_the_kernel_says_so(name: str, value: int, shown: str, holds: bool) -> None:
    assert holds == scope_units._holds(name, value, shown)


@pytest.mark.parametrize("name", sorted(PROPERTIES))
def test_without_a_file_of_the_kernel_s_nothing_is_held(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever it is: a kernel may have been built without io.weight, or started without memory.swap.max."""
    (tmp_path / "x.scope").mkdir()
    monkeypatch.setattr(scope_units, "GROUPS", str(tmp_path))
    monkeypatch.setattr(scope_units, "group_of", {7: "/x.scope"}.__getitem__)
    request = Request(app="x", properties={name: 50}, pidfd=-1, pid=7, monitor=8)
    assert f"x.scope: {name} is not there instead of 50" == scope_units._wrong("x.scope", request)

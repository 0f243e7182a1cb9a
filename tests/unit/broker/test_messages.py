"""Requests out of bytes."""

from __future__ import annotations

import errno

import pytest
from brokers import message

from sandboxer.broker import protocol
from sandboxer.broker.messages import Malformed, parse, reply
from sandboxer.broker.protocol import PATH_SIZE_MAX, REPLY, REQUEST, VERSION


def error_of(data: bytes) -> int:
    with pytest.raises(Malformed) as caught:
        parse(data)
    return caught.value.error


def test_a_request_is_taken_apart() -> None:
    request = parse(message(protocol.RENAME, "/a", "/bc", flags=256, argument=7))
    assert (protocol.RENAME, 256, 7, b"/a", b"/bc") == (
        request.command,
        request.flags,
        request.argument,
        request.path,
        request.second,
    )


def test_a_request_of_the_largest_size_is_taken() -> None:
    request = parse(message(protocol.RENAME, b"a" * PATH_SIZE_MAX, b"b" * PATH_SIZE_MAX))
    assert (PATH_SIZE_MAX, PATH_SIZE_MAX) == (len(request.path), len(request.second))


@pytest.mark.parametrize("size", range(REQUEST.size))
def test_a_header_that_is_cut_short_is_refused(size: int) -> None:
    assert errno.EPROTO == error_of(message(protocol.HELLO)[:size])


def test_lengths_that_contradict_the_size_are_refused() -> None:
    whole = message(protocol.RENAME, "/abc", "/def")
    for data in (whole[:-1], whole + b"x", whole[: REQUEST.size]):
        assert errno.EPROTO == error_of(data)
    for first, second in ((65535, 65535), (8, 1), (0, 0), (9, 65535)):
        header = REQUEST.pack(VERSION, protocol.RENAME, 0, 0, first, second)
        assert errno.EPROTO == error_of(header + b"/abc/def")


@pytest.mark.parametrize("version", [0, VERSION + 1, 65535])
def test_another_version_is_told_apart_from_nonsense(version: int) -> None:
    assert errno.EPROTONOSUPPORT == error_of(message(protocol.HELLO, version=version))


def test_the_refusal_names_the_command_where_there_is_one() -> None:
    with pytest.raises(Malformed) as caught:
        parse(message(protocol.OPEN, "/a", version=9))
    assert protocol.OPEN == caught.value.command


def test_a_reply_has_the_layout_of_the_table() -> None:
    data = reply(protocol.LIST, 0, 1, b"fa\0")
    assert (VERSION, protocol.LIST, 0, 1) == REPLY.unpack_from(data)
    assert b"fa\0" == data[REPLY.size :]

"""What an SSH agent may be asked."""

from __future__ import annotations

import base64
import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxer.broker import agent
from sandboxer.broker.agent import FAILURE, Keys, asked, fingerprint, signed
from sandboxer.broker.relay import taken


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def identities(*keys: tuple[bytes, bytes]) -> bytes:
    return b"\x0c" + struct.pack(">I", len(keys)) + b"".join(string(blob) + string(note) for blob, note in keys)


def sign(blob: bytes, data: bytes = b"data", flags: int = 0) -> bytes:
    return b"\x0d" + string(blob) + string(data) + struct.pack(">I", flags)


KEYS = ((b"blob one", b"me@home"), (b"blob two", b"work"), (b"blob three", b"deploy"))


def test_a_fingerprint_is_what_ssh_add_prints() -> None:
    digest = base64.b64encode(hashlib.sha256(b"blob one").digest()).rstrip(b"=")
    assert b"SHA256:" + digest == fingerprint(b"blob one")


def test_only_listing_and_signing_pass() -> None:
    assert (agent.LIST, b"") == asked(b"\x0b")
    assert (agent.SIGN, b"blob one") == asked(sign(b"blob one"))
    for number in set(range(256)) - {11, 13}:
        assert agent.REFUSE == asked(bytes((number,)))[0]
        assert agent.REFUSE == asked(bytes((number,)) + sign(b"blob one")[1:])[0]


@pytest.mark.parametrize(
    "request_",
    [b"", b"\x0b\0", b"\x0d", sign(b"blob one")[:-1], sign(b"blob one") + b"\0", sign(b""), b"\x0d\xff\xff\xff\xff"],
)
def test_a_malformed_request_is_refused(request_: bytes) -> None:
    assert agent.REFUSE == asked(request_)[0]


@pytest.mark.parametrize("name", ["work", fingerprint(b"blob two").decode()])
def test_the_list_holds_the_named_keys_alone(name: str) -> None:
    keys = Keys((name,))
    assert identities(KEYS[1]) == keys.listed(identities(*KEYS))
    assert {b"blob two"} == keys.blobs


def test_without_names_there_are_no_keys() -> None:
    keys = Keys(())
    assert identities() == keys.listed(identities(*KEYS, (b"blob", b"")))
    assert not keys.named(b"blob")


def test_a_part_of_a_name_is_no_name() -> None:
    keys = Keys(("wor", "work2", fingerprint(b"blob two").decode()[:-1], "SHA256:"))
    assert identities() == keys.listed(identities(*KEYS))


@pytest.mark.parametrize("answer", [b"", b"\x05", b"\x0c", b"\x0c\0\0\0\1", identities(*KEYS)[:-1], b"\x0e\0\0\0\0"])
def test_a_list_that_is_none_is_a_failure(answer: bytes) -> None:
    keys = Keys(("work",))
    assert FAILURE == keys.listed(answer)
    assert frozenset() == keys.blobs


def test_a_signature_passes_and_nothing_else_does() -> None:
    assert b"\x0esignature" == signed(b"\x0esignature")
    for answer in (b"\x05", b"", b"\x0c\0\0\0\0", b"\x06"):
        assert FAILURE == signed(answer)


@given(st.binary(max_size=80))
def test_nonsense_is_refused_or_failed(content: bytes) -> None:
    assert asked(content)[0] in (agent.LIST, agent.SIGN, agent.REFUSE)
    listed = Keys(("work",)).listed(content)
    assert listed == FAILURE or listed[0] == 12


def test_messages_are_taken_whole() -> None:
    buffer = bytearray(string(b"abc") + string(b"d")[:-1])
    assert [b"abc", None] == [taken(buffer, 10), taken(buffer, 10)]
    buffer += b"d"
    assert b"d" == taken(buffer, 10)
    assert bytearray() == buffer
    for wrong in (string(b""), string(b"x" * 11), b"\xff\xff\xff\xff"):
        with pytest.raises(ValueError, match="empty or too long"):
            taken(bytearray(wrong), 10)

"""
What the C decoder refuses of a plan's sockets and of its broker's rules: one image for each refusal, made by hand.

The encoder has most of these limits itself, so a good image is broken where it has to be.
"""

from __future__ import annotations

import os
import struct
from typing import Any

import plans
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxer.errors import PlanError
from sandboxer.plan import ops
from sandboxer.plan.codec import HEADER_SIZE, encode
from sandboxer.plan.decode import decode
from sandboxer.plan.ops import CONNECT_FIRST, Op, OpKind, Plan, PlanFlag

HEADER = "<8s 5I 16I 16I 4I 2I 2I 2I 3I 4Q"
"""magic; size, flags, uid, gid, kept descriptors; those; sections; app, hostname, notice, home; broker; zero."""
FLAGS_AT, SECTIONS_AT, BROKER_AT = (
    struct.calcsize(before) for before in ("<8s I", "<8s 5I 16I", "<8s 5I 16I 16I 4I")
)
OPS_AT, STRINGS_AT, DATA_AT = (SECTIONS_AT + 8 * number for number in (0, 6, 7))
OP_SIZE = struct.calcsize("<2H 7I")
OP_FLAGS_AT, OP_MODE_AT, OP_BOX_PATH_AT, OP_SOURCE_AT, OP_DATA_AT, OP_DATA_SIZE_AT = 2, 4, 8, 12, 16, 20
RULES = b"the rules of a broker"

PLAIN = plans.small_box(["/usr/bin/true"], home="/home/t")
BROKERED = plans.small_box(
    ["/usr/bin/true"],
    home="/home/t",
    flags=PlanFlag.BROKER_DESCRIPTOR,
    more=[
        plans.listen("broker"),
        plans.listen("ssh-agent", stream=True),
        plans.connect("/run/user/1000/wayland-0"),
        plans.connect("/run/user/1000/pipewire-0", CONNECT_FIRST + 1),
    ],
    broker=RULES,
)


def image_of(plan: Plan = BROKERED, **fields: object) -> bytes:
    """A plan with some fields changed, as it is stored."""
    kept: dict[str, Any] = {name: getattr(plan, name) for name in plan.__struct_fields__}
    return encode(Plan(**(kept | {"uid": 1000, "gid": 1000} | fields)))


def words_in(image: bytes, place: int, count: int = 1) -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}I", image, place)


def with_words(image: bytes, place: int, *values: int) -> bytes:
    """An image in which these 32-bit numbers stand at `place`."""
    broken = bytearray(image)
    struct.pack_into(f"<{len(values)}I", broken, place, *values)
    return bytes(broken)


def place_of(image: bytes, kind: OpKind, which: int = 0) -> int:
    """Where the operation of this kind is, that has `which` others before it."""
    start, count = words_in(image, OPS_AT, 2)
    places = [start + OP_SIZE * number for number in range(count)]
    return [place for place in places if struct.unpack_from("<H", image, place)[0] == kind][which]


def string_at(image: bytes, text: bytes) -> int:
    """The reference to a string that the image has."""
    start, count = words_in(image, STRINGS_AT, 2)
    return image.index(b"\0" + text + b"\0", start, start + count) + 1 - start


def assert_refused(image: bytes, reason: str) -> None:
    with pytest.raises(PlanError) as raised:
        decode(image)
    assert reason == raised.value.subject


def test_the_header_is_laid_out_as_these_tests_say() -> None:
    image = image_of()
    assert HEADER_SIZE == struct.calcsize(HEADER)
    assert PlanFlag.BROKER_DESCRIPTOR == words_in(image, FLAGS_AT)[0]
    offset, count = words_in(image, BROKER_AT, 2)
    start, size = words_in(image, DATA_AT, 2)
    assert RULES == image[start + offset : start + offset + count] == decode(image).broker
    assert offset + count <= size


RULES_OUTSIDE = "the broker's rules are out of bounds"


@pytest.mark.parametrize("beyond", [1, 2, 4096, 2**31])
def test_rules_may_not_end_behind_the_data(beyond: int) -> None:
    image = image_of()
    offset, _ = words_in(image, BROKER_AT, 2)
    size = words_in(image, DATA_AT, 2)[1]
    assert decode(with_words(image, BROKER_AT, offset, size - offset)).broker
    assert_refused(with_words(image, BROKER_AT, offset, size - offset + beyond), RULES_OUTSIDE)


@pytest.mark.parametrize(
    ("offset", "count"),
    [(2**32 - 1, 1), (2**32 - 1, 2), (2**31, 2**31), (1, 2**32 - 1), (0, 2**32 - 1), (2**32 - 8, 8), (1, 0)],
)
def test_rules_must_lie_in_the_data(offset: int, count: int) -> None:
    """Sums that a 32-bit number can't hold are no way around it; and no rules begin nowhere."""
    assert_refused(with_words(image_of(), BROKER_AT, offset, count), RULES_OUTSIDE)


ALONE = "a broker without a socket, or a socket without a broker"


def test_a_socket_without_rules_is_refused() -> None:
    assert_refused(with_words(image_of(), BROKER_AT, 0, 0), ALONE)


def test_rules_without_a_socket_are_refused() -> None:
    image = image_of(PLAIN)
    assert b"" == decode(image).broker
    assert_refused(with_words(image, BROKER_AT, 0, words_in(image, DATA_AT, 2)[1]), ALONE)


def test_a_descriptor_without_a_broker_is_refused() -> None:
    broken = with_words(image_of(PLAIN), FLAGS_AT, PlanFlag.BROKER_DESCRIPTOR)
    assert_refused(broken, "a descriptor for a broker that isn't there")


@pytest.mark.parametrize("flag", [1 << bit for bit in range(len(PlanFlag), 32)])
def test_flags_that_nobody_knows_are_refused(flag: int) -> None:
    assert_refused(with_words(image_of(PLAIN), FLAGS_AT, flag), "unknown flags")


def test_the_header_s_padding_must_be_zero() -> None:
    for place in range(BROKER_AT + 24, BROKER_AT + 36, 4):
        assert_refused(with_words(image_of(), place, 1), "the header's padding isn't zero")


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"Broker",
        b"bro ker",
        b"bro=ker",
        b"bro/ker",
        "brök".encode(),
        b"broker\n",
        b"a" * 33,
        b"a" * 5000,
    ],
    ids=lambda name: repr(name[:10]),
)
def test_a_socket_needs_a_name_that_a_command_line_can_carry(name: bytes) -> None:
    image = image_of(notice=os.fsdecode(name))
    place = place_of(image, OpKind.LISTEN) + OP_SOURCE_AT
    broken = with_words(image, place, string_at(image, name) if name else 0)
    assert_refused(broken, "a listening socket has no proper name")


def test_a_name_of_thirty_two_letters_is_one() -> None:
    assert decode(image_of(PLAIN, ops=(plans.listen("a" * 32),), broker=RULES)).ops[0].source == "a" * 32


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        *((OpKind.LISTEN, flags) for flags in (1, 2, 4, 8, 17, 32, 0xFFFF)),
        *((OpKind.CONNECT, flags) for flags in (1, 8, 16, 32, 0xFFFF)),
        (OpKind.BIND, 16),
        (OpKind.DIR, 16),
    ],
)
def test_flags_belong_to_their_operations(kind: OpKind, flags: int) -> None:
    image = bytearray(image_of())
    struct.pack_into("<H", image, place_of(bytes(image), kind) + OP_FLAGS_AT, flags)
    assert_refused(bytes(image), "an operation has unknown flags")


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (0o1000, "a socket's mode has unknown bits"),
        (0o4777, "a socket's mode has unknown bits"),
        (0o10000, "a mode has unknown bits"),
        (2**32 - 1, "a mode has unknown bits"),
    ],
)
def test_a_sockets_mode_is_permissions_and_nothing_else(mode: int, reason: str) -> None:
    image = image_of()
    place = place_of(image, OpKind.LISTEN) + OP_MODE_AT
    for good in (0, 0o600, 0o777):
        decode(with_words(image, place, good))
    assert_refused(with_words(image, place, mode), reason)


@pytest.mark.parametrize("kind", [OpKind.LISTEN, OpKind.CONNECT])
@pytest.mark.parametrize("place", [OP_DATA_AT, OP_DATA_SIZE_AT])
def test_a_socket_has_no_data(kind: OpKind, place: int) -> None:
    image = image_of()
    assert_refused(
        with_words(image, place_of(image, kind) + place, 1), "an operation's data is out of bounds"
    )


WRONG_NUMBER = "a connected descriptor has the wrong number"


@pytest.mark.parametrize("number", [0, 3, 99, 101, 102, 103, 104, 0o777])
def test_connected_descriptors_are_numbered_from_the_first(number: int) -> None:
    image = image_of()
    assert_refused(with_words(image, place_of(image, OpKind.CONNECT) + OP_MODE_AT, number), WRONG_NUMBER)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/dev/fd/101",
            "/dev/fd/99",
            "/dev/fd/1000",
            "/dev/fd/10",
            "/dev/fd/1",
            "/dev/fd/1x0",
            "/dev/fd/0100",
        ),
        *("/proc/self/fd/100", "/dev/fd/ab0", "/dev/fd/100/x", "/x", "/dev/fd", "/tmp/fd/100"),
    ],
)
def test_a_connected_descriptor_says_where_it_is(path: str) -> None:
    image = image_of(notice=path)
    place = place_of(image, OpKind.CONNECT) + OP_BOX_PATH_AT
    assert_refused(with_words(image, place, string_at(image, path.encode())), WRONG_NUMBER)


def test_connected_descriptors_come_in_their_order() -> None:
    image = bytearray(image_of())
    first, second = (place_of(bytes(image), OpKind.CONNECT, which) for which in (0, 1))
    one, other = image[first : first + OP_SIZE], image[second : second + OP_SIZE]
    image[first : first + OP_SIZE], image[second : second + OP_SIZE] = other, one
    assert_refused(bytes(image), WRONG_NUMBER)


@pytest.mark.parametrize(
    "path",
    ["", "relative", "/", "/a//b", "/a/../b", "/a/.", "/a/", "/" + "a" * 256, "/a" * 2100],
    ids=lambda path: path[:10],
)
def test_a_connection_leads_to_a_normal_path(path: str) -> None:
    image = image_of(notice=path)
    place = place_of(image, OpKind.CONNECT) + OP_SOURCE_AT
    broken = with_words(image, place, string_at(image, path.encode()) if path else 0)
    assert_refused(broken, "a socket's path isn't absolute and normal")


@pytest.mark.parametrize(
    ("kind", "limit", "reason"),
    [
        (OpKind.LISTEN, ops.LISTEN_MAX, "too many sockets to listen on"),
        (OpKind.CONNECT, ops.CONNECT_MAX, "too many sockets to connect"),
    ],
)
def test_there_is_a_limit_to_sockets(kind: OpKind, limit: int, reason: str) -> None:
    """The one too many is made of a link."""
    sockets: list[Op] = [plans.listen("broker")]
    if kind is OpKind.LISTEN:
        sockets += [plans.listen(f"n{number}") for number in range(1, limit)]
    else:
        sockets += [plans.connect("/x", CONNECT_FIRST + number) for number in range(limit)]
    number = CONNECT_FIRST + limit
    image = image_of(ops=(*sockets, plans.op(OpKind.LINK, f"/dev/fd/{number}", "/x", number)))
    decode(image)
    place = place_of(image, OpKind.LINK)
    broken = bytearray(image)
    struct.pack_into("<H", broken, place, kind)
    if kind is OpKind.LISTEN:
        struct.pack_into("<I", broken, place + OP_SOURCE_AT, string_at(image, b"broker"))
    assert_refused(bytes(broken), reason)


@given(st.data())
@settings(max_examples=3000, deadline=None, database=None)
def test_whatever_is_accepted_has_sockets_that_fit_together(data: st.DataObject) -> None:
    """A few numbers of the operations and of the header are changed, which a blind change seldom hits."""
    image = image_of()
    start, count = words_in(image, OPS_AT, 2)
    sockets = [place_of(image, kind, which) for kind in (OpKind.LISTEN, OpKind.CONNECT) for which in (0, 1)]
    fields = [place + field for place in sockets for field in range(0, OP_SIZE, 4)]
    others = [BROKER_AT, BROKER_AT + 4, FLAGS_AT, *range(start, start + OP_SIZE * count, OP_SIZE)]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(fields) | st.sampled_from(others))
        near = words_in(image, place)[0]
        value = st.integers(0, 110) | st.sampled_from([near + 1, near - 1, near ^ 1, 2**31, 2**32 - 1])
        image = with_words(image, place, data.draw(value) & (2**32 - 1))
    try:
        read = decode(image)
    except PlanError:
        return
    listening = [op for op in read.ops if op.kind is OpKind.LISTEN]
    connected = [op.mode for op in read.ops if op.kind is OpKind.CONNECT]
    assert bool(listening) == bool(read.broker)
    assert len(listening) <= ops.LISTEN_MAX
    assert list(range(CONNECT_FIRST, CONNECT_FIRST + len(connected))) == connected
    assert read.broker or PlanFlag.BROKER_DESCRIPTOR not in read.flags

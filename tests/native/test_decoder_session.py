"""The decoder on what a plan says of limits, of the scope and of the state file: header fields of their own."""

from __future__ import annotations

import struct

import pytest
from unit_plans import PLAN

from sandboxer.errors import PlanError
from sandboxer.plan import ops
from sandboxer.plan.codec import encode
from sandboxer.plan.decode import decode
from sandboxer.plan.ops import LimitKind, Plan
from sandboxer.words import changed

SCOPE_AT = struct.calcsize("<8s5I16I16I4I2I")
FACTS_AT, LIMITS_SET_AT, LIMITS_AT = SCOPE_AT + 8, SCOPE_AT + 12, SCOPE_AT + 28

LIMITED: Plan = changed(
    PLAN,
    limits=((LimitKind.PROCESSES, 4096), (LimitKind.FILE_SIZE, 0), (LimitKind.DATA, 2**40)),
    scope=b'{"app":"example"}',
    facts="network=none\nhole=all of it\n",
)


def with_number(image: bytes, place: int, form: str, value: int) -> bytes:
    """The image with one number replaced."""
    return image[:place] + struct.pack(form, value) + image[place + struct.calcsize(form) :]


def assert_refused(image: bytes, why: str) -> None:
    with pytest.raises(PlanError) as caught:
        decode(image)
    assert why == caught.value.subject


def test_limits_scope_and_facts_come_back_as_they_were() -> None:
    plan = decode(encode(LIMITED))
    assert (LIMITED.limits, LIMITED.scope, LIMITED.facts) == (plan.limits, plan.scope, plan.facts)


def test_a_plan_without_them_has_none() -> None:
    plan = decode(encode(PLAN))
    assert ((), b"", "") == (plan.limits, plan.scope, plan.facts)


def test_a_limit_of_a_kind_that_nobody_knows_is_refused() -> None:
    for bit in range(len(LimitKind), 32):
        assert_refused(
            with_number(encode(LIMITED), LIMITS_SET_AT, "<I", 1 << bit), "a limit is of unknown kind"
        )


def test_a_limit_s_value_without_its_bit_is_refused() -> None:
    image = with_number(encode(LIMITED), LIMITS_AT + 8 * LimitKind.OPEN_FILES, "<Q", 1)
    assert_refused(image, "a limit has a value that doesn't hold")


@pytest.mark.parametrize(("offset", "count"), [(0, 2**31), (2**32 - 1, 1), (1, 0), (0, ops.SCOPE_MAX + 1)])
def test_what_the_scope_service_is_told_must_lie_in_the_data(offset: int, count: int) -> None:
    image = with_number(encode(LIMITED), SCOPE_AT, "<I", offset)
    assert_refused(
        with_number(image, SCOPE_AT + 4, "<I", count), "what the scope service is told is out of bounds"
    )


def test_facts_must_be_a_string_of_whole_lines() -> None:
    image = encode(LIMITED)
    assert_refused(with_number(image, FACTS_AT, "<I", 2**31), "the facts are out of bounds")
    (start,) = struct.unpack_from("<I", image, FACTS_AT)
    assert_refused(with_number(image, FACTS_AT, "<I", start + 1), "the facts are out of bounds")
    home = struct.unpack_from("<I", image, SCOPE_AT - 12)[0]
    assert_refused(with_number(image, FACTS_AT, "<I", home), "the facts are too long, or no lines")


@pytest.mark.parametrize(
    "plan",
    [
        changed(PLAN, facts="a" * ops.FACTS_MAX + "\n"),
        changed(PLAN, facts="no newline"),
        changed(PLAN, scope=bytes(ops.SCOPE_MAX + 1)),
        changed(PLAN, limits=((LimitKind.DATA, 1), (LimitKind.PROCESSES, 1))),
        changed(PLAN, limits=((LimitKind.DATA, 1), (LimitKind.DATA, 1))),
        changed(PLAN, limits=((LimitKind.DATA, -1),)),
    ],
)
def test_the_encoder_refuses_what_the_decoder_would(plan: Plan) -> None:
    with pytest.raises(PlanError):
        encode(plan)

"""The simulator, the checker, and programs against the rules that they were made from."""

from __future__ import annotations

import struct

import pytest
from filters import numbers
from hypothesis import given, settings
from hypothesis import strategies as some

from sandboxer.errors import PlanError
from sandboxer.grants.syscalls import Rule
from sandboxer.plan import bpf, seccomp
from sandboxer.policy.deny import Condition
from sandboxer.words import BUILT_IN

RET = (bpf.RETURN, 0, 0, bpf.RET_ALLOW)


def packed(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(bpf.INSTRUCTION.pack(*each) for each in instructions)


@pytest.mark.parametrize(
    "program",
    [
        b"",
        packed(RET)[:-1],
        packed(*[RET] * 4097),
        packed((bpf.LOAD, 0, 0, 0)),
        packed((bpf.LOAD, 0, 0, 64), RET),
        packed((bpf.LOAD, 0, 0, 2), RET),
        packed((bpf.JUMP, 0, 0, 1), RET),
        packed((bpf.JUMP, 0, 0, 0xFFFFFFFF), RET),
        packed((bpf.JUMP_EQUAL, 1, 0, 5), RET),
        packed((bpf.JUMP_EQUAL, 0, 255, 5), RET),
        packed((0x16, 0, 0, 0), RET),
        packed((bpf.RETURN, 0, 0, 0x12340000)),
        packed(RET, (bpf.AND, 0, 0, 1)),
    ],
)
def test_a_malformed_program_is_refused(program: bytes) -> None:
    with pytest.raises(PlanError, match="malformed"):
        bpf.decode(program)


@given(some.binary(max_size=400))
def test_random_bytes_are_refused_or_run_to_a_verdict(program: bytes) -> None:
    try:
        code = bpf.decode(program)
    except PlanError:
        return
    assert bpf.run(code, 1, bpf.ARCH_X86_64).steps <= len(code)


def test_every_outcome_has_a_name() -> None:
    for value, name in (
        (bpf.RET_ALLOW, "allow"),
        (bpf.RET_ERRNO | 1, "EPERM"),
        (bpf.RET_ERRNO | 4095, "errno 4095"),
        (bpf.RET_KILL_PROCESS, "kill process"),
        (bpf.RET_KILL_THREAD, "kill thread"),
        (bpf.RET_TRAP, "trap"),
        (bpf.RET_NOTIFY, "notify"),
        (bpf.RET_TRACE, "trace"),
        (bpf.RET_LOG, "log"),
    ):
        assert name == str(bpf.run(bpf.decode(packed((bpf.RETURN, 0, 0, value))), 0, 0))


def test_loads_see_both_halves_of_an_argument() -> None:
    for half, expected in ((0, "allow"), (4, "EPERM")):
        code = bpf.decode(
            packed(
                (bpf.LOAD, 0, 0, bpf.ARGUMENTS_OFFSET + 8 * 5 + half),
                (bpf.JUMP_EQUAL, 0, 1, 0x11111111),
                RET,
                (bpf.RETURN, 0, 0, bpf.RET_ERRNO | 1),
            )
        )
        assert expected == str(bpf.run(code, 0, 0, (0, 0, 0, 0, 0, 0x2222222211111111)))


def test_the_longest_way_to_a_verdict_is_counted() -> None:
    code = bpf.decode(packed((bpf.LOAD, 0, 0, 16), (bpf.JUMP_EQUAL, 0, 1, 7), (bpf.AND, 0, 0, 1), RET))
    assert [4] == [verdict.steps for verdict in bpf.outcomes(code, 0, 0)]


WORD = some.integers(0, 0xFFFFFFFF) | some.sampled_from([0, 1, 2, 16, 0xFFFFFFFF, 0x80000000])
LIST = some.lists(WORD, min_size=1, max_size=6, unique=True).map(tuple)
INDEX = some.integers(0, 5)
CONDITION = some.one_of(
    some.builds(Condition, argument=INDEX, mask=WORD, among=LIST),
    some.builds(Condition, argument=INDEX, mask=WORD, not_among=LIST),
    some.builds(Condition, argument=INDEX, mask=WORD, any_bit=some.integers(1, 0xFFFFFFFF)),
)
CALLS = ("ioctl", "clone", "socket", "personality", "mount", "clone3", "mseal", "getpid", "execve", "listns")
RULE = some.builds(
    Rule,
    name=some.sampled_from(CALLS),
    errno=some.sampled_from([1, 22, 38, 97]),
    when=some.lists(CONDITION, min_size=0, max_size=3).map(tuple),
    origin=some.just(BUILT_IN),
    group=some.just(""),
    reason=some.just(""),
    source=some.just(()),
)


def holds(condition: Condition, arguments: tuple[int, ...]) -> bool:
    value = arguments[condition.argument] & 0xFFFFFFFF & condition.mask
    if condition.among:
        return value in condition.among
    if condition.not_among:
        return value not in condition.not_among
    return bool(value & condition.any_bit)


def one_each(rules: list[Rule]) -> tuple[Rule, ...]:
    """As `grants.syscalls.rules` leaves them: a call that is refused always has no other rule."""
    kept: list[Rule] = []
    for rule in sorted(rules, key=lambda rule: rule.name):
        same = [other for other in kept if other.name == rule.name]
        if not any(not other.when for other in same) and (rule.when or not same):
            kept.append(rule)
    return tuple(kept)


@settings(max_examples=150, deadline=None)
@given(
    some.lists(RULE, max_size=12).map(one_each),
    some.lists(some.tuples(*[some.integers(0, 2**64 - 1) | WORD] * 6), min_size=1, max_size=8),
    some.sampled_from([(), ("i386",), ("x32",), ("i386", "x32")]),
)
def test_a_program_does_what_its_rules_say(
    rules: tuple[Rule, ...], tries: list[tuple[int, ...]], foreign: tuple[str, ...]
) -> None:
    code = bpf.decode(seccomp.assemble(rules, foreign))
    interesting = [value for rule in rules for test in rule.when for value in test.among + test.not_among]
    tries = (
        tries + [(value,) * 6 for value in interesting] + [(value | 1 << 40,) * 6 for value in interesting]
    )
    for abi in ("x86_64", *foreign):
        arch = bpf.ARCH_I386 if abi == "i386" else bpf.ARCH_X86_64
        for name in CALLS:
            for arguments in tries:
                expected = next(
                    (
                        rule.errno
                        for rule in rules
                        if rule.name == name and all(holds(test, arguments) for test in rule.when)
                    ),
                    0,
                )
                verdict = bpf.run(code, numbers(abi)[name], arch, arguments)
                assert expected == verdict.errno, (name, arguments, abi)


def test_bytes_are_in_the_processors_order() -> None:
    assert bpf.INSTRUCTION.size == 8
    assert packed(RET) == struct.pack("HBBI", 6, 0, 0, 0x7FFF0000)

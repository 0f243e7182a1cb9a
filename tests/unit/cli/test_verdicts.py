"""`explain --syscalls` tells what the compiled program does, whatever the rules say."""

from __future__ import annotations

import errno
import struct

import machines
import pytest

from sandboxer.cli import verdicts
from sandboxer.cli.output import plain
from sandboxer.grants.syscalls import Rule, rules
from sandboxer.plan import bpf, seccomp
from sandboxer.policy.deny import Condition
from sandboxer.policy.layers import load
from sandboxer.words import Origin

ALLOW_ALL = struct.pack("=HBBI", bpf.RETURN, 0, 0, bpf.RET_ALLOW)
ASKED = Origin("apps/foo.toml", 3, "syscalls.deny")


def rule(name: str, *when: Condition, error: int = errno.EPERM) -> Rule:
    return Rule(
        name=name,
        errno=error,
        when=when,
        origin=ASKED,
        group="g",
        reason="Because.",
        source=("flatpak", "ours"),
    )


def judged(image: bytes, *wanted: Rule) -> dict[str, verdicts.Judged]:
    return {call.name: call for call in verdicts.judge(image, wanted)[0].calls}


def test_a_filter_that_lets_all_through_is_told_so_whatever_the_rules_say() -> None:
    found = judged(ALLOW_ALL, rule("mount"), rule("ioctl", Condition(argument=1, among=(0x5412,))))
    assert verdicts.ALLOWED == found["mount"].verdict
    assert verdicts.ALLOWED == found["ioctl"].verdict


def test_a_refused_call_has_its_errno_and_reason() -> None:
    wanted = (rule("mount"), rule("umount2", error=errno.ENOSYS))
    found = judged(seccomp.assemble(wanted, ()), *wanted)
    assert ("EPERM", "ENOSYS") == (found["mount"].verdict, found["umount2"].verdict)
    assert found["mount"].cases[0].rule == wanted[0]


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (Condition(argument=1, among=(0x5412,)), "the second argument is 0x5412"),
        (Condition(argument=1, not_among=(1, 2, 10)), "the second argument is not 1, 2 or 10"),
        (Condition(argument=1, any_bit=0x6000000), "the second argument has a bit of 0x6000000"),
        (Condition(argument=1, mask=0xF, among=(5,)), "the second argument & 0xf is 5"),
    ],
)
def test_arguments_that_decide_are_found_by_trying_them(condition: Condition, words: str) -> None:
    wanted = (rule("ioctl", condition),)
    (met, other) = judged(seccomp.assemble(wanted, ()), *wanted)["ioctl"].cases
    assert (words, "EPERM") == (met.when, met.verdict)
    assert ("", verdicts.ALLOWED) == (other.when, other.verdict)


def test_a_test_that_looks_at_the_high_half_is_caught() -> None:
    """A program that refuses 0x5412 only when the high half is 0 lets garbage in it through."""
    number = {name: number for number, name in seccomp.names(seccomp.native_arch()).items()}["ioctl"]
    low = bpf.ARGUMENTS_OFFSET + 8
    program = (
        (bpf.LOAD, 0, 0, bpf.NUMBER_OFFSET),
        (bpf.JUMP_EQUAL, 0, 5, number),
        (bpf.LOAD, 0, 0, low),
        (bpf.JUMP_EQUAL, 0, 3, 0x5412),
        (bpf.LOAD, 0, 0, low + 4),
        (bpf.JUMP_EQUAL, 0, 1, 0),
        (bpf.RETURN, 0, 0, bpf.RET_ERRNO | errno.EPERM),
        (bpf.RETURN, 0, 0, bpf.RET_ALLOW),
    )
    image = b"".join(bpf.INSTRUCTION.pack(*instruction) for instruction in program)
    cases = judged(image, rule("ioctl", Condition(argument=1, among=(0x5412,))))["ioctl"].cases
    assert {"EPERM", verdicts.ALLOWED} == {case.verdict for case in cases if case.when}


def test_a_verdict_that_no_trial_reached_is_not_kept_quiet() -> None:
    wanted = (rule("ioctl", Condition(argument=1, among=(0x5412,))),)
    cases = judged(seccomp.assemble(wanted, ()))["ioctl"].cases  # without the rules nobody knows what to try
    assert ("EPERM", verdicts.UNTRIED) in {(case.verdict, case.when) for case in cases}


def test_the_shipped_policies_close_foreign_abis_and_the_page_says_so() -> None:
    host = machines.machine()
    wanted = rules(load("firefox", host), host)
    image = seccomp.assemble(wanted, ())
    abis = verdicts.judge(image, wanted)
    assert all(abi.closed for abi in abis[1:])
    page = plain(verdicts.page(image, abis, {"mount": "Change what is mounted"}))
    assert "@mount: Change what is mounted" in page
    assert "EPERM when the second argument is 0x5412" in page
    assert verdicts.UNTRIED not in page
    if seccomp.native_arch() == bpf.ARCH_X86_64:
        assert "i386: closed; on every call: the program is killed" in page
        assert "x32: closed; on every call: ENOSYS" in page


@pytest.mark.skipif("bpf.ARCH_X86_64 != seccomp.native_arch()", reason="i386 belongs to x86_64")
def test_an_open_foreign_abi_is_told_as_open() -> None:
    wanted = (rule("mount"),)
    image = seccomp.assemble(wanted, ("i386",))
    abis = verdicts.judge(image, wanted)
    assert "i386: open; 1 refused" in plain(verdicts.page(image, abis, {}))


def test_machines_get_every_call() -> None:
    wanted = (rule("mount"),)
    image = seccomp.assemble(wanted, ())
    values = verdicts.facts(image, verdicts.judge(image, wanted))
    abis = values["abis"]
    assert isinstance(abis, list)
    assert len(abis[0]["calls"]) > 300
    (case,) = next(call for call in abis[0]["calls"] if call["name"] == "mount")["cases"]
    assert ("EPERM", "Because.") == (case["verdict"], case["reason"])

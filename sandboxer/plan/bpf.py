"""
Classic BPF as seccomp runs it: instructions, a simulator, a checker.

What comes in: a program, as the bytes that go into a plan, and a system call. What goes out: the verdict that the
kernel would reach and how many instructions it takes. It never makes programs (see `seccomp`) and never loads one.
"""

from __future__ import annotations

import errno
import struct
from enum import Enum

from sandboxer.errors import PlanError
from sandboxer.plan.ops import BPF_MAX
from sandboxer.words import Record

INSTRUCTION = struct.Struct("=HBBI")
"""struct sock_filter: code, jump if true, jump if false, operand."""

LOAD, AND, RETURN = 0x20, 0x54, 0x06
JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_AT_LEAST, JUMP_ANY_BIT = 0x05, 0x15, 0x25, 0x35, 0x45

RET_KILL_PROCESS, RET_KILL_THREAD, RET_TRAP, RET_ERRNO = 0x80000000, 0x00000000, 0x00030000, 0x00050000
RET_NOTIFY, RET_TRACE, RET_LOG, RET_ALLOW = 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000
_ACTION, _DATA = 0xFFFF0000, 0x0000FFFF

NUMBER_OFFSET, ARCH_OFFSET, ARGUMENTS_OFFSET, DATA_SIZE = 0, 4, 16, 64
"""Layout of struct seccomp_data; an argument is 8 bytes, its low half first on the processors that we know."""

ARCH_X86_64, ARCH_I386, ARCH_AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
"""AUDIT_ARCH_* of <linux/audit.h>."""
X32_BIT = 0x40000000
"""Set in the number of a call through the x32 ABI, whose architecture is that of x86_64."""

Instruction = tuple[int, int, int, int]


class Outcome(Enum):
    """What happens to a call, mildest first."""

    ALLOW = "allow"
    LOG = "log"
    TRACE = "trace"
    NOTIFY = "notify"
    ERRNO = "errno"
    TRAP = "trap"
    KILL_THREAD = "kill thread"
    KILL_PROCESS = "kill process"


_OUTCOMES = {
    RET_ALLOW: Outcome.ALLOW,
    RET_LOG: Outcome.LOG,
    RET_TRACE: Outcome.TRACE,
    RET_NOTIFY: Outcome.NOTIFY,
    RET_ERRNO: Outcome.ERRNO,
    RET_TRAP: Outcome.TRAP,
    RET_KILL_THREAD: Outcome.KILL_THREAD,
    RET_KILL_PROCESS: Outcome.KILL_PROCESS,
}


class Verdict(Record):
    """`errno` is 0 unless the outcome is ERRNO; `steps` is the number of instructions that were executed."""

    outcome: Outcome
    errno: int = 0
    steps: int = 0

    def __str__(self) -> str:
        if self.outcome is Outcome.ERRNO:
            return errno.errorcode.get(self.errno, f"errno {self.errno}")
        return str(self.outcome.value)


def decode(program: bytes) -> tuple[Instruction, ...]:
    """
    The instructions of a program that the kernel would accept.

    Raises:
        PlanError: too long or empty, an instruction that seccomp doesn't have or that we never make, a jump out of
            the program, a load outside struct seccomp_data, or a last instruction that doesn't return.
    """
    if not program or len(program) % INSTRUCTION.size or len(program) > BPF_MAX * INSTRUCTION.size:
        raise _malformed(f"{len(program)} bytes are no program")
    instructions: tuple[Instruction, ...] = tuple(INSTRUCTION.iter_unpack(program))
    for place, (code, if_true, if_false, operand) in enumerate(instructions):
        left = len(instructions) - place - 1
        if code == LOAD:
            good = operand % 4 == 0 and operand < DATA_SIZE
        elif code == JUMP:
            good = operand < left
        elif code in (JUMP_EQUAL, JUMP_GREATER, JUMP_AT_LEAST, JUMP_ANY_BIT):
            good = max(if_true, if_false) < left
        elif code == RETURN:
            good = operand & _ACTION in _OUTCOMES
        else:
            good = code == AND
        if not good:
            raise _malformed(f"instruction {place} is wrong: {code:#x} {if_true} {if_false} {operand:#x}")
    if instructions[-1][0] != RETURN:
        raise _malformed("it doesn't end with a verdict")
    return instructions


def run(program: tuple[Instruction, ...], number: int, arch: int, arguments: tuple[int, ...] = ()) -> Verdict:
    """
    What the kernel would do with one call.

    Args:
        program: from `decode`.
        number: as in the register, the x32 bit included; negative ones count as 32 bits.
        arch: AUDIT_ARCH_*.
        arguments: up to six, 64 bits each; missing ones are 0.
    """
    values = tuple(argument & 0xFFFFFFFFFFFFFFFF for argument in arguments) + (0,) * (6 - len(arguments))
    data = struct.unpack("<16I", struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, 0, *values))
    place = accumulator = steps = 0
    while True:
        code, if_true, if_false, operand = program[place]
        place += 1
        steps += 1
        if code == LOAD:
            accumulator = data[operand // 4]
        elif code == AND:
            accumulator &= operand
        elif code == RETURN:
            return _verdict(operand, steps)
        else:
            place += operand if code == JUMP else if_true if _holds(code, accumulator, operand) else if_false


def outcomes(program: tuple[Instruction, ...], number: int, arch: int) -> tuple[Verdict, ...]:
    """
    Every verdict that a call can get, whatever its arguments, mildest first; `steps` is the longest way to each.

    More than one means: it depends on the arguments. Branches are taken to be independent of one another, so a
    verdict can be listed that two contradicting tests on one argument exclude; none is ever missing.
    """
    known = {NUMBER_OFFSET: number & 0xFFFFFFFF, ARCH_OFFSET: arch}
    found: dict[tuple[Outcome, int], Verdict] = {}
    open_ways: list[tuple[int, int | None, int]] = [(0, 0, 0)]
    while open_ways:
        place, accumulator, steps = open_ways.pop()
        code, if_true, if_false, operand = program[place]
        place += 1
        steps += 1
        if code == LOAD:
            open_ways.append((place, known.get(operand), steps))
        elif code == AND:
            open_ways.append((place, None if accumulator is None else accumulator & operand, steps))
        elif code == RETURN:
            verdict = _verdict(operand, steps)
            key = (verdict.outcome, verdict.errno)
            if key not in found or found[key].steps < steps:
                found[key] = verdict
        elif code == JUMP:
            open_ways.append((place + operand, accumulator, steps))
        elif accumulator is None:
            open_ways += [(place + if_true, None, steps), (place + if_false, None, steps)]
        else:
            taken = if_true if _holds(code, accumulator, operand) else if_false
            open_ways.append((place + taken, accumulator, steps))
    severity = list(Outcome)
    return tuple(sorted(found.values(), key=lambda verdict: (severity.index(verdict.outcome), verdict.errno)))


def _holds(code: int, accumulator: int, operand: int) -> bool:
    if code == JUMP_EQUAL:
        return accumulator == operand
    if code == JUMP_AT_LEAST:
        return accumulator >= operand
    if code == JUMP_GREATER:
        return accumulator > operand
    return accumulator & operand != 0


def _verdict(returned: int, steps: int) -> Verdict:
    outcome = _OUTCOMES[returned & _ACTION]
    number = returned & _DATA if outcome is Outcome.ERRNO else 0
    return Verdict(outcome=outcome, errno=number, steps=steps)


def _malformed(why: str) -> PlanError:
    return PlanError(
        "a system-call filter is malformed", subject=why, hint="this is a fault in sandboxer: report it"
    )

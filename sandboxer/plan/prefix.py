"""
The first part of every filter: processors, numbers that the library doesn't know, and tests on arguments.

What comes in: the ABIs that may be used, each with the numbers of its calls, and the rules that this part is for. What
goes out: instructions that reach a verdict, or fall out at their end, where the library's part begins. It never sees a
name, and knows nothing of the library.

Why the library doesn't make these: it can't put two tests on one argument into a rule, so a list of what *is*
permitted takes a rule for each gap; it compares 64 bits where the kernel looks at 32; on i386 it turns a test of a
socket's family into a refusal of all sockets; and it knows no call that is newer than itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandboxer.errors import PlanError
from sandboxer.plan import bpf
from sandboxer.policy.deny import FULL
from sandboxer.words import Record

if TYPE_CHECKING:
    from sandboxer.grants.syscalls import Rule
    from sandboxer.plan.bpf import Instruction
    from sandboxer.policy.deny import Condition

ENOSYS = 38
SHARED = 424
"""From this number on, a call has the same number on every processor; x32 adds its bit."""
LATEST = 471
"""The last call that has been looked at. Later ones get ENOSYS, as on a kernel that doesn't have them yet."""
X32_FIRST, X32_LAST = 512, 547
"""Calls that x32 has numbers of its own for."""
SKIPPED = 0xFFFFFFFF
"""-1: what a debugger sets the number to when it answers a call itself."""

BY_NUMBER = """
    pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig fsmount
    fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2 process_madvise epoll_pwait2 mount_setattr
    quotactl_fd landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret process_mrelease
    futex_waitv set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue
    statmount listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat
    removexattrat open_tree_attr file_getattr file_setattr listns rseq_slice_yield
"""
NEWER: dict[str, int] = {name: SHARED + index for index, name in enumerate(BY_NUMBER.split())}
"""The calls from SHARED to LATEST, so that no verdict on them depends on the library's age."""


class Abi(Record):
    """
    One way into the kernel that the filter permits.

    `base` is what is added to numbers from SHARED on (the x32 bit), `gap` the first number of a range up to SHARED that
    is not in use (0 where there is none), `numbers` those of the calls with tests, by name.
    """

    arch: int
    base: int
    gap: int
    numbers: dict[str, int]


class _Assembler:
    """Instructions with names for places, until all places are known."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, int, str, str]] = []
        self.places: dict[str, int] = {}
        self._unique = 0

    def fresh(self) -> str:
        self._unique += 1
        return f"place {self._unique}"

    def mark(self, label: str) -> None:
        self.places[label] = len(self.lines)

    def add(self, code: int, operand: int, if_true: str = "", if_false: str = "") -> None:
        self.lines.append((code, operand, if_true, if_false))

    def go(self, label: str) -> None:
        self.add(bpf.JUMP, 0, label)

    def give(self, errno: int) -> None:
        self.add(bpf.RETURN, bpf.RET_ERRNO | errno if errno else bpf.RET_ALLOW)

    def finish(self) -> list[Instruction]:
        """Raises PlanError when a conditional jump is longer than the 255 instructions that it can be."""
        done: list[Instruction] = []
        for place, (code, operand, if_true, if_false) in enumerate(self.lines, 1):
            true = self.places[if_true] - place if if_true else 0
            false = self.places[if_false] - place if if_false else 0
            if code == bpf.JUMP:
                done.append((code, 0, 0, true))
            elif max(true, false) > 255:
                raise PlanError(
                    "a system-call filter is too long",
                    subject=f"{len(self.lines)} instructions of tests on arguments",
                    hint="refuse fewer calls by their arguments",
                )
            else:
                done.append((code, true, false, operand))
        return done


def build(abis: tuple[Abi, ...], rules: tuple[Rule, ...]) -> list[Instruction]:
    """
    Lay the first part out.

    Args:
        abis: this processor's own first, then the foreign ones that are permitted.
        rules: those with conditions, and those for calls from SHARED on; sorted by name.
    """
    out = _Assembler()
    native, foreign = abis[0], abis[1:]
    x32 = next((abi for abi in foreign if abi.base == bpf.X32_BIT), None)
    out.add(bpf.LOAD, bpf.ARCH_OFFSET)
    others = [abi for abi in foreign if abi is not x32]
    out.add(bpf.JUMP_EQUAL, native.arch, "native", "other")
    out.mark("other")
    for index, abi in enumerate(others):
        _choose(out, bpf.JUMP_EQUAL, abi.arch, f"foreign {index}")
    # A program of a foreign ABI ends with "Bad system call": with an errno for every call it would end in a crash that
    # nobody understands, and no program of the native ABI makes such calls by accident.
    out.add(bpf.RETURN, bpf.RET_KILL_PROCESS)
    out.mark("native")
    out.add(bpf.LOAD, bpf.NUMBER_OFFSET)
    if native.arch == bpf.ARCH_X86_64:
        _choose(out, bpf.JUMP_AT_LEAST, bpf.X32_BIT, "x32")
    _calls(out, native, rules)
    if native.arch == bpf.ARCH_X86_64:
        out.mark("x32")
        _x32(out, x32, rules)
    for index, abi in enumerate(others):
        out.mark(f"foreign {index}")
        out.add(bpf.LOAD, bpf.NUMBER_OFFSET)
        _calls(out, abi, rules)
    out.mark("end")
    return out.finish()


def _choose(out: _Assembler, code: int, operand: int, label: str) -> None:
    """Go far where the test holds; on to the next instruction where it doesn't."""
    here, on = out.fresh(), out.fresh()
    out.add(code, operand, here, on)
    out.mark(here)
    out.go(label)
    out.mark(on)


def _x32(out: _Assembler, abi: Abi | None, rules: tuple[Rule, ...]) -> None:
    """Numbers with the x32 bit. Closed, they get what a kernel without x32 says."""
    skipped, other = out.fresh(), out.fresh()
    out.add(bpf.JUMP_EQUAL, SKIPPED, skipped, other)
    out.mark(skipped)
    out.give(0)
    out.mark(other)
    if abi is None:
        out.give(ENOSYS)
        return
    own, on = out.fresh(), out.fresh()
    out.add(bpf.JUMP_AT_LEAST, bpf.X32_BIT + X32_FIRST, own, on)
    out.mark(own)
    beyond, within = out.fresh(), out.fresh()
    out.add(bpf.JUMP_GREATER, bpf.X32_BIT + X32_LAST, beyond, within)
    out.mark(beyond)
    out.give(ENOSYS)
    out.mark(within)
    _tests(out, abi, rules, newer=False)
    out.mark(on)
    _calls(out, abi, rules)


def _calls(out: _Assembler, abi: Abi, rules: tuple[Rule, ...]) -> None:
    """All calls of one ABI; the number is loaded."""
    newer, older = out.fresh(), out.fresh()
    out.add(bpf.JUMP_AT_LEAST, abi.base + SHARED, newer, older)
    out.mark(newer)
    _newer(out, abi, rules)
    out.mark(older)
    if abi.gap:
        unused, used = out.fresh(), out.fresh()
        out.add(bpf.JUMP_AT_LEAST, abi.base + abi.gap, unused, used)
        out.mark(unused)
        out.give(ENOSYS)
        out.mark(used)
    _tests(out, abi, rules, newer=False)


def _newer(out: _Assembler, abi: Abi, rules: tuple[Rule, ...]) -> None:
    """Calls that the table lists are decided here; what comes after them isn't there yet."""
    known, beyond, skipped, other = (out.fresh() for _ in range(4))
    out.add(bpf.JUMP_GREATER, abi.base + LATEST, beyond, known)
    out.mark(beyond)
    out.add(bpf.JUMP_EQUAL, SKIPPED, skipped, other)
    out.mark(skipped)
    out.give(0)
    out.mark(other)
    out.give(ENOSYS)
    out.mark(known)
    _tests(out, abi, rules, newer=True)


def _tests(out: _Assembler, abi: Abi, rules: tuple[Rule, ...], *, newer: bool) -> None:
    """The rules of one ABI, for calls from SHARED on or those before; other calls are permitted, or go to the end."""
    by_number: dict[int, list[Rule]] = {}
    for rule in rules:
        if (rule.name in NEWER) is newer:
            number = abi.base + NEWER[rule.name] if newer else abi.numbers.get(rule.name)
            if number is not None:
                by_number.setdefault(number, []).append(rule)
    labels = {number: out.fresh() for number in by_number}
    verdicts: dict[int, str] = {}
    for number, found in sorted(by_number.items()):
        on = out.fresh()
        always = not found[0].when
        out.add(
            bpf.JUMP_EQUAL,
            number,
            verdicts.setdefault(found[0].errno, out.fresh()) if always else labels[number],
            on,
        )
        out.mark(on)
    if newer:
        out.give(0)
    else:
        out.go("end")
    for number, found in sorted(by_number.items()):
        if found[0].when:
            out.mark(labels[number])
            for rule in found:
                _rule(out, rule)
            out.give(0)
    for errno, label in verdicts.items():
        out.mark(label)
        out.give(errno)


def _rule(out: _Assembler, rule: Rule) -> None:
    fails = out.fresh()
    for condition in rule.when:
        _condition(out, condition, fails)
    out.give(rule.errno)
    out.mark(fails)


def _condition(out: _Assembler, condition: Condition, fails: str) -> None:
    """Go on where it holds, to `fails` where it doesn't."""
    out.add(bpf.LOAD, bpf.ARGUMENTS_OFFSET + 8 * condition.argument)
    if condition.mask != FULL:
        out.add(bpf.AND, condition.mask)
    holds = out.fresh()
    if condition.any_bit:
        out.add(bpf.JUMP_ANY_BIT, condition.any_bit, holds, fails)
    values = condition.among or condition.not_among
    for index, value in enumerate(values):
        last = index == len(values) - 1
        on = out.fresh()
        if condition.among:
            out.add(bpf.JUMP_EQUAL, value, holds, fails if last else on)
        else:
            out.add(bpf.JUMP_EQUAL, value, fails, holds if last else on)
        out.mark(on)
    out.mark(holds)

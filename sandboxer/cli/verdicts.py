"""
What becomes of each system call, found by running the filter's program.

What comes in: the program as it goes into the plan, and the rules that it was made from. What goes out: a verdict for
every call that this processor's ABIs have, a page for people, plain values for JSON. The rules serve for two things
only: their reasons are shown, and their conditions tell which arguments are worth trying. No verdict is taken from
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, product

from sandboxer.cli.output import EMPTY, Block, Part, Tone, heading, line, quiet
from sandboxer.grants.syscalls import Rule
from sandboxer.plan import bpf, seccomp
from sandboxer.plan.bpf import Instruction, Verdict
from sandboxer.policy.deny import FULL, Condition
from sandboxer.words import Record

ALLOWED = "allowed"
ARCH_ARM = 0x40000028
"""AUDIT_ARCH_ARM of <linux/audit.h>: the 32-bit programs of an aarch64 processor."""
FOREIGN = {
    bpf.ARCH_X86_64: (("i386", bpf.ARCH_I386), ("x32", seccomp.ARCH_X32)),
    bpf.ARCH_AARCH64: (("arm", ARCH_ARM),),
}
UNKNOWN_NUMBER = 2000
"""A system call that no kernel has."""
GARBAGE = 0xA5A5A5A5 << 32
"""The high half of an argument, which the kernel doesn't look at either where the filter tests the low one."""
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
ATTEMPTS_MAX = 100_000
"""Sets of arguments that are tried on one call; the rules that come with sandboxer need at most a few hundred."""
UNTRIED = "its arguments are others than those that were tried"
SMALL = 256
"""From here on numbers are written in hexadecimal: they are flags and commands."""


class Case(Record):
    """What happens when the arguments are such; `when` completes "when …", and is empty for all other arguments."""

    when: str
    verdict: str
    rule: Rule | None = None


class Judged(Record):
    """One call with one case, or several where the arguments decide."""

    name: str
    number: int
    cases: tuple[Case, ...]

    @property
    def verdict(self) -> str:
        """Of a call on which the arguments have no bearing; "" else."""
        return self.cases[0].verdict if len(self.cases) == 1 else ""


class Abi(Record):
    """One way into the kernel. `unknown` is the verdict on numbers that aren't calls."""

    name: str
    calls: tuple[Judged, ...]
    unknown: str

    @property
    def closed(self) -> str:
        """The one verdict that all calls get; "" where there are several."""
        verdicts = {self.unknown, *(call.verdict for call in self.calls)}
        return self.unknown if len(verdicts) == 1 and self.unknown != ALLOWED else ""


def judge(image: bytes, rules: Sequence[Rule]) -> tuple[Abi, ...]:
    """Run the program for every call of this processor's own ABI, the first one, and of the foreign ones."""
    program, native = bpf.decode(image), seccomp.native_arch()
    ways = (("native", native), *FOREIGN[native])
    return tuple(_abi(program, rules, name, token) for name, token in ways)


def _abi(program: tuple[Instruction, ...], rules: Sequence[Rule], name: str, token: int) -> Abi:
    """`token` is as for `seccomp.names`."""
    known = seccomp.names(token)
    x32 = token == seccomp.ARCH_X32
    arch = bpf.ARCH_X86_64 if x32 else token
    mine: dict[str, list[Rule]] = {}
    for rule in rules:
        mine.setdefault(rule.name, []).append(rule)
    unknown = bpf.run(program, UNKNOWN_NUMBER + (bpf.X32_BIT if x32 else 0), arch)
    calls = tuple(
        Judged(name=call, number=number, cases=_cases(program, number, arch, mine.get(call, [])))
        for number, call in known.items()
    )
    return Abi(name=name, calls=calls, unknown=_said(unknown))


def _cases(
    program: tuple[Instruction, ...], number: int, arch: int, rules: Sequence[Rule]
) -> tuple[Case, ...]:
    found = bpf.outcomes(program, number, arch)
    if len(found) == 1:
        always = next((rule for rule in rules if not rule.when), None)
        return (Case(when="", verdict=_said(found[0]), rule=always),)
    cases: dict[tuple[str, str], Case] = {}
    for arguments in _attempts(rules):
        applying = next((rule for rule in rules if _hold(rule.when, arguments)), None)
        when = words(applying.when) if applying is not None else ""
        for tried in (arguments, tuple(argument | GARBAGE for argument in arguments)):
            verdict = _said(bpf.run(program, number, arch, tried))
            cases.setdefault((when, verdict), Case(when=when, verdict=verdict, rule=applying))
    reached = {verdict for _, verdict in cases}
    for verdict in {_said(verdict) for verdict in found} - reached:
        cases[UNTRIED, verdict] = Case(when=UNTRIED, verdict=verdict)
    return tuple(sorted(cases.values(), key=lambda case: not case.when))


def _said(verdict: Verdict) -> str:
    """An errno's name, "allowed", or what happens to the program."""
    if verdict.outcome is bpf.Outcome.ALLOW:
        return ALLOWED
    killed = verdict.outcome in (bpf.Outcome.KILL_PROCESS, bpf.Outcome.KILL_THREAD)
    return "the program is killed" if killed else str(verdict)


def _attempts(rules: Sequence[Rule]) -> Iterable[tuple[int, ...]]:
    """Arguments that meet the conditions or don't: each value that is named, a neighbour of it, each bit, 0."""
    values: list[dict[int, None]] = [{0: None} for _ in ORDINALS]
    for rule in rules:
        for condition in rule.when:
            bits = (1 << bit for bit in range(32))
            named = (*condition.among, *condition.not_among)
            for value in (*named, *(value + 1 for value in named)):
                values[condition.argument][value & FULL] = None
            for bit in bits:
                if condition.any_bit & bit:
                    values[condition.argument][bit] = None
    return islice(product(*values), ATTEMPTS_MAX)


def _hold(when: Iterable[Condition], arguments: tuple[int, ...]) -> bool:
    return all(_holds(condition, arguments[condition.argument] & condition.mask) for condition in when)


def _holds(condition: Condition, value: int) -> bool:
    if condition.among:
        return value in condition.among
    if condition.not_among:
        return value not in condition.not_among
    return value & condition.any_bit != 0


def words(when: Iterable[Condition]) -> str:
    """Conditions as one would say them: "the second argument is 0x5412"."""
    return " and ".join(_condition(condition) for condition in when)


def _condition(condition: Condition) -> str:
    subject = f"the {ORDINALS[condition.argument]} argument"
    if condition.mask != FULL:
        subject += f" & {condition.mask:#x}"
    if condition.any_bit:
        return f"{subject} has a bit of {condition.any_bit:#x}"
    if condition.among:
        return f"{subject} is {_either(condition.among)}"
    return f"{subject} is not {_either(condition.not_among)}"


def _either(values: Sequence[int]) -> str:
    told = [str(value) if value < SMALL else f"{value:#x}" for value in values]
    return " or ".join(filter(None, (", ".join(told[:-1]), told[-1])))


def page(image: bytes, abis: Sequence[Abi], summaries: Mapping[str, str]) -> list[Block]:
    """
    For people.

    Args:
        summaries: what each group of refused calls is about, by its name.
    """
    native, *foreign = abis
    refused = [call for call in native.calls if call.verdict not in ("", ALLOWED)]
    conditional = [call for call in native.calls if not call.verdict]
    allowed = len(native.calls) - len(refused) - len(conditional)
    size = len(image) // bpf.INSTRUCTION.size
    blocks: list[Block] = [
        line(f"The filter has {size} instructions. What it does, found by running it:"),
        EMPTY,
    ]
    blocks.append(heading(f"Refused ({len(refused)})"))
    blocks += _refused(refused, summaries)
    blocks += [EMPTY, heading(f"Refused or not, by arguments ({len(conditional)})")]
    for call in conditional:
        blocks += _by_arguments(call)
    blocks += [
        EMPTY,
        heading(f"Allowed ({allowed})"),
        line("all others; --json has their names", indent=2),
        line(f"numbers that aren't system calls yet: {native.unknown}", indent=2),
    ]
    blocks += [EMPTY, heading("Ways in for programs of other kinds")]
    blocks += [_foreign(abi) for abi in foreign]
    return blocks


def _refused(calls: Sequence[Judged], summaries: Mapping[str, str]) -> Iterator[Block]:
    groups: dict[str, dict[tuple[str, str], list[Judged]]] = {}
    for call in calls:
        rule = call.cases[0].rule
        group, reason = (rule.group, rule.reason) if rule is not None else ("", "")
        groups.setdefault(group, {}).setdefault((call.verdict, reason), []).append(call)
    for group in sorted(groups):
        told = f"@{group}: {summaries.get(group, '')}" if group else "Named by a policy itself"
        reasons = groups[group]
        origins = {
            str(call.cases[0].rule.origin) for same in reasons.values() for call in same if call.cases[0].rule
        }
        yield line(Part(text=told, tone=Tone.HEADING), quiet(f"  [{', '.join(sorted(origins))}]"), indent=2)
        for (verdict, reason), same in reasons.items():
            yield line(f"{', '.join(call.name for call in same)}: {verdict}", indent=4)
            if reason:
                yield line(reason, *_also(same[0].cases[0].rule), indent=6)


def _by_arguments(call: Judged) -> Iterator[Block]:
    yield line(Part(text=call.name, tone=Tone.HEADING), indent=2)
    for case in call.cases:
        if not case.when:
            yield line(f"{case.verdict} with all other arguments", indent=4)
            continue
        yield line(f"{case.verdict} when {case.when}", indent=4)
        if case.rule is not None:
            yield line(case.rule.reason, *_also(case.rule), quiet(f"  [{case.rule.origin}]"), indent=6)


def _also(rule: Rule | None) -> Iterator[Part]:
    """Who else refuses it."""
    others = [source for source in rule.source if source != "ours"] if rule is not None else []
    if others:
        yield quiet(f"  (so do {', '.join(others)})" if len(others) > 1 else f"  (so does {others[0]})")


def _foreign(abi: Abi) -> Block:
    if abi.closed:
        return line(f"{abi.name}: closed; on every call: {abi.closed}", indent=2)
    refused = sum(call.verdict not in ("", ALLOWED) for call in abi.calls)
    conditional = sum(not call.verdict for call in abi.calls)
    text = f"open; {refused} refused, {conditional} by arguments, of {len(abi.calls)}"
    return line(Part(text=f"{abi.name}: {text}", tone=Tone.HOLE), indent=2)


def facts(image: bytes, abis: Sequence[Abi]) -> dict[str, object]:
    """For machines: every call of every ABI."""
    return {
        "instructions": len(image) // bpf.INSTRUCTION.size,
        "abis": [
            {
                "name": abi.name,
                "closed": bool(abi.closed),
                "unknown": abi.unknown,
                "calls": list(map(_call, abi.calls)),
            }
            for abi in abis
        ],
    }


def _call(call: Judged) -> dict[str, object]:
    return {"name": call.name, "number": call.number, "cases": [_case(case) for case in call.cases]}


def _case(case: Case) -> dict[str, object]:
    rule = case.rule
    return {
        "when": case.when,
        "verdict": case.verdict,
        "group": rule.group if rule is not None else "",
        "reason": rule.reason if rule is not None else "",
        "source": list(rule.source) if rule is not None else [],
        "origin": str(rule.origin) if rule is not None else "",
    }

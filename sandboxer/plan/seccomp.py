"""
Rules → the seccomp filter's program.

What comes in: rules, and the foreign ABIs that are permitted. What goes out: an array of struct sock_filter, native
byte order: first the tests on arguments and the newest calls (`prefix`), then all other refusals, laid out by
libseccomp as a binary tree. It never loads a filter; the launcher does.

The tree matters at each start: the kernel runs a new filter once for every number that there is, to learn which calls
it needn't ask about again. For the default list, loading takes 70 us where the same list in a row takes 100.

This is the only module that imports pyseccomp, and only once a program must be made: it costs 60 ms.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from sandboxer.errors import PlanError, PolicyError, ResolveError
from sandboxer.plan import bpf
from sandboxer.plan.ops import BPF_MAX
from sandboxer.plan.prefix import NEWER, SHARED, X32_FIRST, X32_LAST, Abi, build

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandboxer.grants.syscalls import Rule

EPERM = 1
API_LEVEL = 6
"""What libseccomp may assume of the kernel; said outright, so that the compiling machine's kernel doesn't decide."""
BINARY_TREE = 2
KERNEL_NAMES = {335: "uretprobe", 336: "uprobe"}
"""Calls of x86_64 that only the kernel makes a program do, to trace it; older libraries know neither."""
X86_64_GAP = 337
"""Numbers from here to 423 are not in use on x86_64."""
X32_GAP = 335
"""The same for x32: the kernel makes KERNEL_NAMES by their native numbers in its programs, too."""
ARCH_X32 = 0x4000003E
"""libseccomp's own name for x32; no kernel reports it."""

_NATIVE = {"x86_64": bpf.ARCH_X86_64, "aarch64": bpf.ARCH_AARCH64}
_FOREIGN = {"i386": bpf.ARCH_I386, "x32": ARCH_X32}


def assemble(rules: tuple[Rule, ...], foreign: tuple[str, ...]) -> bytes:
    """
    Make the program.

    Args:
        rules: sorted by name, as from `grants.syscalls.rules`.
        foreign: of "i386" and "x32".

    Raises:
        PolicyError: a rule names what is no system call.
        ResolveError: this processor has no such ABI, or libseccomp isn't there.
        PlanError: too long for the kernel.
    """
    library = _library()
    for rule in rules:
        _require_known(library, rule)
    tokens = [native_arch(), *(_FOREIGN[abi] for abi in foreign if _permit(abi))]
    first = tuple(rule for rule in rules if rule.when or rule.name in NEWER)
    rest = tuple(rule for rule in rules if not (rule.when or rule.name in NEWER))
    tested = {rule.name for rule in first if rule.name not in NEWER}
    prefix = build(tuple(_abi(token, tested) for token in tokens), first)
    program = b"".join(bpf.INSTRUCTION.pack(*instruction) for instruction in prefix) + _tree(
        library, rest, tokens
    )
    if len(program) > BPF_MAX * bpf.INSTRUCTION.size:
        raise PlanError(
            "a system-call filter is too long",
            subject=f"{len(program) // bpf.INSTRUCTION.size} instructions, and the kernel takes {BPF_MAX}",
            hint="refuse fewer calls, or permit fewer foreign ABIs",
        )
    bpf.decode(program)
    return program


def allow(
    allowed: tuple[str, ...],
    tested: tuple[tuple[str, tuple[tuple[int, int, int], ...]], ...],
    ending: tuple[str, ...],
) -> bytes:
    """
    The other way round, for our own processes: what isn't listed gets EPERM, what is in `ending` ends the process.

    Args:
        allowed: names; those that this processor doesn't have are left out.
        tested: name, and argument, mask, value: allowed when all these arguments, masked, are their values.
        ending: names.

    Raises:
        ResolveError: libseccomp isn't there, or there is no list of this processor's calls.
    """
    library = _library()
    token = native_arch()
    library.set_api(API_LEVEL)
    filter_ = library.SyscallFilter(library.ERRNO(EPERM))
    filter_.set_attr(library.Attr.ACT_BADARCH, library.KILL_PROCESS)
    filter_.set_attr(library.Attr.CTL_OPTIMIZE, BINARY_TREE)
    for names_, action in ((allowed, library.ALLOW), (ending, library.KILL_PROCESS)):
        for name in names_:
            number = NEWER.get(name) or _resolve(library, token, name)
            if number >= 0:
                filter_.add_rule(action, number)
    for name, tests in tested:
        compared = (library.Arg(argument, library.MASKED_EQ, mask, value) for argument, mask, value in tests)
        filter_.add_rule(library.ALLOW, _resolve(library, token, name), *compared)
    program = _export(filter_)
    bpf.decode(program)
    return program


def native_arch() -> int:
    """AUDIT_ARCH_* of this processor; raises ResolveError where there is no list of its calls."""
    machine = os.uname().machine
    if machine not in _NATIVE or sys.maxsize < 2**32:
        raise ResolveError(
            "cannot filter system calls on this processor",
            subject=f"{machine} ({'64' if sys.maxsize > 2**32 else '32'}-bit Python)",
            hint="sandboxer knows x86_64 and aarch64",
        )
    return _NATIVE[machine]


def names(arch: int) -> dict[int, str]:
    """
    Every call that the library or our own tables know, by number; those of ARCH_X32 with the x32 bit.

    The library is asked only for what is older than any that we support, so that its age makes no difference.
    """
    library = _library()
    base = bpf.X32_BIT if arch == ARCH_X32 else 0
    own = range(X32_FIRST, X32_LAST + 1) if arch == ARCH_X32 else ()
    found = {base + number: name for name, number in NEWER.items()}
    for number in (*range(SHARED), *own):
        try:
            found[base + number] = library.resolve_syscall(arch, base + number).decode()
        except ValueError:
            continue
    if arch in (bpf.ARCH_X86_64, ARCH_X32):
        found.update({base + number: name for number, name in KERNEL_NAMES.items()})
    return dict(sorted(found.items()))


def verdicts(program: bytes, arch: int) -> dict[str, tuple[bpf.Verdict, ...]]:
    """
    What a finished program says to every call of an ABI, by name: see `bpf.outcomes`. More than one verdict: it
    depends on the arguments. `arch` as for `names`.
    """
    code = bpf.decode(program)
    reported = bpf.ARCH_X86_64 if arch == ARCH_X32 else arch
    return {name: bpf.outcomes(code, number, reported) for number, name in names(arch).items()}


def steps(program: bytes, arch: int) -> tuple[float, int]:
    """How many instructions calls of an ABI take, at worst each: the average over all calls, and the most."""
    longest = [max(verdict.steps for verdict in found) for found in verdicts(program, arch).values()]
    return sum(longest) / len(longest), max(longest)


def _library() -> Any:
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError) as error:
        raise ResolveError(
            "cannot make a system-call filter: libseccomp isn't there",
            subject=str(error),
            hint="install libseccomp (Debian: apt install libseccomp2) and pyseccomp",
        ) from error
    return pyseccomp


def _permit(abi: str) -> bool:
    if native_arch() != bpf.ARCH_X86_64:
        raise ResolveError(
            "a policy permits an ABI that this processor doesn't have",
            subject=f"syscalls.foreign names {abi}, and this is {os.uname().machine}",
            hint=f'take "{abi}" out of syscalls.foreign',
        )
    return True


def _abi(token: int, tested: set[str]) -> Abi:
    # By number, since by name libseccomp gives -101 for i386's socket: it means socketcall there, and 359 is missed.
    known = names(token)
    gaps = {bpf.ARCH_X86_64: X86_64_GAP, ARCH_X32: X32_GAP}
    return Abi(
        arch=bpf.ARCH_X86_64 if token == ARCH_X32 else token,
        base=bpf.X32_BIT if token == ARCH_X32 else 0,
        gap=gaps.get(token, 0),
        numbers={name: number for number, name in known.items() if name in tested},
    )


def _tree(library: Any, rules: tuple[Rule, ...], tokens: list[int]) -> bytes:
    """What libseccomp makes of rules without conditions."""
    library.set_api(API_LEVEL)
    filter_ = library.SyscallFilter(library.ALLOW)
    filter_.set_attr(library.Attr.ACT_BADARCH, library.KILL_PROCESS)
    filter_.set_attr(library.Attr.CTL_OPTIMIZE, BINARY_TREE)
    for token in tokens[1:]:
        filter_.add_arch(token)
    for rule in rules:
        filter_.add_rule(library.ERRNO(rule.errno), rule.name)
    return _export(filter_)


def _export(filter_: Any) -> bytes:
    with os.fdopen(os.memfd_create("filter", os.MFD_CLOEXEC), "w+b") as file:
        filter_.export_bpf(file)
        file.seek(0)
        return bytes(file.read())


def _resolve(library: Any, token: int, name: str) -> int:
    """A call's number; -1 when the library doesn't know the name, below when only other processors have it."""
    return int(library.resolve_syscall(token, name))


def _require_known(library: Any, rule: Rule) -> None:
    if rule.name in KERNEL_NAMES.values():
        raise PolicyError(
            "a policy refuses a call that the kernel makes programs do",
            subject=f'"{rule.name}" is how a program is traced from outside; refusing it would end the program',
            origin=rule.origin,
            hint="take it out",
        )
    if rule.name not in NEWER and _resolve(library, native_arch(), rule.name) == -1:
        _refuse_unknown(rule, {*names(native_arch()).values(), *names(bpf.ARCH_I386).values()})


def _refuse_unknown(rule: Rule, known: Iterable[str]) -> NoReturn:
    from difflib import get_close_matches

    near = get_close_matches(rule.name, sorted(known), n=1)
    place = f"deny/{rule.group}.toml" if rule.group else "the policy"
    raise PolicyError(
        "a policy refuses a system call that doesn't exist",
        subject=f'{place} names "{rule.name}"',
        origin=rule.origin,
        hint=f'write "{near[0]}"' if near else "take it out",
    )

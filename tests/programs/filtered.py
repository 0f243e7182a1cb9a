"""
Runs a program behind a system-call filter that plays a container, or an old kernel: CALL=ERRNO[:FLAG]... -- COMMAND...

With a flag (a number) the rule holds where the call's first argument has it.
"""

from __future__ import annotations

import errno
import os
import sys

import pyseccomp
from pyseccomp import ALLOW, ERRNO, MASKED_EQ, Arg, SyscallFilter


def main() -> None:
    """Load, and become the command."""
    at = sys.argv.index("--")
    rules = SyscallFilter(ALLOW)
    for rule in sys.argv[1:at]:
        call, _, how = rule.partition("=")
        name, _, flag = how.partition(":")
        when = [Arg(0, MASKED_EQ, int(flag, 0), int(flag, 0))] if flag else []
        rules.add_rule(
            ERRNO(getattr(errno, name)), pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, call), *when
        )
    rules.load()
    os.execvp(sys.argv[at + 1], sys.argv[at + 1 :])


main()

"""
The broker's own seccomp program, made when a policy is compiled.

What comes in: the directory of cached filters. What goes out: the program of `broker.calls`, which travels in the
broker's rules. It never loads one; the broker does.
"""

from __future__ import annotations

from sandboxer.broker.calls import ALLOWED, ENDING, OLD, TESTED
from sandboxer.plan import filter_cache


def program(directory: str) -> bytes:
    """
    An array of struct sock_filter for this processor.

    Args:
        directory: of cached filters, as for `filter_cache.program`.

    Raises:
        LaunchError, ResolveError, PlanError: as from `filter_cache.program`.
    """
    lines = (
        f"allowed {' '.join((*ALLOWED, *OLD))}",
        f"ending {' '.join(ENDING)}",
        *(
            f"{name} {' '.join(f'{argument}&{mask:x} is {value:x}' for argument, mask, value in tests)}"
            for name, tests in TESTED
        ),
    )
    return filter_cache.stored(
        "\n".join((*filter_cache.surroundings(), *lines)).encode(), directory, assemble
    )


def assemble() -> bytes:
    """The program, made anew: for who keeps nothing."""
    from sandboxer.plan.seccomp import allow

    return allow((*ALLOWED, *OLD), TESTED, tuple(ENDING))

"""
A policy on this machine, as far as it can be told: for the verbs that look and start nothing.

What comes in: a policy and the Host. What goes out: its grants, and the errors that would keep it from being started
here. It never makes a private home, and never stores a plan or a filter.

Starting stops at the first error; whoever asks what a policy grants wants to see the rest, too.
"""

from __future__ import annotations

from sandboxer.cli.compile import load
from sandboxer.cli.request import Request
from sandboxer.errors import ResolveError, SandboxerError
from sandboxer.grants import syscalls
from sandboxer.grants.grant import Grant, Withheld
from sandboxer.host.facts import Facts
from sandboxer.host.view import Host
from sandboxer.policy import layers
from sandboxer.policy.effective import Effective
from sandboxer.resolve import ROOMS, Resolved, resolve
from sandboxer.words import Record


class Survey(Record):
    """
    `resolved` is None where `errors` aren't empty; `found` then holds what could be told. `absent` is why there is no
    program to start, which takes nothing from the rest.
    """

    effective: Effective
    found: tuple[Grant | Withheld, ...]
    resolved: Resolved | None
    absent: SandboxerError | None = None
    errors: tuple[SandboxerError, ...] = ()


class Anywhere(Facts):
    """This machine, whatever the working directory is: for questions that aren't about one start."""

    @property
    def working_directory(self) -> str:
        return "/"


def named(request: Request, host: Host) -> tuple[Effective, bool]:
    """
    The policy that a request names, and whether a program belongs to it: a set, which is taken where no application
    has the name, has none, nor has the policy of `sandbox run`.

    Raises:
        PolicyError: it can't be read.
    """
    effective = load(request, host)
    if request.command_given:
        return effective, False
    if effective.found or request.policy not in layers.names("sets", host):
        return effective, True
    return layers.load_set(request.policy, host, settings=request.settings), False


def survey(effective: Effective, host: Host, *, with_program: bool = True) -> Survey:
    """
    What a policy comes to.

    Args:
        with_program: the program that it starts is looked for.
    Raises:
        PolicyError: a group of system calls is unknown or can't be understood.
    """
    syscalls.rules(effective, host)  # for its errors: a policy that names what isn't there grants nothing
    absent: SandboxerError | None = None
    try:
        resolved = resolve(effective, host, command_given=not with_program)
    except ResolveError as error:
        absent = error
        try:
            resolved = resolve(effective, host, command_given=True)
        except ResolveError as other:
            return _partly(effective, host, other)
    return Survey(
        effective=effective,
        found=(*resolved.grants, *resolved.withheld),
        resolved=resolved,
        absent=absent,
    )


def _partly(effective: Effective, host: Host, first: ResolveError) -> Survey:
    """Each permission by itself, those that can't be granted as errors."""
    found: list[Grant | Withheld] = []
    errors: list[SandboxerError] = []
    for room in ROOMS:
        try:
            found += room.grants(effective, host)
        except ResolveError as error:
            errors.append(error)
    found += syscalls.grants(effective)
    return Survey(effective=effective, found=tuple(found), resolved=None, errors=tuple(errors) or (first,))

"""
A policy on this machine, as far as it can be told: for the verbs that look and start nothing.

What comes in: a policy and the Host. What goes out: its grants, and the errors that would keep it from being started
here. It never makes a private home, and never stores a plan or a filter.

Starting stops at the first error; whoever asks what a policy grants wants to see the rest, too.
"""

from __future__ import annotations

import contextlib
from functools import cache

from sandboxer.cli.compile import load
from sandboxer.cli.request import Request
from sandboxer.cli.secrets import weighed
from sandboxer.errors import ResolveError, SandboxerError
from sandboxer.grants import files, syscalls
from sandboxer.grants.grant import Grant, Withheld
from sandboxer.host.facts import Facts
from sandboxer.host.view import Host
from sandboxer.plan import seccomp
from sandboxer.plan.build import ordered
from sandboxer.policy import layers
from sandboxer.policy.effective import Effective
from sandboxer.resolve import ROOMS, Resolved, resolve
from sandboxer.words import BUILT_IN, Record, changed


class Survey(Record):
    """
    `found` and `resolved` are of what is left of the policy when all that `errors` are about is left out; `resolved` is
    None where that can't be done. `absent` is why there is no program to start, which takes nothing from the rest.
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
    What a policy comes to. What can't be granted is an error, and is left out of the rest.

    Args:
        with_program: the program that it starts is looked for.
    """
    errors: list[SandboxerError] = []
    rest = effective
    while True:
        try:
            resolved = _attempt(rest, host)
        except SandboxerError as error:
            if all(error.what != known.what or error.subject != known.subject for known in errors):
                errors.append(error)
            less = without(rest, error, host)
            if less is None:
                return _partly(effective, rest, host, errors)
            rest = less
        else:
            break
    absent: SandboxerError | None = None
    if with_program:
        try:
            resolved = resolve(rest, host)
        except ResolveError as error:
            absent = error
    grants = weighed(resolved.grants, host)
    return Survey(
        effective=effective,
        found=(*grants, *resolved.withheld),
        resolved=resolved,
        absent=absent,
        errors=tuple(errors),
    )


def _attempt(effective: Effective, host: Host) -> Resolved:
    """All that a start does short of storing something: for its errors."""
    _require_filter(syscalls.rules(effective, host), effective.policy.syscalls.foreign)
    resolved = resolve(effective, host, command_given=True)
    ordered(tuple(op for grant in resolved.grants for op in grant.ops))
    return resolved


@cache
def _require_filter(rules: tuple[syscalls.Rule, ...], foreign: tuple[str, ...]) -> None:
    seccomp.assemble(rules, foreign)


def without(effective: Effective, error: SandboxerError, host: Host) -> Effective | None:
    """
    The policy less what an error is about: the item of a list, or the key, set to what the strict default has.

    None where no line of the policy is to blame.
    """
    if error.origin is None or error.origin.file == BUILT_IN.file:
        return None
    table, _, name = error.origin.key.rpartition(".")
    record: Record = effective.policy
    if table:
        record = getattr(record, _field(record, table))
    field = _field(record, name)
    value = getattr(record, field)
    if not isinstance(value, tuple):
        ordinary = type(record)()
        less = _with(effective, table, record, {field: getattr(ordinary, field)})
        if table and _still(less, f"{table}.", host):  # the keys of a table may need each other
            less = _with(effective, table, ordinary, {})
        return less if less != effective else None
    asked = [item for item in value if effective.origin(error.origin.key, item) == error.origin]
    for item in asked:
        less = _with(effective, table, record, {field: tuple(other for other in value if other != item)})
        if not _still(less, error.render(), host):
            return less
    left = tuple(item for item in value if item not in asked)
    return _with(effective, table, record, {field: left}) if asked else None


def _still(effective: Effective, about: str, host: Host) -> bool:
    """Whether the error that a policy comes to is this one, or about a key that begins so."""
    try:
        _attempt(effective, host)
    except SandboxerError as error:
        key = error.origin.key if error.origin is not None else ""
        return error.render() == about or key.startswith(about)
    return False


def _field(record: Record, name: str) -> str:
    """The attribute that holds a key."""
    return dict(zip(record.__struct_encode_fields__, record.__struct_fields__, strict=True))[name]


def _with(effective: Effective, table: str, record: Record, fields: dict[str, object]) -> Effective:
    inner = type(record)(**({name: getattr(record, name) for name in record.__struct_fields__} | fields))
    policy = changed(effective.policy, **{_field(effective.policy, table): inner}) if table else inner
    return changed(effective, policy=policy)


def _partly(effective: Effective, rest: Effective, host: Host, errors: list[SandboxerError]) -> Survey:
    """Each permission by itself, where one that can't be granted has no line that could be left out."""
    found: list[Grant | Withheld] = []
    for room in ROOMS:
        with contextlib.suppress(SandboxerError):
            found += room.grants(rest, host)
    found += syscalls.grants(rest)
    grants = [item for item in found if isinstance(item, Grant)]
    with contextlib.suppress(SandboxerError):
        found += files.hidden(rest, host, grants)
    mine = weighed([item for item in found if isinstance(item, Grant)], host)
    withheld = [item for item in found if isinstance(item, Withheld)]
    return Survey(effective=effective, found=(*mine, *withheld), resolved=None, errors=tuple(errors))

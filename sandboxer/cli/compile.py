"""
A request → its plan: parse, resolve, build, encode.

What comes in: a request and the Host. What goes out: the plan and its image. It makes the application's private home,
without which there would be nothing to bind, and the directory of our state, which could not be covered otherwise.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from sandboxer.cli.homes import make_home
from sandboxer.cli.request import Request
from sandboxer.grants import syscalls
from sandboxer.grants.files import private_home
from sandboxer.grants.paths import state_home
from sandboxer.host.view import Host
from sandboxer.plan import cache, filter_cache
from sandboxer.plan.build import build
from sandboxer.plan.codec import encode
from sandboxer.plan.ops import Plan
from sandboxer.policy import layers
from sandboxer.policy.effective import Effective
from sandboxer.resolve import resolve

Trace = Callable[[str, float, str], None]
"""Is told each verb, its time in milliseconds, and what came of it."""


def compile_plan(
    request: Request, host: Host, filters: str, trace: Trace | None = None
) -> tuple[Plan, bytes]:
    """
    The plan for a request, and its image.

    Args:
        filters: the directory that keeps filters, made before the host was asked anything. trace: for --debug.
    Raises:
        SandboxerError: any of the verbs' errors.
    """
    clock = _Clock(trace)
    effective = load(request, host)
    clock.tell("parse", f"{effective.name}: extends {', '.join(effective.policy.extends) or 'nothing'}")
    cache.make_state_directory(state_home(host), host.user.uid)
    if effective.policy.files.home == "private":
        make_home(private_home(effective, host), host.user.uid)
    resolved = resolve(effective, host, command_given=request.command_given)
    clock.tell("resolve", "\n".join(f"{grant.words}  ({grant.origin})" for grant in resolved.grants))
    foreign: tuple[str, ...] = effective.policy.syscalls.foreign
    program = filter_cache.program(syscalls.rules(effective, host), foreign, filters)
    plan = build(
        resolved,
        program,
        request.words,
        host.stamps(),
        keep_fds=request.keep_fds,
        flags=request.flags,
        broker_program=b"" if resolved.broker is None else _broker_program(filters),
    )
    clock.tell("build", "\n".join(f"{op.kind.name} {op.box_path}  ({op.origin})" for op in plan.ops))
    image = encode(plan)
    clock.tell("encode", f"{len(image)} bytes, {len(plan.ops)} operations, {len(plan.stamps)} stamps")
    return plan, image


def _broker_program(filters: str) -> bytes:
    from sandboxer.plan import broker_filter  # few boxes have a broker

    return broker_filter.program(filters)


def load(request: Request, host: Host) -> Effective:
    """What a request names: an application's policy, a set, or a file; `run` without one gets the set `strict`."""
    file = request.policy_file
    if file is not None:
        name = os.path.basename(file).removesuffix(".toml")
        return layers.load(name, host, settings=request.settings, file=file)
    if not request.command_given:
        return layers.load(request.policy, host, settings=request.settings)
    return layers.load_app_or_set(request.policy, host, settings=request.settings)


class _Clock:
    """Times from one verb to the next."""

    def __init__(self, trace: Trace | None) -> None:
        self._trace = trace
        self._since = time.perf_counter()

    def tell(self, verb: str, outcome: str) -> None:
        now = time.perf_counter()
        if self._trace is not None:
            self._trace(verb, (now - self._since) * 1000, outcome)
        self._since = now

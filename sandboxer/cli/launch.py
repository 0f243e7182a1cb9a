"""
Compile, store, and hand over to the launcher: launch.

What comes in: a request. What goes out: this process becomes the launcher, which finds the plan that was just stored;
or a SandboxerError. It never starts an application itself.
"""

from __future__ import annotations

import os
import sys
import time
from typing import NoReturn

from sandboxer.cli.compile import compile_plan
from sandboxer.cli.request import Request
from sandboxer.errors import LaunchError, ResolveError
from sandboxer.host import session
from sandboxer.host.facts import Facts
from sandboxer.host.installation import native_program
from sandboxer.plan import cache

AGAIN = "--again"
"""Tells the launcher that a plan was just compiled: one that is missing or stale is now an error."""


def launch(request: Request) -> NoReturn:
    """
    Start what a request names.

    Raises:
        SandboxerError: no plan can be made or stored, or the launcher isn't there.
    """
    uid = os.getuid()
    if uid == 0:
        raise LaunchError(
            "refuses to run as root",
            hint="start it as the ordinary user who is to own the application's files",
        )
    here = session.current()
    # Made before the host is asked anything: a plan that remembers them absent would be stale at once.
    filters = cache.filter_directory(here.cache_home, uid)
    plans = cache.directory(here.environment.get("XDG_RUNTIME_DIR"), here.cache_home, uid)
    host = Facts(here)
    trace = _print_verb if request.debug else None
    plan, image = compile_plan(request, host, filters, trace)
    started = time.perf_counter()
    stored = cache.store(plan, image, plans, _directory(here))
    if trace is not None:
        trace("launch", (time.perf_counter() - started) * 1000, stored)
    program = native_program()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(program, [program, AGAIN, *request.rest])  # noqa: S606
    except OSError as error:
        raise LaunchError(
            "cannot start the launcher",
            subject=f"{program}: {error.strerror}",
            hint="install sandboxer again: the programs sandbox and sandboxer belong side by side",
        ) from error


def _directory(here: session.Session) -> str | None:
    try:
        return here.directory()
    except ResolveError:  # It was deleted: no plan is for it.
        return None


def _print_verb(verb: str, milliseconds: float, outcome: str) -> None:
    lines = outcome.splitlines() or [""]
    print(f"sandboxer: {verb:8} {milliseconds:6.1f} ms  {lines[0]}", file=sys.stderr)
    for line in lines[1:]:
        print(f"{'':30}{line}", file=sys.stderr)

"""
Compile, store, and hand over to the launcher: launch.

What comes in: a request. What goes out: this process becomes the launcher, which finds the plan that was just stored;
or a SandboxerError. It never starts an application itself.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from sandboxer.cli import launcher
from sandboxer.cli.compile import compile_plan, load
from sandboxer.cli.request import Request
from sandboxer.errors import LaunchError, ResolveError
from sandboxer.grants.base import SEARCH_PATH
from sandboxer.host import session
from sandboxer.host.facts import Facts
from sandboxer.host.view import FileType, Host
from sandboxer.plan import cache

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKING_DIRECTORY = "files.working-directory"
AGAIN = "--again"
"""Tells the launcher that a plan was just compiled: one that is missing or stale is now an error."""


def launch(request: Request, manner: tuple[str, ...] = ()) -> NoReturn:
    """
    Start what a request names.

    Args:
        manner: words before the user's own that the launcher is to get again (launchers/main.c).
    Raises:
        SandboxerError: no plan can be made or stored, or the launcher isn't there.
    """
    uid = os.getuid()
    if uid == 0:
        raise LaunchError(
            "refuses to run as root",
            hint="start it as the ordinary user who is to own the application's files",
        )
    variables: dict[str, str] = {}
    if request.files or request.environment_files:
        if request.environment_files:
            from sandboxer.cli.environment_files import with_variables

            request, variables = with_variables(request)
        if request.files:
            from sandboxer.cli.descriptors import with_open_files

            request = with_open_files(request)
        if not request.debug:  # There may be a plan: the launcher looks, and comes back if there is none.
            launcher.become((*manner, *request.rest), session.current().environment | variables)
    here = session.current()
    require_place_for_plans(here.environment)
    # Made before the host is asked anything: a plan that remembers them absent would be stale at once.
    filters = cache.filter_directory(here.cache_home, uid)
    plans = cache.directory(here.environment.get("XDG_RUNTIME_DIR"), here.cache_home, uid)
    host = Facts(here)
    trace = _print_verb if request.debug else None
    try:
        plan, image = compile_plan(request, host, filters, trace)
    except ResolveError as error:
        if error.origin is not None and error.origin.key == WORKING_DIRECTORY:
            error.hint = without_directory(request, host)
        raise
    started = time.perf_counter()
    stored = cache.store(plan, image, plans, _directory(here))
    if trace is not None:
        trace("launch", (time.perf_counter() - started) * 1000, stored)
    launcher.become((*manner, AGAIN, *request.rest), here.environment | variables)


def without_directory(request: Request, host: Host) -> str:
    """What to do where the working directory can't be shared: the command line that does without."""
    import shlex

    setting = ["--set", f"{WORKING_DIRECTORY}=none"]
    if request.command_given:
        end = request.rest.index("--")
        words = [*request.rest[:end], *setting, *request.rest[end:]]
    else:
        effective = load(request, host)
        names = effective.policy.command or (request.policy,)
        there = (name for name in names if is_installed(name, host))
        program = [next(there, names[0]), *effective.policy.arguments]
        words = ["run", "--policy", request.policy, *setting, "--", *program, *request.rest[1:]]
    return f"cd to a directory that holds only what is needed, or: {shlex.join(['sandbox', *words])}"


def is_installed(name: str, host: Host) -> bool:
    """Whether a program of a policy's `command` is there."""
    places = (name,) if name.startswith("/") else tuple(f"{place}/{name}" for place in SEARCH_PATH)
    return any(host.type_of(path) is FileType.REGULAR for path in places)


def require_place_for_plans(environment: Mapping[str, str]) -> None:
    """
    Raise LaunchError where the launcher would look for plans in no directory.

    It goes by the same three variables, and asks no user database: whoever is started without HOME would be told at
    each start that the plan which was just stored isn't there.
    """
    home = environment.get("HOME", "")
    if home.startswith("/") or environment.get("XDG_CACHE_HOME", "").startswith("/"):
        return
    runtime = environment.get("XDG_RUNTIME_DIR")
    if runtime and cache.is_private(runtime, os.getuid()):
        return
    raise LaunchError(
        "cannot tell where plans are kept",
        subject=f"HOME: {home!r} is no absolute path" if home else "HOME isn't set",
        hint='set HOME to your home directory: export HOME="$(getent passwd "$(id -u)" | cut -d: -f6)"',
    )


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

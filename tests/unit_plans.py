"""A plan with nothing in it, for tests that only carry it about."""

from __future__ import annotations

from sandboxer.plan.ops import Plan, PlanFlag
from sandboxer.words import BoxPath

PLAN = Plan(
    app="firefox",
    request=("app", "firefox"),
    uid=1000,
    gid=1000,
    hostname="firefox",
    command=("firefox",),
    notice="",
    home=BoxPath("/home/ann"),
    flags=PlanFlag(0),
    keep_fds=(),
    ops=(),
    environment=(),
    stamps=(),
    program=bytes(8),
)

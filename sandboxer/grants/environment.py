"""
Environment variables that a policy names.

What comes in: `[environment]`. What goes out: entries for the launcher, which starts from an empty environment: what
no grant names doesn't get in. It never reads a value: variables that are kept are read when the application starts.

Abuse: a kept variable is given away with whatever it holds. Tokens and agents' sockets are refused to patterns, whose
author can't know what they will match; by their exact names they can be kept, and are shown as holes.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandboxer.errors import ResolveError
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.host.view import Host
from sandboxer.plan.ops import EnvEntry, EnvKind
from sandboxer.policy.effective import Effective

SECRET_PARTS = (
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "API_KEY",
    "APIKEY",
    "PRIVATE_KEY",
    "ACCESS_KEY",
    "COOKIE",
    "AUTH",
    "SESSION_BUS",
    "SYSTEM_BUS",
    "AGENT",
    "SWAYSOCK",
    "I3SOCK",
    "_SOCKET",
)
"""What makes a variable's name one that gives something away, wherever it stands in the name."""


def grants(effective: Effective, _host: Host) -> Iterator[Grant | Withheld]:
    """Kept variables, then fixed ones, which win over all others."""
    for name in effective.policy.environment.keep:
        yield _kept(name, effective)
    for name, value in effective.policy.environment.set.items():
        yield Grant(
            topic="environment",
            words=f"finds {name} set to {value!r}",
            weight=Weight.NOTICE,
            origin=effective.origin("environment.set", name),
            environment=(EnvEntry(kind=EnvKind.SET, name=name, value=value),),
        )
    yield Withheld(
        topic="environment", words="no other variable of yours: no tokens, no agents, no session bus"
    )


def gives_away(name: str) -> bool:
    """Whether a variable of this name is likely to hold a secret, or a way to a program that keeps some."""
    return any(part in name.upper() for part in SECRET_PARTS)


def _kept(name: str, effective: Effective) -> Grant:
    origin = effective.origin("environment.keep", name)
    if not name.endswith("*"):
        secret = gives_away(name)
        return Grant(
            topic="environment",
            words=f"knows your {name}",
            detail="its name says that it opens something" if secret else "",
            weight=Weight.HOLE if secret else Weight.NOTICE,
            origin=origin,
            environment=(EnvEntry(kind=EnvKind.PASS, name=name),),
        )
    prefix = name[:-1]
    if gives_away(prefix):
        raise ResolveError(
            "refuses to keep secrets by a pattern",
            subject=f"{name}: would match whatever secret begins so",
            origin=origin,
            hint="name each variable in full",
        )
    return Grant(
        topic="environment",
        words=f"knows your variables that begin with {prefix}",
        detail="those whose names speak of secrets or agents stay out",
        weight=Weight.NOTICE,
        origin=origin,
        environment=(
            EnvEntry(kind=EnvKind.PASS_PREFIX, name=prefix),
            *(EnvEntry(kind=EnvKind.KEEP_OUT, name=part) for part in SECRET_PARTS),
        ),
    )

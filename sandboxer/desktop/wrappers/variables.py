"""
Which of the variables that an entry sets (`env NAME=VALUE program`) don't get into the application's box.

What comes in: an entry, its policy, the machine. What goes out: one sentence for the user, who can name them in the
policy. It never changes what gets in: an entry isn't a policy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sandboxer.desktop.wrappers.exec_line import split
from sandboxer.desktop.wrappers.key_file import KeyFile
from sandboxer.desktop.wrappers.programs import ABOUT_LOADING, command
from sandboxer.errors import SandboxerError
from sandboxer.grants.grant import Grant
from sandboxer.host.view import Host
from sandboxer.plan import build
from sandboxer.plan.ops import EnvEntry, EnvKind
from sandboxer.policy import layers
from sandboxer.policy.effective import Effective
from sandboxer.resolve import ROOMS


def loss(text: KeyFile, policy: str, host: Host) -> str:
    """
    What to say of an entry's variables; "" where all of them get in.

    Raises:
        SandboxerError: the policy can't be loaded.
    """
    named = dict.fromkeys(_named(text))
    if not named:
        return ""
    effective = layers.load(policy, host)
    entries = build.variables(tuple(_entries(effective, host)))
    own = effective.policy.environment.set
    lost = [name for name in named if name not in own and not _gets_in(name, entries)]
    if not lost:
        return ""
    return (
        f"its box doesn't get {', '.join(lost)}, which the entry sets: see environment.keep, environment.set"
    )


def _named(text: KeyFile) -> Iterator[str]:
    for pair in text.pairs():
        if pair.bare_key == "Exec":
            with contextlib.suppress(ValueError):
                yield from command(split(pair.text)).variables


def _entries(effective: Effective, host: Host) -> Iterator[EnvEntry]:
    """What every permission says of the environment; one that can't be granted here says nothing."""
    for room in ROOMS:
        with contextlib.suppress(SandboxerError):
            for item in room.grants(effective, host):
                if isinstance(item, Grant):
                    yield from item.environment


def _gets_in(name: str, entries: tuple[EnvEntry, ...]) -> bool:
    """As the launcher decides it, of a variable that its caller has."""
    if name.startswith(ABOUT_LOADING):  # the wrapper leaves it out
        return False
    kinds = {entry.kind for entry in entries if entry.name == name}
    if kinds.intersection((EnvKind.SET, EnvKind.PASS)):
        return EnvKind.PASS in kinds
    parts = [entry.name for entry in entries if entry.kind is EnvKind.KEEP_OUT]
    by_prefix = any(entry.kind is EnvKind.PASS_PREFIX and name.startswith(entry.name) for entry in entries)
    return by_prefix and not any(part.upper() in name.upper() for part in parts)

"""Attack: the kernel's key rings, which hold tickets and passwords of the session."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from escape.conftest import Attack, Boxed, attacker, outcome
from escape.kernel import Kernel

SESSION, USER = -3, -4
SEARCH, READ, DESCRIBE = 10, 11, 6
KEY_CALLS = ['syscalls.allow=["@keyring"]']


def add_key(kernel: Kernel) -> None:
    kernel.call("add_key", b"user", b"sandboxer-escape-test", b"secret", 6, USER)


def request_key(kernel: Kernel) -> None:
    """Nothing has that name: the kernel says so, after it has looked."""
    kernel.call("request_key", b"user", b"sandboxer-escape-nothing", None, 0)


def show_session(kernel: Kernel) -> None:
    kernel.call("keyctl", DESCRIBE, SESSION, None, 0, 0)


def start_with_key(kernel: Kernel, name: str, *command: str) -> None:
    """What a login does: a session key ring with a key in it. Then the command, which inherits the ring."""
    kernel.call("keyctl", 1, None, 0, 0, 0)
    kernel.call("add_key", b"user", name.encode(), b"secret", 6, SESSION)
    os.execv(command[0], command)


def search_session(kernel: Kernel, name: str) -> None:
    kernel.call("keyctl", SEARCH, SESSION, b"user", name.encode(), 0)


def test_no_key_can_be_added(attack: Attack) -> None:
    attack(add_key, refused="EPERM")


def test_no_key_can_be_asked_for(attack: Attack) -> None:
    attack(request_key, outside="ENOKEY", refused="EPERM")


def test_no_key_ring_can_be_looked_at(attack: Attack) -> None:
    attack(show_session, refused="EPERM")


def test_the_sessions_key_ring_stays_outside_even_where_the_calls_are_allowed(
    boxed: Boxed, session: dict[str, str], home: Path
) -> None:
    name = f"sandboxer-escape-{secrets.token_hex(4)}"
    search = attacker(search_session, name)
    ended, said = outcome(attacker(start_with_key, name, *search), env=session)
    assert ended == "succeeded", said
    inside = boxed(*search, settings=KEY_CALLS)
    ended, said = outcome(attacker(start_with_key, name, *inside), env=session)
    assert ended in ("refused: ENOKEY", "refused: EACCES"), said

"""
What a process can ask and give up by prctl(2).

What comes in: nothing. What goes out: this process's own state. It is the only module that imports python-prctl (1 MB
of memory, which the broker pays for), and decides nothing.
"""

from __future__ import annotations

import prctl


def set_no_new_privs() -> None:
    """For good, and for all that this process starts. Raises OSError."""
    prctl.set_no_new_privs(1)


def set_undumpable() -> None:
    """Others of the same user can't trace this process or read its memory and descriptors. Raises OSError."""
    prctl.set_dumpable(0)


def is_confined() -> bool:
    """Whether both of the above hold."""
    return bool(prctl.get_no_new_privs() == 1 and prctl.get_dumpable() == 0)


def has_no_new_privs() -> bool:
    """Whether programs that this process executes can't gain privileges."""
    return bool(prctl.get_no_new_privs() == 1)


def gainable_capabilities() -> list[str]:
    """Names of the capabilities in the bounding set: what a program that is executed could have at most."""
    return [str(capability) for capability in prctl.ALL_CAPS if prctl.capbset_read(capability)]

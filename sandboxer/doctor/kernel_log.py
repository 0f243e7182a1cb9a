"""
What the kernel logged when AppArmor refused something: read where the user may read it.

What comes in: the journal, by journalctl. What goes out: the newest lines that tell of user namespaces. Nothing where
there is no journal, or where it is closed to this user; it is never asked for more rights.
"""

from __future__ import annotations

import re
import subprocess

COMMAND = ("journalctl", "--dmesg", "--boot", "--no-pager", "--output=cat", "--lines=5000", "--quiet")
TIME_S = 5.0
LINES = 4
_TELLING = re.compile(
    r'apparmor="(AUDIT|DENIED)".*(operation="userns_create"|profile="(unprivileged_userns|unpriv_bwrap|sandboxer)")'
)


def refusals() -> tuple[str, ...]:
    """The newest lines, oldest first."""
    try:
        done = subprocess.run(
            COMMAND, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIME_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return telling(done.stdout.decode(errors="replace"))


def telling(log: str) -> tuple[str, ...]:
    """The lines of a kernel log that matter here."""
    return tuple(line for line in log.splitlines() if _TELLING.search(line))[-LINES:]

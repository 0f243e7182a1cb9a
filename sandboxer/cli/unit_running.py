"""
Which of the user's services run outside although they are wrapped: those that were started before.

What comes in: names of services. What goes out: names, of instances where a template was asked for. It asks the user
manager, and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from sandboxer.desktop.units import store as unit_store
from sandboxer.host import session
from sandboxer.host.installation import native_program
from sandboxer.steward import boxes

SCRIPT = b"sandboxer"
"""What the launcher becomes for as long as there is no plan; see launchers/python.c."""


def outside(names: Sequence[str]) -> list[str]:
    """Those whose main process is no launcher; none where no user manager runs. Raises SandboxerError."""
    here = session.current()
    if not unit_store.manager_runs(here.environment):
        return []
    inside = {box.monitor for box in boxes.all_running(here)}
    running = unit_store.main_processes(names)
    return [name for name, pid in running if pid not in inside and not _is_launcher(pid)]


def _is_launcher(pid: int) -> bool:
    """Whether a process is about to make a box, or has just ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return words[0] == os.fsencode(native_program()) or SCRIPT in map(os.path.basename, words[1:4])

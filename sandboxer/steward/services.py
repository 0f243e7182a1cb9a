"""
Services of systemd's that are boxes.

What comes in: a launcher's pid. What goes out: the name of the service that was started as this launcher. It reads
/proc and asks no manager; a box can change nothing of what it goes by, which is the launcher's own, outside.
"""

from __future__ import annotations

from sandboxer.host import manager
from sandboxer.steward import processes

SUFFIX = ".service"


def service_of(monitor: int) -> str:
    """
    "web.service"; "" for a launcher that no manager of systemd's started as a service.

    A manager is known by its control group, and a process that it has started as a service by being its child and in a
    group of that name beneath the manager's: whatever a service's shell starts has another parent.
    """
    above = processes.parent(monitor)
    group = manager.group_of(above) if above else ""
    if not group.endswith(manager.INIT_SCOPE):
        return ""
    there = f"{group.removesuffix(manager.INIT_SCOPE)}/"
    own = manager.group_of(monitor)
    if not own.startswith(there):
        return ""
    return next((part for part in own.removeprefix(there).split("/") if part.endswith(SUFFIX)), "")

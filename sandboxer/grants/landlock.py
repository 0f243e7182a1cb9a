"""
Landlock: a second wall, behind the namespaces, that closes what namespaces leave open.

What comes in: which Landlock the kernel has. What goes out: switches of the plan, in every box, whatever its policy; or
a hole for each that the kernel can't close. It never restricts what is mounted in the box.

Abuse that it closes: a file on standard input can be opened again for writing by its name in /proc, past all mounts,
and a directory that was handed over by mistake would lead out of the box; sockets in the abstract name space belong to
the network namespace, so that with the machine's network the X server, a session bus and much more can be reached
without any file; and a signal to process group 0 reaches whoever was started together with the launcher (a pipeline, a
script), pid namespace or not. A domain that handles files forbids mounting as well, which the filter does anyway.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandboxer.grants.grant import Grant, Weight
from sandboxer.host.view import Host
from sandboxer.plan.ops import PlanFlag
from sandboxer.policy.effective import Effective
from sandboxer.words import BUILT_IN

FILES_ABI = 3
"""The first with LANDLOCK_ACCESS_FS_TRUNCATE. Source: landlock(7)."""
SCOPE_ABI = 6
"""The first with LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and LANDLOCK_SCOPE_SIGNAL. Source: landlock(7)."""


def grants(effective: Effective, host: Host) -> Iterator[Grant]:
    """What every box gets, as far as the kernel can."""
    if host.landlock_abi >= FILES_ABI:
        yield Grant(
            topic="files",
            words="can't open a file outside again through a descriptor that it is given",
            detail="Landlock refuses it",
            weight=Weight.NOTICE,
            origin=BUILT_IN,
            flags=PlanFlag.LANDLOCK_FILES,
        )
    else:
        yield Grant(
            topic="files",
            words="can change a file that it is given to read on standard input",
            detail="Linux 6.2 with Landlock would refuse it; use a pipe",
            weight=Weight.HOLE,
            origin=BUILT_IN,
        )
    if scoped(host):
        yield Grant(
            topic="processes",
            words="can't reach programs outside by abstract sockets, nor send them signals",
            detail="Landlock refuses it",
            weight=Weight.NOTICE,
            origin=BUILT_IN,
            flags=PlanFlag.LANDLOCK_SCOPE,
        )
        return
    yield Grant(
        topic="processes",
        words="can send signals to programs that are started together with it",
        detail="the other parts of a pipeline, a script that waits; Linux 6.12 with Landlock would refuse it",
        weight=Weight.HOLE,
        origin=BUILT_IN,
    )
    if effective.policy.network.access == "host":
        yield Grant(
            topic="network",
            words="can reach programs outside by abstract sockets",
            detail="the X server among them, whatever [display] says; Linux 6.12 with Landlock would refuse it",
            weight=Weight.HOLE,
            origin=effective.origin("network.access"),
        )


def scoped(host: Host) -> bool:
    """Whether Landlock can close abstract sockets and signals here."""
    return host.landlock_abi >= SCOPE_ABI

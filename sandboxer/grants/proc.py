"""
/proc and /sys: what the kernel tells every process, less what it tells about the machine.

What comes in: which of the masked names this kernel has. What goes out: a new procfs with masks, and the processor's
part of sysfs, read-only. No cgroupfs, and nothing in either can be written.

Abuse: /proc shows only the box's own processes, but also facts of the whole machine (uptime, load, memory, model of
processor, mounts of the box with their host file systems' types): enough to recognise a machine, not to touch it. What
container engines hide because it leaked or could be written is hidden here, too. /sys/devices/system/cpu tells clock
rates, from which what other programs compute can be guessed at; programs need the rest of it to count processors.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.host.view import Host
from sandboxer.plan.ops import Op, OpFlag, OpKind
from sandboxer.policy.effective import Effective
from sandboxer.words import BUILT_IN, BoxPath, HostPath

SEALED = ("bus", "fs", "irq", "sys", "sysrq-trigger")
"""Read-only. Source: moby, profiles of the default OCI spec (ReadonlyPaths)."""
HIDDEN = (
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
)
"""Covered. Source: moby, default OCI spec (MaskedPaths); those of /sys there aren't in the box at all."""
PROCESSORS = "/sys/devices/system/cpu"
THROTTLE = "thermal_throttle"
"""In each cpuN. Source: moby, MaskedPaths (power analysis by counting how often a core got too hot)."""


def grants(_effective: Effective, host: Host) -> Iterator[Grant | Withheld]:
    """procfs with its masks, then the processor's part of sysfs."""
    ops = [Op(kind=OpKind.PROC, box_path=BoxPath("/proc"))]
    for kind, names in ((OpKind.SEAL, SEALED), (OpKind.HIDE, HIDDEN)):
        ops += [
            Op(kind=kind, box_path=BoxPath(f"/proc/{name}"))
            for name in names
            if host.type_of(f"/proc/{name}") is not None
        ]
    yield _grant(
        "sees its own processes in /proc, and no others", "parts that tell of the machine are covered", ops
    )
    if host.type_of(PROCESSORS) is not None:
        ops = [
            Op(
                kind=OpKind.BIND,
                box_path=BoxPath(PROCESSORS),
                source=HostPath(PROCESSORS),
                flags=OpFlag.DIRECTORY,
            )
        ]
        for name in host.entries(PROCESSORS):
            path = f"{PROCESSORS}/{name}/{THROTTLE}"
            if name.startswith("cpu") and name[3:].isdigit() and host.type_of(path) is not None:
                ops.append(Op(kind=OpKind.HIDE, box_path=BoxPath(path)))
        yield _grant("can count the processors in /sys", "nothing else of /sys is there", ops)


def _grant(words: str, detail: str, ops: list[Op]) -> Grant:
    return Grant(
        topic="kernel", words=words, detail=detail, weight=Weight.NOTICE, origin=BUILT_IN, ops=tuple(ops)
    )

"""
Device nodes: the harmless ones that every program expects, and the graphics card where granted.

What comes in: `[devices]` and what lies in /dev. What goes out: binds of single nodes, on which device nodes work, and
for a card the parts of sysfs that describe it. Every other node stays outside: the box's /dev is made from nothing.

Abuse: null, zero, full and the random ones have nothing to abuse; for tty see `terminal`. A render node is a large
piece of kernel code with a history of faults, and the memory of other programs' windows has leaked through it where
drivers didn't clear it. Card nodes, with `full`, can also set modes and read what is shown, as far as the session's own
compositor leaves them.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from sandboxer.errors import ResolveError
from sandboxer.grants import paths
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.host.view import FileType, Host
from sandboxer.plan.ops import Op, OpFlag, OpKind
from sandboxer.policy.effective import Effective
from sandboxer.words import BUILT_IN, BoxPath, HostPath, Origin

NODES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
DRI = "/dev/dri"
NVIDIA = ("nvidiactl", "nvidia-modeset", "nvidia-uvm", "nvidia-uvm-tools")
NVIDIA_CARDS_MAX = 16
NVIDIA_CAPABILITIES = "/dev/nvidia-caps"


def grants(effective: Effective, host: Host) -> Iterator[Grant | Withheld]:
    """The minimal /dev, then the graphics card."""
    yield _minimal(host)
    wanted = effective.policy.devices.gpu
    if wanted is False:
        yield Withheld(topic="devices", words="no graphics card: it draws with the processor")
        return
    origin = effective.origin("devices.gpu")
    ops = _cards(origin, host, whole=wanted == "full") + _nvidia(origin, host)
    if ops:
        words = "can draw with the graphics card" + (", and set its modes" if wanted == "full" else "")
        yield Grant(
            topic="devices",
            words=words,
            detail="the driver is a large part of the kernel to attack",
            weight=Weight.HOLE if wanted == "full" else Weight.ACCESS,
            origin=origin,
            ops=tuple(ops),
        )
    elif wanted == "if-present":
        yield Withheld(topic="devices", words="no graphics card is there")
    else:
        raise ResolveError(
            "cannot grant the graphics card",
            subject=f"{DRI}: no render node",
            origin=origin,
            hint='set devices.gpu = "if-present" to do without one',
        )


def _minimal(host: Host) -> Grant:
    ops = [_node(f"/dev/{name}", BUILT_IN) for name in NODES]
    ops += [paths.link(f"/dev/{name}", target, BUILT_IN) for name, target in LINKS]
    ops.append(Op(kind=OpKind.PTS, box_path=BoxPath("/dev/pts")))
    for name in NODES:
        if host.type_of(f"/dev/{name}") is not FileType.CHARACTER:
            raise ResolveError(
                "cannot find a device that every program needs", subject=f"/dev/{name}: no device node"
            )
    return Grant(
        topic="devices",
        words="has a minimal /dev with pseudo-terminals of its own",
        weight=Weight.NOTICE,
        origin=BUILT_IN,
        ops=tuple(ops),
    )


def _node(path: str, origin: Origin) -> Op:
    flags = OpFlag.DEVICE | OpFlag.NOEXEC
    return Op(kind=OpKind.BIND, box_path=BoxPath(path), source=HostPath(path), flags=flags, origin=origin)


def _cards(origin: Origin, host: Host, *, whole: bool) -> list[Op]:
    """Nodes of /dev/dri with what libdrm and Mesa read about them: /sys/dev/char, /sys/class/drm, the device itself."""
    ops: list[Op] = []
    for name in host.entries(DRI):
        path = f"{DRI}/{name}"
        if not (name.startswith("renderD") or (whole and name.startswith("card"))):
            continue
        number = host.device(path)
        if number is None or host.type_of(path) is not FileType.CHARACTER:
            continue
        ops.append(_node(path, origin))
        ops += _described(f"/sys/dev/char/{number[0]}:{number[1]}", name, origin, host)
    return ops


def _described(link: str, name: str, origin: Origin, host: Host) -> list[Op]:
    """
    The links by number and by name, as sysfs has them, and the device's directory beneath /sys/devices.

    The directory that holds "drm" is the device; a virtio one is a child of the PCI device that libdrm reads.
    """
    target, real = host.read_link(link), host.resolve(link)
    if target is None or real is None or not real.startswith("/sys/devices/") or "/drm/" not in real:
        return []
    device = real[: real.rindex("/drm/")]
    if posixpath.basename(device).startswith("virtio"):
        device = posixpath.dirname(device)
    relative = "../../" + real.removeprefix("/sys/")
    return [
        paths.link(link, target, origin),
        paths.link(f"/sys/class/drm/{name}", relative, origin),
        Op(
            kind=OpKind.BIND,
            box_path=BoxPath(device),
            source=HostPath(device),
            flags=OpFlag.DIRECTORY,
            origin=origin,
        ),
    ]


def _nvidia(origin: Origin, host: Host) -> list[Op]:
    """The nodes of NVIDIA's own driver, which has no render node that suffices. Source: nvidia-modprobe(1)."""
    if host.type_of(f"/dev/{NVIDIA[0]}") is not FileType.CHARACTER:
        return []
    names = [*NVIDIA, *(f"nvidia{number}" for number in range(NVIDIA_CARDS_MAX))]
    nodes = [f"/dev/{name}" for name in names]
    nodes += [f"{NVIDIA_CAPABILITIES}/{name}" for name in host.entries(NVIDIA_CAPABILITIES)]
    return [_node(node, origin) for node in nodes if host.type_of(node) is FileType.CHARACTER]

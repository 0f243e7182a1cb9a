"""
A plan → the bubblewrap command line that makes the same box.

What comes in: a decoded Plan. What goes out: bwrap's arguments, and what it is to read from descriptors. Where bwrap
has a cheaper idiom of its own it is taken: its --dev stands for all of /dev, its --proc covers most of what SEAL does.
"""

from __future__ import annotations

from collections.abc import Sequence

from sandboxer.plan.ops import EnvKind, Op, OpFlag, OpKind, Plan, PlanFlag

SEALED_BY_PROC = ("/proc/bus", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""What --proc makes read-only by itself. Source: bubblewrap.c, SETUP_MOUNT_PROC."""


class Descriptors:
    """Contents that bwrap reads, numbered from `first` on."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.contents: list[bytes] = []

    def number(self, content: bytes) -> str:
        """The descriptor that will hold `content`."""
        self.contents.append(content)
        return str(self.first + len(self.contents) - 1)


def arguments(plan: Plan, descriptors: Descriptors, hidden_directories: Sequence[str]) -> list[str]:
    """
    What stands between `bwrap` and the command.

    Args:
        hidden_directories: the HIDE operations' places that are directories.
    """
    words = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup"]
    if plan.flags & PlanFlag.PRIVATE_NETWORK:
        words.append("--unshare-net")
    if not plan.flags & PlanFlag.NESTED_NAMESPACES:
        words.append("--disable-userns")
    words += ["--die-with-parent", "--hostname", plan.hostname, "--clearenv"]
    for entry in plan.environment:
        if entry.kind is EnvKind.SET:
            words += ["--setenv", entry.name, entry.value]
    made_dev = False
    for op in plan.ops:
        if op.box_path == "/dev" or op.box_path.startswith("/dev/"):
            if not made_dev:
                words += ["--dev", "/dev"]
            made_dev = True
            if not op.box_path.startswith("/dev/dri"):
                continue
        words += _operation(op, descriptors, op.box_path in hidden_directories)
    words += ["--remount-ro", "/", "--chdir", plan.home, "--seccomp", descriptors.number(plan.program)]
    return [*words, "--"]


def _operation(op: Op, descriptors: Descriptors, is_directory: bool) -> list[str]:
    path, mode = op.box_path, f"{op.mode:04o}"
    if op.kind is OpKind.DIR:
        return ["--perms", mode, "--dir", path]
    if op.kind is OpKind.LINK:
        return ["--symlink", op.source, path]
    if op.kind is OpKind.FILE:
        return ["--perms", mode, "--file", descriptors.number(op.data), path]
    if op.kind is OpKind.BIND:
        if op.flags & OpFlag.DEVICE:
            return ["--dev-bind", op.source, path]
        return ["--bind" if op.flags & OpFlag.WRITE else "--ro-bind", op.source, path]
    if op.kind is OpKind.OWN:
        return ["--perms", mode, "--tmpfs", path]
    if op.kind is OpKind.PROC:
        return ["--proc", path]
    if op.kind is OpKind.SEAL:
        return [] if path in SEALED_BY_PROC else ["--ro-bind", path, path]
    if op.kind is OpKind.HIDE:
        return ["--tmpfs", path, "--remount-ro", path] if is_directory else ["--ro-bind", "/dev/null", path]
    raise AssertionError(f"{op.kind} outside /dev")

"""For an application in a box: what it can do about grants that come and go."""

import ctypes
import errno
import os
import time

from asking import error

EXCHANGE = 2
libc = ctypes.CDLL(None, use_errno=True)
# numbers of x86_64 and of aarch64; the later ones are the same everywhere
OLD = {"umount2": (166, 39), "mount": (165, 40), "pivot_root": (155, 41), "ptrace": (101, 117), "unshare": (272, 97)}
NEW = {"open_tree": 428, "move_mount": 429, "mount_setattr": 442, "fsopen": 430}


def call(name, *words):
    """A system call; "" or the errno's name."""
    number = NEW.get(name) or OLD[name][os.uname().machine == "aarch64"]
    given = [ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    if libc.syscall(ctypes.c_long(number), *given) < 0:
        return errno.errorcode[ctypes.get_errno()]
    return ""


def unmounting(path):
    """Every way to take a mount away, to move it, or to make it writable; which of them worked."""
    name = os.fsencode(path)
    ways = {
        "umount2": lambda: call("umount2", name, 0),
        "umount2 detached": lambda: call("umount2", name, 2),
        "bind": lambda: call("mount", name, b"/tmp", None, 4096, None),
        "move": lambda: call("mount", name, b"/tmp", None, 8192, None),
        "remount": lambda: call("mount", None, name, None, 32 | 4096, None),
        "cover": lambda: call("mount", b"none", name, b"tmpfs", 0, None),
        "open_tree": lambda: call("open_tree", -100, name, 1),
        "move_mount": lambda: call("move_mount", -100, name, -100, b"/tmp", 0),
        "mount_setattr": lambda: call("mount_setattr", -100, name, 0, bytes(32), 32),
        "fsopen": lambda: call("fsopen", b"tmpfs", 0),
        "pivot_root": lambda: call("pivot_root", name, name),
        "rename": lambda: error(os.rename, path, path + "2"),
        "rmdir": lambda: error(os.rmdir, path),
        "unshare": lambda: call("unshare", 0x10000000 | 0x20000),
    }
    return [way for way, go in ways.items() if go() == ""]


def exchange_for(seconds, one, other):
    """Exchange two names without end, in a process of its own; its pid."""
    process = os.fork()
    if process:
        return process
    names = os.fsencode(one), os.fsencode(other)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        libc.renameat2(-100, names[0], -100, names[1], EXCHANGE)
    return os._exit(0)


def watch_processes(seconds):
    """Look for processes that aren't the box's own, and signal and trace all that there are, for so long."""
    own = {1, os.getpid()}
    strange, until = set(), time.monotonic() + seconds
    while time.monotonic() < until:
        for name in filter(str.isdecimal, os.listdir("/proc")):
            if int(name) not in own:
                try:
                    with open(f"/proc/{name}/cmdline", "rb") as file:
                        strange.add((int(name), file.read()))
                except OSError:
                    strange.add((int(name), b"?"))
                for signal_number in (9, 19):
                    error(os.kill, int(name), signal_number)
                call("ptrace", 16, int(name), 0, 0)
        error(os.kill, -1, 18)
    return sorted(strange)


def mounts():
    with open("/proc/self/mountinfo") as file:
        return sorted(line.split(" - ")[0].split()[4] for line in file)

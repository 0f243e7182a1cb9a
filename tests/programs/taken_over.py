"""
What code in a broker that was taken over can still do: confines itself as the broker does, by the same rules, and then
tries one thing.

    python taken_over.py RULES ATTEMPT [WORD...]

The last line says how it ended, as tests/escape/kernel.py has it; a call that the filter ends the process for leaves no
line.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from sandboxer.broker.confine import confine
from sandboxer.broker.log import Log
from sandboxer.broker.roots import open_roots
from sandboxer.broker.rules import decode
from sandboxer.broker.verdicts import Table, encoded

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """A function of the C library; every refusal is an OSError."""
    result = int(getattr(libc, name)(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def read(path: str) -> object:
    fd = os.open(path, os.O_RDONLY)
    return os.read(fd, 100)


def write(path: str) -> object:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    return os.write(fd, b"taken over")


def listing(path: str) -> object:
    return os.listdir(path)


def remove(path: str) -> None:
    os.unlink(path)


def link(source: str, target: str) -> None:
    os.link(source, target)


def soft_link(source: str, target: str) -> None:
    os.symlink(source, target)


def move(source: str, target: str) -> None:
    os.rename(source, target)


def mode(path: str) -> None:
    os.chmod(path, 0o777)


def execute(path: str) -> None:
    os.execv(path, [path])


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def thread() -> None:
    import _thread

    _thread.start_new_thread(int, ())


def inet() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def netlink() -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)


def datagram() -> None:
    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)


def abstract(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0{name}")


def trace(pid: str) -> None:
    call("ptrace", 16, int(pid), 0, 0)


def memory(pid: str) -> object:
    return read(f"/proc/{pid}/mem")


def environment(pid: str) -> object:
    return read(f"/proc/{pid}/environ")


def kill(pid: str) -> None:
    os.kill(int(pid), signal.SIGTERM)


def pidfd(pid: str) -> None:
    os.pidfd_open(int(pid))


def limits(pid: str) -> None:
    resource.prlimit(int(pid), resource.RLIMIT_NOFILE, (1, 1))


def executable_memory() -> None:
    libc.mmap.restype = ctypes.c_long
    call("mmap", None, ctypes.c_size_t(4096), 5, 0x22, -1, ctypes.c_long(0))


def namespaces() -> None:
    call("unshare", 0x10000000)


def mount() -> None:
    call("mount", b"/", b"/mnt", None, 4096, None)


def keys() -> None:
    call("syscall", 250, 0, -3, 0, 0, 0)


def bpf() -> None:
    call("syscall", 321, 0, 0, 0)


def ring() -> None:
    call("syscall", 425, 1, ctypes.create_string_buffer(120))


def handle() -> None:
    call("syscall", 304, -100, ctypes.create_string_buffer(32), 0)


def terminal() -> None:
    import fcntl

    fcntl.ioctl(2, 0x5412, b"x")


def dump() -> None:
    call("prctl", 4, 1, 0, 0, 0)
    if call("prctl", 3, 0, 0, 0, 0):
        return
    raise OSError(errno.EPERM, "")


def listen(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)


ATTEMPTS: dict[str, Callable[..., object]] = {
    function.__name__: function
    for function in (
        read, write, listing, remove, link, soft_link, move, mode, execute, fork, thread, inet, netlink, datagram,
        abstract, trace, memory, environment, kill, pidfd, limits, executable_memory, namespaces, mount, keys, bpf,
        ring, handle, terminal, dump, listen,
    )
}  # fmt: skip


def main() -> None:
    """Confine, then try."""
    rules = decode(Path(sys.argv[1]).read_bytes())
    table = Table(rules)
    log = Log(encoded(rules.log), rules.app, "box.1")
    attempt, words = ATTEMPTS[sys.argv[2]], sys.argv[3:]
    open_roots(table)
    if not os.environ.get("UNCONFINED"):
        confine(table, log.directory, rules.program)
    try:
        loot = attempt(*words)
    except OSError as error:
        os.write(1, f"refused: {errno.errorcode.get(error.errno or 0, str(error))}\n".encode())
    except RuntimeError as error:
        os.write(1, f"refused: {error}\n".encode())
    else:
        os.write(1, f"succeeded: {loot!r}\n".encode())


main()

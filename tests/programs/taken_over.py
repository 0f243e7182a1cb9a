"""
What code in a broker that was taken over can still do: leaves the host's tree and confines itself as the broker does,
by the same rules, and then tries one thing. It is started in namespaces of its own, as the launcher starts a broker.

    python taken_over.py RULES ATTEMPT [WORD...]

A path that lies in a rule's directory is tried from that directory's descriptor, as a broker that has been taken over
would; others are tried as they are.

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

from sandboxer.broker import own_root
from sandboxer.broker.confine import confine
from sandboxer.broker.connect import hold
from sandboxer.broker.log import Log
from sandboxer.broker.roots import open_roots
from sandboxer.broker.rules import decode
from sandboxer.broker.verdicts import Table, encoded, lies_in

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """A function of the C library; every refusal is an OSError."""
    result = int(getattr(libc, name)(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


places: list[tuple[bytes, int]] = []
"""The rules' directories as the host calls them, and their descriptors."""


def at(path: str) -> tuple[str, int | None]:
    """A path from the nearest rule's directory, with that directory's descriptor."""
    for root, fd in sorted(places, reverse=True):
        if lies_in(os.fsencode(path), root):
            return path[len(root) + 1 :] or ".", fd
    return path, None


def opened(path: str, flags: int) -> int:
    name, fd = at(path)
    return os.open(name, flags, 0o600, dir_fd=fd)


def read(path: str) -> object:
    return os.read(opened(path, os.O_RDONLY), 100)


def write(path: str) -> object:
    return os.write(opened(path, os.O_WRONLY | os.O_CREAT), b"taken over")


def listing(path: str) -> object:
    return os.listdir(opened(path, os.O_RDONLY | os.O_DIRECTORY))


def remove(path: str) -> None:
    name, fd = at(path)
    os.unlink(name, dir_fd=fd)


def link(source: str, target: str) -> None:
    (name, fd), (made, made_fd) = at(source), at(target)
    os.link(name, made, src_dir_fd=fd, dst_dir_fd=made_fd)


def soft_link(source: str, target: str) -> None:
    name, fd = at(target)
    os.symlink(source, name, dir_fd=fd)


def move(source: str, target: str) -> None:
    (name, fd), (made, made_fd) = at(source), at(target)
    os.rename(name, made, src_dir_fd=fd, dst_dir_fd=made_fd)


def mode(path: str) -> None:
    name, fd = at(path)
    os.chmod(name, 0o777, dir_fd=fd)


def look(path: str) -> object:
    name, fd = at(path)
    return os.stat(name, dir_fd=fd).st_ino


def target(path: str) -> object:
    name, fd = at(path)
    return os.readlink(name, dir_fd=fd)


def watch(path: str) -> object:
    name, fd = at(path)
    inotify = call("inotify_init1", 0)
    return call("inotify_add_watch", inotify, os.fsencode(name if fd is None else f"/proc/self/fd/{fd}/{name}"), 2)


def connect(path: str) -> None:
    name, fd = at(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(name if fd is None else f"/proc/self/fd/{fd}/{name}")


def send_to(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"taken over", path)


def send_from_a_pair(path: str) -> None:
    one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    one.sendto(b"taken over", path)


def datagram_pair() -> None:
    socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


def climb() -> object:
    """From each descriptor of a directory, as far up as it goes: the names of what lies above a rule's directory."""
    found = []
    for _, fd in places:
        start = os.fstat(fd)
        for path in ("..", "../..", "../../../../../../../../.."):
            status = os.stat(path, dir_fd=fd)
            if (status.st_dev, status.st_ino) != (start.st_dev, start.st_ino):
                found.append(path)
    for name in map(str, range(256)):
        try:
            status = os.stat(f"/proc/self/fd/{name}/../etc/passwd")
        except OSError:
            continue
        found.append(f"{name}: {status.st_ino}")
    if not found:
        raise OSError(errno.ENOENT, "")
    return found


def hand_out(address: str) -> None:
    """Send the first rule's directory to somebody who listens in a rule's directory."""
    name, fd = at(address)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"/proc/self/fd/{fd}/{name}")
        socket.send_fds(client, [b"x"], [places[0][1]])


def mode_by_descriptor(path: str) -> None:
    call("fchmod", opened(path, os.O_RDONLY), 0o777)


def attribute_by_descriptor(path: str) -> None:
    os.setxattr(opened(path, os.O_RDONLY), "user.taken", b"over")


def times_by_descriptor(path: str) -> None:
    os.utime(opened(path, os.O_RDONLY))


def reopen_to_write(path: str) -> object:
    return os.open(f"/proc/self/fd/{opened(path, os.O_RDONLY)}", os.O_WRONLY)


def owner(command: str, argument: str) -> None:
    import fcntl

    one, _ = socket.socketpair()
    fcntl.fcntl(one, int(command), int(argument))


def asynchronous() -> None:
    import fcntl

    one, _ = socket.socketpair()
    fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC)


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
        ring, handle, terminal, dump, listen, look, target, watch, connect, send_to, send_from_a_pair, datagram_pair,
        climb, mode_by_descriptor, attribute_by_descriptor, times_by_descriptor, reopen_to_write, owner, asynchronous,
        hand_out,
    )
}  # fmt: skip


def main() -> None:
    """Confine, then try."""
    rules = decode(Path(sys.argv[1]).read_bytes())
    table = Table(rules)
    log = Log(encoded(rules.log), rules.app, "box.1")
    attempt, words = ATTEMPTS[sys.argv[2]], sys.argv[3:]
    open_roots(table)
    hold(table.services.values())
    if not os.environ.get("UNCONFINED"):
        own_root.leave(table, log)
    places.extend({place.root: place.fd for place in table.places if place.fd >= 0}.items())
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

"""
Plays the Python half: what the launcher starts as broker or steward when this file is its interpreter.

It writes down how it was started, as JSON in the directory `started` beside itself (WORD-NUMBER.json), then serves its
sockets: each message on a connection is a command, answered by one message. It ends when it is told to; no more than
what a test looks at is kept.

Commands of both: "pid", "end STATUS", "die", "hold" (no answer, the connection stays). Of the broker: "tell TEXT"
(to the steward, and its answer). Of the steward: "order BYTES" (to the box's first process, and its answer).
A file `broker.first` or `steward.first` holds a command that is carried out before anything is served.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import time

PR_GET_PDEATHSIG, F_GET_SEALS = 2, 1034
PATIENCE_S = 10.0


def descriptors() -> dict[str, dict[str, object]]:
    """What is open, but for the descriptor that looks."""
    found: dict[str, dict[str, object]] = {}
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            found[name] = {
                "is": os.readlink(f"/proc/self/fd/{name}"),
                "closes": bool(fcntl.fcntl(int(name), fcntl.F_GETFD) & fcntl.FD_CLOEXEC),
            }
        except OSError:
            continue
    return found


def kind_of(fd: int) -> list[int]:
    """A socket's family, type, and whether it listens."""
    with socket.socket(fileno=os.dup(fd)) as copy:
        return [copy.family, copy.type, copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)]


def facts(sockets: dict[str, int]) -> dict[str, object]:
    death_signal = ctypes.c_int(-1)
    ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(death_signal), 0, 0, 0)
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    place = os.lseek(0, 0, os.SEEK_CUR)
    try:
        os.write(0, b"x")
        writable = True
    except OSError:
        writable = False
    return {
        "words": sys.argv[1:],
        "time": time.monotonic(),
        "pid": os.getpid(),
        "parent": os.getppid(),
        "directory": os.getcwd(),
        "capabilities": [status["CapPrm"], status["CapAmb"]],
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in ("user", "mnt", "net", "pid")},
        "session": os.getsid(0),
        "group": os.getpgid(0),
        "death": death_signal.value,
        "blocked": status["SigBlk"],
        "ignored": status["SigIgn"],
        "environment": dict(os.environ),
        "descriptors": descriptors(),
        "sockets": {name: kind_of(fd) for name, fd in sockets.items()},
        "input": os.pread(0, 1 << 20, 0).hex(),
        "place": place,
        "seals": fcntl.fcntl(0, F_GET_SEALS),
        "writable": writable,
    }


def note(directory: str, word: str, content: dict[str, object]) -> None:
    started = os.path.join(directory, "started")
    number = sum(name.startswith(word) and name.endswith(".json") for name in os.listdir(started))
    draft = os.path.join(started, f"{word}-{number}.draft")
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.rename(draft, os.path.join(started, f"{word}-{number}.json"))


def asked(fd: int, message: bytes) -> bytes:
    """Send to a descriptor, and what comes back."""
    with socket.socket(fileno=os.dup(fd)) as other:
        other.settimeout(PATIENCE_S)
        other.send(message)
        return other.recv(65536)


def obey(message: bytes, sockets: dict[str, int]) -> bytes | None:
    """The answer to a command; None for none."""
    command, _, rest = message.partition(b" ")
    if command == b"end":
        os._exit(int(rest))
    if command == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    if command == b"hold":
        return None
    if command == b"tell":
        return asked(sockets["steward"], rest)
    if command == b"order":
        return b"%d" % struct.unpack("=i", asked(sockets["orders"], rest))
    return b"%d" % os.getpid()


def serve(word: str, sockets: dict[str, int]) -> None:
    listeners: dict[int, socket.socket] = {}
    connections: dict[int, socket.socket] = {}
    poll = select.poll()
    for name, fd in sockets.items():
        held = socket.socket(fileno=fd)
        if kind_of(fd)[2]:
            listeners[fd] = held
        elif (word, name) in (("broker", "descriptor"), ("steward", "broker")):
            connections[fd] = held
        else:
            held.detach()
            continue
        poll.register(fd, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd in listeners:
                new, _address = listeners[fd].accept()
                connections[new.fileno()] = new
                poll.register(new, select.POLLIN)
                continue
            try:
                message = connections[fd].recv(65536)
            except ConnectionResetError:
                message = b""
            if not message:
                poll.unregister(fd)
                connections.pop(fd).close()
                continue
            answer = obey(message, sockets)
            if answer is not None:
                connections[fd].send(answer)


def main() -> None:
    word = sys.argv[5]
    sockets = {name: int(fd) for name, fd in (one.split("=") for one in sys.argv[7:])}
    directory = os.path.dirname(sys.argv[0])
    note(directory, word, facts(sockets))
    try:
        with open(os.path.join(directory, f"{word}.first"), "rb") as file:
            obey(file.read(), sockets)
    except FileNotFoundError:
        pass
    serve(word, sockets)


main()

"""
A service that says what it meets, for tests of units: `service.py LOG [READY_AFTER_S]`.

Lines of LOG, each once it is so: `started {json}` with arguments, environment, descriptors and directory; `reload`;
`term`; `got TEXT` for each connection. It notifies READY, RELOADING, STATUS, WATCHDOG, STOPPING as sd_notify(3) has
them, and answers connections on the listening sockets that it was passed. What a connection says it does:

    quiet           stop telling the watchdog
    exit N, die N   end with a status, or by a signal
    status TEXT     tell it
    forge           tell what a box may not: MAINPID=, FDSTORE=1 with a descriptor, and a status in the same message
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path


def notify(text: str, fds: tuple[int, ...] = ()) -> None:
    """One message to whom NOTIFY_SOCKET names; nothing without one."""
    place = os.environ.get("NOTIFY_SOCKET")
    if not place:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        data = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        out.sendmsg([text.encode()], data, 0, place if place[0] != "@" else "\0" + place[1:])


def say(line: str) -> None:
    """One line of the log."""
    with open(sys.argv[1], "a", encoding="utf-8") as log:
        log.write(f"{line}\n")


def reload(*_: object) -> None:
    """SIGHUP."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
    say("reload")
    notify("READY=1\nSTATUS=reloaded")


def term(*_: object) -> None:
    """SIGTERM."""
    notify("STOPPING=1")
    say("term")
    sys.exit(0)


def obey(text: str) -> None:
    """What a connection says."""
    verb, _, rest = text.partition(" ")
    if verb == "quiet":
        pinging.clear()
    elif verb == "exit":
        os._exit(int(rest))
    elif verb == "die":
        signal.signal(int(rest), signal.SIG_DFL)
        os.kill(os.getpid(), int(rest))
    elif verb == "status":
        notify(f"STATUS={rest}")
    elif verb == "forge":
        notify("MAINPID=1\nSTATUS=forged\nNOTIFYACCESS=all")
        notify("FDSTORE=1\nFDNAME=stolen", (0,))


pinging = [True]
listeners = [socket.socket(fileno=3 + number) for number in range(int(os.environ.get("LISTEN_FDS", "0")))]
signal.signal(signal.SIGHUP, reload)
signal.signal(signal.SIGTERM, term)
facts = {
    "argv": sys.argv,
    "argv0": Path("/proc/self/cmdline").read_bytes().split(b"\0")[0].decode(),
    "pid": os.getpid(),
    "environment": dict(os.environ),
    "directory": os.getcwd(),
    "namespace": os.readlink("/proc/self/ns/mnt"),
    "descriptors": len(listeners),
}
say(f"started {json.dumps(facts)}")
time.sleep(float(sys.argv[2]) if len(sys.argv) > 2 else 0)
notify("READY=1\nSTATUS=at work")
pause_s = int(os.environ.get("WATCHDOG_USEC", "1000000")) / 1e6 / 4
while True:
    if pinging:
        notify("WATCHDOG=1")
    for listener in select.select(listeners, [], [], pause_s)[0]:
        client, _ = listener.accept()
        with client:
            said = client.recv(1000).decode()
            say(f"got {said}")
            client.sendall(b"from the box")
        obey(said)

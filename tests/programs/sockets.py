"""For an application in a box: every socket that it can find, tried."""

import os
import socket
import stat

KINDS = (socket.SOCK_SEQPACKET, socket.SOCK_STREAM, socket.SOCK_DGRAM)


def connected(address):
    """The kinds of socket by which something at an address can be connected to."""
    found = []
    for kind in KINDS:
        with socket.socket(socket.AF_UNIX, kind) as one:
            one.settimeout(5)
            try:
                one.connect(address)
            except (OSError, ValueError):
                continue
            found.append(kind)
    return found


def in_tree(tops):
    """Paths of sockets that lie beneath some directories, those that the processes of the box have among them."""
    found = []
    for top in tops:
        for directory, _, files in os.walk(top):
            for name in files:
                path = os.path.join(directory, name)
                try:
                    if stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode):
                        found.append(path)
                except OSError:
                    continue
    return found


def in_proc():
    """The names of sockets that the kernel lists."""
    with open("/proc/net/unix") as file:
        return sorted({line.split()[7] for line in file.read().splitlines()[1:] if len(line.split()) > 7})


def reachable(tops=("/run", "/tmp", "/var", "/home", "/dev")):
    """Paths and names that can be connected to."""
    names = [name.replace("@", "\0", 1) if name.startswith("@") else name for name in in_proc()]
    places = {*in_tree(tops), *names}
    for process in filter(str.isdecimal, os.listdir("/proc")):
        places.update(name.replace("/", f"/proc/{process}/root/", 1) for name in in_proc() if name.startswith("/"))
    return sorted(place for place in places if connected(place))


def said(path, content):
    """What the one that listens at a path answers; "" for the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
        one.settimeout(10)
        here = os.open(os.path.dirname(path), os.O_PATH)
        try:
            one.connect(f"/proc/self/fd/{here}/{os.path.basename(path)}")
        finally:
            os.close(here)
        one.send(content)
        return one.recv(65536)

"""
For an application in a box: what a client can ask, and what no client would.

It stands beside the client in a directory that the box is shown (tests/brokered.py), and so do the other programs here
that begin with its names.
"""

import errno
import fcntl
import os
import select  # noqa: F401 - for those who take all names from here
import signal  # noqa: F401
import socket
import stat  # noqa: F401
import struct
import subprocess
import threading  # noqa: F401
import time

from sandboxer import client


def error(function, *words, **more):
    """The errno's name; "" when all is well."""
    try:
        function(*words, **more)
    except OSError as caught:
        return errno.errorcode[caught.errno]
    return ""


def run(*words, given=b"", fds=()):
    """A program's status, output and errors."""
    done = subprocess.run(words, input=given, capture_output=True, pass_fds=fds, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def ask(*words, given=b""):
    """The command's status, output and errors."""
    return run("sandbox-broker", *words, given=given)


def read(path):
    """A file's content."""
    with open(path, "rb", opener=client.open) as file:
        return file.read()


def write(path, content, flags=os.O_WRONLY):
    """Write to a file that is opened so."""
    fd = client.open(path, flags)
    try:
        return os.write(fd, content)
    finally:
        os.close(fd)


def facts(fd):
    """Flags of a descriptor and of what is open, and the mode; it is closed."""
    try:
        return [fcntl.fcntl(fd, fcntl.F_GETFD), fcntl.fcntl(fd, fcntl.F_GETFL), os.fstat(fd).st_mode]
    finally:
        os.close(fd)


def message(command, path=b"", second=b"", flags=0, argument=0, version=1):
    """A request as it travels."""
    first, other = os.fsencode(path), os.fsencode(second)
    return struct.pack("=HHIIHH", version, command, flags, argument, len(first), len(other)) + first + other


def connection(place=None, timeout=10):
    """A new connection to the broker."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.settimeout(timeout)
    made.connect(place or os.environ["SANDBOXER_BROKER"])
    return made


def answer(made):
    """errno (None at the end), what follows, descriptors."""
    data, control, _, _ = made.recvmsg(65536, 4096)
    fds = [fd for _, _, more in control for (fd,) in struct.iter_unpack("i", more)]
    return (struct.unpack_from("=HHiQ", data)[2] if data else None), data[16:], fds


def raw(data, timeout=10):
    """The answer to a message on a new connection: errno's name, "ok" or "end"; what follows; modes of descriptors."""
    with connection(timeout=timeout) as made:
        made.send(data)
        error, rest, fds = answer(made)
        kinds = [os.fstat(fd).st_mode for fd in fds]
        for fd in fds:
            os.close(fd)
        return ("end" if error is None else errno.errorcode.get(error, "ok"), rest, kinds)


def opens(path, flags=1):
    """What a request to open is answered."""
    return raw(message(1, path, flags=flags))[0]


def taken(function, *words, **more):
    """The errno's name, and seconds."""
    start = time.monotonic()
    result = error(function, *words, **more)
    return result, time.monotonic() - start

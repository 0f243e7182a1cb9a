"""
The broker's protocol, in one table.

What the C header, the documentation and the tests are generated from or held against. Messages travel over a unix
socket of type SOCK_SEQPACKET, one request and one reply at a time, in the machine's byte order. Nothing here sends or
receives, and nothing is imported that would cost the broker memory.
"""

from __future__ import annotations

import struct

VERSION = 1

REQUEST = struct.Struct("=HHIIHH")
"""version, command, flags, argument, bytes of the first path, bytes of the second; both follow, without a NUL."""
REPLY = struct.Struct("=HHiQ")
"""version, command, errno or 0, value; then what the command gives. A descriptor comes as SCM_RIGHTS."""
STAT = struct.Struct("=QQQqqqIIII")
"""device, inode, size, mtime, ctime and atime in nanoseconds, mode, links, uid, gid."""

REQUEST_FIELDS = ("version", "command", "flags", "argument", "first_size", "second_size")
REPLY_FIELDS = ("version", "command", "error", "value")
STAT_FIELDS = ("device", "inode", "size", "mtime_ns", "ctime_ns", "atime_ns", "mode", "links", "uid", "gid")
"""The names of the numbers in each, for the C header and the documentation."""

PATH_SIZE_MAX = 4095
"""Bytes, without a NUL: as PATH_MAX."""
REQUEST_SIZE_MAX = REQUEST.size + 2 * PATH_SIZE_MAX
REPLY_SIZE_MAX = 16384

SOCKET = "/run/sandboxer/broker"
"""Where the broker listens, in the box."""
VARIABLE = "SANDBOXER_BROKER"
"""Holds the path of the socket."""
DESCRIPTOR_VARIABLE = "SANDBOXER_BROKER_FD"
"""Holds the number of a connected descriptor, where the policy gives one (`broker.descriptor`)."""


class Command:
    """What a command takes and gives, for the documentation as well."""

    __slots__ = ("argument", "does", "flags", "gives", "name", "number", "paths")

    def __init__(
        self, number: int, name: str, paths: int, does: str, *, flags: int = 0, argument: str = "", gives: str = ""
    ) -> None:
        self.number = number
        self.name = name
        self.paths = paths
        self.does = does
        self.flags = flags
        self.argument = argument
        self.gives = gives


READ, WRITE, APPEND, CREATE, EXCLUSIVE, TRUNCATE = 1, 2, 4, 8, 16, 32
NO_FOLLOW, DIRECTORY, NO_REPLACE = 64, 128, 256

FLAGS = {
    READ: ("read", "open for reading"),
    WRITE: ("write", "open for writing"),
    APPEND: ("append", "open so that each write goes to the end"),
    CREATE: ("create", "make the file when it isn't there; needs WRITE or APPEND"),
    EXCLUSIVE: ("exclusive", "with CREATE: fail with EEXIST when it is there"),
    TRUNCATE: ("truncate", "with WRITE: empty the file"),
    NO_FOLLOW: ("no_follow", "look at a symbolic link itself"),
    DIRECTORY: ("directory", "remove an empty directory"),
    NO_REPLACE: ("no_replace", "fail with EEXIST when the new name is there"),
}
"""Bit → name, meaning. A bit that a command doesn't take is EINVAL."""

HELLO, OPEN, STAT_, ACCESS, READLINK, LIST, MKDIR, RENAME, UNLINK, WATCH, CONNECT, PRESENT = range(12)

COMMANDS = (
    Command(HELLO, "hello", 0, "ask whether the broker is there", gives="value: the largest request, in bytes"),
    Command(
        OPEN,
        "open",
        1,
        "open a regular file",
        flags=READ | WRITE | APPEND | CREATE | EXCLUSIVE | TRUNCATE,
        argument="mode of a file that is made, within 0755; 0 stands for 0600",
        gives="a descriptor",
    ),
    Command(STAT_, "stat", 1, "look at what a path names", flags=NO_FOLLOW, gives="a struct of STAT"),
    Command(
        ACCESS,
        "access",
        1,
        "ask whether the broker would open it",
        argument="R_OK, W_OK as access(2), 0 for F_OK; X_OK is always refused",
    ),
    Command(READLINK, "readlink", 1, "read a symbolic link", gives="its content"),
    Command(
        LIST,
        "list",
        1,
        "read a directory, in the order of names",
        gives="entries: one letter (f, d, l, or o for others), the name, a NUL; value: 1 when more follow, which "
        "are asked for with the last name as the second path",
    ),
    Command(MKDIR, "mkdir", 1, "make a directory", argument="mode, within 0755; 0 stands for 0700"),
    Command(
        RENAME,
        "rename",
        2,
        "rename within one rule's directory; over what is there only with the right to unlink it",
        flags=NO_REPLACE,
    ),
    Command(UNLINK, "unlink", 1, "remove a file, a link or an empty directory", flags=DIRECTORY),
    Command(
        WATCH,
        "watch",
        1,
        "be told of changes",
        argument="a mask of inotify(7); IN_DONT_FOLLOW is implied",
        gives="an inotify descriptor, close-on-exec and non-blocking, with one watch; value: its number",
    ),
    Command(CONNECT, "connect", 1, "connect to a service by the name that the policy uses", gives="a connected socket"),
    Command(PRESENT, "present", 1, "open a link or a file outside, with the user's own program for it"),
)
"""In the order of their numbers. LIST takes a second path, the name to go on after, when the first answer was cut."""

OPTIONAL_SECOND = (LIST,)
"""Commands that take one path or two."""

REPEATABLE = (HELLO, OPEN, STAT_, ACCESS, READLINK, LIST)
"""Commands that a client may send again when the broker ended on them; OPEN only without CREATE and TRUNCATE."""

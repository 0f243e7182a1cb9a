"""
The broker's client: how a program in the box asks for what lies outside, one descriptor at a time.

What comes in: paths and flags as the functions of `os` take them. What goes out: what those functions give, descriptors
close-on-exec. It decides nothing, prints nothing and starts nothing; a refusal is the OSError of the broker's errno.

    from sandboxer import client
    with open("/home/u/Pictures/a.png", "rb", opener=client.open) as file: ...

It needs the standard library, `sandboxer.broker.protocol` and `.channel`, imports little of them, and believes nothing
of a reply that it hasn't looked at. The protocol is in broker/PROTOCOL.md.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct
from os import O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY

from sandboxer.broker import protocol
from sandboxer.broker.channel import AnyPath, Channel, close_all, failure
from sandboxer.broker.protocol import PATH_SIZE_MAX, REPLY_SIZE_MAX, VERSION

TYPE_CHECKING = False  # as in `typing`, which is larger than all of this
if TYPE_CHECKING:
    from socket import socket
    from types import TracebackType
    from typing import AnyStr

IN_CHANGES = 0xFCE
"""IN_MODIFY, ATTRIB, CLOSE_WRITE, MOVE, CREATE, DELETE and both of the watched itself. Source: inotify(7)."""
REPLY_SIZE = protocol.REPLY.size

_CHANGING = protocol.CREATE | protocol.TRUNCATE
_MODE = 0o755
_IGNORED = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
"""Flags that hold for, or mean nothing to, every regular file."""
_REFUSALS = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EROFS, errno.EXDEV)
"""What `access` answers False for."""
_FILE_TYPE = 0o170000
_REGULAR, _SOCKET, _ANONYMOUS = 0o100000, 0o140000, 0
"""Types in st_mode; an inotify descriptor has none."""
_CUT = _socket.MSG_TRUNC | _socket.MSG_CTRUNC
_RIGHTS_SIZE = _socket.CMSG_SPACE(4)
_NOTHING = b""
_LINK_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?#[]@!$&()*+,;=%")
"""What stands in a link as it is; all else is percent-encoded. Source: RFC 3986, 2; the broker takes no apostrophe."""

_pack, _unpack = protocol.REQUEST.pack, protocol.REPLY.unpack_from
_descriptor_of = struct.Struct("=i").unpack


class Broker:
    """
    One connection to the broker, made when it is first needed, and made again where the broker has ended.

    Threads may share it: requests are answered one after the other, so that a thread waits while another's `present` or
    a slow disk is waited for; one that mustn't has a Broker of its own. A child of fork() connects anew.

    Every method raises OSError with the broker's errno and the path as it was given. EPIPE: the broker ended without an
    answer, and what was asked for may have been done. ETIMEDOUT: no answer within TIMEOUT_S. EPROTO: an answer that is
    none. ENOENT or ECONNREFUSED with the socket's path: there is no broker.

    Args:
        address: the socket's path; else the descriptor that SANDBOXER_BROKER_FD names, where no process uses it yet,
            else the path in SANDBOXER_BROKER, else /run/sandboxer/broker.
    """

    __slots__ = ("_channel", "_exchange")

    def __init__(self, address: str | None = None) -> None:
        self._channel = Channel(address)
        self._exchange = self._channel.exchange

    def __enter__(self) -> Broker:  # noqa: PYI034 - Self is from `typing`, which isn't imported here
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. The next request makes another."""
        self._channel.close()

    def connect(self) -> None:
        """Connect now, where it isn't connected. OSError with the socket's path when nobody listens."""
        self._channel.connect()

    def hello(self) -> int:
        """Ask whether the broker is there, which starts it. Returns the size of the largest request, in bytes."""
        return self._ask(protocol.HELLO, None, again=True)[0]

    def open(self, path: AnyPath, flags: int = O_RDONLY, mode: int = 0o600) -> int:
        """
        Open a regular file, as os.open does; also the `opener` of the built-in open().

        Args:
            flags: O_RDONLY, O_WRONLY or O_RDWR, with O_APPEND, O_CREAT, O_EXCL, O_TRUNC; without O_CREAT and O_TRUNC
                it is asked again when the broker ended. Others than those that mean nothing here are EINVAL.
            mode: of a file that is made, whatever the umask. The built-in open() leaves it at 0600.
        """
        asked = _open_flags.get(flags)
        if asked is None:
            asked = _asked_flags(flags, path)
        name = _absolute(path)
        argument = mode & _MODE if asked & protocol.CREATE else 0
        request = _pack(VERSION, protocol.OPEN, asked, argument, len(name), 0) + name
        return self._descriptor(protocol.OPEN, request, path, _REGULAR, again=not asked & _CHANGING)[0]

    def stat(self, path: AnyPath, *, follow_symlinks: bool = True) -> os.stat_result:
        """As os.stat. Blocks and device numbers of device files aren't told: 0."""
        flags = 0 if follow_symlinks else protocol.NO_FOLLOW
        _, data = self._ask(protocol.STAT_, path, flags=flags, size=protocol.STAT.size, again=True)
        if len(data) != protocol.STAT.size:
            raise self._lied(path)
        device, inode, size, mtime, ctime, atime, mode, links, uid, gid = protocol.STAT.unpack(data)
        times = {"st_atime_ns": atime, "st_mtime_ns": mtime, "st_ctime_ns": ctime}
        seconds = [time // 10**9 for time in (atime, mtime, ctime)]
        floats = {name[:-3]: time // 10**9 + 1e-9 * (time % 10**9) for name, time in times.items()}
        return os.stat_result((mode, inode, device, links, uid, gid, size, *seconds), times | floats)

    def lstat(self, path: AnyPath) -> os.stat_result:
        """As os.lstat."""
        return self.stat(path, follow_symlinks=False)

    def access(self, path: AnyPath, mode: int = 0) -> bool:
        """As os.access: whether the broker would open it for this (R_OK, W_OK), by its rules and by the file's own."""
        try:
            self._ask(protocol.ACCESS, path, argument=mode, again=True)
        except OSError as error:
            if error.errno not in _REFUSALS or error.filename is not path:
                raise
            return False
        return True

    def readlink(self, path: AnyStr | os.PathLike[AnyStr]) -> AnyStr:
        """As os.readlink."""
        _, data = self._ask(protocol.READLINK, path, size=PATH_SIZE_MAX, again=True)
        if not data or b"\0" in data:
            raise self._lied(path)
        return _as(path, data)

    def entries(self, path: AnyStr | os.PathLike[AnyStr]) -> list[tuple[AnyStr, str]]:
        """What is in a directory, in the order of names' bytes: name, and "f", "d", "l", or "o" for anything else."""
        found: list[tuple[bytes, str]] = []
        last, more = _NOTHING, 1
        while more:
            more, data = self._ask(protocol.LIST, path, second=last, size=REPLY_SIZE_MAX - REPLY_SIZE, again=True)
            *items, rest = data.split(b"\0")
            if rest or more not in {0, 1} or (more and not items):
                raise self._lied(path)
            for item in items:
                name = item[1:]
                if name <= last or b"/" in name or item[:1] not in {b"f", b"d", b"l", b"o"}:
                    raise self._lied(path)
                last = name
                found.append((name, item[:1].decode("ascii")))
        return [(_as(path, name), kind) for name, kind in found]

    def listdir(self, path: AnyStr | os.PathLike[AnyStr]) -> list[AnyStr]:
        """As os.listdir, in the order of the names' bytes."""
        return [name for name, _ in self.entries(path)]

    def mkdir(self, path: AnyPath, mode: int = 0o700) -> None:
        """As os.mkdir, whatever the umask."""
        self._ask(protocol.MKDIR, path, argument=mode & _MODE)

    def rename(self, source: AnyPath, target: AnyPath, *, replace: bool = True) -> None:
        """
        As os.rename, within what one rule grants. EEXIST where `target` is, without `replace` or where the rules don't
        let it be removed.
        """
        flags = 0 if replace else protocol.NO_REPLACE
        self._ask(protocol.RENAME, source, target, flags=flags, second=_absolute(target))

    def unlink(self, path: AnyPath) -> None:
        """As os.unlink."""
        self._ask(protocol.UNLINK, path)

    def rmdir(self, path: AnyPath) -> None:
        """As os.rmdir."""
        self._ask(protocol.UNLINK, path, flags=protocol.DIRECTORY)

    def watch(self, path: AnyPath, mask: int = IN_CHANGES) -> int:
        """Returns an inotify descriptor, non-blocking, which tells of changes to `path` by inotify(7)'s `mask`."""
        name = _absolute(path)
        request = _pack(VERSION, protocol.WATCH, 0, mask, len(name), 0) + name
        return self._descriptor(protocol.WATCH, request, path, _ANONYMOUS)[0]

    def connect_to(self, service: str) -> socket:
        """Returns a socket that is connected to a service, by the policy's name for it ("pulseaudio")."""
        name = _sendable(os.fsencode(service), service)
        request = _pack(VERSION, protocol.CONNECT, 0, 0, len(name), 0) + name
        fd, _ = self._descriptor(protocol.CONNECT, request, service, _SOCKET)
        import socket  # thrice as large as all of this

        return socket.socket(fileno=fd)

    def present(self, text: AnyPath) -> None:
        """Have a link ("https://…") or a file opened outside, with the user's own program for it. Takes up to 10 s."""
        name = os.fsencode(text)
        if b"\0" not in name and isinstance(text, (str, bytes)) and is_link(name):
            name = b"".join(b"%c" % byte if byte in _LINK_BYTES else b"%%%02X" % byte for byte in name)
            name = _sendable(name, text)
        else:
            name = _absolute(text)
        self._tell(protocol.PRESENT, _pack(VERSION, protocol.PRESENT, 0, 0, len(name), 0) + name, text)

    def _ask(
        self,
        command: int,
        path: AnyPath | None,
        other: AnyPath | None = None,
        *,
        flags: int = 0,
        argument: int = 0,
        second: bytes = _NOTHING,
        size: int = 0,
        again: bool = False,
    ) -> tuple[int, bytes]:
        """Send a request about a path; the answer's value, and at most `size` bytes of what comes after it."""
        name = _NOTHING if path is None else _absolute(path)
        request = _pack(VERSION, command, flags, argument, len(name), len(second)) + name + second
        return self._tell(command, request, path, other, size=size, again=again)

    def _tell(
        self,
        command: int,
        request: bytes,
        path: AnyPath | None,
        other: AnyPath | None = None,
        *,
        size: int = 0,
        again: bool = False,
    ) -> tuple[int, bytes]:
        data, _, flags = self._exchange(request, path, REPLY_SIZE + size, 0, again)
        if flags & _CUT or len(data) < REPLY_SIZE:
            raise self._lied(path)
        version, said, error, value = _unpack(data)
        if error or version != VERSION or said != command:
            raise self._refused(data, command, path, other)
        return value, data[REPLY_SIZE:]

    def _descriptor(
        self, command: int, request: bytes, path: AnyPath, kind: int, again: bool = False
    ) -> tuple[int, int]:
        """Send a request that is answered by one descriptor of this type; the descriptor, and the answer's value."""
        data, control, flags = self._exchange(request, path, REPLY_SIZE, _RIGHTS_SIZE, again)
        if flags & _CUT or len(data) != REPLY_SIZE:
            close_all(control)
            raise self._lied(path)
        version, said, error, value = _unpack(data)
        if error or version != VERSION or said != command:
            close_all(control)
            raise self._lied(path) if control else self._refused(data, command, path)
        if len(control) != 1 or len(control[0][2]) != 4:
            close_all(control)
            raise self._lied(path)
        fd: int = _descriptor_of(control[0][2])[0]
        if os.fstat(fd).st_mode & _FILE_TYPE != kind:
            os.close(fd)
            raise self._lied(path)
        return fd, value

    def _lied(self, path: AnyPath | None) -> OSError:
        self._channel.close()
        return failure(errno.EPROTO, path)

    def _refused(self, data: bytes, command: int, path: AnyPath | None, other: AnyPath | None = None) -> OSError:
        version, said, error, _ = _unpack(data)
        if version != VERSION:
            self._channel.close()
            return failure(errno.EPROTONOSUPPORT, path)
        if said != command or not 0 < error < 4096 or len(data) != REPLY_SIZE:
            return self._lied(path)
        return failure(error, path, other)


def connect(address: str | None = None) -> Broker:
    """A Broker that is connected; see there for `address`. OSError when nobody listens."""
    broker = Broker(address)
    broker.connect()
    return broker


def is_link(text: bytes) -> bool:
    """Whether a text begins as a link does, with a scheme and a colon. Source: RFC 3986, 3.1."""
    scheme, colon, _ = text.partition(b":")
    return bool(colon) and scheme[:1].isalpha() and scheme.isascii() and scheme.translate(None, b"+-.").isalnum()


def _as(path: AnyStr | os.PathLike[AnyStr], name: bytes) -> AnyStr:
    """A name as bytes where the path is bytes, else as str."""
    return name if isinstance(os.fspath(path), bytes) else os.fsdecode(name)  # type: ignore[return-value]


def _absolute(path: AnyPath) -> bytes:
    """
    A path as it is sent: absolute, without empty and "." components.

    ".." is left for the broker to refuse, since what lies before it may be a link; but at the beginning of a relative
    path it goes up from the working directory, which has none.
    """
    name = os.fsencode(path)
    if name[:1] != b"/" or b"//" in name or b"/." in name or name[-1:] == b"/":
        if not name:
            raise failure(errno.ENOENT, path)
        words = [word for word in name.split(b"/") if word not in {b"", b"."}]
        start: list[bytes] = []
        if name[:1] != b"/":
            start = [word for word in os.getcwdb().split(b"/") if word]
            while words[:1] == [b".."]:
                del words[0], start[-1:]
        name = b"/" + b"/".join(start + words)
    return _sendable(name, path)


def _sendable(name: bytes, path: AnyPath) -> bytes:
    if b"\0" in name:
        raise ValueError("embedded null byte")
    if len(name) > PATH_SIZE_MAX:
        raise failure(errno.ENAMETOOLONG, path)
    return name


def _asked_flags(flags: int, path: AnyPath) -> int:
    """Flags of open(2) → flags of OPEN. Appending alone doesn't ask for the right to write elsewhere."""
    appends, truncates = flags & O_APPEND, flags & O_TRUNC
    direction = flags & (O_WRONLY | O_RDWR)
    if direction == O_WRONLY | O_RDWR or flags & ~(_IGNORED | direction | O_APPEND | O_TRUNC | O_CREAT | O_EXCL):
        raise failure(errno.EINVAL, path)
    asked = 0 if direction == O_WRONLY else protocol.READ
    if direction != O_RDONLY:
        asked |= (protocol.APPEND if appends else 0) | (protocol.WRITE if truncates or not appends else 0)
    asked |= protocol.TRUNCATE if truncates else 0
    if flags & O_CREAT:
        asked |= protocol.CREATE | (protocol.EXCLUSIVE if flags & O_EXCL else 0)
    _open_flags[flags] = asked
    return asked


_open_flags: dict[int, int] = {}
"""What was asked for so far; valid combinations are few."""

_shared = Broker()

hello, present, connect_to, watch = _shared.hello, _shared.present, _shared.connect_to, _shared.watch
stat, lstat, access, readlink = _shared.stat, _shared.lstat, _shared.access, _shared.readlink
entries, listdir, mkdir, rename = _shared.entries, _shared.listdir, _shared.mkdir, _shared.rename
unlink, rmdir = _shared.unlink, _shared.rmdir
open = _shared.open  # noqa: A001 - named as in `os`
"""The same over one connection that all threads of the process share."""

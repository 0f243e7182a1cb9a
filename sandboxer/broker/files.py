"""
Carrying out what a verdict allows: beneath the rule's directory descriptor, and nowhere else.

What comes in: an allowed request with its verdict. What goes out: a descriptor, bytes or nothing, or an OSError with
the errno for the application. It never follows a link unless the rule says so, and then only to what stays beneath
the rule's directory; it never follows a magic link, hands out nothing but regular files that lie in no procfs, and
never opens anything else than to look at it.

Abuse, and what stops it:

- A component of the path is swapped for a link between check and use: there is no such time. One openat2 with
  RESOLVE_BENEATH and, unless the rule follows links, RESOLVE_NO_SYMLINKS resolves the path, and what it has found is
  opened again by its descriptor, not by its name.
- `/proc/self/fd`, `/proc/PID/root`: magic links are refused, and so is every file of a procfs (one that the broker
  opens would show the broker's own memory).
- A FIFO or a device in the place of a file: found with O_PATH, which neither waits nor wakes a driver; ENXIO.
- A lease that the application holds on a file, so that opening it waits: opened with O_NONBLOCK; EAGAIN.
- A hard link to a file outside the rule's directory: can't be told from the file. The kernel lets nobody but its owner
  make one (fs.protected_hardlinks), the broker makes none, and what is hidden is known by its inode.
- A directory moved out while a request is under way: RESOLVE_BENEATH fails rather than leave the rule's directory.
- Changing what was handed out: the mode and the times of a file can be changed through any descriptor of it, and
  O_APPEND can be taken off by who holds it: `append` keeps a file from being emptied (Landlock), not from being
  overwritten. Of a file that others read, hand out `read`.
- A directory with a million names: LIST looks at `listing.ENTRIES_MAX` and then gives up.
"""

from __future__ import annotations

import errno
import os
import stat

from sandboxer._kernel import lib
from sandboxer.broker import protocol
from sandboxer.broker.beneath import LINKS_BENEATH, NO_LINKS, Replaced, leave, look, parent_of, seen
from sandboxer.broker.listing import page
from sandboxer.broker.protocol import STAT
from sandboxer.broker.roots import identity, identity_beneath, is_gone
from sandboxer.broker.verdicts import READ_OK, WRITE_OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandboxer.broker.messages import Request
    from sandboxer.broker.roots import Ground
    from sandboxer.broker.verdicts import Place, Verdict

NO_REPLACE = 1
"""RENAME_NOREPLACE. Source: rename(2)."""
FILE_MODE, DIRECTORY_MODE = 0o600, 0o700
DONT_FOLLOW = 0x02000000
_open_regular = lib.kernel_open_regular
_openat2 = lib.kernel_openat2


def _open_flags(flags: int) -> int:
    """protocol's bits → those of open(2)."""
    reads, writes = flags & protocol.READ, flags & (protocol.WRITE | protocol.APPEND)
    return (
        (os.O_RDWR if reads and writes else os.O_WRONLY if writes else os.O_RDONLY)
        | (os.O_APPEND if flags & protocol.APPEND else 0)
        | (os.O_CREAT if flags & protocol.CREATE else 0)
        | (os.O_EXCL if flags & protocol.EXCLUSIVE else 0)
        | (os.O_TRUNC if flags & protocol.TRUNCATE else 0)
    )


OPEN_FLAGS = tuple(_open_flags(flags) for flags in range(64))


class Result:
    """What an allowed request gives: `error` is an errno, `fd` a descriptor to hand over and close, or -1."""

    __slots__ = ("data", "error", "fd", "value")

    def __init__(self, error: int = 0, fd: int = -1, value: int = 0, data: bytes = b"") -> None:
        self.error = error
        self.fd = fd
        self.value = value
        self.data = data


def carry_out(request: Request, verdict: Verdict, ground: Ground) -> Result:
    """
    Do it.

    Raises:
        Replaced: the broker should end, so that another one opens what is there now. `ground.is_stale` says the same
            of what has been answered.
    """
    place = verdict.place
    assert place is not None
    command = request.command
    if place.fd < 0:
        ground.is_stale = True
        return Result(errno.ENOENT)
    if command == protocol.OPEN and not place.hidden:
        fd = _open_regular(
            place.fd,
            verdict.rest,
            OPEN_FLAGS[request.flags],
            request.argument or FILE_MODE,
            LINKS_BENEATH if place.follow else NO_LINKS,
            place.device,
            place.inode if place.name else 0,
        )
        if fd < 0:
            _expect(place, ground, -fd)
            return Result(-fd)
        if place.name and not place.inode:
            return _first_of_its_name(fd, place, request.flags)
        return Result(0, fd)
    try:
        return _ACTIONS[command](request, verdict, place, ground)
    except OSError as error:
        number = error.errno or errno.EIO
        _expect(place, ground, number)
        return Result(number)


def _expect(place: Place, ground: Ground, error: int) -> None:
    """
    Raise Replaced where an error comes from the rule's file being another one than at the start. Whether there is
    another directory of the rule's name can't be seen from here: only that the one that there was has been removed.
    """
    if place.name and error in (errno.ESTALE, errno.EACCES):
        found = identity_beneath(place.fd, place.name)
        if found[1] and found != (place.device, place.inode):
            raise Replaced
    if error == errno.ENOENT and is_gone(place.fd):
        ground.is_stale = True


def _first_of_its_name(fd: int, place: Place, flags: int) -> Result:
    """The one file of a rule wasn't there when the broker started: it was made just now, or somebody else made it."""
    if not flags & protocol.CREATE:
        os.close(fd)
        raise Replaced
    place.device, place.inode = identity(fd)
    return Result(0, fd)


def _open(request: Request, verdict: Verdict, place: Place, ground: Ground) -> Result:
    """OPEN where something beneath the rule's directory is hidden."""
    parent, name = parent_of(place, verdict.rest, ground)
    try:
        found = _openat2(parent, name, os.O_PATH, 0, NO_LINKS)
        device = inode = 0
        if found >= 0:
            try:
                device, inode = seen(found, ground)
            finally:
                os.close(found)
        # what has been looked at, or what is made now
        flags = OPEN_FLAGS[request.flags]
        fd = _open_regular(
            parent, name, flags, request.argument or FILE_MODE, NO_LINKS, device, inode
        )
        if fd >= 0 and not inode:
            try:
                seen(fd, ground)
            except OSError:
                os.close(fd)
                raise
    finally:
        os.close(parent)
    return Result(0, fd) if fd >= 0 else Result(errno.EAGAIN if fd == -errno.ESTALE else -fd)


def _stat(request: Request, verdict: Verdict, place: Place, ground: Ground) -> Result:
    fd = look(place, verdict.rest, ground, at_link=bool(request.flags & protocol.NO_FOLLOW))
    try:
        status = os.fstat(fd)
    finally:
        os.close(fd)
    return Result(
        data=STAT.pack(
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_atime_ns,
            status.st_mode,
            status.st_nlink,
            status.st_uid,
            status.st_gid,
        )
    )


def _access(request: Request, verdict: Verdict, place: Place, ground: Ground) -> Result:
    """Whether OPEN would: by the rules, which the verdict has said, by the kind of file, and by its mode."""
    fd = look(place, verdict.rest, ground, at_link=False)
    try:
        if request.argument & (READ_OK | WRITE_OK):
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                return Result(errno.EISDIR if stat.S_ISDIR(mode) else errno.ENXIO)
            if not os.access(f"/proc/self/fd/{fd}", request.argument):
                return Result(errno.EACCES)
    finally:
        os.close(fd)
    return Result()


def _readlink(request: Request, verdict: Verdict, place: Place, ground: Ground) -> Result:
    fd = look(place, verdict.rest, ground, at_link=True)
    try:
        if not stat.S_ISLNK(os.fstat(fd).st_mode):
            return Result(errno.EINVAL)
        return Result(data=os.readlink(b"", dir_fd=fd))
    finally:
        os.close(fd)


def _list(request: Request, verdict: Verdict, place: Place, ground: Ground) -> Result:
    """The descriptor of the directory never leaves."""
    looked = look(place, verdict.rest, ground, at_link=False)
    try:
        fd = lib.kernel_openat2(looked, b".", os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK, 0, NO_LINKS)
    finally:
        os.close(looked)
    if fd < 0:
        return Result(-fd)
    try:
        inodes: set[int] = set()
        if place.hidden:
            device = os.fstat(fd).st_dev
            inodes = {inode for hidden_device, inode in ground.hidden if hidden_device == device}
        rest = b"" if verdict.rest == b"." else verdict.rest + b"/"
        data, more = page(fd, request.second, lambda name, inode: rest + name in place.hidden or inode in inodes)
    finally:
        os.close(fd)
    return Result(value=more, data=data)


def _mkdir(request: Request, verdict: Verdict, place: Place, ground: Ground) -> Result:
    parent, name = parent_of(place, verdict.rest, ground)
    try:
        os.mkdir(name, request.argument or DIRECTORY_MODE, dir_fd=parent)
    finally:
        os.close(parent)
    return Result()


def _unlink(request: Request, verdict: Verdict, place: Place, ground: Ground) -> Result:
    parent, name = parent_of(place, verdict.rest, ground)
    try:
        leave(parent, name, ground.hidden)
        if request.flags & protocol.DIRECTORY:
            os.rmdir(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)
    finally:
        os.close(parent)
    return Result()


def _rename(request: Request, verdict: Verdict, place: Place, ground: Ground) -> Result:
    parent, name = parent_of(place, verdict.rest, ground)
    try:
        other_parent, other = parent_of(place, verdict.other, ground)
        try:
            for directory, entry, rest in ((parent, name, verdict.rest), (other_parent, other, verdict.other)):
                found = leave(directory, entry, ground.hidden, ground.fixed)
                if ground.named.get(found, place.root + b"/" + rest) != place.root + b"/" + rest:
                    return Result(errno.EACCES)
            flags = 0 if verdict.may_replace and not request.flags & protocol.NO_REPLACE else NO_REPLACE
            error = lib.kernel_renameat2(parent, name, other_parent, other, flags)
        finally:
            os.close(other_parent)
    finally:
        os.close(parent)
    return Result(-error)


def _watch(request: Request, verdict: Verdict, place: Place, ground: Ground) -> Result:
    """
    A fresh inotify descriptor with one watch.

    Abuse: more watches can be added to it, on what the box itself can see; events of a directory name what is hidden in
    it, as a listing in the box does.
    """
    fd = look(place, verdict.rest, ground, at_link=True)
    try:
        inotify = ground.watches.take()
        number = lib.kernel_inotify_add_watch(inotify, fd, request.argument & ~DONT_FOLLOW)
    finally:
        os.close(fd)
    if number < 0:
        ground.watches.put_back(inotify)
        return Result(-number)
    ground.watches.add(inotify)
    return Result(0, inotify, number)


_ACTIONS = {
    protocol.OPEN: _open,
    protocol.STAT_: _stat,
    protocol.ACCESS: _access,
    protocol.READLINK: _readlink,
    protocol.LIST: _list,
    protocol.MKDIR: _mkdir,
    protocol.RENAME: _rename,
    protocol.UNLINK: _unlink,
    protocol.WATCH: _watch,
}

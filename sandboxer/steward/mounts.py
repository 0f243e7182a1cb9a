"""
Mounts in a running box: made complete outside, attached at one stroke, taken away by their number.

What comes in: what is to be shown where, resolved. What goes out: where it went, and the mount's number. The same two
rules hold as in launchers/root.c: no path is resolved through a symbolic link, outside or inside, and a mount is
read-only, nosuid, nodev and private before it can be seen. Each function here is done in a child (`namespace`).

A place in the box may have to be made. That is done on the box's own root (which is read-only: through a detached,
writable copy of its mount), in its private directories, and in its home when that is its own; never in a directory of
the host's that it was granted. The application can write most of those: it can put a link in the way, which fails, or
move the directory that a mount lies in, which doesn't hide it: it is found by its number.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
from collections.abc import Sequence
from contextlib import ExitStack

from sandboxer.steward import calls
from sandboxer.steward.calls import closing
from sandboxer.steward.namespace import Report, Visit
from sandboxer.words import Record

FIND_TRIES = 1000
ELSEWHERE = frozenset(
    (
        errno.ELOOP,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOENT,
        errno.EEXIST,
    )
)
"""What a place can't be had for, so that the next is tried."""


class Wanted(Record):
    """
    What is to be shown. `source` is on the host, resolved; it must still be `inode` on `device`. `places` are paths in
    the box, the first that can be had is taken. `covers` are paths on the host, in `source`, that stay covered.
    `private` is where in the box directories may be made: the mounts at these paths are its own. `scratch` is a
    directory on the host to mount on, in the child alone.
    """

    source: str
    device: int
    inode: int
    directory: bool
    write: bool
    node: bool
    places: tuple[str, ...]
    covers: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    scratch: str = "/"


class Place(Record):
    """
    Where a mount goes: `name` in the directory that the descriptor `parent` is for. `made` are the paths that were
    made for it, the deepest first; `covered`: the application had something there.
    """

    path: str
    parent: int
    name: str
    made: tuple[str, ...]
    covered: bool


def show(wanted: Wanted, visit: Visit) -> Report:
    """
    Mount it. Reports `path`, `mount` and `made` before it can be seen, and returns them, `covered`, and as `instead_of`
    the errors for places that couldn't be had.
    """
    with ExitStack() as stack:
        tree = _tree(wanted, visit, stack)
        visit.go_in()
        place, refused = _place(wanted, visit, stack)
        report: Report = {"path": place.path, "mount": calls.mount_id(tree), "made": list(place.made)}
        try:
            visit.agree(report)
            calls.attach(tree, place.parent, place.name)
        except OSError:
            _remove(place.made, visit)
            raise
        found = closing(stack, calls.open_path(visit.root, place.path))
        if calls.mount_id(found) != report["mount"]:
            take(report["mount"], place.made, visit, inside=True)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), place.path)
        return report | {"covered": place.covered, "instead_of": refused}


def take(number: int, made: Sequence[str], visit: Visit, *, inside: bool = False) -> Report:
    """
    Unmount the mount of this number, wherever it lies by now, and remove what was made for it and is empty.

    Returns:
        `ids`: the mounts that went, with those beneath it; none when it wasn't there. `at`: where it was. `device`
        and `root` as in mountinfo.
    Raises:
        OSError: EBUSY: it is still there.
    """
    if not inside:
        visit.go_in()
    report: Report = {"ids": [], "at": "", "device": "", "root": ""}
    for _ in range(FIND_TRIES):
        mounts = visit.mounts()
        mount = mounts.get(number)
        if mount is None:
            _remove(made, visit)
            return report
        report = {
            "ids": [number, *_beneath(number, mounts)],
            "at": mount.point,
            "device": mount.device,
            "root": mount.root,
        }
        with contextlib.suppress(OSError):  # moved in this moment: looked for again
            _unmount(mount, visit)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(report["at"]))


def look(visit: Visit) -> Report:
    """The box's mounts: `mounts` is a list of their numbers."""
    visit.go_in()
    return {"mounts": list(visit.mounts())}


def find_shown(paths: Sequence[str], device: int, inode: int, visit: Visit) -> Report:
    """`path`: the first of `paths` where the box shows that very file, or ""; `writable`: it can be written there."""
    visit.go_in()
    for path in paths:
        try:
            fd = calls.open_path(visit.root, path)
        except OSError:
            continue
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) == (device, inode):
            return {"path": path, "writable": not os.fstatvfs(fd).f_flag & os.ST_RDONLY}
        os.close(fd)
    return {"path": "", "writable": False}


def resolve(path: str, visit: Visit) -> Report:
    """What the box finds at `path`, links followed: the real `path` there, `device`, `inode` and `mode`."""
    visit.go_in()
    fd = calls.open_as_root(visit.root, path)
    status = os.fstat(fd)
    return {
        "path": visit.name_of(fd),
        "device": status.st_dev,
        "inode": status.st_ino,
        "mode": status.st_mode,
    }


def _tree(wanted: Wanted, visit: Visit, stack: ExitStack) -> int:
    """The source as a detached mount, complete."""
    source = closing(stack, calls.open_path(visit.host, wanted.source))
    status = os.fstat(source)
    if (status.st_dev, status.st_ino) != (wanted.device, wanted.inode):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), wanted.source)
    attributes = calls.NOSUID | (0 if wanted.node else calls.NODEV) | (0 if wanted.write else calls.RDONLY)
    tree = closing(stack, calls.clone(source, attributes))
    if not wanted.covers:
        return tree
    # A mount must be attached before others can be mounted on it: in this child's own copy of the host's mounts.
    calls.attach(tree, source)
    scratch = closing(stack, calls.new_tmpfs())
    calls.attach(scratch, closing(stack, calls.open_path(visit.host, wanted.scratch)))
    os.mkdir("directory", 0o555, dir_fd=scratch)
    os.close(os.open("file", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444, dir_fd=scratch))
    for path in wanted.covers:
        _cover(path[len(wanted.source.rstrip("/")) :], tree, scratch, stack)
    return closing(stack, calls.clone(tree, attributes))


def _cover(path: str, tree: int, scratch: int, stack: ExitStack) -> None:
    """Hide what lies at `path` in the tree; nothing when nothing does."""
    try:
        place = closing(stack, calls.open_path(tree, path))
    except FileNotFoundError:
        return
    name = "directory" if stat.S_ISDIR(os.fstat(place).st_mode) else "file"
    empty = closing(stack, calls.open_path(scratch, name))
    attributes = calls.RDONLY | calls.NOSUID | calls.NODEV | calls.NOEXEC
    calls.attach(closing(stack, calls.clone(empty, attributes, recursive=False)), place)


def _place(wanted: Wanted, visit: Visit, stack: ExitStack) -> tuple[Place, list[list[object]]]:
    """The first place that can be had, and those that can't with the reason's number."""
    refused: list[list[object]] = []
    for path in wanted.places:
        try:
            return _prepare(path, wanted, visit, stack), refused
        except OSError as error:
            if error.errno not in ELSEWHERE or path == wanted.places[-1]:
                raise
            refused.append([path, error.errno])
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), wanted.source)


def _prepare(path: str, wanted: Wanted, visit: Visit, stack: ExitStack) -> Place:
    """Find one place, or make it. What was made for one that can't be had is removed."""
    made: list[str] = []
    try:
        parent, there = _descend(path, wanted, visit, stack, made)
    except OSError:
        _remove(made, visit)
        raise
    covered = not made and _has_content(there, wanted)
    return Place(path=path, parent=parent, name=posixpath.basename(path), made=tuple(made), covered=covered)


def _descend(path: str, wanted: Wanted, visit: Visit, stack: ExitStack, made: list[str]) -> tuple[int, int]:
    """Descriptors of the directory that holds `path`, and of what is there. Notes in `made` what it had to make."""
    parts = path.strip("/").split("/")
    here, there, at = visit.root, visit.root, ""
    for index, part in enumerate(parts):
        directory = wanted.directory or index < len(parts) - 1
        here = there
        try:
            there = closing(stack, calls.open_path(here, part))
        except FileNotFoundError:
            _make(here, at, part, visit, wanted, stack, directory=directory)
            made.insert(0, f"{at}/{part}")
            there = closing(stack, calls.open_path(here, part))
        if not calls.same_type(there, directory=directory):
            number = errno.ENOTDIR if directory else errno.EISDIR
            raise OSError(number, os.strerror(number), f"{at}/{part}")
        at = f"{at}/{part}"
    return here, there


def _make(
    here: int, at: str, name: str, visit: Visit, wanted: Wanted, stack: ExitStack, *, directory: bool
) -> None:
    """Make a directory, or an empty file, to mount on."""
    number = calls.mount_id(here)
    if number == calls.mount_id(visit.root):
        base = closing(stack, calls.clone(visit.root, 0, recursive=False, clear=calls.RDONLY))
        here = closing(stack, calls.open_path(base, at))
    elif visit.mounts()[number].point not in wanted.private:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), f"{at}/{name}")
    if directory:
        os.mkdir(name, 0o755, dir_fd=here)
    else:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=here))


def _has_content(place: int, wanted: Wanted) -> bool:
    """Whether a mount here hides something else: names in a directory, bytes in a file."""
    status = os.fstat(place)
    if (status.st_dev, status.st_ino) == (wanted.device, wanted.inode):
        return False
    if not stat.S_ISDIR(status.st_mode):
        return status.st_size > 0
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
    try:
        return bool(os.listdir(fd))
    finally:
        os.close(fd)


def _beneath(number: int, mounts: dict[int, calls.Mount]) -> list[int]:
    found = [mount.id for mount in mounts.values() if mount.parent == number]
    return found + [below for child in found for below in _beneath(child, mounts)]


def _unmount(mount: calls.Mount, visit: Visit) -> None:
    """By the mount itself where it is a directory; a file's by its name, in a directory that is held meanwhile."""
    with ExitStack() as stack:
        parent = closing(stack, calls.open_path(visit.root, posixpath.dirname(mount.point), os.O_DIRECTORY))
        name = posixpath.basename(mount.point)
        there = closing(stack, calls.open_path(parent, name))
        if calls.mount_id(there) != mount.id:
            return
        directory = stat.S_ISDIR(os.fstat(there).st_mode)
        with contextlib.suppress(OSError):  # EBUSY: something in it is open for writing
            calls.make_read_only(there)  # which whoever holds it has to do with from now on
        os.fchdir(there if directory else parent)
        try:
            calls.detach("." if directory else name)
        finally:
            os.chdir("/")


def _remove(made: Sequence[str], visit: Visit) -> None:
    """What was made for a mount, if nothing is in it. The application may have moved it, or put something in."""
    for path in made:
        with ExitStack() as stack, contextlib.suppress(OSError):
            directory, name = posixpath.split(path)
            parent = closing(stack, calls.open_path(visit.root, directory, os.O_DIRECTORY))
            if calls.mount_id(parent) == calls.mount_id(visit.root):
                base = closing(stack, calls.clone(visit.root, 0, recursive=False, clear=calls.RDONLY))
                parent = closing(stack, calls.open_path(base, directory))
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                os.rmdir(name, dir_fd=parent)
            elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
                os.unlink(name, dir_fd=parent)

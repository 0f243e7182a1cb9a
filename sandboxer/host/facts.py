"""
The real host: answers from this machine, each remembered as a stamp.

What comes in: questions (the `Host` protocol). What goes out: answers, and from `stamps` everything that must still
be so for a plan made from them to be valid. It never changes anything on the machine.

Every path component is looked at once and the look is kept, so that all answers of one compile fit together. What a
stamp says of a file was read before the file's content and checked after it: a change in between is read anew, and
a change at any later time no longer matches the stamp.

The launcher compares every stamp at every start, so what needs none has none:

- A directory on the way to something, if it is root's: it hardly ever changes. Should it become a link, then what lies
  behind is looked at by the stamp of the path's end; and where such a path is mounted the start fails, since the
  launcher follows no link. Anybody else's directory is stamped, so that a user who moves one and leaves a link gets a
  new plan instead of that failure.
- What every kernel of one release shows at one place, and no module adds: the release is stamped. Were it missing, the
  start would fail, for the launcher covers or mounts it. What isn't there is always stamped: it may have to be hidden.
- Each shipped policy, where an installer put them: an upgrade replaces the package's first file, and whatever else
  makes, renames or removes one changes the directory that it lies in; these are stamped.
"""

from __future__ import annotations

import os
import stat
import time

from sandboxer.errors import ResolveError
from sandboxer.host import kernel, manager, sockets
from sandboxer.host.installation import installed_policies, program_files
from sandboxer.host.session import Session
from sandboxer.host.view import FileType, User, UserManager
from sandboxer.plan.ops import Stamp, StampKind
from sandboxer.words import HostPath

FILE_SIZE_MAX = 64 * 1024
LINKS_MAX = 40
"""The kernel's own limit on links in one path (MAXSYMLINKS)."""
TICK_NS = 12_000_000
"""
Longer than the kernel's clock for file times takes to advance (10 ms at HZ=100, before multigrain times in 6.13). A
file changed twice within one tick has the same time twice, so a file younger than this is waited for before it is read.
"""
ATTEMPTS = 20
VIRTUAL = ("/proc/", "/sys/", "/dev/")
FROM_MODULES = ("acpi", "asound", "scsi")
"""Names in /proc that come and go while one kernel runs."""
PERMANENT = frozenset(
    (
        "/sys/devices/system/cpu",
        *(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")),
    )
)

_TYPES = {
    stat.S_IFREG: FileType.REGULAR,
    stat.S_IFDIR: FileType.DIRECTORY,
    stat.S_IFSOCK: FileType.SOCKET,
    stat.S_IFCHR: FileType.CHARACTER,
    stat.S_IFBLK: FileType.BLOCK,
    stat.S_IFIFO: FileType.FIFO,
}


class Facts:
    """This machine and session; implements `view.Host`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._looks: dict[str, os.stat_result | None] = {}
        self._stamps: dict[tuple[str, str], Stamp] = {}
        self._user: User | None = None
        self._landlock_abi: int | None = None
        self._manager: UserManager | None = None
        self._shipped = installed_policies()
        # Before anything is read: an upgrade from here on makes the plan stale.
        self._keep_program()

    @property
    def user(self) -> User:
        if self._user is None:
            home = self.variable("HOME")
            for database in ("/etc/passwd", "/etc/group"):
                self._keep_file(database, self._look(database))
            self._user = kernel.user(home)
        return self._user

    @property
    def kernel_release(self) -> str:
        return kernel.release()

    @property
    def landlock_abi(self) -> int:
        if self._landlock_abi is None:
            self._landlock_abi = kernel.landlock_abi()
        return self._landlock_abi

    @property
    def user_manager(self) -> UserManager | None:
        """
        Stamped is the manager's socket, which is made anew when it starts; what it was given only changes with that.
        """
        runtime = self.variable("XDG_RUNTIME_DIR") or ""
        socket = os.path.join(runtime, manager.SOCKET)
        if not runtime.startswith("/") or self.mode_and_owner(socket) is None:
            return None
        if self.type_of(os.path.join(runtime, manager.BUS)) is not FileType.SOCKET:
            return None
        if self._manager is None and (group := manager.group(runtime)):
            self._manager = UserManager(controllers=manager.given(group), missing=manager.missing(group))
        return self._manager

    @property
    def working_directory(self) -> str:
        directory = self._session.directory()
        self._stamps.setdefault(("directory", ""), Stamp(kind=StampKind.DIRECTORY, name=directory))
        return directory

    def variable(self, name: str) -> str | None:
        value = self._session.environment.get(name) or None
        fresh = Stamp(kind=StampKind.ENV if value else StampKind.ENV_ABSENT, name=name, value=value or "")
        self._stamps.setdefault(("variable", name), fresh)
        return value

    def type_of(self, path: str) -> FileType | None:
        real, _ = self._walk(path)
        look = self._look(real) if real is not None else None
        return None if look is None else _TYPES.get(stat.S_IFMT(look.st_mode))

    def mode_and_owner(self, path: str) -> tuple[int, int, int] | None:
        real, _ = self._walk(path)
        look = self._look(real) if real is not None else None
        if real is None or look is None:
            return None
        self._keep_file(real, look)
        return stat.S_IMODE(look.st_mode), look.st_uid, look.st_gid

    def resolve(self, path: str) -> HostPath | None:
        real, _ = self._walk(path)
        return None if real is None else HostPath(real)

    def links(self, path: str) -> tuple[str, ...]:
        return self._walk(path)[1]

    def read_link(self, path: str) -> str | None:
        parent, name = os.path.split(path.rstrip("/"))
        real, _ = self._walk(parent, to_end=False)
        if real is None or name in ("", ".", ".."):
            return None
        place = os.path.join(real, name)
        look = self._look(place)
        if look is None:
            return None
        if not stat.S_ISLNK(look.st_mode):
            self._keep_way(place, look)
            return None
        return self._follow(place)

    def read(self, path: str) -> bytes | None:
        real, _ = self._walk(path)
        look = self._look(real) if real is not None else None
        if real is None or look is None or not stat.S_ISREG(look.st_mode):
            return None
        for _ in range(ATTEMPTS):
            before = self._settled(real)
            if before is None or not stat.S_ISREG(before.st_mode):
                break
            try:
                fd = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except PermissionError:
                self._keep_file(real, before)
                return None
            except OSError:
                continue  # It changed just now; the next look tells what it is.
            with open(fd, "rb") as file:
                if not same(before, os.fstat(fd)):
                    continue
                content = file.read(FILE_SIZE_MAX + 1)
                if not same(before, os.fstat(fd)):
                    continue
            self._keep_file(real, before)
            if len(content) > FILE_SIZE_MAX:
                raise ResolveError(
                    "cannot read a file: it is larger than a setting should be",
                    subject=f"{path}: more than {FILE_SIZE_MAX} bytes",
                )
            return content
        raise self._restless(path)

    def entries(self, path: str) -> tuple[str, ...]:
        real, _ = self._walk(path)
        look = self._look(real) if real is not None else None
        if real is None or look is None or not stat.S_ISDIR(look.st_mode):
            return ()
        for _ in range(ATTEMPTS):
            before = self._settled(real)
            if before is None or not stat.S_ISDIR(before.st_mode):
                break
            try:
                names = sorted(os.listdir(real))
            except PermissionError:
                names = []
            after = self._fresh(real)
            if after is not None and same(before, after):
                self._keep_file(real, before)
                return tuple(names)
        raise self._restless(path)

    def sockets(self, directory: str) -> tuple[str, ...]:
        real, _ = self._walk(directory)
        names = () if real is None else sockets.find(real)
        return tuple(name for name in names if self.type_of(os.path.join(directory, name)) is FileType.SOCKET)

    def device(self, path: str) -> tuple[int, int] | None:
        real, _ = self._walk(path)
        look = self._look(real) if real is not None else None
        if look is None or not (stat.S_ISCHR(look.st_mode) or stat.S_ISBLK(look.st_mode)):
            return None
        return os.major(look.st_rdev), os.minor(look.st_rdev)

    def stamps(self) -> tuple[Stamp, ...]:
        release = Stamp(kind=StampKind.KERNEL, name=self.kernel_release)
        self._keep_program()  # In a checkout: modules that were imported since.
        return (release, *self._stamps.values())

    def _walk(self, path: str, *, to_end: bool = True) -> tuple[str | None, tuple[str, ...]]:
        """
        The real path, or None when nothing is there, and the links on the way, as the kernel would follow them.

        Its end is stamped by type, unless it is on the way to something itself.
        """
        if not path.startswith("/"):
            raise ResolveError("a path isn't absolute", subject=repr(path))
        at = "/"
        ahead = path.split("/")[::-1]
        links: list[str] = []
        while ahead:
            part = ahead.pop()
            if part in ("", "."):
                continue
            if part == "..":
                at = os.path.dirname(at)
                continue
            place = at + "/" + part if at != "/" else "/" + part
            look = self._look(place)
            if look is None:
                return None, tuple(links)
            if stat.S_ISLNK(look.st_mode):
                links.append(place)
                if len(links) > LINKS_MAX:
                    raise ResolveError("a path has too many symbolic links", subject=path)
                target = self._follow(place)
                if target.startswith("/"):
                    at = "/"
                ahead += target.split("/")[::-1]
            else:
                at = place
                if (ahead or not to_end) and not self._is_shipped(path):
                    self._keep_way(place, look)
                if ahead and not stat.S_ISDIR(look.st_mode):
                    return None, tuple(links)
        if to_end and at in self._looks:
            self._keep_type(at, self._looks[at])
        return at, tuple(links)

    def _look(self, place: str) -> os.stat_result | None:
        """lstat, once; an absence is stamped. Parents must be real directories already."""
        if place not in self._looks:
            self._looks[place] = self._fresh(place)
        return self._looks[place]

    def _fresh(self, place: str) -> os.stat_result | None:
        """lstat now. What can't be searched counts as absent, as long as the directory in the way stays as it is."""
        try:
            return os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            self._keep(Stamp(kind=StampKind.ABSENT, name=place))
            return None
        except PermissionError:
            parent = os.path.dirname(place)
            self._keep_file(parent, os.lstat(parent))
            return None
        except OSError as error:
            raise ResolveError(
                "cannot look at a file", subject=f"{place}: {error.strerror or error}"
            ) from error

    def _settled(self, place: str) -> os.stat_result | None:
        """lstat, after the clock of file times has moved on from the last change."""
        for _ in range(ATTEMPTS):
            look = self._fresh(place)
            if look is None:
                return None
            age = time.time_ns() - max(look.st_mtime_ns, look.st_ctime_ns)
            if not 0 <= age < TICK_NS:
                return look
            time.sleep((TICK_NS - age) / 1e9)
        return None

    def _follow(self, place: str) -> str:
        """A link's target; the link is stamped as the very one it is."""
        look = self._looks[place]
        try:
            target = os.readlink(place)
        except OSError:
            raise self._restless(place) from None
        self._keep_file(place, look)
        return target

    def _keep_program(self) -> None:
        for path in program_files():
            self._keep_file(path, self._look(path))

    def _is_shipped(self, path: str) -> bool:
        return self._shipped != "" and (path + "/").startswith(self._shipped + "/")

    def _keep(self, stamp: Stamp) -> None:
        """The newest stamp of a path holds; for what is in an installed package, that of the directory."""
        if not self._is_shipped(stamp.name):
            self._stamps[("path", stamp.name)] = stamp
        elif stat.S_ISDIR(stamp.mode):
            self._keep_shipped(stamp.name)
        else:
            self._keep_shipped(os.path.dirname(stamp.name))

    def _keep_shipped(self, directory: str) -> None:
        """A directory of shipped policies, as it was before any file in it was read."""
        if ("path", directory) not in self._stamps:
            look = self._settled(directory)
            if look is not None:
                self._stamps[("path", directory)] = _file_stamp(directory, look)

    def _keep_way(self, place: str, look: os.stat_result) -> None:
        """What lies on the way to something: a directory of root's needs no stamp."""
        if look.st_uid != 0 or not stat.S_ISDIR(look.st_mode):
            self._keep_type(place, look)

    def _keep_type(self, place: str, look: os.stat_result | None) -> None:
        """Stamp the type, unless there is a stamp, which then says more."""
        if look is not None and ("path", place) not in self._stamps and not _is_permanent(place):
            self._keep(Stamp(kind=StampKind.TYPE, name=place, mode=stat.S_IFMT(look.st_mode)))

    def _keep_file(self, place: str, look: os.stat_result | None) -> None:
        """
        Stamp a file as unchanged; a stamp of its type alone, if there was one, becomes this one.

        In /proc, /sys and /dev the type is all that can be kept: the times there are those of the kernel's cache.
        """
        if look is None:
            return
        if place.startswith(VIRTUAL):
            self._keep_type(place, look)
        else:
            self._keep(_file_stamp(place, look))

    @staticmethod
    def _restless(path: str) -> ResolveError:
        return ResolveError(
            "cannot read a file: it keeps changing", subject=path, hint="start again when it has settled"
        )


def _file_stamp(place: str, look: os.stat_result) -> Stamp:
    return Stamp(
        kind=StampKind.FILE,
        name=place,
        device=look.st_dev,
        inode=look.st_ino,
        size=look.st_size,
        mode=look.st_mode,
        mtime_ns=look.st_mtime_ns,
        ctime_ns=look.st_ctime_ns,
    )


def _is_permanent(place: str) -> bool:
    """Whether every kernel of one release has it there."""
    directory, _, name = place.rpartition("/")
    if directory == "/proc":
        return not name.isdigit() and name not in FROM_MODULES
    return place in PERMANENT


def same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether two looks are at the same file in the same state: all that a FILE stamp compares."""
    return (
        one.st_dev == other.st_dev
        and one.st_ino == other.st_ino
        and one.st_size == other.st_size
        and one.st_mode == other.st_mode
        and one.st_mtime_ns == other.st_mtime_ns
        and one.st_ctime_ns == other.st_ctime_ns
    )

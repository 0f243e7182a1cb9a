"""
The real host: answers from this machine, each remembered as a stamp.

What comes in: questions (the `Host` protocol). What goes out: answers, and from `stamps` everything that must still
be so for a plan made from them to be valid. It never changes anything on the machine.

Every path component is looked at once and the look is kept, so that all answers of one compile fit together. What a
stamp says of a file was read before the file's content and checked after it: a change in between is read anew, and
a change at any later time no longer matches the stamp.
"""

from __future__ import annotations

import os
import stat
import sys
import time

from sandboxer.errors import ResolveError
from sandboxer.host import kernel
from sandboxer.host.session import Session
from sandboxer.host.view import FileType, User
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
        real, _ = self._walk(parent)
        if real is None or name in ("", ".", ".."):
            return None
        place = os.path.join(real, name)
        look = self._look(place)
        if look is None or not stat.S_ISLNK(look.st_mode):
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

    def device(self, path: str) -> tuple[int, int] | None:
        real, _ = self._walk(path)
        look = self._look(real) if real is not None else None
        if look is None or not (stat.S_ISCHR(look.st_mode) or stat.S_ISBLK(look.st_mode)):
            return None
        return os.major(look.st_rdev), os.minor(look.st_rdev)

    def stamps(self) -> tuple[Stamp, ...]:
        release = Stamp(kind=StampKind.KERNEL, name=self.kernel_release)
        for path in program_files():
            self._keep_file(path, self._look(path))
        return (release, *self._stamps.values())

    def _walk(self, path: str) -> tuple[str | None, tuple[str, ...]]:
        """The real path, or None when nothing is there, and the links on the way, as the kernel would follow them."""
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
                if ahead and not stat.S_ISDIR(look.st_mode):
                    return None, tuple(links)
        return at, tuple(links)

    def _look(self, place: str) -> os.stat_result | None:
        """lstat, once; its type or its absence is stamped. Parents must be real directories already."""
        if place in self._looks:
            return self._looks[place]
        look = self._fresh(place)
        self._looks[place] = look
        if look is not None:
            fresh = Stamp(kind=StampKind.TYPE, name=place, mode=stat.S_IFMT(look.st_mode))
            self._stamps.setdefault(("path", place), fresh)
        return look

    def _fresh(self, place: str) -> os.stat_result | None:
        """lstat now. What can't be searched counts as absent, as long as the directory in the way stays as it is."""
        try:
            return os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            self._stamps[("path", place)] = Stamp(kind=StampKind.ABSENT, name=place)
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

    def _keep_file(self, place: str, look: os.stat_result | None) -> None:
        """
        Stamp a file as unchanged; a stamp of its type alone, if there was one, becomes this one.

        In /proc, /sys and /dev the type is all that can be kept: the times there are those of the kernel's cache.
        """
        if look is None or place.startswith(VIRTUAL):
            return
        self._stamps[("path", place)] = Stamp(
            kind=StampKind.FILE,
            name=place,
            device=look.st_dev,
            inode=look.st_ino,
            size=look.st_size,
            mode=look.st_mode,
            mtime_ns=look.st_mtime_ns,
            ctime_ns=look.st_ctime_ns,
        )

    @staticmethod
    def _restless(path: str) -> ResolveError:
        return ResolveError(
            "cannot read a file: it keeps changing", subject=path, hint="start again when it has settled"
        )


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


def native_program() -> str:
    """
    Where the launcher is: beside the console script, else beside the interpreter. It may not exist.

    Installers put both scripts into one directory, and tools that link one of them elsewhere link both.
    """
    places = [
        os.path.dirname(os.path.abspath(sys.argv[0])) if sys.argv[0] else "",
        os.path.dirname(sys.executable),
    ]
    for place in places:
        path = os.path.join(place, "sandbox")
        if place and os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.realpath(path)
    return os.path.join(places[-1], "sandbox")


def program_files() -> tuple[str, ...]:
    """
    The files that make up this program's version.

    Installed: the launcher and the package's first file, which every upgrade replaces. In a checkout, where any file
    can change alone: each module of the package that took part.
    """
    package = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    files = [os.path.realpath(native_program()), os.path.join(package, "__init__.py")]
    if os.path.exists(os.path.join(os.path.dirname(package), "launchers")):
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "sandboxer" and getattr(module, "__file__", None):
                files.append(os.path.realpath(str(module.__file__)))
    return tuple(dict.fromkeys(file for file in files if os.path.exists(file)))

"""
The broker's log: one line of JSON for each decision.

What comes in: what was asked, by whom, and what came of it. What goes out: a line, appended in one write, so that the
lines of several boxes don't mix. The file is opened before the broker confines itself and never shown to the box. Each
application has a directory of its own, so that its broker can be kept from the others' logs.

Abuse: names that end a line or forge one (all but printable characters is escaped); so many requests that what
matters is rotated away (each client's rate is bounded, and a full file is kept as NAME.log.1); a disk that is full
(then nothing is handed out: `write` raises).
"""

from __future__ import annotations

import errno
import os
import time

from sandboxer.broker.protocol import COMMANDS, FLAGS

SIZE_MAX = 4 * 1024 * 1024
CHECK_EVERY = 256
"""Lines after which the file is compared with its name: another box may have rotated it."""
ALLOWED, DENIED, FAILED = "allowed", "denied", "failed"
_NAMES = tuple(command.name for command in COMMANDS)
_ESCAPED = {ord('"'): '\\"', ord("\\"): "\\\\"}


class Log:
    """Appends to NAME/NAME.log in a directory; it makes both with mode 0700. Raises OSError when it can't be opened."""

    __slots__ = ("_box", "_checked", "_directory", "_fd", "_name", "_prefix", "_second", "_size")

    def __init__(self, directory: bytes, app: str, box: str) -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        above = _opened(directory)
        try:
            os.makedirs(directory + b"/" + os.fsencode(app), mode=0o700, exist_ok=True)
            self._directory = _opened(os.fsencode(app), above)
        finally:
            os.close(above)
        self._name = f"{app}.log"
        self._box = f'Z","box":{quoted(box)},"app":{quoted(app)},"pid":'
        self._fd = -1
        self._second = -1
        self._prefix = ""
        self._checked = 0
        self._size = 0
        self._open()

    @property
    def directory(self) -> int:
        """A descriptor of the directory."""
        return self._directory

    def move(self, directory: int) -> None:
        """Go over to the same directory by another descriptor, which is ours from now on. Raises OSError."""
        os.close(self._directory)
        self._directory = directory
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(self._name, flags, 0o600, dir_fd=self._directory)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self._checked = 0

    def write(
        self,
        pid: int,
        request: str,
        path: bytes,
        verdict: str,
        *,
        to: bytes = b"",
        flags: int = 0,
        error: int = 0,
        rule: str = "",
    ) -> None:
        """
        One line. `error` is an errno, `rule` the line of the policy, "" where none fits.

        Raises:
            OSError: it couldn't be written, or not in whole.
        """
        self.append(
            pid,
            f'"request":"{request}","path":{quoted(path.decode("utf-8", "surrogateescape"))}'
            + (f',"to":{quoted(to.decode("utf-8", "surrogateescape"))}' if to else "")
            + (f',"flags":{_FLAG_NAMES.get(flags) or flag_names(flags)}' if flags else "")
            + f',"verdict":"{verdict}"'
            + (f',"error":"{errno.errorcode.get(error, error)}"' if error else "")
            + f',"rule":{quoted(rule)}',
        )

    def append(self, pid: int, fields: str) -> None:
        """
        One line: when, which box, whose process, and `fields`, which are members of a JSON object.

        Raises:
            OSError: as `write`.
        """
        now = time.time_ns() // 1_000_000
        second, milliseconds = divmod(now, 1000)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        line = f'{{"time":"{self._prefix}.{milliseconds:03}{self._box}{pid},{fields}}}\n'.encode()
        if self._size + len(line) > SIZE_MAX or self._checked >= CHECK_EVERY:
            self._check(len(line))
        self._checked += 1
        self._size += len(line)
        if os.write(self._fd, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _check(self, size: int) -> None:
        """Rotate a full file; go over to the new one where somebody else has done so."""
        self._checked = 0
        own = os.fstat(self._fd)
        try:
            there = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            self._open()
            return
        if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
            self._open()
        elif own.st_size + size > SIZE_MAX:
            os.rename(self._name, f"{self._name}.1", src_dir_fd=self._directory, dst_dir_fd=self._directory)
            self._open()
        else:
            self._size = own.st_size

    def close(self) -> None:
        """For tests: a broker ends with its log open."""
        os.close(self._fd)
        os.close(self._directory)


def _opened(name: bytes, above: int | None = None) -> int:
    """A directory that only the user changes."""
    last = 0 if above is None else os.O_NOFOLLOW
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | last, dir_fd=above)
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        os.close(fd)
        raise OSError(errno.EPERM, "the directory of the broker's log is open to others", os.fsdecode(name))
    return fd


def quoted(text: str) -> str:
    """A JSON string. Bytes that are no UTF-8 are written as the surrogates that Python has for them (\\udc80)."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_ESCAPED.get(ord(letter)) or _escape(letter) for letter in text) + '"'


def _escape(letter: str) -> str:
    number = ord(letter)
    if letter.isprintable():
        return letter
    if number < 0x10000:
        return f"\\u{number:04x}"
    number -= 0x10000
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"


def request_name(command: int) -> str:
    """A command's name; the number of one that there isn't."""
    return _NAMES[command] if command < len(_NAMES) else str(command)


def flag_names(flags: int) -> str:
    """A JSON list of the flags' names, and the number of what has none."""
    names = [f'"{name}"' for bit, (name, _) in FLAGS.items() if flags & bit]
    rest = flags & ~sum(FLAGS)
    return f"[{','.join([*names, str(rest)] if rest else names)}]"


_FLAG_NAMES = {flags: flag_names(flags) for flags in range(1, 64)}
"""Made once: they are in most lines."""

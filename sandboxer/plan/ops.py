"""
The vocabulary of plans: the one place where it is written down.

`launchers/ops.h` is generated from this module (`python -m sandboxer.plan.header`), and a test keeps it fresh. A plan
says *what*; the order of the launcher's phases, and whether they happen, is C code that no plan can change.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from sandboxer.words import BUILT_IN, BoxPath, HostPath, Origin, Record

MAGIC = b"SBXPLAN3"
PLAN_SIZE_MAX = 256 * 1024
"""Bytes; the launcher reads a plan once into a static buffer of this size."""
OPS_MAX = 1024
STAMPS_MAX = 2048
ENV_MAX = 256
ARGV_MAX = 64
BPF_MAX = 4096
"""Instructions: the kernel's own limit (BPF_MAXINSNS)."""
KEEP_FDS_MAX = 16
LISTEN_MAX = 4
CONNECT_MAX = 4
FACTS_MAX = 4096
"""Bytes of what a plan adds to the state file of a running box."""
SCOPE_MAX = 4096
"""Bytes of what the scope service is told."""
BROKER_DESCRIPTOR = 99
"""Number of the descriptor that is connected to the broker, where the plan has BROKER_DESCRIPTOR."""
CONNECT_FIRST = 100
"""Number of the first descriptor that a CONNECT makes; the following ones count up."""
PATH_SIZE_MAX = 4096
"""Bytes with the NUL: PATH_MAX."""


class OpKind(IntEnum):
    """What a mount operation does. Box paths are absolute; the launcher makes missing parents with mode 0755."""

    DIR = 1
    """Make a directory (an existing one is kept)."""
    LINK = 2
    """Make a symbolic link at box_path that holds `source`, verbatim."""
    FILE = 3
    """Make a regular file at box_path with the bytes of `data`."""
    BIND = 4
    """Bind the host's `source` (fully resolved) at box_path, with all mounts beneath it."""
    OWN = 5
    """Make the directory at box_path a writable mount of its own; the box's root becomes read-only."""
    PROC = 6
    """Mount a new procfs at box_path."""
    PTS = 7
    """Mount a new devpts instance at box_path."""
    SEAL = 8
    """Make what is at box_path, and all mounts beneath it, read-only."""
    HIDE = 9
    """Cover what is at box_path with an empty, read-only directory or file."""
    LISTEN = 10
    """
    Bind a socket at box_path on which the launcher's monitor listens for the broker; `source` is its name ("broker",
    "ssh-agent"), which the broker is told. SOCK_SEQPACKET, or with STREAM SOCK_STREAM; `mode` is the socket's.
    """
    CONNECT = 11
    """
    Connect to the host's socket `source` (fully resolved) before the box is made, and leave the connected descriptor to
    the application under the number `mode`, from CONNECT_FIRST on; box_path is /dev/fd/NUMBER.
    """


class OpFlag(IntFlag):
    """How a BIND behaves. With none: read-only, no device nodes, no set-uid programs."""

    WRITE = 1
    """Writable, where the user may write."""
    DEVICE = 2
    """Device nodes work."""
    NOEXEC = 4
    """Nothing in it can be executed."""
    DIRECTORY = 8
    """The source must be a directory; without it, it must not be one."""
    STREAM = 16
    """Of LISTEN: a stream socket."""


class PlanFlag(IntFlag):
    """Switches of the fixed phases."""

    PRIVATE_NETWORK = 1
    """A network namespace of the box's own, with only loopback."""
    NESTED_NAMESPACES = 2
    """The application may make user namespaces; without it a kernel limit of 0 is set."""
    LANDLOCK_SCOPE = 4
    """A Landlock domain closes abstract sockets and signals to the outside (ABI 6)."""
    DIE_WITH_PARENT = 8
    """The box ends when the process that started the launcher ends."""
    DOCUMENTS_READ = 16
    """Argument words that name host files are handed in, read-only."""
    DOCUMENTS_WRITE = 32
    """... and writable (implies DOCUMENTS_READ)."""
    BY_DIRECTORY = 64
    """Valid for one working directory only; cached under a name that holds it."""
    LINGER = 128
    """The box lives until its last process ends, not its first."""
    LANDLOCK_FILES = 256
    """A Landlock domain denies opening or changing what isn't mounted in the box, descriptors or not (ABI 3)."""
    TERMINAL_OUTPUT = 512
    """Where a standard descriptor is a terminal, the application can write to it, and not read what is typed."""
    BROKER_DESCRIPTOR = 1024
    """A descriptor connected to the broker is left to the application (BROKER_DESCRIPTOR)."""
    DOCUMENTS_SIBLINGS = 2048
    """With a document comes the directory that it lies in, unless that holds the home or is hidden."""
    JOINS = 4096
    """Started again, the application joins the box in which it runs."""


class LimitKind(IntEnum):
    """A limit that the kernel holds for each process of the box (setrlimit), the numbers of `limits` in a plan."""

    PROCESSES = 0
    """RLIMIT_NPROC: processes and threads of the whole box, since the kernel counts them for each user namespace."""
    OPEN_FILES = 1
    """RLIMIT_NOFILE: open descriptors of each process."""
    FILE_SIZE = 2
    """RLIMIT_FSIZE: bytes that a file can be made long."""
    DATA = 3
    """RLIMIT_DATA: bytes of private writable memory of each process."""


class StampKind(IntEnum):
    """A fact that shaped the plan; the launcher refuses the plan as stale when it no longer holds."""

    ENV = 1
    """Environment variable `name` has exactly `value`."""
    ENV_ABSENT = 2
    FILE = 3
    """lstat(name) has the same device, inode, size, mode, mtime and ctime."""
    TYPE = 4
    """lstat(name) has the same file type (sockets and device nodes, which are made anew)."""
    ABSENT = 5
    """name doesn't exist (ENOENT or ENOTDIR)."""
    KERNEL = 6
    """uname's release is `name`."""
    DIRECTORY = 7
    """The working directory is `name`."""


class EnvKind(IntEnum):
    """An entry of the environment inside. Whatever isn't named doesn't get in."""

    SET = 1
    PASS = 2
    """The value that the launcher's caller has, if any."""
    PASS_PREFIX = 3
    """Every variable of the caller's whose name starts so ("LC_")."""
    KEEP_OUT = 4
    """A part of names ("TOKEN"): variables that have it, in capitals or not, never get in by PASS_PREFIX."""


class Op(Record):
    """One mount operation. `mode` is the permission bits of DIR and FILE."""

    kind: OpKind
    box_path: BoxPath
    source: HostPath | str = ""
    data: bytes = b""
    mode: int = 0
    flags: OpFlag = OpFlag(0)
    origin: Origin = BUILT_IN


class Stamp(Record):
    """See `StampKind`. Times are in nanoseconds."""

    kind: StampKind
    name: str
    value: str = ""
    device: int = 0
    inode: int = 0
    size: int = 0
    mode: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0


class EnvEntry(Record):
    """See `EnvKind`."""

    kind: EnvKind
    name: str
    value: str = ""


class Plan(Record):
    """All that the launcher needs to know; `request` is the words that it answers (the cache key in full)."""

    app: str
    request: tuple[str, ...]
    uid: int
    gid: int
    hostname: str
    command: tuple[str, ...]
    """Words before the user's own; may be empty for `sandbox run`."""
    notice: str
    """One line printed to stderr at each start, or empty."""
    home: BoxPath
    """Where the box starts when the caller's directory isn't in it."""
    flags: PlanFlag
    keep_fds: tuple[int, ...]
    ops: tuple[Op, ...]
    environment: tuple[EnvEntry, ...]
    stamps: tuple[Stamp, ...]
    program: bytes
    """The seccomp filter: an array of struct sock_filter, native byte order."""
    broker: bytes = b""
    """The broker's rules, as `broker.rules.encode` lays them out; empty where the box has no broker."""
    limits: tuple[tuple[LimitKind, int], ...] = ()
    """Resource limits that the box's first process sets, soft and hard; each kind at most once, ascending."""
    scope: bytes = b""
    """What the scope service is asked for before the application starts (`desktop.scopes`); empty: nothing."""
    facts: str = ""
    """Lines "key=value" for the state file of the running box, each closed by a newline."""

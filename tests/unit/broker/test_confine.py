"""What a broker could still do if it were taken over: confined in a child, which then tries."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import pickle
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from brokers import rule, rules_for

from sandboxer._kernel import lib
from sandboxer.broker import confine as module
from sandboxer.broker.calls import ALLOWED, ENDING, OLD, TESTED
from sandboxer.broker.confine import access_of, confine, limit
from sandboxer.broker.log import Log
from sandboxer.broker.roots import open_roots
from sandboxer.broker.rules import KEYS, Rule
from sandboxer.broker.verdicts import Table
from sandboxer.plan import bpf, broker_filter, seccomp

Work = Callable[[], object]
needs_landlock = pytest.mark.skipif(lib.kernel_landlock_abi() < 3, reason="NOT TESTED: needs Landlock ABI 3")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    (place / "sub").mkdir(parents=True)
    (place / "file").write_text("content")
    (place / "other").write_text("other")
    (tmp_path / "outside").write_text("secret")
    return place


def tried(tmp_path: Path, rules: list[Rule], *works: Work) -> list[object]:
    """What each of `works` returns, or its errno's name, in a child that is confined as a broker is; -N: signal N."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            given = rules_for(tmp_path / "log", rules)
            table = Table(given)
            open_roots(table)
            log = Log(os.fsencode(tmp_path / "log"), "app", "app.1")
            confine(table, log.directory, given.program)
            for work in works:
                os.write(writer, pickle.dumps(answer(work)))
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        _, status = os.waitpid(child, 0)
        found: list[object] = []
        while file.peek():
            found.append(pickle.load(file))
    if os.WIFSIGNALED(status):
        found.append(-os.WTERMSIG(status))
    else:
        assert os.WEXITSTATUS(status) == 0, found
    return found


def answer(work: Work) -> object:
    try:
        return work()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def opened(path: Path | str, flags: int = os.O_RDONLY) -> Work:
    return lambda: bool(os.open(path, flags, 0o600))


@needs_landlock
def test_only_what_a_rule_is_for_can_be_opened(place: Path, tmp_path: Path) -> None:
    found = tried(
        tmp_path,
        [rule(place, "read")],
        opened(place / "file"),
        opened(place / "file", os.O_WRONLY),
        opened(place / "new", os.O_WRONLY | os.O_CREAT),
        opened(tmp_path / "outside"),
        opened("/etc/passwd"),
        opened(place, os.O_RDONLY | os.O_DIRECTORY),
        opened("/proc/self/mem"),
        lambda: os.unlink(place / "file"),
        lambda: os.mkdir(place / "made"),
        lambda: os.rename(place / "file", place / "moved"),
    )
    assert [True, *["EACCES"] * 9] == found


@needs_landlock
@pytest.mark.parametrize("key", KEYS)
def test_each_right_opens_what_it_takes_and_no_more(place: Path, tmp_path: Path, key: str) -> None:
    tries: dict[str, Work] = {
        "read": opened(place / "file"),
        "write": opened(place / "file", os.O_WRONLY),
        "truncate": opened(place / "file", os.O_WRONLY | os.O_TRUNC),
        "list": opened(place, os.O_RDONLY | os.O_DIRECTORY),
        "create": opened(place / "new", os.O_RDONLY | os.O_CREAT),
        "mkdir": lambda: os.mkdir(place / "made"),
        "rename": lambda: os.rename(place / "other", place / "sub/moved"),
        "unlink": lambda: os.unlink(place / "file"),
        "link": lambda: os.link(place / "sub", place / "link"),
        "symlink": lambda: os.symlink("x", place / "symlink"),
        "fifo": lambda: os.mkfifo(place / "fifo"),
    }
    allowed = {
        "read": {"read"},
        "write": {"write", "truncate"},
        "append": {"write"},
        "list": {"list"},
        "mkdir": {"mkdir"},
        "rename": {"rename", "unlink", "mkdir"},
        "unlink": {"unlink"},
    }
    found = tried(tmp_path, [rule(place, key)], *tries.values())
    assert allowed.get(key, set()) == {name for name, one in zip(tries, found, strict=True) if one in (None, True)}


@needs_landlock
def test_a_rule_for_one_file_opens_that_file_alone(place: Path, tmp_path: Path) -> None:
    found = tried(
        tmp_path,
        [rule(place, "read", "write", name="file")],
        opened(place / "file", os.O_RDWR),
        opened(place / "other"),
        opened(place / "other", os.O_WRONLY),
        opened(place, os.O_RDONLY | os.O_DIRECTORY),
    )
    assert [True, "EACCES", "EACCES", "EACCES"] == found


def test_a_file_that_may_be_made_needs_its_directory(place: Path) -> None:
    one, made = Table(
        rules_for("/log", [rule(place, "write", name="file"), rule(place, "write", "create", name="new")])
    ).places
    assert 0 == access_of(one)[1]
    assert access_of(made)[1]


def test_it_can_start_nothing_and_reach_nothing(place: Path, tmp_path: Path) -> None:
    def executable() -> object:
        return bool(mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC))

    found = tried(
        tmp_path,
        [rule(place, "read")],
        lambda: bool(socket.socket(socket.AF_INET)),
        lambda: bool(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
        lambda: bool(socket.socket(socket.AF_UNIX)),
        executable,
        lambda: os.kill(os.getppid(), 0),
        lambda: os.setuid(os.getuid()),
        lambda: os.chmod(place / "file", 0o666),
        lambda: os.sched_setaffinity(0, {0}),
        lambda: os.pidfd_open(os.getppid()),
    )
    assert ["EPERM", "EPERM", True, *["EPERM"] * 6] == found


@pytest.mark.parametrize(
    "work",
    [
        os.fork,
        lambda: os.execv("/bin/true", ["true"]),
        lambda: ctypes.CDLL(None).ptrace(16, os.getppid(), None, None),
        lambda: ctypes.CDLL(None).unshare(0x10000000),
        lambda: ctypes.CDLL(None).mount(b"none", b"/tmp", b"tmpfs", 0, None),
    ],
    ids=["fork", "exec", "ptrace", "unshare", "mount"],
)
def test_what_only_an_attacker_would_try_ends_it(place: Path, tmp_path: Path, work: Work) -> None:
    assert [-signal.SIGSYS] == tried(tmp_path, [rule(place, "read")], work)


def test_it_is_limited_and_cannot_be_dumped(place: Path, tmp_path: Path) -> None:
    kinds = (resource.RLIMIT_CORE, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE)
    # asking for limits is no call that a broker makes; its own files in /proc say the rest
    found = tried(tmp_path, [rule(place, "read")], lambda: os.stat("/proc/self/environ").st_uid)
    assert [0] == found
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        limit(1)
        os.write(writer, pickle.dumps([resource.getrlimit(kind) for kind in kinds]))
        os._exit(0)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as file:
        os.close(writer)
        assert [(0, 0), (0, 0), (1025, 1025)] == pickle.load(file)


class OldKernel:
    """A kernel's Landlock, of some ABI; remembers what it was asked to handle."""

    def __init__(self, abi: int) -> None:
        self.abi = abi
        self.handled: tuple[int, ...] = ()

    def kernel_landlock_abi(self) -> int:
        return self.abi

    def kernel_landlock_create(self, *handled: int) -> int:
        self.handled = handled
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def kernel_landlock_allow(self, *_: int) -> int:
        return 0

    kernel_landlock_restrict = kernel_landlock_allow


@pytest.mark.parametrize(
    ("abi", "handled"),
    [
        (1, (0x1FFF, 0, 0)),
        (2, (0x3FFF, 0, 0)),
        (3, (0x7FFF, 0, 0)),
        (4, (0x7FFF, 3, 0)),
        (5, (0xFFFF, 3, 0)),
        (6, (0xFFFF, 3, 3)),
        (9, (0xFFFF, 3, 3)),
    ],
)
def test_each_kernel_is_asked_for_all_that_it_knows(
    abi: int, handled: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = OldKernel(abi)
    monkeypatch.setattr(module, "lib", kernel)
    module.enter_landlock(Table(rules_for("/log")), -1)
    assert handled == kernel.handled


@pytest.mark.parametrize(("abi", "why"), [(2, "need Linux 6.2"), (-38, "no Landlock"), (-95, "no Landlock")])
def test_without_the_landlock_that_rules_need_it_fails(
    abi: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = OldKernel(abi)
    monkeypatch.setattr(module, "lib", kernel)
    with pytest.raises(OSError, match=why):
        module.enter_landlock(Table(rules_for("/log", [rule("/d", "read")])), -1)
    assert () == kernel.handled


@pytest.fixture(scope="module")
def filter_(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return broker_filter.program(str(tmp_path_factory.mktemp("filters")))


def test_the_filter_allows_what_is_listed_and_nothing_else(filter_: bytes) -> None:
    arch = seccomp.native_arch()
    tested = {name for name, *_ in TESTED}
    for name, verdicts in seccomp.verdicts(filter_, arch).items():
        said = {str(verdict) for verdict in verdicts}
        if name in ENDING:
            assert {"kill process"} == said, name
        elif name in tested:
            assert {"allow", "EPERM"} == said, name
        else:
            assert said in ({"allow"}, {"EPERM"}), name
            assert ("allow" in said) <= (name in ALLOWED or name in OLD), name


@pytest.mark.parametrize(
    ("name", "arguments", "verdict"),
    [
        ("socket", (1, 1, 0), "allow"),
        ("socket", (2, 1, 0), "EPERM"),
        ("socket", (16, 3, 0), "EPERM"),
        ("socket", (40, 1, 0), "EPERM"),
        ("mmap", (0, 4096, 3), "allow"),
        ("mmap", (0, 4096, 7), "EPERM"),
        ("mmap", (0, 4096, 4), "EPERM"),
        ("mprotect", (0, 4096, 5), "EPERM"),
        ("setsockopt", (3, 1, 7), "allow"),
        ("setsockopt", (3, 1, 15), "EPERM"),
    ],
)
def test_arguments_are_tested(filter_: bytes, name: str, arguments: tuple[int, ...], verdict: str) -> None:
    arch = seccomp.native_arch()
    numbers = {known: number for number, known in seccomp.names(arch).items()}
    assert verdict == str(bpf.run(bpf.decode(filter_), numbers[name], arch, arguments))


def test_the_filter_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = str(tmp_path / "filters")
    first = broker_filter.program(directory)
    monkeypatch.setattr(seccomp, "allow", None)
    assert first == broker_filter.program(directory)


def test_a_list_that_has_changed_makes_another_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = str(tmp_path / "filters")
    first = broker_filter.program(directory)
    monkeypatch.setattr(broker_filter, "ALLOWED", ["read"])
    assert first != broker_filter.program(directory)

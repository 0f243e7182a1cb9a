"""What may be granted to a box that runs, and where it would be in the way."""

from __future__ import annotations

import stat
from collections.abc import Mapping

import pytest
from fakes import Directory, Entry, FakeHost, Link
from plans import op, small_box

from sandboxer.broker.rules import Rules, encode
from sandboxer.errors import StewardError
from sandboxer.plan.ops import OpFlag, OpKind, Plan
from sandboxer.steward import allowed, devices
from sandboxer.steward.sources import Source

RUNTIME = {"XDG_RUNTIME_DIR": "/run/user/1000"}


def host(tree: Mapping[str, Entry] = {}, **variables: str) -> FakeHost:
    return FakeHost(tree, variables=RUNTIME | variables)


def plan(*more: object, broker: bytes = b"") -> Plan:
    return small_box(["true"], home="/home/ann", more=more, broker=broker)  # type: ignore[arg-type] # Ops


def source(path: str, kind: int = stat.S_IFDIR) -> Source:
    return Source(path=path, device=1, inode=2, mode=kind | 0o755)


def refused(path: str, kind: int = stat.S_IFDIR, *, write: bool = False, hidden: tuple[str, ...] = ()) -> str:
    with pytest.raises(StewardError) as raised:
        allowed.covers(source(path, kind), plan(), host(), write=write, hidden=hidden)
    return raised.value.what


@pytest.mark.parametrize("path", ["/", "/proc", "/proc/self", "/sys/kernel", "/dev", "/dev/shm"])
def test_parts_of_the_kernel_are_no_files(path: str) -> None:
    assert "part of the kernel" in refused(path)


@pytest.mark.parametrize(
    "path",
    [
        "/run/user/1000",
        "/run/user/1000/bus",
        "/run/user/1000/sandboxer/boxes/firefox.1",
        "/home/ann/.cache/sandboxer",
        "/home/ann/.cache/sandboxer/plans/x.plan",
    ],
)
def test_what_boxes_are_controlled_by_is_never_shown(path: str) -> None:
    assert "controlled by" in refused(path)
    assert "controlled by" in refused(path, stat.S_IFREG)


def test_it_is_found_behind_links_too() -> None:
    there = host({"/home/ann/.cache": Link(target="/srv/cache"), "/srv/cache/sandboxer": Directory()})
    with pytest.raises(StewardError):
        allowed.covers(source("/srv/cache/sandboxer/plans"), plan(), there, write=False)


@pytest.mark.parametrize("kind", [stat.S_IFSOCK, stat.S_IFIFO])
def test_sockets_and_pipes_are_for_the_policy(kind: int) -> None:
    assert "only files, directories and device nodes" in refused("/home/ann/x", kind)


@pytest.mark.parametrize(
    "path",
    [
        "/home/ann/.bashrc",
        "/home/ann",
        "/home/ann/bin",
        "/home/ann/.local/share/applications",
        "/etc/sandboxer",
    ],
)
def test_nothing_is_made_writable_from_which_programs_are_run(path: str) -> None:
    assert "what runs outside" in refused(path, write=True)
    allowed.covers(source(path), plan(), host(), write=False)


def test_an_ordinary_directory_may_be_granted_whole() -> None:
    assert () == allowed.covers(source("/home/ann/Projects"), plan(), host(), write=True)


def test_what_lies_in_it_and_is_closed_or_hidden_stays_covered() -> None:
    hidden = ("/home/ann/Papers/secret", "/srv/other")
    found = allowed.covers(source("/home/ann"), plan(), host(), write=False, hidden=hidden)
    assert {
        "/home/ann/.cache/sandboxer",
        "/home/ann/.local/state/sandboxer",
        "/home/ann/Papers/secret",
    } == set(found)


def test_what_the_policy_hides_is_refused_and_keeps_what_holds_it_from_being_writable() -> None:
    hidden = ("/home/ann/Papers/secret",)
    assert "policy hides" in refused("/home/ann/Papers/secret/x", hidden=hidden)
    assert "holds something hidden" in refused("/home/ann/Papers", write=True, hidden=hidden)


def test_hidden_paths_are_those_of_the_plan_s_covers_and_of_its_broker() -> None:
    rules = encode(Rules(app="t", log="/l", hidden=("/srv/hidden",)))
    made = plan(
        op(OpKind.BIND, "/home/ann/Work", "/srv/work", flags=OpFlag.DIRECTORY),
        op(OpKind.HIDE, "/home/ann/Work/secret"),
        broker=rules,
    )
    found = allowed.hidden_paths(made)
    assert {"/srv/hidden", "/srv/work/secret"} <= set(found)


@pytest.mark.parametrize(
    ("path", "source_path", "expected"),
    [
        ("/home/ann/Work", "/srv/work", False),
        ("/home/ann/Work", "/srv/elsewhere", True),
        ("/home/ann/Work/deeper", "/srv/x", False),
        ("/home/ann", "/home/ann", True),
        ("/srv", "/srv", False),
        ("/tmp", "/tmp", True),
        ("/dev", "/dev", True),
    ],
)
def test_a_grant_that_would_cover_the_plan_s_own_is_noticed(
    path: str, source_path: str, expected: bool
) -> None:
    made = plan(op(OpKind.BIND, "/home/ann/Work", "/srv/work", flags=OpFlag.DIRECTORY))
    assert expected is allowed.collides(path, source_path, made)


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/dev/video0", "camera"),
        ("/dev/input/event3", "passwords"),
        ("/dev/uinput", "type into every program"),
        ("/dev/snd/pcmC0D0c", "microphone"),
        ("/dev/hidraw0", "security keys"),
        ("/dev/something", "driver"),
    ],
)
def test_a_device_sounds_as_dangerous_as_it_is(path: str, word: str) -> None:
    assert word in devices.meaning(path, block=False)
    assert "part of the kernel" in devices.meaning(path, block=False)


def test_a_disk_sounds_worse() -> None:
    assert "past every permission" in devices.meaning("/dev/sda", block=True)


@pytest.mark.parametrize(
    "path", ["/dev/pts/3", "/dev/tty", "/dev/tty2", "/dev/console", "/dev/ptmx", "/home/ann/node"]
)
def test_terminals_and_nodes_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(StewardError):
        devices.meaning(path, block=False)

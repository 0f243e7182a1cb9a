"""Running boxes are found by what can be verified of them, and nothing else is believed."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandboxer.errors import StewardError
from sandboxer.host.session import Session
from sandboxer.steward import boxes
from sandboxer.steward.boxes import Box

Locks = list[int]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "boxes"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def locks() -> Iterator[Locks]:
    """Descriptors that stand for launchers that live."""
    held: Locks = []
    yield held
    for fd in held:
        os.close(fd)


def make(
    place: Path, name: str, content: str | None = None, *, locks: Locks | None = None, mode: int = 0o600
) -> Path:
    """A state directory; held by a launcher when there are `locks`."""
    app, _, pid = name.rpartition(".")
    directory = place / name
    directory.mkdir(mode=0o700)
    lock = directory / "box"
    lock.write_text(f"app={app}\nmonitor={pid}\nstarted=12\n" if content is None else content)
    lock.chmod(mode)
    (directory / "grants").touch()
    with socket.socket(socket.AF_UNIX) as control:
        os.chdir(directory)
        control.bind("control")
    if locks is not None:
        locks.append(os.open(lock, os.O_RDONLY))
        fcntl.flock(locks[-1], fcntl.LOCK_EX)
    return directory


def age(directory: Path) -> None:
    os.utime(directory, (1, 1))


def test_a_box_whose_launcher_holds_the_lock_runs(place: Path, locks: Locks) -> None:
    directory = make(place, "firefox.12", locks=locks)
    expected = Box(id="firefox.12", app="firefox", monitor=12, started=12, directory=str(directory))
    assert [expected] == boxes.running(str(place))


def test_a_name_with_dots_is_an_application_s(place: Path, locks: Locks) -> None:
    make(place, "org.example.App.7", locks=locks)
    assert ["org.example.App"] == [box.app for box in boxes.running(str(place))]


def test_what_a_killed_launcher_left_is_removed(place: Path) -> None:
    age(make(place, "firefox.12"))
    assert [] == boxes.running(str(place))
    assert [] == list(place.iterdir())


def test_what_may_be_on_its_way_to_be_locked_is_left(place: Path) -> None:
    make(place, "firefox.12")
    (place / "gimp.13").mkdir(mode=0o700)
    assert [] == boxes.running(str(place))
    assert {"firefox.12", "gimp.13"} == {entry.name for entry in place.iterdir()}


def test_what_somebody_put_into_a_stale_directory_keeps_it(place: Path) -> None:
    directory = make(place, "firefox.12")
    (directory / "other").touch()
    age(directory)
    assert [] == boxes.running(str(place))
    assert ["other"] == [entry.name for entry in directory.iterdir()]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "app=firefox",
        "app=firefox\nmonitor=12\nstarted=x\n",
        "app=firefox\nmonitor=13\nstarted=1\n",
        "app=../x\nmonitor=12\nstarted=1\n",
        "app=firefox\nmonitor=-12\nstarted=1\n",
        f"app=firefox\nmonitor=12\nstarted={'9' * 400}\n",
        "\0\n\n\n=",
    ],
)
def test_a_locked_directory_that_makes_no_sense_is_no_box_and_stays(
    place: Path, locks: Locks, content: str
) -> None:
    directory = make(place, "firefox.12", content, locks=locks)
    age(directory)
    assert [] == boxes.running(str(place))
    assert directory.exists()


@pytest.mark.parametrize(
    "what", ["a file", "a link", "open to others", "a FIFO for its lock", "a link for its lock"]
)
def test_what_no_launcher_makes_is_left_alone(place: Path, locks: Locks, what: str) -> None:
    elsewhere = make(place.parent, "firefox.12", locks=locks)
    trap = place / "firefox.12"
    if what == "a file":
        trap.touch()
    elif what == "a link":
        trap.symlink_to(elsewhere)
    else:
        trap.mkdir(mode=0o700)
        if what == "open to others":
            trap.chmod(0o755)
        elif what == "a FIFO for its lock":
            os.mkfifo(trap / "box", 0o600)
        else:
            (trap / "box").symlink_to(elsewhere / "box")
        age(trap)
    assert [] == boxes.running(str(place))
    assert trap.is_symlink() or trap.exists()


def test_a_lock_that_others_may_write_is_no_box(place: Path, locks: Locks) -> None:
    make(place, "firefox.12", locks=locks, mode=0o622)
    assert [] == boxes.running(str(place))


def test_a_directory_of_boxes_that_others_may_look_into_is_an_error(place: Path) -> None:
    place.chmod(0o755)
    with pytest.raises(StewardError, match="can't be trusted"):
        boxes.running(str(place))


def test_without_a_directory_no_box_runs(place: Path) -> None:
    assert [] == boxes.running(str(place / "missing"))


def test_the_directory_is_beside_the_plans(tmp_path: Path) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    there = Session({"XDG_RUNTIME_DIR": str(runtime)}, str(tmp_path / "cache"))
    assert f"{runtime}/sandboxer/boxes" == boxes.boxes_directory(there)
    runtime.chmod(0o755)
    assert f"{tmp_path}/cache/sandboxer/boxes" == boxes.boxes_directory(there)


def test_boxes_of_a_session_without_a_directory_are_looked_for_where_the_users_others_have_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxes, "RUNTIME", str(tmp_path))
    cache, usual = str(tmp_path / "cache"), tmp_path / str(os.getuid())
    usual.mkdir(mode=0o700)
    own = f"{cache}/sandboxer/boxes"
    assert (own, f"{usual}/sandboxer/boxes") == boxes.directories(Session({}, cache))
    usual.chmod(0o755)
    assert (own,) == boxes.directories(Session({}, cache))
    usual.chmod(0o700)
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    named = Session({"XDG_RUNTIME_DIR": str(runtime)}, cache)
    assert (f"{runtime}/sandboxer/boxes", own) == boxes.directories(named)


def test_all_boxes_are_told_in_the_order_of_their_starts(
    tmp_path: Path, locks: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxes, "RUNTIME", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() or 1)
    monkeypatch.setattr(boxes, "is_private", lambda *_: True)
    monkeypatch.setattr(boxes, "_require_own", lambda *_: None)
    there = Session({}, str(tmp_path / "cache"))
    first, second = boxes.directories(there)
    for directory, name, started in ((first, "b.2", 20), (second, "a.1", 10)):
        os.makedirs(directory, mode=0o700)
        app, _, pid = name.rpartition(".")
        content = f"app={app}\nmonitor={pid}\nstarted={started}\n"
        made = make(Path(directory), name, content, locks=locks)
        for path in (made, made / "box"):
            os.chown(path, os.getuid(), -1)
    assert ["a.1", "b.2"] == [box.id for box in boxes.all_running(there)]


def test_root_is_told_that_it_has_no_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(StewardError, match="root has no boxes"):
        boxes.all_running(Session({}, "/nonexistent"))


def test_topics_are_as_many_as_there_can_be() -> None:
    lines = "".join(f"topic={'x' * 300}{number}\n" for number in range(100))
    found = boxes.parse("a.7", f"app=a\nmonitor=7\nstarted=12\n{lines}".encode(), "/d")
    assert found is not None
    assert boxes.TOPICS_MAX == len(found.topics)
    assert boxes.TEXT_MAX == max(map(len, found.topics))

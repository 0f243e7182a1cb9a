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


def box(app: str, pid: int) -> Box:
    return Box(id=f"{app}.{pid}", app=app, monitor=pid, started=pid, directory="/")


@pytest.mark.parametrize("word", ["firefox.12", "12"])
def test_a_box_is_named_by_its_id_or_pid_even_if_there_are_more(word: str) -> None:
    there = [box("firefox", 11), box("firefox", 12)]
    assert there[1] == boxes.named(word, there)


def test_an_application_names_its_only_box() -> None:
    assert 7 == boxes.named("gimp", [box("firefox", 11), box("gimp", 7)]).monitor


def test_several_boxes_of_an_application_are_listed() -> None:
    with pytest.raises(StewardError) as raised:
        boxes.named("firefox", [box("firefox", number) for number in range(20)])
    assert "firefox runs 20 times" == raised.value.what
    assert "firefox.12, firefox.13, firefox.14, firefox.15, firefox.16" in raised.value.subject
    assert "and 12 older ones" in raised.value.subject


def test_no_box_is_an_error_that_tells_which_there_are() -> None:
    with pytest.raises(StewardError) as raised:
        boxes.named("gimp", [box("firefox", 1)])
    assert ("gimp; there are: firefox.1", "start it: sandbox gimp") == (
        raised.value.subject,
        raised.value.hint,
    )

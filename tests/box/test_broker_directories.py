"""Listing, making, renaming, removing and watching through the broker of a real box."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest
from brokered import AskingBox
from conftest import Asking

IN_CREATE, IN_MODIFY = 0x100, 2
NAMES = 1500
"""Of some 40 bytes each: four messages."""
ALL = """
read = ["~/Documents"]
list = ["~/Documents", "~/Music"]
mkdir = ["~/Documents"]
rename = ["~/Documents"]
unlink = ["~/Documents"]
watch = ["~/Documents", "~/Music/song"]
"""


@pytest.fixture
def home(session: dict[str, str]) -> Path:
    home = Path(session["HOME"])
    (home / "Documents" / "deep").mkdir(parents=True)
    (home / "Documents" / "letter.txt").write_text("a letter")
    (home / "Documents" / "link").symlink_to("letter.txt")
    os.mkfifo(home / "Documents" / "pipe")
    (home / "Documents" / "deep" / "leaf").write_text("leaf")
    (home / "Music").mkdir()
    (home / "Music" / "song").write_text("la")
    (home / "secret").write_text("secret")
    return home


@pytest.fixture
def box(asking: Asking, home: Path) -> AskingBox:
    return asking(ALL)


def test_names_are_listed_with_what_they_are(box: AskingBox, home: Path) -> None:
    place = str(home / "Documents")
    assert box.eval(f"client.listdir({place!r})") == ["deep", "letter.txt", "link", "pipe"]
    assert [("deep", "d"), ("letter.txt", "f"), ("link", "l"), ("pipe", "o")] == box.eval(f"client.entries({place!r})")
    assert box.eval(f"ask('list', '-t', {place!r})")[1] == "d deep\nf letter.txt\nl link\no pipe\n"
    assert box.eval(f"client.listdir({place + '/deep'!r})") == ["leaf"]
    assert box.eval(f"error(client.listdir, {place + '/letter.txt'!r})") == "ENOTDIR"
    assert box.eval(f"error(client.listdir, {str(home)!r})") == "EACCES"


def test_a_long_directory_comes_in_parts_without_a_loss(box: AskingBox, home: Path) -> None:
    expected = sorted(f"{number:04}-{'n' * 30}-\u00e9" for number in range(NAMES))
    for name in expected:
        (home / "Music" / name).touch()
    expected.append("song")
    assert expected == box.eval(f"client.listdir({str(home / 'Music')!r})")
    assert "\0".join(expected) + "\0" == box.eval(f"ask('list', '-0', {str(home / 'Music')!r})")[1]
    parts = [line for line in box.log() if line["request"] == "list"]
    assert len(parts) >= 8, "two listings, each of several parts"
    assert {"allowed"} == {line["verdict"] for line in parts}


def test_directories_are_made_with_their_mode_and_removed(box: AskingBox, home: Path) -> None:
    place = home / "Documents"
    box.does("os.umask(0o777)")
    assert 0 == box.eval(f"ask('mkdir', {str(place / 'a')!r})")[0]
    box.eval(f"client.mkdir({str(place / 'b')!r}, 0o755)")
    box.eval(f"client.mkdir({str(place / 'a' / 'c')!r})")
    modes = [stat.S_IMODE((place / name).stat().st_mode) for name in ("a", "b", "a/c")]
    assert [0o700, 0o755, 0o700] == modes
    assert box.eval(f"error(client.mkdir, {str(place / 'a')!r})") == "EEXIST"
    assert box.eval(f"raw(message(6, {str(place / 'd')!r}, argument=0o777))")[0] == "EINVAL"
    assert box.eval(f"error(client.rmdir, {str(place / 'a')!r})") == "ENOTEMPTY"
    assert 0 == box.eval(f"ask('rmdir', {str(place / 'a' / 'c')!r})")[0]
    box.eval(f"client.rmdir({str(place / 'a')!r})")
    assert not (place / "a").exists()
    assert box.eval(f"error(client.mkdir, {str(home / 'new')!r})") == "EACCES"


def test_names_are_changed_within_the_rule(box: AskingBox, home: Path) -> None:
    place = home / "Documents"
    letter, moved = str(place / "letter.txt"), str(place / "deep" / "moved")
    box.eval(f"client.rename({letter!r}, {moved!r})")
    assert (place / "deep" / "moved").read_text() == "a letter"
    assert 0 == box.eval(f"ask('rename', {moved!r}, {letter!r})")[0]
    leaf = str(place / "deep" / "leaf")
    assert box.eval(f"error(client.rename, {letter!r}, {leaf!r}, replace=False)") == "EEXIST"
    assert 1 == box.eval(f"ask('rename', '-n', {letter!r}, {leaf!r})")[0]
    box.eval(f"client.rename({letter!r}, {leaf!r})")
    assert (place / "deep" / "leaf").read_text() == "a letter"
    assert box.eval(f"error(client.rename, {leaf!r}, {str(home / 'out')!r})") == "EACCES"
    assert box.eval(f"error(client.rename, {str(home / 'secret')!r}, {str(place / 'in')!r})") == "EACCES"
    assert box.eval(f"error(client.rename, {str(place)!r}, {str(place) + '2'!r})") == "EACCES"
    line = box.log()[-1]
    assert (str(place), str(place) + "2") == (line["path"], line["to"])


def test_removing_removes_the_link_and_not_what_it_leads_to(box: AskingBox, home: Path) -> None:
    place = home / "Documents"
    (place / "out").symlink_to(home / "secret")
    box.eval(f"client.unlink({str(place / 'out')!r})")
    assert 0 == box.eval(f"ask('unlink', {str(place / 'link')!r})")[0]
    assert ["deep", "letter.txt", "pipe"] == sorted(os.listdir(place))
    assert (home / "secret").exists()
    assert box.eval(f"error(client.unlink, {str(place / 'deep')!r})") == "EISDIR"
    assert box.eval(f"error(client.rmdir, {str(place / 'pipe')!r})") == "ENOTDIR"
    box.eval(f"client.unlink({str(place / 'pipe')!r})")
    assert box.eval(f"error(client.unlink, {str(place)!r})") == "EACCES"
    assert box.eval(f"error(client.unlink, {str(home / 'secret')!r})") == "EACCES"


def test_a_watch_tells_of_changes_outside(box: AskingBox, home: Path) -> None:
    box.does(f"watched = client.watch({str(home / 'Documents')!r}, {IN_CREATE})")
    assert box.eval("fcntl.fcntl(watched, fcntl.F_GETFL)") & os.O_NONBLOCK
    assert box.eval("fcntl.fcntl(watched, fcntl.F_GETFD)") == 1
    (home / "Documents" / "fresh").touch()
    events = box.eval("(select.select([watched], [], [], 5), os.read(watched, 4096))[1]")
    _, mask, _, size = struct.unpack_from("iIII", events)
    assert (IN_CREATE, b"fresh") == (mask, events[16 : 16 + size].rstrip(b"\0"))
    assert box.eval(f"error(client.watch, {str(home)!r})") == "EACCES"


def test_the_command_watches_a_single_file(box: AskingBox, home: Path) -> None:
    song = home / "Music" / "song"
    box.does(f"process = subprocess.Popen(['sandbox-broker', 'watch', '-1', {str(song)!r}], stdout=-1)")
    box.eval("time.sleep(0.3)")
    song.write_text("lala")
    assert "modify" in box.eval("process.communicate(timeout=5)[0].decode()").lower()


def test_what_cannot_be_watched_or_listed_is_told(box: AskingBox, home: Path) -> None:
    assert box.eval(f"error(client.watch, {str(home / 'Documents/absent')!r})") == "ENOENT"
    assert box.eval(f"raw(message(9, {str(home / 'Documents')!r}, argument=0))")[0] == "EINVAL"
    assert box.eval(f"raw(message(9, {str(home / 'Documents')!r}, argument=1 << 29))")[0] == "EINVAL"
    assert box.eval(f"raw(message(5, {str(home / 'Documents')!r}, b'a/b'))")[0] == "EINVAL"
    assert box.eval(f"error(client.listdir, {str(home / 'Documents/absent')!r})") == "ENOENT"


def test_no_request_makes_a_name_in_another_right_s_directory(asking: Asking, home: Path) -> None:
    """Each right by itself: one that lists doesn't remove, one that removes doesn't make, and so on."""
    deep = str(home / "Documents" / "deep")
    calls = {
        "list": f"client.listdir({deep!r})",
        "mkdir": f"client.mkdir({deep + '/new'!r})",
        "rename": f"client.rename({deep + '/leaf'!r}, {deep + '/other'!r})",
        "unlink": f"client.unlink({deep + '/leaf'!r})",
        "watch": f"os.close(client.watch({deep!r}))",
        "stat": f"client.stat({deep + '/leaf'!r})",
        "read": f"os.close(client.open({deep + '/leaf'!r}))",
    }
    for key, own in calls.items():
        box = asking(f'{key} = ["~/Documents"]')
        for other, call in calls.items():
            if other != key and (key, other) != ("read", "stat"):
                assert (key, other, "EACCES") == (key, other, box.eval(f"error(lambda: {call})"))
        assert box.eval(f"error(lambda: {own})") == ""
        if key in ("rename", "unlink"):
            (home / "Documents" / "deep" / "leaf").write_text("leaf")

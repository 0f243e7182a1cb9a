"""Opening files through the broker of a real box: each flag, each rule, each refusal, and what the log says of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from brokered import AskingBox
from conftest import Asking

O_FILE = stat.S_IFREG
CLOEXEC = 1

ALL = """
read = ["~/Documents"]
write = ["~/Documents/drafts", "~/Documents/one.txt"]
append = ["~/Documents/diary.txt"]
create = ["~/Documents/drafts"]
stat = ["~/Music"]
access = ["~/Music"]
readlink = ["~/Music"]
"""
"""A line for each key that is about files."""


@pytest.fixture
def home(session: dict[str, str]) -> Path:
    home = Path(session["HOME"])
    drafts = home / "Documents" / "drafts"
    drafts.mkdir(parents=True)
    (home / "Documents" / "letter.txt").write_text("a letter")
    (home / "Documents" / "one.txt").write_text("one")
    (home / "Documents" / "diary.txt").write_text("first day\n")
    (drafts / "draft.txt").write_text("draft")
    (home / "Music").mkdir()
    (home / "Music" / "song").write_text("la")
    (home / "Music" / "link").symlink_to("song")
    (home / "secret").write_text("secret")
    return home


@pytest.fixture
def box(asking: Asking, home: Path) -> AskingBox:
    return asking(ALL)


def test_a_file_is_read_by_command_and_by_client_and_isn_t_there_otherwise(
    box: AskingBox, home: Path
) -> None:
    letter = str(home / "Documents" / "letter.txt")
    assert not box.eval(f"os.path.exists({letter!r})")
    assert [0, "a letter", ""] == list(box.eval(f"ask('open', {letter!r})"))
    assert box.eval(f"read({letter!r})") == b"a letter"


def test_what_is_read_can_only_be_read(box: AskingBox, home: Path) -> None:
    letter = str(home / "Documents" / "letter.txt")
    flags = box.eval(f"facts(client.open({letter!r}))")
    assert (CLOEXEC, os.O_RDONLY) == (flags[0], flags[1] & os.O_ACCMODE)
    assert box.eval(f"error(os.write, client.open({letter!r}), b'x')") == "EBADF"
    assert box.eval(f"error(os.ftruncate, client.open({letter!r}), 0)") == "EINVAL"
    assert (home / "Documents" / "letter.txt").read_text() == "a letter"


def test_a_descriptor_is_close_on_exec_even_for_those_who_ask_in_bytes(box: AskingBox, home: Path) -> None:
    """The broker can't choose that for the receiver, so both clients do: no child of theirs has it."""
    letter = str(home / "Documents" / "letter.txt")
    box.does(f"kept.append(client.open({letter!r}))")
    looked = box.eval("run('ls', '-l', f'/proc/self/fd/{kept[-1]}')")
    assert 0 != looked[0]
    assert "letter" not in looked[1]
    given = box.eval(f"ask('open', {letter!r}, '--', 'ls', '/proc/self/fd')")
    assert ["0", "1", "2", "3"] == sorted(given[1].split())[:4], "a command gets descriptor 3"
    assert 5 == len(given[1].split()), "and no other; one more is the listing's own"


def test_a_file_is_written_by_command_and_by_client(box: AskingBox, home: Path) -> None:
    draft = home / "Documents" / "drafts" / "draft.txt"
    assert [0, "", ""] == list(box.eval(f"ask('open', '-w', {str(draft)!r}, given=b'new')"))
    assert draft.read_text() == "new", "the command empties it first"
    assert 2 == box.eval(f"write({str(draft)!r}, b'NE')")
    assert draft.read_text() == "NEw"
    assert 1 == box.eval(f"write({str(draft)!r}, b'x', os.O_WRONLY | os.O_TRUNC)")
    assert draft.read_text() == "x"
    box.does(f"fd = client.open({str(draft)!r}, os.O_RDWR)")
    assert box.eval("(os.read(fd, 9), os.write(fd, b'yz'), os.close(fd))") == (b"x", 2, None)
    assert draft.read_text() == "xyz"


def test_a_rule_for_one_file_is_for_that_one(box: AskingBox, home: Path) -> None:
    one, letter = (str(home / "Documents" / name) for name in ("one.txt", "letter.txt"))
    assert 3 == box.eval(f"write({one!r}, b'uno')")
    assert (home / "Documents" / "one.txt").read_text() == "uno"
    assert box.eval(f"error(client.open, {letter!r}, os.O_WRONLY)") == "EACCES"
    assert box.eval(f"error(client.open, {one + '/x'!r}, os.O_WRONLY)") == "EACCES"


def test_what_may_be_appended_to_isn_t_emptied_or_written_elsewhere(box: AskingBox, home: Path) -> None:
    diary = home / "Documents" / "diary.txt"
    assert [0, "", ""] == list(box.eval(f"ask('open', '-a', {str(diary)!r}, given=b'second day\\n')"))
    assert 10 == box.eval(f"write({str(diary)!r}, b'third day\\n', os.O_WRONLY | os.O_APPEND)")
    assert diary.read_text() == "first day\nsecond day\nthird day\n"
    assert box.eval(f"error(client.open, {str(diary)!r}, os.O_WRONLY)") == "EACCES"
    assert box.eval(f"error(client.open, {str(diary)!r}, os.O_WRONLY | os.O_TRUNC)") == "EACCES"
    box.does(f"fd = client.open({str(diary)!r}, os.O_WRONLY | os.O_APPEND)")
    assert box.eval("facts(os.dup(fd))")[1] & os.O_APPEND
    assert box.eval("error(os.ftruncate, fd, 0)") == "EACCES", (
        "Landlock, as it holds for the broker that opened it"
    )
    assert diary.read_text().startswith("first day\n")


def test_files_are_made_with_the_mode_that_is_asked_for_and_else_for_the_user_alone(
    box: AskingBox, home: Path
) -> None:
    drafts = home / "Documents" / "drafts"
    made = {name: drafts / name for name in ("a", "b", "c", "d", "e")}
    box.does("os.umask(0)")
    assert 0 == box.eval(f"ask('open', '-w', '-c', {str(made['a'])!r}, given=b'a')")[0]
    assert 0 == box.eval(f"ask('open', '-w', '-c', '-m', '755', {str(made['b'])!r})")[0]
    assert 1 == box.eval(f"write({str(made['c'])!r}, b'c', os.O_WRONLY | os.O_CREAT)")
    assert box.eval(f"raw(message(1, {str(made['d'])!r}, flags=2 | 8))")[0] == "ok"
    assert {0o600, 0o755} == {stat.S_IMODE(made[name].stat().st_mode) for name in "abcd"}
    assert [0o600, 0o755, 0o600, 0o600] == [stat.S_IMODE(made[name].stat().st_mode) for name in "abcd"]
    assert box.eval(f"raw(message(1, {str(made['e'])!r}, flags=2 | 8, argument=0o4755))")[0] == "EINVAL"
    assert box.eval(f"raw(message(1, {str(made['e'])!r}, flags=2 | 8, argument=0o777))")[0] == "EINVAL"
    assert not made["e"].exists()


def test_exclusive_makes_or_fails(box: AskingBox, home: Path) -> None:
    new = str(home / "Documents" / "drafts" / "new")
    flags = "os.O_WRONLY | os.O_CREAT | os.O_EXCL"
    assert 1 == box.eval(f"write({new!r}, b'1', {flags})")
    assert box.eval(f"error(client.open, {new!r}, {flags})") == "EEXIST"
    Path(f"{new}.link").symlink_to("nowhere")
    assert box.eval(f"error(client.open, {new + '.link'!r}, {flags})") == "EEXIST"
    assert not (home / "Documents" / "drafts" / "nowhere").exists()


def test_making_needs_both_rules(box: AskingBox, home: Path) -> None:
    """`create` alone opens nothing, `write` alone makes nothing."""
    create = "os.O_WRONLY | os.O_CREAT"
    assert box.eval(f"error(client.open, {str(home / 'Documents/new')!r}, {create})") == "EACCES"
    assert box.eval(f"error(client.open, {str(home / 'Documents/drafts/new')!r}, os.O_WRONLY)") == "ENOENT"
    assert not (home / "Documents" / "new").exists()


def test_stat_tells_of_files_and_links(box: AskingBox, home: Path) -> None:
    song, link = home / "Music" / "song", home / "Music" / "link"
    for path, follow in ((song, True), (link, True), (link, False)):
        told = box.eval(f"tuple(client.stat({str(path)!r}, follow_symlinks={follow}))")
        assert tuple(path.stat(follow_symlinks=follow))[:7] == told[:7]
    words = box.eval(f"ask('stat', {str(song)!r})")[1].split()
    assert {f"inode={song.stat().st_ino}", "size=2"} <= set(words)
    words = box.eval(f"ask('stat', '-P', {str(link)!r})")[1].split()
    assert f"inode={link.lstat().st_ino}" in words


def test_access_tells_what_open_would(box: AskingBox, home: Path) -> None:
    (home / "Documents" / "closed").write_text("")
    (home / "Documents" / "closed").chmod(0)
    cases = {
        ("Documents/letter.txt", "R_OK"): True,
        ("Documents/letter.txt", "W_OK"): False,
        ("Documents/drafts/draft.txt", "R_OK | os.W_OK"): True,
        ("Documents/closed", "R_OK"): False,
        ("Documents/absent", "R_OK"): False,
        ("Documents/drafts", "R_OK"): None,
        ("Music/song", "R_OK"): False,
        ("Music/song", "F_OK"): True,
        ("Music/absent", "F_OK"): False,
        ("Documents/letter.txt", "X_OK"): False,
        ("secret", "F_OK"): False,
    }
    for (name, mode), expected in cases.items():
        path = str(home / name)
        if expected is None:
            assert box.eval(f"error(client.access, {path!r}, os.{mode})") == "EISDIR"
        else:
            assert (name, mode, expected) == (name, mode, box.eval(f"client.access({path!r}, os.{mode})"))
    assert 0 == box.eval(f"ask('access', '-r', {str(home / 'Documents/letter.txt')!r})")[0]
    assert 1 == box.eval(f"ask('access', '-w', {str(home / 'Documents/letter.txt')!r})")[0]


def test_readlink_tells_where_a_link_leads(box: AskingBox, home: Path) -> None:
    link = str(home / "Music" / "link")
    assert box.eval(f"client.readlink({link!r})") == "song"
    assert box.eval(f"ask('readlink', {link!r})")[1] == "song\n"
    assert box.eval(f"error(client.readlink, {str(home / 'Music/song')!r})") == "EINVAL"


def test_a_right_on_one_directory_is_none_on_another(box: AskingBox, home: Path) -> None:
    song, letter = str(home / "Music" / "song"), str(home / "Documents" / "letter.txt")
    assert box.eval(f"error(client.open, {song!r})") == "EACCES"
    assert box.eval(f"error(client.open, {letter!r}, os.O_RDWR)") == "EACCES"
    assert box.eval(f"error(client.listdir, {str(home / 'Documents')!r})") == "EACCES"
    assert box.eval(f"error(client.unlink, {letter!r})") == "EACCES"
    assert box.eval(f"error(client.mkdir, {str(home / 'Documents/drafts/new')!r})") == "EACCES"
    assert box.eval(f"error(client.watch, {letter!r})") == "EACCES"
    assert box.eval(f"error(client.rename, {letter!r}, {letter + '2'!r})") == "EACCES"
    assert (home / "Documents" / "letter.txt").exists()


@pytest.mark.parametrize("path", ["secret", "Documents2/x", ".ssh/id", "", "Musi", "../.."])
def test_what_no_rule_names_is_refused(box: AskingBox, home: Path, path: str) -> None:
    whole = f"{home}/{path}".rstrip("/")
    expected = "EINVAL" if ".." in path else "EACCES"
    assert expected == box.eval(f"opens({whole!r})")
    assert box.eval("opens('/etc/passwd')") == "EACCES"
    assert box.eval("opens('/')") == "EACCES"


def test_what_is_hidden_is_refused_in_every_way(asking: Asking, home: Path) -> None:
    private = home / "Documents" / "private"
    private.mkdir()
    (private / "key").write_text("hidden")
    (home / "Documents" / "to-private").symlink_to("private")
    keys = ("read", "write", "create", "list", "stat", "readlink", "mkdir", "rename", "unlink", "watch")
    lines = "\n".join(f'{key} = ["~/Documents"]' for key in keys)
    box = asking(lines, files='hide = ["~/Documents/private"]')
    for path in (private, private / "key", private / "absent", home / "Documents" / "to-private" / "key"):
        name = str(path)
        refused = {"EACCES", "ELOOP"}
        for call in (
            f"client.open, {name!r}",
            f"client.open, {name!r}, os.O_WRONLY | os.O_CREAT",
            f"client.stat, {name!r}",
            f"client.lstat, {name!r}",
            f"client.readlink, {name!r}",
            f"client.listdir, {name!r}",
            f"client.mkdir, {name + '/new'!r}",
            f"client.unlink, {name!r}",
            f"client.rmdir, {name!r}",
            f"client.rename, {name!r}, {str(home / 'Documents/moved')!r}",
            f"client.rename, {str(home / 'Documents/letter.txt')!r}, {name!r}",
            f"client.watch, {name!r}",
        ):
            answer = box.eval(f"error({call})")
            assert answer in refused, (call, answer)
    assert (
        box.eval(f"error(client.rename, {str(home / 'Documents')!r}, {str(home / 'Music2')!r})") == "EACCES"
    )
    assert "private" not in box.eval(f"client.listdir({str(home / 'Documents')!r})")
    assert (private / "key").read_text() == "hidden"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("directory", "EISDIR"),
        ("fifo", "ENXIO"),
        ("socket", "ENXIO"),
        ("absent", "ENOENT"),
        ("below", "ENOTDIR"),
    ],
)
def test_only_regular_files_are_opened(
    box: AskingBox, home: Path, kind: str, expected: str, make: Callable[[Path, str], Path]
) -> None:
    path = make(home / "Documents", kind)
    assert expected == box.eval(f"error(client.open, {str(path)!r})")
    assert 1 == box.eval(f"ask('open', {str(path)!r})")[0]


@pytest.fixture
def make() -> Callable[[Path, str], Path]:
    """Something in a directory that is no regular file."""

    def made(directory: Path, kind: str) -> Path:
        path = directory / kind
        match kind:
            case "directory":
                path.mkdir()
            case "fifo":
                os.mkfifo(path)
            case "socket":
                os.mknod(path, 0o600 | stat.S_IFSOCK)
            case "below":
                path = directory / "letter.txt" / "below"
        return path

    return made


MALFORMED = {
    "empty": "b''[:0] or b'x'",
    "short": "message(1, b'/x')[:8]",
    "longer than its lengths": "message(1, b'/x') + b'y'",
    "lengths that lie": "struct.pack('=HHIIHH', 1, 1, 1, 0, 60000, 0) + b'/x'",
    "too long": "b'y' * 20000",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_message_is_answered_and_ends_the_connection(box: AskingBox, text: str) -> None:
    box.does(f"made = connection(); made.send({text})")
    assert "EPROTO" == box.eval("errno.errorcode[answer(made)[0]]")
    assert box.eval("answer(made)") == (None, b"", [])


def test_a_message_of_another_version_is_told_so(box: AskingBox) -> None:
    assert box.eval("raw(message(0, version=2))")[0] == "EPROTONOSUPPORT"


@pytest.mark.parametrize(
    "request_text",
    [
        "message(1, {0!r}, flags=0)",
        "message(1, {0!r}, flags=64)",
        "message(1, {0!r}, flags=1 | 8)",
        "message(1, {0!r}, flags=1 | 16)",
        "message(1, {0!r}, flags=1 | 32)",
        "message(1, {0!r}, flags=1 << 31)",
        "message(1, {0!r}, {0!r}, flags=1)",
        "message(1, {0!r} + '/', flags=1)",
        "message(1, {0!r} + '/.', flags=1)",
        "message(1, '/' + {0!r}, flags=1)",
        "message(1, {0!r}[1:], flags=1)",
        "message(1, {0!r} + chr(0), flags=1)",
        "message(1, {0!r} + chr(0) + 'x', flags=1)",
        "message(1, '', flags=1)",
        "message(2, {0!r}, flags=1)",
        "message(3, {0!r}, argument=8)",
        "message(2, {0!r}, argument=8)",
        "message(0, {0!r})",
    ],
)
def test_a_request_that_makes_no_sense_is_refused(box: AskingBox, home: Path, request_text: str) -> None:
    letter = str(home / "Documents" / "letter.txt")
    assert box.eval(f"raw({request_text.format(letter)})")[0] == "EINVAL"


def test_a_command_that_there_isn_t_is_refused(box: AskingBox) -> None:
    assert "EACCES" == box.eval("raw(message(12, b'/x'))")[0]
    assert "EACCES" == box.eval("raw(message(65535, b'/x'))")[0]


def test_the_log_says_what_was_asked_who_asked_and_by_which_line(box: AskingBox, home: Path) -> None:
    letter, draft, song = (
        str(home / name) for name in ("Documents/letter.txt", "Documents/drafts/new", "Music/song")
    )
    box.eval(f"read({letter!r})")
    box.eval(f"write({draft!r}, b'x', os.O_WRONLY | os.O_CREAT)")
    box.eval(f"error(client.open, {song!r})")
    box.eval(f"tuple(client.stat({song!r}))")
    box.eval(f"error(client.open, {letter + 'x'!r})")
    asked = [summary(line) for line in box.log()]
    assert [
        ("open", letter, ["read"], "allowed", None, box.line("read")),
        ("open", draft, ["write", "create"], "allowed", None, f"{box.line('write')}, {box.line('create')}"),
        ("open", song, ["read"], "denied", "EACCES", ""),
        ("stat", song, None, "allowed", None, box.line("stat")),
        ("open", letter + "x", ["read"], "failed", "ENOENT", box.line("read")),
    ] == asked
    last = box.log()[-1]
    assert (f"asker.{box.id}", "asker") == (last["box"], last["app"])
    assert Path(f"/proc/{last['pid']}/comm").read_text() == "python3\n", "its number outside"
    assert 0o600 == stat.S_IMODE(box.log_file.stat().st_mode)
    assert 0o700 == stat.S_IMODE(box.log_file.parent.stat().st_mode)


def summary(line: dict[str, Any]) -> tuple[object, ...]:
    names = ("request", "path", "flags", "verdict", "error", "rule")
    return tuple(line.get(name) for name in names)


def test_a_name_cannot_forge_a_line_of_the_log(box: AskingBox, home: Path) -> None:
    name = '/x","verdict":"allowed"}\n{"time":"now"}\x1b[2J\udcff\u202e'
    assert box.eval(f"error(client.open, {name!r})") == "EACCES"
    (line,) = box.log()
    assert (name, "denied") == (line["path"], line["verdict"])
    assert box.log_file.read_text().isascii() or "\x1b" not in box.log_file.read_text()
    assert 1 == box.log_file.read_bytes().count(b"\n")


def test_a_file_that_was_replaced_is_opened_anew(box: AskingBox, home: Path) -> None:
    """As editors save: the rule's file is another inode now, which the broker's Landlock rule isn't for."""
    one = home / "Documents" / "one.txt"
    assert box.eval(f"write({str(one)!r}, b'one')") == 3
    before = box.broker()
    (home / "new").write_text("two")
    (home / "new").rename(one)
    assert 3 == box.eval(f"write({str(one)!r}, b'2wo')")
    assert one.read_text() == "2wo"
    assert before != box.broker(), "another broker serves"


def test_a_rule_for_a_file_that_became_a_link_gives_nothing(box: AskingBox, home: Path) -> None:
    one = home / "Documents" / "one.txt"
    one.unlink()
    one.symlink_to(home / "secret")
    assert box.eval(f"error(client.open, {str(one)!r}, os.O_WRONLY)") in ("ELOOP", "EACCES", "EPIPE")
    assert (home / "secret").read_text() == "secret"


def test_the_descriptor_is_a_connection_where_the_policy_gives_it(asking: Asking, home: Path) -> None:
    box = asking(ALL + "descriptor = true\n")
    assert box.eval("os.environ['SANDBOXER_BROKER_FD']") == "99"
    letter = str(home / "Documents" / "letter.txt")
    box.does("given = socket.socket(fileno=99)")
    box.does(f"given.send(message(1, {letter!r}, flags=1))")
    assert box.eval("os.read(answer(given)[2][0], 99)") == b"a letter"

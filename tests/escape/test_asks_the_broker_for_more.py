"""Attack: have the broker open what no rule names, by how a name is written or by what lies at it."""

from __future__ import annotations

import os
import socket
import threading
import time
import unicodedata
from pathlib import Path

import pytest
from brokered import AskingBox
from conftest import Asking
from running import within

SHARED = 'read = ["~/shared"]\nwrite = ["~/shared/drafts"]\nlist = ["~/shared"]\nstat = ["~/shared"]'
KEY = ".ssh/id_ed25519"
WRITABLE = 'read = ["~/lib"]\nwrite = ["~/shared"]'


@pytest.fixture
def box(asking: Asking, home: Path) -> AskingBox:
    (home / "shared" / "drafts").mkdir()
    (home / "shared" / "drafts" / "draft").write_text("draft")
    return asking(SHARED, files=WRITABLE)


@pytest.mark.parametrize(
    "path",
    [
        "shared/../" + KEY,
        "shared/drafts/../../" + KEY,
        "shared/..",
        "shared/./../" + KEY,
        "shared//granted.txt",
        "/shared/granted.txt",
        "shared/granted.txt/",
        "shared/granted.txt/..",
        "shared/granted.txt/.",
        "shared/granted.txt\0/../../" + KEY,
        "shared/" + "a" * 5000,
        "shared/" + "a/" * 3000,
        "shared/" + "a/" * 1500 + "x",
        "shared/..\u2215" + KEY,
        "shared/%2e%2e/" + KEY,
        "shared/\uff0e\uff0e/" + KEY,
        "shared/\udcae\udcae/" + KEY,
        "SHARED/granted.txt",
        "Shared/granted.txt",
        "shared /granted.txt",
        "shared\n/granted.txt",
        "./shared/granted.txt",
        "~/shared/granted.txt",
    ],
)
def test_a_name_is_what_it_is_and_nothing_else(box: AskingBox, home: Path, path: str) -> None:
    whole = f"{home}/{path}"
    assert box.eval(f"opens({whole!r})") in ("EINVAL", "EACCES", "ENOENT", "ENAMETOOLONG", "EPROTO")


@pytest.mark.parametrize(
    "path",
    [
        "/proc/self/root{key}",
        "/proc/self/cwd/../x",
        "/proc/1/root{key}",
        "/proc/self/fd/3",
        "/proc/self/environ",
        "/proc/self/mem",
        "/dev/fd/3",
        "/dev/stdin",
        "/proc/thread-self/root{key}",
    ],
)
def test_nothing_is_reached_by_way_of_proc(box: AskingBox, home: Path, path: str) -> None:
    """By itself, and behind links that the application makes where the rules reach."""
    target = path.format(key=home / KEY)
    link = home / "shared" / "to-proc"
    assert box.eval(f"opens({target!r})") in ("EACCES", "EINVAL")
    box.eval(f"os.symlink({target!r}, {str(link)!r})")
    assert box.eval(f"opens({str(link)!r})") in ("EXDEV", "ELOOP", "EACCES")
    box.eval(f"os.remove({str(link)!r})")
    box.eval(f"os.symlink('/proc/self', {str(link)!r})")
    for rest in ("environ", "mem", f"root{home / KEY}", "fd/0", "cwd", "exe"):
        assert box.eval(f"opens({f'{link}/{rest}'!r})") in ("EXDEV", "ELOOP", "EACCES"), rest


@pytest.mark.parametrize("target", ["../.ssh/id_ed25519", "{home}/.ssh/id_ed25519", "drafts/../../.ssh/id_ed25519"])
def test_a_planted_link_out_is_not_followed(box: AskingBox, home: Path, target: str) -> None:
    link = str(home / "shared" / "planted")
    box.eval(f"os.symlink({target.format(home=home)!r}, {link!r})")
    for call in (f"client.open, {link!r}", f"client.stat, {link!r}", f"client.access, {link!r}, os.R_OK"):
        assert box.eval(f"error({call})") in ("EXDEV", "ELOOP", "EACCES", "")
    assert box.eval(f"client.access({link!r}, os.R_OK)") is False
    directory = str(home / "shared" / "dir")
    box.eval(f"os.symlink('../.ssh', {directory!r})")
    assert box.eval(f"opens({directory + '/id_ed25519'!r})") in ("EXDEV", "ELOOP", "EACCES")
    assert box.eval(f"error(client.listdir, {directory!r})") in ("EXDEV", "ELOOP", "EACCES")


def test_a_hard_link_from_what_is_handed_out_can_t_be_made(box: AskingBox, home: Path) -> None:
    """A second name, where the box can write, for a file that it may read alone."""
    box.does(f"fd = client.open({str(home / 'shared/granted.txt')!r})")
    for call in (
        f"os.link(f'/proc/self/fd/{{fd}}', {str(home / 'shared/second')!r}, follow_symlinks=True)",
        "os.link(f'/proc/self/fd/{fd}', '/tmp/second', follow_symlinks=True)",
    ):
        assert box.eval(f"error(lambda: {call})") in ("EXDEV", "EPERM", "EACCES", "ENOENT")
    assert 1 == (home / "shared/granted.txt").stat().st_nlink


def test_a_hard_link_into_the_grant_can_t_be_made_from_outside_it(asking: Asking, home: Path) -> None:
    """What the box sees read-only elsewhere lies on another mount: no name of it comes where `write` reaches."""
    box = asking(
        'write = ["~/shared"]\ncreate = ["~/shared"]\nrename = ["~/shared"]',
        files='read = ["~/lib", "~/Documents"]\nwrite = ["~/shared"]',
    )
    diary, second = str(home / "Documents/diary.txt"), str(home / "shared/second")
    assert box.eval(f"error(os.link, {diary!r}, {second!r})") == "EXDEV"
    assert box.eval(f"error(client.rename, {diary!r}, {second!r})") == "EACCES"
    assert box.eval(f"error(client.open, {diary!r}, os.O_WRONLY)") == "EACCES"


def test_a_fifo_is_not_opened_and_nobody_at_its_other_end_is_released(box: AskingBox, home: Path) -> None:
    fifo = home / "shared" / "fifo"
    box.eval(f"os.mkfifo({str(fifo)!r})")
    released: list[int] = []
    waits = threading.Thread(target=lambda: released.append(os.open(fifo, os.O_WRONLY)), daemon=True)
    waits.start()
    for flags in ("1", "2", "1 | 2", "2 | 32", "4", "2 | 8"):
        start = time.monotonic()
        assert box.eval(f"opens({str(fifo)!r}, {flags})") in ("ENXIO", "EACCES")
        assert time.monotonic() - start < 2
    waits.join(0.5)
    assert [] == released, "whoever opened it for writing still waits for a reader"
    os.close(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
    within(lambda: released, "a real reader releases it")
    os.close(released[0])


@pytest.mark.parametrize("kind", ["socket", "directory", "memory"])
def test_what_is_no_regular_file_is_not_handed_out(box: AskingBox, home: Path, kind: str) -> None:
    path = home / "shared" / "thing"
    if kind == "socket":
        box.eval(f"kept.append(socket.socket(socket.AF_UNIX)) or kept[-1].bind({str(path)!r})")
    elif kind == "directory":
        box.eval(f"os.mkdir({str(path)!r})")
    else:
        box.eval(f"os.symlink('/proc/self/mem', {str(path)!r})")
    for flags in ("1", "2", "1 | 2", "4", "2 | 32"):
        answer = box.eval(f"opens({str(path)!r}, {flags})")
        assert answer in ("ENXIO", "EISDIR", "EACCES", "ELOOP", "EXDEV"), (flags, answer)


def test_the_application_can_t_make_a_device_for_the_broker_to_open(box: AskingBox, home: Path) -> None:
    path = str(home / "shared" / "device")
    assert box.eval(f"error(os.mknod, {path!r}, 0o600 | stat.S_IFCHR, os.makedev(1, 3))") == "EPERM"


def test_no_descriptor_leads_to_a_directory(box: AskingBox, home: Path) -> None:
    """`openat(fd, "..")` of all that comes."""
    (home / "shared" / "watched").mkdir()
    box.does(f"fd = client.open({str(home / 'shared/granted.txt')!r})")
    for call in ("os.open('..', os.O_RDONLY, dir_fd=fd)", "os.fchdir(fd)", "os.listdir(fd)"):
        assert box.eval(f"error(lambda: {call})") == "ENOTDIR"
    assert box.eval("error(os.open, f'/proc/self/fd/{fd}/..', os.O_RDONLY)") in ("ENOTDIR", "EACCES")


@pytest.mark.parametrize("flags", ["os.O_RDWR", "os.O_WRONLY", "os.O_WRONLY | os.O_TRUNC", "os.O_WRONLY | os.O_APPEND"])
def test_a_descriptor_for_reading_can_t_be_opened_again_for_writing(
    box: AskingBox, home: Path, flags: str
) -> None:
    """Outside it can, by /proc; inside, its mount is read-only, and the box's Landlock domain refuses it."""
    file = home / "Documents" / "diary.txt"
    outside = os.open(file, os.O_RDONLY)
    os.close(os.open(f"/proc/self/fd/{outside}", os.O_RDWR))
    os.close(outside)
    box.does(f"fd = client.open({str(home / 'shared/granted.txt')!r})")
    assert box.eval(f"error(os.open, f'/proc/self/fd/{{fd}}', {flags})") in ("EACCES", "EROFS")
    assert box.eval("error(os.truncate, f'/proc/self/fd/{fd}', 0)") in ("EACCES", "EINVAL", "EROFS")
    assert (home / "shared/granted.txt").read_text() == "granted"


def test_a_descriptor_for_writing_can_t_be_opened_again_for_reading(asking: Asking, home: Path) -> None:
    box = asking('write = ["~/shared"]')
    box.does(f"fd = client.open({str(home / 'shared/granted.txt')!r}, os.O_WRONLY)")
    assert box.eval("error(os.read, fd, 9)") == "EBADF"
    assert box.eval("error(os.open, f'/proc/self/fd/{fd}', os.O_RDONLY)") == "EACCES"


def test_a_program_that_is_handed_out_can_t_be_executed(asking: Asking, home: Path) -> None:
    program = home / "shared" / "program"
    program.write_bytes(Path("/bin/true").resolve().read_bytes())
    program.chmod(0o755)
    box = asking('read = ["~/shared"]')
    box.does(f"fd = client.open({str(program)!r})")
    assert box.eval("error(os.execve, fd, ['x'], {})") == "EACCES"
    assert box.eval("error(lambda: run(f'/proc/self/fd/{fd}', fds=(fd,)))") == "EACCES"


def test_what_is_hidden_keeps_hidden_when_it_or_what_it_lies_in_gets_another_name(
    asking: Asking, home: Path
) -> None:
    hidden = home / "Documents" / "deep" / "private"
    hidden.mkdir(parents=True)
    (hidden / "key").write_text("hidden")
    keys = ("read", "list", "rename", "unlink", "stat")
    box = asking(
        "\n".join(f'{key} = ["~/Documents"]' for key in keys), files='hide = ["~/Documents/deep/private"]'
    )
    documents = home / "Documents"
    for source in (documents / "deep", hidden):
        assert box.eval(f"error(client.rename, {str(source)!r}, {str(documents / 'other')!r})") == "EACCES"
    assert box.eval(f"opens({str(hidden / 'key')!r})") == "EACCES"
    hidden.rename(documents / "deep" / "renamed")
    assert box.eval(f"opens({str(documents / 'deep/renamed/key')!r})") == "EACCES"
    (documents / "deep").rename(documents / "Deep")
    assert box.eval(f"opens({str(documents / 'Deep/renamed/key')!r})") == "EACCES"
    assert box.eval(f"error(client.listdir, {str(documents / 'Deep/renamed')!r})") == "EACCES"
    (documents / "Deep" / "by-link").symlink_to("renamed")
    assert box.eval(f"opens({str(documents / 'Deep/by-link/key')!r})") in ("ELOOP", "EACCES")


def test_a_hidden_name_has_no_other_encoding(asking: Asking, home: Path) -> None:
    """File systems that fold case or forms can't be made here; there the identity of what is hidden counts."""
    name = unicodedata.normalize("NFC", "gehe\u00efm")
    (home / "Documents" / name).write_text("hidden")
    box = asking('read = ["~/Documents"]', files=f'hide = ["~/Documents/{name}"]')
    other = unicodedata.normalize("NFD", name)
    for tried in (name, other, name.upper(), name + "\u200b", name.encode().decode("latin-1")):
        assert box.eval(f"opens({str(home / 'Documents' / tried)!r})") in ("EACCES", "ENOENT")


def test_an_inotify_descriptor_watches_what_the_box_sees_and_no_more(asking: Asking, home: Path) -> None:
    box = asking('watch = ["~/shared"]')
    box.does(
        f"""
        fd = client.watch({str(home / 'shared')!r})
        libc = ctypes.CDLL(None, use_errno=True)
        def add(path):
            if libc.inotify_add_watch(fd, os.fsencode(path), 0xfff) < 0:
                raise OSError(ctypes.get_errno(), path)
        """
    )
    assert box.eval(f"error(add, {str(home / '.ssh')!r})") == "ENOENT"
    assert box.eval("error(add, f'/proc/self/fd/{fd}')") in ("", "EACCES")



def test_a_service_is_never_an_ordinary_file_s_socket(box: AskingBox, home: Path) -> None:
    """A socket that lies in a directory that may be read is neither opened nor connected to."""
    directory = os.open(home / "shared", os.O_PATH)
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(f"/proc/self/fd/{directory}/service")
        service.listen()
        path = str(home / "shared" / "service")
        assert box.eval(f"opens({path!r})") == "ENXIO"
        assert box.eval(f"raw(message(10, {path!r}))")[0] == "EACCES"
    os.close(directory)

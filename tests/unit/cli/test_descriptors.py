"""Files that are handed over by number: what is opened, under which number, and what is refused."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandboxer.cli.descriptors import RESERVED, with_open_files
from sandboxer.cli.request import Request, run_request
from sandboxer.errors import LaunchError
from sandboxer.policy.parse import parse_setting


def is_open(fd: int) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


@pytest.fixture(autouse=True)
def open_before() -> Iterator[None]:
    """What a test opens is closed after it."""
    before = set(filter(is_open, range(256)))
    yield
    for fd in set(filter(is_open, range(256))) - before:
        os.close(fd)


def asked(*words: str) -> Request:
    return with_open_files(run_request(["run", *words, "--", "cat"], debug=False))


def test_a_file_becomes_a_kept_descriptor_and_a_variable(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("content")
    request = asked("--set", "network.access=none", "--fd", f"DATA={tmp_path}/data")
    (fd,) = request.keep_fds
    assert (
        "run",
        "--set",
        "network.access=none",
        "--keep-fd",
        str(fd),
        "--set",
        f"environment.set.DATA={fd}",
    ) == request.words
    assert (*request.words, "--", "cat") == request.rest
    assert () == request.files
    assert {"DATA": str(fd)} == parse_setting(request.settings[-1]).settings[0].value
    assert os.get_inheritable(fd)
    assert b"content" == os.read(fd, 10)


def test_it_is_read_only_unless_said(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    request = asked("--fd", f"A={tmp_path}/x", "--fd", f"B={tmp_path}/x:rw", "--fd", f"C={tmp_path}/x:ro")
    modes = [fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE for fd in request.keep_fds]
    assert [os.O_RDONLY, os.O_RDWR, os.O_RDONLY] == modes


def test_paths_are_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_text("here")
    monkeypatch.chdir(tmp_path)
    assert b"here" == os.read(asked("--fd", "A=x").keep_fds[0], 10)


def test_numbers_that_are_asked_for_or_reserved_are_left_free(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    lowest = os.dup(0)
    os.close(lowest)
    request = asked("--keep-fd", str(lowest), "--fd", f"A={tmp_path}/x", "--fd", f"B={tmp_path}/x")
    assert lowest == request.keep_fds[0]
    assert 3 == len({*request.keep_fds})
    assert not is_open(lowest)
    while os.dup(0) < RESERVED[0] - 1:
        pass
    request = asked("--fd", f"A={tmp_path}/x", "--fd", f"B={tmp_path}/x")
    assert all(fd > RESERVED[-1] for fd in request.keep_fds)
    assert not any(map(is_open, RESERVED))


def test_a_pipe_is_handed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert asked("--fd", f"A={tmp_path}/pipe:rw").keep_fds


def test_directories_devices_and_sockets_are_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    for path, kind in ((tmp_path, "a directory"), ("/dev/null", "a device"), (tmp_path / "socket", "a socket")):
        with pytest.raises(LaunchError, match="neither a file nor a pipe") as caught:
            asked("--fd", f"A={path}")
        assert f"{path}: {kind}" == caught.value.subject
        assert caught.value.hint


@pytest.mark.parametrize("word", ["link", "directory/secret", "up/secret", "chain"])
def test_a_link_where_an_application_could_have_made_it_is_not_followed(tmp_path: Path, word: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "secret").write_text("secret")
    (tmp_path / "link").symlink_to("keys/secret")
    (tmp_path / "directory").symlink_to(tmp_path / "keys")
    (tmp_path / "up").symlink_to("./keys/../keys")
    (tmp_path / "chain").symlink_to("link")
    with pytest.raises(LaunchError, match="refuses to follow a link") as caught:
        asked("--fd", f"A={tmp_path}/{word}")
    assert f"name the file itself: realpath {tmp_path}/{word}" == caught.value.hint
    assert asked("--fd", f"A={tmp_path}/keys/../keys/secret").keep_fds


@pytest.mark.skipif(os.getuid() == 0, reason="root can make links anywhere")
def test_the_system_s_own_links_are_followed() -> None:
    assert os.path.islink("/etc/os-release")
    (fd,) = asked("--fd", "A=/etc/os-release").keep_fds
    assert Path("/etc/os-release").read_bytes() == os.read(fd, 100_000)


def test_what_a_shell_has_opened_is_handed_over_by_its_name() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"words")
    (fd,) = asked("--fd", f"A=/dev/fd/{reader}").keep_fds
    assert b"words" == os.read(fd, 10)


def test_a_file_that_is_not_there_is_an_error_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="for writing") as caught:
        asked("--fd", f"A={tmp_path}/absent:rw")
    assert f"{tmp_path}/absent: No such file or directory" == caught.value.subject
    assert "makes no files" in caught.value.hint
    assert not (tmp_path / "absent").exists()


def test_nothing_else_stays_open(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    before = set(filter(is_open, range(256)))
    request = asked("--fd", f"A={tmp_path}/x")
    assert set(request.keep_fds) == set(filter(is_open, range(256))) - before
    assert min(set(range(3, 256)) - before) == request.keep_fds[0], "the next free number"

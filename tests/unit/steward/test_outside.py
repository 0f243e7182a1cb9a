"""Where a file of the box lies outside, of what type it is, and what the steward makes of the broker's words."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import socket
import stat
import time
from pathlib import Path
from typing import Self, cast

import pytest
from conftest import need
from plans import bind, op, small_box

from sandboxer.broker import outward
from sandboxer.broker.rules import Outward, Rules, encode
from sandboxer.host.session import Session
from sandboxer.plan.ops import OpFlag, OpKind
from sandboxer.steward import file_types, handlers, presented
from sandboxer.steward.hand import Hand
from sandboxer.steward.ledger import Grant, Ledger
from sandboxer.steward.outside import AT_ONCE_MAX, Outside, Refusing, host_place, open_host_file
from sandboxer.steward.sources import Source
from sandboxer.words import changed

PDF = b"%PDF-1.4\n%%EOF\n"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


def test_the_nearest_operation_above_a_path_says_where_it_is_outside() -> None:
    plan = small_box(
        ["true"],
        home="/home/ann",
        more=[
            op(OpKind.BIND, "/home/ann/Work", "/srv/work", flags=OpFlag.DIRECTORY),
            op(OpKind.BIND, "/home/ann/Work/file", "/srv/other/file"),
            op(OpKind.HIDE, "/home/ann/Work/secret"),
            op(OpKind.BIND, "/home/ann/Worker", "/srv/no", flags=OpFlag.DIRECTORY),
        ],
    )
    places = {
        "/home/ann/Work/a/b": ("/srv/work", "a/b"),
        "/home/ann/Work/file": ("/srv/other/file", ""),
        "/home/ann/Work/secret/x": ("", ""),
        "/home/ann/own": ("", ""),
        "/tmp/x": ("", ""),
        "/usr/share/x": ("/usr", "share/x"),
        "/nowhere": ("", ""),
    }
    assert places == {path: host_place(path, plan, ()) for path in places}
    granted = Grant(
        number=1, kind="grant", source="/srv/new", path="/tmp/new", write=False, device=False, mount=1
    )
    assert ("/srv/new", "x") == host_place("/tmp/new/x", plan, (granted,))


def seen(path: Path, box_path: str = "") -> Source:
    status = path.stat()
    return Source(path=box_path or str(path), device=status.st_dev, inode=status.st_ino, mode=status.st_mode)


def test_only_the_very_file_that_the_box_sees_is_taken(tmp_path: Path) -> None:
    paper, other = tmp_path / "paper.pdf", tmp_path / "other.pdf"
    for path in (paper, other):
        path.write_bytes(PDF)
    (tmp_path / "link.pdf").symlink_to(paper)
    plan = small_box(["true"], home="/home/ann", more=[bind("/srv/box", str(tmp_path))])
    fd, outside = open_host_file(seen(paper, "/srv/box/paper.pdf"), plan, ())
    os.close(fd)
    assert str(paper) == outside
    for wrong, number in (("other.pdf", errno.ESTALE), ("link.pdf", errno.ELOOP), ("nothing", errno.ENOENT)):
        with pytest.raises(OSError, match=r".") as raised:
            open_host_file(seen(paper, f"/srv/box/{wrong}"), plan, ())
        assert number == raised.value.errno
    with pytest.raises(OSError, match=r".") as raised:
        open_host_file(seen(paper, "/tmp/paper.pdf"), plan, ())
    assert errno.EXDEV == raised.value.errno


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.pdf", PDF, "application/pdf"),
        ("A.PDF", PDF, "application/pdf"),
        ("a.png", PNG, "image/png"),
        ("a.txt", b"words\n", "text/plain"),
        ("a.csv", b"a,b\n", "text/csv"),
        ("a.pdf", PNG, ""),
        ("a.pdf", b"words", ""),
        ("a.txt", b"\0words", ""),
        ("a.txt", b"#!/bin/sh\n", ""),
        ("a.png", b"\x7fELF" + bytes(60), ""),
        ("a.desktop", b"words", ""),
        ("a.sh", b"words", ""),
        ("a.py", b"words", ""),
        ("a.unheard-of", b"words", ""),
        ("none", PDF, ""),
        ("a.jar", b"PK\x03\x04" + bytes(60), ""),
    ],
)
def test_name_and_content_agree_on_a_type_or_there_is_none(name: str, content: bytes, expected: str) -> None:
    need("update-mime-database")
    assert expected == file_types.type_of(name, content)


class Presenter:
    """The steward's end, played by itself, with a box that isn't there and programs that are only noted."""

    def __init__(self, state: Path, *rules: Outward, sees: Path | None = None) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plan = small_box(["true"], home="/home/ann", broker=encode(Rules(app="t", log="/l", outward=rules)))
        if sees is not None:
            plan = changed(plan, ops=(*plan.ops, bind(str(sees.parent), str(sees.parent))))
        played = {"plan": plan, "ledger": Ledger(str(state)), "resolve": lambda _self, path: seen(Path(path))}
        hand = cast("Hand", type("Played", (), played)())
        self.cache = state / "cache"
        self.outside = Outside(hand, Session({}, str(self.cache)), self.theirs, 0o022)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.ours.close()
        self.theirs.close()

    def ask(self, kind: int, text: bytes, number: int = 7) -> int:
        self.ours.send(outward.ASK.pack(number, kind) + text)
        self.outside.serve(self.theirs.fileno())
        until = time.monotonic() + 20
        while self.outside.is_busy() and time.monotonic() < until:
            ready, _, _ = select.select(self.outside.descriptors()[1:], [], [], 0.1)
            for fd in ready:
                self.outside.serve(fd)
            self.outside.expire()
        answered, result = outward.ANSWER.unpack(self.ours.recv(100, socket.MSG_DONTWAIT))
        assert number == answered
        return int(result)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    calls: list[tuple[str, str]] = []

    def note(kind: str, argument: str, _session: Session, _umask: int) -> int:
        calls.append((kind, argument))
        return 0

    monkeypatch.setattr(handlers, "start", note)
    return calls


def test_a_link_is_checked_again_by_the_plan_s_own_rules(
    started: list[tuple[str, str]], tmp_path: Path
) -> None:
    with Presenter(tmp_path, Outward(kind="link", value="https", origin="x")) as presenter:
        assert 0 == presenter.ask(outward.LINK, b"https://example.org/")
        for text, number in (
            (b"http://example.org/", errno.EACCES),
            (b"file:///etc/passwd", errno.EACCES),
            (b"https://a b/", errno.EINVAL),
            (b"-https://a/", errno.EINVAL),
            (b"\xff", errno.EINVAL),
            (b"", errno.EINVAL),
        ):
            assert number == presenter.ask(outward.LINK, text), text
        assert errno.EINVAL == presenter.ask(outward.FILE, b"https://example.org/")
    assert [("x-scheme-handler/https", "https://example.org/")] == started


def test_the_broker_is_not_believed_about_how_often(started: list[tuple[str, str]], tmp_path: Path) -> None:
    with Presenter(tmp_path, Outward(kind="link", value="https", origin="x")) as presenter:
        results = [presenter.ask(outward.LINK, b"https://example.org/") for _ in range(AT_ONCE_MAX + 3)]
        assert [0] * AT_ONCE_MAX + [errno.EBUSY] * 3 == results
    assert AT_ONCE_MAX == len(started)
    with Presenter(tmp_path, Outward(kind="link", value="https", origin="x")) as presenter:
        assert errno.EBUSY == presenter.ask(outward.LINK, b"https://example.org/"), "another steward knows it"


def test_a_mail_takes_no_file_of_the_user_s_with_it(started: list[tuple[str, str]], tmp_path: Path) -> None:
    with Presenter(tmp_path, Outward(kind="link", value="mailto", origin="x")) as presenter:
        for text in (
            b"mailto:a@b?attach=/x",
            b"mailto:a@b?subject=x&%41ttachment=/x",
            b"mailto:?x;ATTACH=/x",
        ):
            assert errno.EACCES == presenter.ask(outward.LINK, text), text
        assert 0 == presenter.ask(outward.LINK, b"mailto:a@b?subject=attach&body=attachment")
    assert 1 == len(started)


def test_the_program_outside_gets_a_copy_that_stays_as_it_was_checked(
    started: list[tuple[str, str]], tmp_path: Path
) -> None:
    need("update-mime-database")
    paper = tmp_path / "shared" / "paper.pdf"
    paper.parent.mkdir()
    paper.write_bytes(PDF)
    with Presenter(
        tmp_path, Outward(kind="file", value="application/pdf", origin="x"), sees=paper
    ) as presenter:
        assert 0 == presenter.ask(outward.FILE, os.fsencode(paper))
        paper.unlink()
        paper.symlink_to("/etc/passwd")
        ((kind, path),) = started
        copy = Path(path)
        assert ("application/pdf", "paper.pdf", PDF) == (kind, copy.name, copy.read_bytes())
        assert copy.parent.parent == presenter.cache / "sandboxer" / "presented"
        modes = [stat.S_IMODE(one.lstat().st_mode) for one in (copy, copy.parent, copy.parent.parent)]
        assert [0o400, 0o700, 0o700] == modes


def test_a_file_that_somebody_holds_a_lease_on_delays_nobody(
    started: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presented, "TIMEOUT_S", 1.0)
    paper = tmp_path / "shared" / "paper.pdf"
    paper.parent.mkdir()
    paper.write_bytes(PDF)
    holder = os.open(paper, os.O_RDWR)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with Presenter(
            tmp_path, Outward(kind="file", value="application/pdf", origin="x"), sees=paper
        ) as presenter:
            presenter.ours.send(outward.ASK.pack(1, outward.FILE) + os.fsencode(paper))
            begun = time.monotonic()
            presenter.outside.serve(presenter.theirs.fileno())
            assert time.monotonic() - begun < 0.5
            assert presenter.outside.is_busy()
            while presenter.outside.is_busy():
                time.sleep(0.05)
                presenter.outside.expire()
            assert (1, errno.ETIMEDOUT) == outward.ANSWER.unpack(
                presenter.ours.recv(100, socket.MSG_DONTWAIT)
            )
    finally:
        os.close(holder)
        signal.signal(signal.SIGIO, before)
    assert [] == started


def test_what_is_too_large_is_not_copied_and_old_copies_go(
    started: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("update-mime-database")
    monkeypatch.setattr(presented, "SIZE_MAX", 1000)
    paper = tmp_path / "shared" / "paper.pdf"
    paper.parent.mkdir()
    paper.write_bytes(PDF + bytes(1000))
    with Presenter(
        tmp_path, Outward(kind="file", value="application/pdf", origin="x"), sees=paper
    ) as presenter:
        assert errno.EFBIG == presenter.ask(outward.FILE, os.fsencode(paper))
        paper.write_bytes(PDF)
        assert 0 == presenter.ask(outward.FILE, os.fsencode(paper))
        first = Path(started[0][1]).parent
        day = time.time() - presented.KEPT_S - 60
        os.utime(first, (day, day))
        assert 0 == presenter.ask(outward.FILE, os.fsencode(paper))
        assert [Path(started[1][1]).parent] == list(first.parent.iterdir())
        monkeypatch.setattr(presented, "TOTAL_MAX", 20)
        assert errno.EDQUOT == presenter.ask(outward.FILE, os.fsencode(paper))


def test_a_steward_that_can_do_nothing_leaves_no_message_unread() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        refusing = Refusing(theirs)
        ours.send(outward.ASK.pack(3, outward.LINK) + b"https://example.org/")
        refusing.serve(theirs.fileno())
        assert (3, errno.EIO) == outward.ANSWER.unpack(ours.recv(100, socket.MSG_DONTWAIT))
        assert [] == select.select([theirs], [], [], 0)[0]


def test_messages_that_are_too_short_get_no_answer_and_the_end_is_the_end(tmp_path: Path) -> None:
    with Presenter(tmp_path) as presenter:
        presenter.ours.send(b"abc")
        presenter.outside.serve(presenter.theirs.fileno())
        with pytest.raises(BlockingIOError):
            presenter.ours.recv(100, socket.MSG_DONTWAIT)
        presenter.outside.serve(presenter.theirs.fileno())
        presenter.ours.close()
        presenter.outside.serve(presenter.theirs.fileno())
        assert [] == presenter.outside.descriptors()

"""Where a file of the box lies outside, of what type it is, and what the steward makes of the broker's words."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Self, cast

import pytest
from conftest import need
from plans import bind, op, small_box

from sandboxer.broker import outward
from sandboxer.broker.rules import Outward, Rules, encode
from sandboxer.host.session import Session
from sandboxer.plan.ops import OpFlag, OpKind
from sandboxer.steward import file_types, handlers
from sandboxer.steward.hand import Hand
from sandboxer.steward.ledger import Grant
from sandboxer.steward.outside import AT_ONCE_MAX, Outside, host_place, open_host_file
from sandboxer.steward.sources import Source

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
def test_name_and_content_agree_on_a_type_or_there_is_none(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    need("update-mime-database")
    (tmp_path / name).write_bytes(content)
    fd = os.open(tmp_path / name, os.O_PATH)
    try:
        assert expected == file_types.type_of(f"/anywhere/{name}", fd)
    finally:
        os.close(fd)


class Presenter:
    """The steward's end, played by itself, with a box that isn't there and programs that are only noted."""

    def __init__(self, *rules: Outward) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plan = small_box(["true"], home="/home/ann", broker=encode(Rules(app="t", log="/l", outward=rules)))
        hand = cast("Hand", type("Played", (), {"plan": plan})())
        self.outside = Outside(hand, Session({}, "/"), self.theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.ours.close()
        self.theirs.close()

    def ask(self, kind: int, text: bytes, number: int = 7) -> int:
        self.ours.send(outward.ASK.pack(number, kind) + text)
        self.outside.serve()
        answered, result = outward.ANSWER.unpack(self.ours.recv(100, socket.MSG_DONTWAIT))
        assert number == answered
        return int(result)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    calls: list[tuple[str, str]] = []

    def note(kind: str, argument: str, _session: Session) -> int:
        calls.append((kind, argument))
        return 0

    monkeypatch.setattr(handlers, "start", note)
    return calls


def test_a_link_is_checked_again_by_the_plan_s_own_rules(started: list[tuple[str, str]]) -> None:
    with Presenter(Outward(kind="link", value="https", origin="x")) as presenter:
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


def test_the_broker_is_not_believed_about_how_often(started: list[tuple[str, str]]) -> None:
    with Presenter(Outward(kind="link", value="https", origin="x")) as presenter:
        results = [presenter.ask(outward.LINK, b"https://example.org/") for _ in range(AT_ONCE_MAX + 3)]
        assert [0] * AT_ONCE_MAX + [errno.EBUSY] * 3 == results
    assert AT_ONCE_MAX == len(started)


def test_messages_that_are_too_short_get_no_answer_and_the_end_is_the_end() -> None:
    with Presenter() as presenter:
        presenter.ours.send(b"abc")
        presenter.outside.serve()
        with pytest.raises(BlockingIOError):
            presenter.ours.recv(100, socket.MSG_DONTWAIT)
        presenter.outside.serve()
        presenter.ours.close()
        presenter.outside.serve()
        assert -1 == presenter.outside.fileno()

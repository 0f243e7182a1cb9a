"""What an application may have opened outside, with the user's own programs: links and files, by the policy's words."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import pytest
from companions import is_gone
from running import RunningBox, within

Start = Callable[..., RunningBox]
LINKS = 'broker.links=["https"]'
PRESENTS = 'broker.presents=["application/pdf", "text/plain"]'
PDF = b"%PDF-1.4\n1 0 obj <<>> endobj\ntrailer <<>>\n%%EOF\n"
ASK = "subprocess.run(['sandbox-broker', 'present', {text!r}], capture_output=True, text=True).returncode"


@pytest.fixture
def handler(session: dict[str, str], tmp_path: Path) -> Path:
    """The user's program for links and PDFs: it writes its words, one a line, into the file that is returned."""
    told = tmp_path / "told"
    home = Path(session["HOME"])
    program = home / "viewer"
    program.write_text(
        f'#!{sys.executable}\nimport sys\nopen({str(told)!r}, "a").write(repr(sys.argv[1:]) + "\\n")\n'
    )
    program.chmod(0o700)
    entries = home / ".local/share/applications"
    entries.mkdir(parents=True)
    (entries / "viewer.desktop").write_text(
        f"[Desktop Entry]\nType=Application\nName=Viewer\nExec={program} --view %u\n"
    )
    (home / ".config").mkdir(exist_ok=True)
    kinds = (
        "x-scheme-handler/https",
        "x-scheme-handler/ftp",
        "application/pdf",
        "text/plain",
        "text/x-python",
    )
    lines = "".join(f"{kind}=viewer.desktop\n" for kind in kinds)
    (home / ".config/mimeapps.list").write_text(f"[Default Applications]\n{lines}")
    return told


def told(place: Path) -> list[str]:
    return place.read_text().splitlines() if place.exists() else []


def test_a_link_of_a_permitted_scheme_is_opened_and_no_other(running_box: Start, handler: Path) -> None:
    box = running_box(LINKS)
    assert 0 == box.eval(ASK.format(text="https://example.org/a?b=c#d"))
    within(lambda: told(handler), "the program was started")
    assert ["['--view', 'https://example.org/a?b=c#d']"] == told(handler)
    for text in (
        "ftp://example.org/",
        "file:///etc/passwd",
        "/etc/passwd",
        "javascript:alert(1)",
        "https:",
        "-https://example.org/",
    ):
        assert 0 != box.eval(ASK.format(text=text)), text
    assert 1 == len(told(handler))
    # What can't stand in a link is encoded by the client: it stays one word, whatever was in it.
    assert 0 == box.eval(ASK.format(text="https://example.org/ --private\n-x"))
    within(lambda: len(told(handler)) == 2, "the program was started again")
    assert "['--view', 'https://example.org/%20--private%0A-x']" == told(handler)[1]


def test_programs_find_it_as_xdg_open(running_box: Start, handler: Path) -> None:
    box = running_box(LINKS)
    open_it = "subprocess.run(['xdg-open', 'https://example.org/'], capture_output=True).returncode"
    assert 0 == box.eval(open_it)
    within(lambda: told(handler), "the program was started")


def test_a_file_is_opened_as_a_copy_that_is_the_user_s_alone(
    running_box: Start, handler: Path, session: dict[str, str]
) -> None:
    shared = Path(session["HOME"]) / "Papers"
    shared.mkdir()
    paper = shared / "a paper.pdf"
    paper.write_bytes(PDF)
    box = running_box(PRESENTS, f'files.read=["{shared}"]')
    assert 0 == box.eval(ASK.format(text=str(paper)))
    within(lambda: told(handler), "the program was started")
    place = "/sandboxer/presented/"
    (words,) = told(handler)
    assert place in words
    assert words.endswith("/a%20paper.pdf']")
    copy = Path(unquote(words.removeprefix("['--view', 'file://").removesuffix("']")))
    assert (PDF, 0o100400) == (copy.read_bytes(), copy.stat().st_mode)
    assert not paper.samefile(copy)


def test_a_file_of_its_own_home_and_one_that_was_granted_while_it_runs_are_found(
    running_box: Start, handler: Path, session: dict[str, str]
) -> None:
    home = Path(session["HOME"])
    (home / "Papers").mkdir()
    (home / "Papers" / "paper.pdf").write_bytes(PDF)
    box = running_box(PRESENTS, "files.home=private")
    box.eval(f"put({str(home / 'own.txt')!r}, 'words')")
    assert 0 == box.eval(ASK.format(text=str(home / "own.txt")))
    within(lambda: told(handler), "the program was started")
    assert told(handler)[0].endswith("/own.txt']")
    assert 0 != box.eval(ASK.format(text=str(home / "Papers" / "paper.pdf")))
    box.done("grant", home / "Papers")
    assert 0 == box.eval(ASK.format(text=str(home / "Papers" / "paper.pdf")))
    within(lambda: len(told(handler)) == 2, "the program was started again")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("script.txt", b"#!/bin/sh\necho\n"),
        ("page.html", b"<html></html>"),
        ("program.py", b"print()\n"),
        ("entry.desktop", b"[Desktop Entry]\nType=Application\nExec=true\n"),
        ("entry.txt", b"[Desktop Entry]\nType=Application\nExec=true\n"),
        ("image.pdf", b"\x89PNG\r\n\x1a\n" + bytes(64)),
        ("program.pdf", b"\x7fELF" + bytes(64)),
        ("nothing", b"words"),
        ("bytes.txt", b"a\0b"),
    ],
)
def test_a_file_whose_name_and_content_do_not_agree_on_a_permitted_type_is_not_opened(
    running_box: Start, handler: Path, session: dict[str, str], name: str, content: bytes
) -> None:
    shared = Path(session["HOME"]) / "Papers"
    shared.mkdir()
    (shared / name).write_bytes(content)
    box = running_box(PRESENTS, f'files.read=["{shared}"]')
    assert 0 != box.eval(ASK.format(text=str(shared / name)))
    assert [] == told(handler)


def test_links_directories_fifos_and_what_is_the_box_s_own_are_not_opened(
    running_box: Start, handler: Path, session: dict[str, str]
) -> None:
    shared = Path(session["HOME"]) / "Papers"
    shared.mkdir()
    os.mkfifo(shared / "fifo.pdf")
    (shared / "outside.pdf").symlink_to(handler.parent / "elsewhere.pdf")
    (handler.parent / "elsewhere.pdf").write_bytes(PDF)
    box = running_box(PRESENTS, f'files.write=["{shared}"]')
    box.eval("put('/tmp/own.pdf', '%PDF-1.4')")
    for path in (
        shared,
        shared / "fifo.pdf",
        shared / "outside.pdf",
        "/tmp/own.pdf",
        "/etc/passwd",
        "/proc/self/status",
    ):
        assert 0 != box.eval(ASK.format(text=str(path))), path
    assert [] == told(handler)


def test_only_so_many_are_opened_at_once(running_box: Start, handler: Path) -> None:
    box = running_box(LINKS)
    ended = [box.eval(ASK.format(text=f"https://example.org/{number}")) for number in range(8)]
    assert 5 == ended.count(0)
    within(lambda: len(told(handler)) == 5, "five programs were started")


def test_a_program_that_has_a_policy_is_started_in_its_own_box(
    running_box: Start, handler: Path, session: dict[str, str], sandbox_program: Path
) -> None:
    home = Path(session["HOME"])
    place = Path(session["XDG_CONFIG_HOME"]) / "sandboxer" / "apps"
    place.mkdir(parents=True)
    (place / "viewer.toml").write_text(
        f'command = ["/bin/sh"]\narguments = ["-c", "mv {home}/in/a {home}/in/b"]\n'
        f'[files]\nwrite = ["{home}/in"]\n'
    )
    (home / "in").mkdir()
    (home / "in" / "a").touch()
    box = running_box(LINKS)
    assert 0 == box.eval(ASK.format(text="https://example.org/"))
    within((home / "in" / "b").exists, "the policy's command ran, in a box")
    assert [] == told(handler)


def test_a_steward_that_ended_meanwhile_does_not_begin_to_count_anew(running_box: Start, handler: Path) -> None:
    box = running_box(LINKS)
    assert [0] * 5 == [box.eval(ASK.format(text=f"https://example.org/{number}")) for number in range(5)]
    for kind in ("steward", "broker"):
        for pid in box.companions(kind):
            os.kill(pid, signal.SIGKILL)
            within(partial(is_gone, pid), "it is gone")
    assert 0 != box.eval(ASK.format(text="https://example.org/again"))
    assert 5 == len(told(handler))


def test_a_program_outside_has_the_user_s_umask(running_box: Start, handler: Path) -> None:
    box = running_box(LINKS)
    assert 0 == box.eval(ASK.format(text="https://example.org/"))
    within(lambda: told(handler), "the program was started")
    mask = os.umask(0)
    os.umask(mask)
    assert 0o666 & ~mask == handler.stat().st_mode & 0o777


def test_a_copy_can_be_handed_to_a_box_that_runs(running_box: Start, session: dict[str, str]) -> None:
    """The user's own program for it may be an application that runs already; nothing else of ours is shown to one."""
    box = running_box('files.documents="read"')
    ours = Path(session["HOME"]) / ".cache" / "sandboxer"
    (ours / "presented" / "0").mkdir(parents=True, exist_ok=True)
    for place in (ours / "presented" / "0" / "paper.txt", ours / "other.txt"):
        place.write_text("words")
    inside = box.done("open", ours / "presented" / "0" / "paper.txt").strip()
    assert "words" == box.eval(f"text({inside!r})")
    assert "refuses to grant what boxes are controlled by" in box.refused("open", ours / "other.txt")

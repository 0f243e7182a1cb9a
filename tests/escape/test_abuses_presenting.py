"""Attack: by what the application may have opened outside, start something else, or start it otherwise."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from brokered import AskingBox, Opened
from conftest import Asking
from running import within

HANDLED = (
    "x-scheme-handler/https",
    "x-scheme-handler/mailto",
    "x-scheme-handler/file",
    "x-scheme-handler/javascript",
    "x-scheme-handler/data",
    "application/pdf",
    "text/plain",
    "text/html",
    "application/x-desktop",
    "application/x-shellscript",
    "inode/directory",
)
PDF = b"%PDF-1.4\n"
LINES = 'links = ["https"]\npresents = ["application/pdf", "text/plain"]'
FILES = 'read = ["~/lib"]\nwrite = ["~/shared"]'
EBUSY = "EBUSY"


@pytest.fixture
def opened(home: Path) -> Opened:
    """The user has a program for everything."""
    return Opened(home, HANDLED)


@pytest.fixture
def box(asking: Asking, opened: Opened) -> AskingBox:
    return asking(LINES, files=FILES)


def nothing_was_opened(opened: Opened) -> bool:
    time.sleep(0.3)
    return opened.all() == []


TEXTS = (
    "",
    "--",
    "-x",
    "--help",
    "--new-window=https://example.org",
    "-https://example.org",
    " https://example.org",
    "https",
    "https:",
    ":https",
    "ht tps://example.org",
    "https://example.org\n",
    "https://example.org\nfile:///etc/passwd",
    "https://example.org\0--evil",
    "https://example.org --evil",
    "https://example.org\t",
    "https://example.org/\x1b[2J",
    "https://example.org/\x7f",
    "https://example.org/\u202e",
    "https://example.org/\u00e9",
    "https://example.org/'$(id)'",
    'https://example.org/"; id; "',
    "https://example.org/`id`",
    "https://example.org/<x>",
    "https://example.org/\\",
    "https://example.org/|id",
    "https://example.org/^{}",
    "http://example.org",
    "HTTP://example.org",
    "mailto:a@example.org?attach=/etc/passwd",
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "data:text/html,x",
    "file://example.org/etc/passwd",
    "file:etc/passwd",
    "file:///etc/../etc/passwd",
    "file:///etc/passwd?x",
    "file:///etc/%00passwd",
    "view-source:https://example.org",
    "ms-msdt:/id",
    "ssh://-oProxyCommand=id/x",
    "about:config",
    "smb://example.org/x",
    "https://" + "a" * 5000,
    "//example.org/x",
    "relative.pdf",
    "~/x.pdf",
    "$HOME/x.pdf",
)


def test_texts_that_are_no_permitted_link_start_nothing(box: AskingBox, opened: Opened) -> None:
    """Sent as they are, without what a client would make of them."""
    for text in TEXTS:
        answer = box.eval(f"raw(message(11, {text!r}))")[0]
        assert answer in ("EINVAL", "EACCES", "EPROTO"), (text, answer)
    assert nothing_was_opened(opened)
    assert [] == box.companions("steward"), "the broker refuses them by itself"


SYSTEM = (
    "/etc/passwd",
    "file:/etc/passwd",
    "FILE://localhost/etc/passwd",
    "/proc/self/environ",
    "/proc/self/fd/0",
    "/dev/null",
    "/run/sandboxer/broker",
    "/proc/self/root/etc/passwd",
)


@pytest.mark.parametrize("texts", [SYSTEM[:4], SYSTEM[4:]], ids=["files", "others"])
def test_the_system_s_files_start_nothing(box: AskingBox, opened: Opened, texts: tuple[str, ...]) -> None:
    """The box sees them, or has something of that name; a few at once, by the rate."""
    for text in texts:
        answer = box.eval_long(f"raw(message(11, {text!r}), 12)", 15)[0]
        assert answer in ("EINVAL", "EACCES", "EXDEV", "ENOENT", "ESTALE"), (text, answer)
    assert nothing_was_opened(opened)


@pytest.mark.parametrize(
    "words", [["--", "https://example.org"], ["-x"], ["--help2"], ["https://a.org", "https://b.org"], [""]]
)
def test_xdg_open_takes_one_argument_and_no_option(box: AskingBox, opened: Opened, words: list[str]) -> None:
    status, _, _ = box.eval(f"run('xdg-open', *{words!r})")
    if words[0] == "--" and status == 0:
        assert [["https://example.org"]] == opened.words()
    else:
        assert 0 != status
        assert nothing_was_opened(opened)


def test_a_link_is_one_argument_whatever_is_in_it(box: AskingBox, opened: Opened) -> None:
    link = "https://-x@example.org/--y/?q=%0a%22;$(id)&b=*#%20%f%U"
    assert box.eval(f"raw(message(11, {link!r}))")[0] in ("ok", "EINVAL")
    time.sleep(0.5)
    assert [[link]] == opened.words() or [] == opened.words()


FILES_REFUSED = {
    "entry.desktop": b"[Desktop Entry]\nType=Application\nExec=id\n",
    "entry.pdf": b"[Desktop Entry]\nType=Application\nExec=id\n",
    "script.sh": b"#!/bin/sh\nid\n",
    "script.txt": b"#!/bin/sh\nid\n",
    "script.pdf": b"#!/bin/sh\nid\n",
    "program.txt": b"\x7fELF\x02\x01\x01",
    "page.html": b"<html><script>1</script></html>",
    "page.txt": b"<html><script>1</script></html>",
    "page.pdf": b"<html><script>1</script></html>",
    "text.pdf": b"just text",
    "paper.txt": PDF,
    "paper": PDF,
    "paper.pdf.desktop": PDF,
    "no-type": b"\x00\x01\x02",
    "archive.pdf": b"PK\x03\x04",
    "link.url": b"[InternetShortcut]\nURL=file:///\n",
}


@pytest.mark.parametrize("first", range(0, len(FILES_REFUSED), 4))
def test_files_of_other_types_than_those_permitted_start_nothing(
    box: AskingBox, opened: Opened, home: Path, first: int
) -> None:
    """Four at once, by the rate."""
    for name, content in list(FILES_REFUSED.items())[first : first + 4]:
        (home / "shared" / name).write_bytes(content)
        answer = box.eval_long(f"raw(message(11, {str(home / 'shared' / name)!r}), 12)", 15)[0]
        assert answer == "EACCES", (name, answer)
    assert nothing_was_opened(opened)


def test_links_and_things_that_are_no_files_start_nothing(
    box: AskingBox, opened: Opened, home: Path, asking: Asking
) -> None:
    shared = home / "shared"
    (home / "outside.pdf").write_bytes(PDF)
    box.eval(f"os.symlink({str(home / 'outside.pdf')!r}, {str(shared / 'out.pdf')!r})")
    box.eval(f"os.mkfifo({str(shared / 'fifo.pdf')!r})")
    box.eval(f"os.mkdir({str(shared / 'dir.pdf')!r})")
    box.eval("open('/tmp/own.pdf', 'wb').write(b'%PDF-1.4')")
    answers = [
        box.eval(f"raw(message(11, {str(path)!r}), 12)")[0]
        for path in (shared / "out.pdf", shared / "fifo.pdf", shared / "dir.pdf", "/tmp/own.pdf")
    ]
    assert ["ENOENT", "EINVAL", "EISDIR", "EXDEV"] == answers
    assert nothing_was_opened(opened)


def test_a_link_in_the_box_names_what_it_leads_to(box: AskingBox, opened: Opened, home: Path) -> None:
    """Within what the box sees a link is harmless: the program outside gets a copy of the file itself."""
    (home / "shared" / "paper.pdf").write_bytes(PDF)
    box.eval(f"os.symlink('paper.pdf', {str(home / 'shared' / 'link.pdf')!r})")
    assert box.eval(f"raw(message(11, {str(home / 'shared' / 'link.pdf')!r}), 12)")[0] == "ok"
    (word,) = opened.one()["words"]
    assert ("paper.pdf", PDF) == (Path(word).name, copied(word))


def copied(word: str) -> bytes:
    """What the program outside finds, whenever it looks: the copy that is none of the box's."""
    copy = Path(word.removeprefix("file://"))
    assert "/sandboxer/presented/" in word
    assert not copy.is_symlink()
    return copy.read_bytes()


def test_a_file_that_is_swapped_meanwhile_is_the_checked_one_or_none(
    box: AskingBox, opened: Opened, home: Path
) -> None:
    """The program outside gets a copy of what was checked, never what a link leads to, then or later."""
    shared = home / "shared"
    (home / "secret.pdf").write_bytes(PDF + b"SECRET")
    (shared / "paper.pdf").write_bytes(PDF)
    (shared / "link.pdf").symlink_to(home / "secret.pdf")
    box.does(
        f"""
        here = {str(shared)!r}
        def swap():
            libc = ctypes.CDLL(None)
            names = [os.fsencode(here + name) for name in ("/paper.pdf", "/link.pdf")]
            while True:
                libc.renameat2(-100, names[0], -100, names[1], 2)
        process = os.fork() or swap()
        """
    )
    answers = {box.eval(f"raw(message(11, {str(shared / 'paper.pdf')!r}), 12)")[0] for _ in range(5)}
    box.eval("os.kill(process, 9)")
    assert answers <= {"ok", "ENOENT", "ESTALE", "ELOOP", "EACCES", "EXDEV", "EINVAL"}, answers
    time.sleep(0.5)
    for (word,) in opened.words():
        assert PDF == copied(word)


def test_a_link_put_in_the_place_of_a_presented_file_leads_nobody_outside(
    box: AskingBox, opened: Opened, home: Path
) -> None:
    """The program outside opens the path when it likes; the application has put a link there by then."""
    paper = home / "shared" / "paper.pdf"
    paper.write_bytes(PDF)
    assert box.eval(f"raw(message(11, {str(paper)!r}), 12)")[0] == "ok"
    box.does(f"os.unlink({str(paper)!r}); os.symlink('../.bashrc', {str(paper)!r})")
    assert PDF == copied(opened.one()["words"][0])


def test_a_lease_on_a_presented_file_delays_no_grant_s_end(
    asking: Asking, opened: Opened, home: Path
) -> None:
    """The kernel lets whoever opens such a file wait for 45 seconds."""
    work = home / "work"
    work.mkdir()
    box = asking(LINES, files=FILES)
    paper = home / "shared" / "paper.pdf"
    paper.write_bytes(PDF)
    box.done("grant", work, "--for", "3s")
    box.does(
        f"""
        import fcntl, signal
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        held = os.open({str(paper)!r}, os.O_RDWR)
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        if os.fork() == 0:
            raw(message(11, {str(paper)!r}), 12)
            os._exit(0)
        """
    )
    within(lambda: not box.eval(f"os.path.exists({str(work)!r})"), "the grant ends in time", 5)


def test_mail_with_a_file_of_the_user_s_is_not_written(asking: Asking, opened: Opened) -> None:
    box = asking('links = ["mailto"]', files=FILES)
    for text in ("mailto:a@example.org?attach=/etc/passwd", "mailto:?x=y&%61ttachment=/etc/passwd"):
        assert box.eval(f"raw(message(11, {text!r}), 12)")[0] == "EACCES"
    assert nothing_was_opened(opened)


def test_a_thousand_requests_open_five(box: AskingBox, opened: Opened) -> None:
    box.does(
        """
        answers = {}
        for number in range(1000):
            name = raw(message(11, f"https://example.org/{number}"), 12)[0]
            answers[name] = answers.get(name, 0) + 1
        """
    )
    answers = box.eval("answers")
    assert {"ok", EBUSY} == set(answers)
    assert 5 <= answers["ok"] <= 10, "five, or twice as many where the period ended meanwhile"
    time.sleep(0.5)
    assert answers["ok"] == len(opened.all())


def test_refused_requests_don_t_reach_the_steward(box: AskingBox) -> None:
    box.does("for _ in range(1000): raw(message(11, 'file:x'))")
    assert [] == box.companions("steward")


def test_the_program_outside_has_the_user_s_environment_and_nothing_of_the_box_s(
    box: AskingBox, opened: Opened, session: dict[str, str]
) -> None:
    box.does("os.environ['EVIL'] = 'x'; os.environ['PATH'] = '/tmp:' + os.environ['PATH']; os.chdir('/tmp')")
    assert 0 == box.eval("ask('present', 'https://example.org')")[0]
    told = opened.one()
    environment = told["environment"]
    assert [] == [name for name in environment if name.startswith(("SANDBOXER", "EVIL", "BROWSER", "LD_"))]
    assert (session["PATH"], session["HOME"]) == (environment["PATH"], environment["HOME"])
    assert set(environment) <= {*box.environment, "LC_CTYPE", "PWD", "OLDPWD", "SHLVL", "_"}
    assert ({"0", "1", "2"}, "/") == (set(told["fds"]) - {"3"}, told["cwd"])
    assert {"/dev/null"} == {told["fds"][number] for number in "012"}


def test_the_program_outside_outlives_the_box_and_its_broker(box: AskingBox, opened: Opened) -> None:
    assert 0 == box.eval("ask('present', 'https://example.org')")[0]
    box.end()
    assert ["https://example.org"] == opened.one()["words"]
    assert not os.path.exists(f"/proc/{box.id}/root")

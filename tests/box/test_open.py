"""`sandbox open`: files for an application that runs already."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import run_to_end
from running import INSIDE, PYTHON, RunningBox, within

Start = Callable[..., RunningBox]


@pytest.fixture
def report(session: dict[str, str]) -> Path:
    """A file of the user's that no policy shows."""
    path = Path(session["HOME"]) / "Papers" / "annual report.txt"
    path.parent.mkdir()
    path.write_text("content\n")
    (path.parent / "secret").write_text("secret")
    return path


def application(session: dict[str, str], *lines: str) -> None:
    """A policy for an application `speaker`, which evaluates what a test says; started again, it leaves its words."""
    home = Path(session["HOME"])
    told = "open('/tmp/told', 'a').write(repr(sys.argv[1:]) + '\\n')"
    script = f"import sys\nif sys.argv[1:]:\n    {told}\n    sys.exit()\n"
    place = Path(session["XDG_CONFIG_HOME"]) / "sandboxer" / "apps"
    place.mkdir(parents=True)
    (home / "programs").mkdir()
    (home / "programs" / "speaker.py").write_text(script + INSIDE)
    (place / "speaker.toml").write_text(
        "\n".join(
            (
                f'command = ["{PYTHON}"]',
                f'arguments = ["-I", "{home}/programs/speaker.py"]',
                *lines,
                "[files]",
                f'read = ["{home}/programs"]',
            )
        )
    )


def test_a_file_is_shown_alone_under_its_name(running_box: Start, report: Path) -> None:
    box = running_box()
    assert "/run/documents/257/annual report.txt\n" == box.done("open", report)
    assert "content\n" == box.eval("text('/run/documents/257/annual report.txt')")
    assert ["annual report.txt"] == box.eval("os.listdir('/run/documents/257')")
    assert "EROFS" == box.eval("error(put, '/run/documents/257/annual report.txt', 'x')")
    (grant,) = json.loads(box.done("grants", "--json"))["grants"]
    assert (1, "document", str(report)) == (grant["number"], grant["kind"], grant["source"])
    box.done("revoke", report)
    assert not box.eval("os.path.exists('/run/documents/257')")


def test_a_file_is_writable_where_the_policy_says_so(running_box: Start, report: Path) -> None:
    box = running_box("files.documents=write")
    path = box.done("open", report).strip()
    assert 3 == box.eval(f"put({path!r}, 'new')")
    assert "new" == report.read_text()


def test_a_uri_stays_one_and_keeps_what_follows_the_path(running_box: Start, report: Path) -> None:
    box = running_box()
    uri = f"file://{str(report).replace(' ', '%20')}#page=2"
    assert "file:///run/documents/257/annual%20report.txt#page=2\n" == box.done("open", uri)


def test_a_file_that_the_box_shows_keeps_its_path(running_box: Start, report: Path) -> None:
    box = running_box(f'files.read=["{report.parent}"]')
    assert f"{report}\n" == box.done("open", report)
    assert [] == json.loads(box.done("grants", "--json"))["grants"]


def test_with_a_file_comes_its_directory_only_where_the_policy_says_so(
    running_box: Start, report: Path
) -> None:
    box = running_box("files.siblings=true", "files.documents=write")
    path = box.done("open", report).strip()
    assert ["annual report.txt", "secret"] == box.eval(f"sorted(os.listdir({os.path.dirname(path)!r}))")
    assert "EROFS" == box.eval(f"error(put, {os.path.dirname(path) + '/secret'!r}, 'x')")
    assert 3 == box.eval(f"put({path!r}, 'new')")
    box.done("revoke", "--all")
    assert not box.eval("os.path.exists('/run/documents')")


def test_the_home_never_comes_with_a_file(running_box: Start, session: dict[str, str]) -> None:
    letter = Path(session["HOME"]) / "letter"
    letter.write_text("content")
    box = running_box("files.siblings=true")
    path = box.done("open", letter).strip()
    assert ["letter"] == box.eval(f"os.listdir({os.path.dirname(path)!r})")


@pytest.mark.parametrize("kind", ["directory", "fifo", "missing", "control"])
def test_only_regular_files_are_opened(running_box: Start, report: Path, kind: str) -> None:
    box = running_box()
    fifo = report.parent / "fifo"
    os.mkfifo(fifo)
    named = {
        "directory": report.parent,
        "fifo": fifo,
        "missing": report.parent / "nothing",
        "control": box.state / "box",
    }[kind]
    box.refused("open", named)
    assert not box.eval("os.path.exists('/run/documents/257')")


def test_a_policy_that_takes_no_documents_gets_none(running_box: Start, report: Path) -> None:
    box = running_box("files.documents=none")
    assert "gets no files that are named" in box.refused("open", report)


def test_a_running_application_is_told_where_the_policy_says_how(
    running_box: Start, report: Path, session: dict[str, str]
) -> None:
    application(session, "second-instance = true")
    box = running_box(policy="speaker")
    ended = box.command("open", report, "https://example.org/?a=b")
    assert (0, "") == (ended.returncode, ended.stdout)
    assert "handed over: /run/documents/257/annual report.txt https://example.org/?a=b" in ended.stderr
    within(lambda: box.eval("os.path.exists('/tmp/told')"), "the program was started again, in the same box")
    told = "['/run/documents/257/annual report.txt', 'https://example.org/?a=b']\n"
    within(lambda: told == box.eval("text('/tmp/told')"), "it was told")


def test_a_running_application_is_not_started_again_otherwise(
    running_box: Start, report: Path, session: dict[str, str]
) -> None:
    application(session)
    box = running_box(policy="speaker")
    assert "/run/documents/257/annual report.txt\n" == box.done("open", report)
    assert "cannot tell" in box.refused("open", "https://example.org/")
    assert not box.eval("os.path.exists('/tmp/told')")


def test_an_application_that_does_not_run_is_started_with_the_file(
    sandbox_program: Path, report: Path, session: dict[str, str]
) -> None:
    application(session)
    (Path(session["HOME"]) / "programs" / "speaker.py").write_text("import sys\nprint(sys.argv[1:])\n")
    ended = run_to_end([sandbox_program, "open", "speaker", report], env=session)
    assert (0, "['/run/documents/1/annual report.txt']\n", "") == (
        ended.returncode,
        ended.stdout,
        ended.stderr,
    )
    ended = run_to_end([sandbox_program, "open", "speaker.12", report], env=session)
    assert (125, True) == (ended.returncode, "no such box runs" in ended.stderr)


def test_without_a_file_an_application_is_told_just_that_where_it_can_be(
    running_box: Start, session: dict[str, str]
) -> None:
    application(session, "second-instance = true")
    box = running_box(policy="speaker")
    ended = box.command("open")
    assert (0, "sandboxer: speaker: handed over: nothing\n") == (ended.returncode, ended.stderr)


def test_without_a_file_one_that_cannot_be_told_is_left_alone(
    running_box: Start, session: dict[str, str]
) -> None:
    application(session)
    assert "nothing was named that speaker could open" in running_box(policy="speaker").refused("open")

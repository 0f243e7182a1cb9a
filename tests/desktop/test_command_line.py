"""The shipped policies for command-line programs: each does its job, with no network."""

from __future__ import annotations

import subprocess
import wave
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import need, need_user_namespaces, run_to_end
from servers import WebServer

Run = Callable[..., subprocess.CompletedProcess[str]]

CALL_HOME = """
import sys, urllib.request
try:
    print("answered", urllib.request.urlopen(sys.argv[1], timeout=5).status)
except OSError as error:
    print("no way out:", error)
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The directory that the programs are started in."""
    directory = tmp_path / "work"
    directory.mkdir()
    return directory


@pytest.fixture
def run(sandbox_program: Path, session: dict[str, str], work: Path) -> Run:
    """`run("git", "status")` is `sandbox git status`, started in `work`."""
    need_user_namespaces()

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        need(words[0])
        return run_to_end([sandbox_program, *words], env=session, cwd=work)

    return call


def test_ffmpeg_converts_a_file_of_the_working_directory(run: Run, work: Path) -> None:
    with wave.open(str(work / "in.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    done = run("ffmpeg", "-hide_banner", "-nostdin", "-i", "in.wav", "out.flac")
    assert done.returncode == 0, done.stderr
    assert (work / "out.flac").read_bytes().startswith(b"fLaC")


def test_ffmpeg_finds_nothing_beside_the_working_directory(run: Run, work: Path) -> None:
    (work.parent / "other.wav").write_bytes(b"RIFF")
    done = run("ffmpeg", "-hide_banner", "-nostdin", "-i", "../other.wav", "out.flac")
    assert done.returncode not in (0, 125)
    assert "No such file or directory" in done.stderr


def test_python_runs_a_script_that_reads_but_does_not_write(run: Run, work: Path) -> None:
    (work / "data.txt").write_text("seven\n")
    (work / "script.py").write_text(
        "print(open('data.txt').read().strip())\n"
        "try:\n    open('new.txt', 'w')\nexcept OSError as error:\n    print(error.strerror)\n"
    )
    done = run("python3", "script.py")
    assert (0, "seven\nRead-only file system\n") == (done.returncode, done.stdout), done.stderr
    assert not (work / "new.txt").exists()


def test_git_commits_in_the_working_directory_as_the_configured_user(
    run: Run, work: Path, session: dict[str, str]
) -> None:
    Path(session["HOME"], ".gitconfig").write_text("[user]\nname = Ann\nemail = ann@example.org\n")
    assert run("git", "init", "-q", "-b", "main").returncode == 0
    (work / "file").write_text("text\n")
    assert "?? file\n" == run("git", "status", "--porcelain").stdout
    assert run("git", "add", "file").returncode == 0
    done = run("git", "commit", "-q", "-m", "first")
    assert done.returncode == 0, done.stderr
    assert "Ann first\n" == run("git", "log", "--format=%an %s").stdout
    outside = subprocess.run(
        [need("git"), "log", "--format=%an %s"],
        cwd=work,
        env=session,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Ann first\n" == outside.stdout


def test_none_of_them_reaches_the_network(run: Run, work: Path, web: WebServer) -> None:
    (work / "call.py").write_text(CALL_HOME)
    outside = subprocess.run(
        ["python3", "call.py", web.address], cwd=work, capture_output=True, text=True, check=True
    )
    assert outside.stdout.startswith("no way out: HTTP Error 404")  # reached, that is
    assert run("python3", "call.py", web.address).stdout.startswith("no way out: <urlopen error")
    assert run("git", "ls-remote", f"{web.address}/x.git").returncode == 128
    assert run("ffmpeg", "-nostdin", "-i", f"{web.address}/in.wav", "out.flac").returncode not in (0, 125)
    assert ["/"] == web.asked

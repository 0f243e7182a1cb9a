"""Verbs, exit statuses, and what the user reads when something fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import machines
import pytest

from sandboxer.cli import main as module
from sandboxer.cli.launch import require_place_for_plans, without_directory
from sandboxer.cli.main import main
from sandboxer.cli.request import app_request, run_request
from sandboxer.cli.usage import HELP
from sandboxer.errors import LaunchError, ResolveError

TREE = Path(__file__).parents[3]


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["sandboxer", *words])
    return main()


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_fits_on_one_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    assert 0 == run(monkeypatch, word)
    assert HELP + "\n" == capsys.readouterr().out
    assert HELP.count("\n") < 50
    assert all(len(line) <= 110 for line in HELP.splitlines())


def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(monkeypatch, "--version")
    assert capsys.readouterr().out.startswith("sandboxer ")


@pytest.mark.parametrize("words", [(), ("--nonsense",), ("run", "x"), ("./path",), ("--debug",)])
def test_a_command_line_that_means_nothing_is_125_with_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert 125 == run(monkeypatch, *words)
    assert "\n  try: sandbox" in capsys.readouterr().err


def test_an_error_is_rendered_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_words: list[str], **_how: object) -> int:
        raise ResolveError("cannot do it", subject="/x\x1b[2J", hint="another way")

    monkeypatch.setattr(module, "dispatch", fail)
    assert 125 == run(monkeypatch, "firefox")
    assert "sandboxer: firefox: cannot do it\n  /x\\x1b[2J\n  try: another way\n" == capsys.readouterr().err


def test_a_fault_of_ours_is_said_to_be_one_and_debug_shows_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_words: list[str], **_how: object) -> int:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(module, "dispatch", fail)
    assert 125 == run(monkeypatch, "firefox")
    assert "internal error: ZeroDivisionError: oops" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, "--debug", "firefox")


def test_root_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert 125 == run(monkeypatch, "firefox")
    assert "refuses to run as root" in capsys.readouterr().err


def test_a_compile_imports_only_what_it_may() -> None:
    """
    Imports are most of a compile's time, so each one has been weighed.

    `inspect` isn't among them: msgspec imports it by way of typing_extensions, where a tool has installed that.
    """
    seldom = {
        "argparse", "dataclasses", "glob", "hashlib", "json", "logging", "pathlib", "pyseccomp", "rich",
        "shutil", "socket", "subprocess", "tempfile", "dbus_next", "asyncio", "ctypes", "random", "difflib",
    }  # fmt: skip
    code = "import sys; before = set(sys.modules); import sandboxer.cli.launch; print(*(set(sys.modules) - before))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=TREE, env={}
    ).stdout
    assert set() == seldom & set(output.split())


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_without_a_home_there_is_one_clear_message(home: str | None, tmp_path: Path) -> None:
    environment = {"XDG_RUNTIME_DIR": str(tmp_path / "absent")} | ({} if home is None else {"HOME": home})
    with pytest.raises(LaunchError, match="cannot tell where plans are kept") as caught:
        require_place_for_plans(environment)
    assert "HOME" in caught.value.subject
    assert caught.value.hint.startswith("set HOME to your home directory")


def test_without_a_home_a_directory_of_the_sessions_will_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    require_place_for_plans({"XDG_RUNTIME_DIR": str(tmp_path)})
    require_place_for_plans({"XDG_CACHE_HOME": str(tmp_path)})


def test_a_directory_that_can_not_be_shared_is_answered_with_the_command_that_works() -> None:
    host = machines.machine({"/usr/bin/python3": ""})
    hint = without_directory(app_request(["python3", "a b.py"], debug=False), host)
    assert hint.endswith(
        "sandbox run --policy python3 --set files.working-directory=none -- python3 'a b.py'"
    )
    words = ["run", "--policy", "git", "--", "git", "status"]
    hint = without_directory(run_request(words, debug=False), host)
    assert hint.endswith("sandbox run --policy git --set files.working-directory=none -- git status")

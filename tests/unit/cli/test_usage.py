"""The help fits a screen, and names what there is."""

from __future__ import annotations

import contextlib
import io

import pytest

from sandboxer import __version__
from sandboxer.cli import main
from sandboxer.cli.request import TAKES_VALUE, run_request
from sandboxer.cli.usage import HELP, VERSION


def test_the_help_fits_a_screen_of_24_lines_and_80_columns() -> None:
    lines = HELP.splitlines()
    assert len(lines) < 24  # one is left for the prompt
    assert max(map(len, lines)) <= 80


def test_the_help_names_every_verb_and_option() -> None:
    for word in (*main.VERBS, "run", *TAKES_VALUE, "--die-with-parent", "--debug", "--version", "--help"):
        assert word in HELP, word


def test_the_helps_example_of_run_is_a_command_line_that_run_takes() -> None:
    (example,) = [
        text.removeprefix("example: ") for text in HELP.splitlines() if text.startswith("example: ")
    ]
    request = run_request(example.split()[1:], debug=False)
    assert ("network.access=host",) == request.settings


def test_the_version_tells_the_kernel_and_the_licence() -> None:
    assert f"sandboxer {__version__}" == VERSION.splitlines()[0]
    assert "Linux 5.14" in VERSION
    assert "GPL-3.0-or-later" in VERSION


@pytest.mark.parametrize("verb", main.VERBS)
def test_each_verb_has_a_help_of_its_own(verb: str) -> None:
    told = io.StringIO()
    with contextlib.redirect_stdout(told), pytest.raises(SystemExit) as done:
        main.dispatch([verb, "--help"], debug=False)
    assert 0 == done.value.code
    lines = told.getvalue().splitlines()
    assert lines[0].startswith(f"usage: sandbox {verb}")
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    "words", [["--help"], ["-h"], ["help"], ["run", "--help"], ["run", "--set", "a=b", "-h", "--", "x"]]
)
def test_help_is_data_on_stdout(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main.dispatch(words, debug=False)
    assert (f"{HELP}\n", "") == tuple(capsys.readouterr())

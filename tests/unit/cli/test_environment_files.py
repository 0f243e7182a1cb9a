"""Variables from files: read as systemd reads them, for the box alone, from no file that somebody else put there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandboxer.cli.environment_files import SIZE_MAX, assignments, with_variables
from sandboxer.cli.request import EnvironmentFile, Request, run_request
from sandboxer.errors import LaunchError
from sandboxer.policy.parse import parse_setting


def asked(*words: str) -> tuple[Request, dict[str, str]]:
    return with_variables(run_request(["run", *words, "--", "cat"], debug=False))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB = 2\n", [("A", "1"), ("B", "2")]),
        ("# A=1\n; B=2\n  C=3", [("C", "3")]),
        ("# doesn't go on \\\nA=1\n", [("A", "1")]),
        ("A='one\nB=2'\nC=3\n", [("A", "one\nB=2"), ("C", "3")]),
        ('A="one\\"\nB=2"\nC=3\n', [("A", 'one"\nB=2'), ("C", "3")]),
        ("A=one\\\ntwo\nC=3\n", [("A", "onetwo"), ("C", "3")]),
        ('A="one\\\ntwo"', [("A", "onetwo")]),
        ("A=it's\nB=2\n", [("A", "it's"), ("B", "2")]),
        ("A='x'\"y\nz\"  w \nB=2\n", [("A", "xy\nzw"), ("B", "2")]),
        ("export A=1\nno assignment\nB=\n", [("export A", "1"), ("B", "")]),
        ("A=a b\\ \t \n", [("A", "a b ")]),
        ('A="\\$HOME \\a \\\\ \\`"', [("A", "$HOME \\a \\ `")]),
        ("A='\\$x\\'\nB=\\$y\\\\", [("A", "\\$x\\"), ("B", "$y\\")]),
        ("A=1\r\nB=2\r", [("A", "1"), ("B", "2")]),
        ("=A=1\nB='not closed\n", [("=A", "1"), ("B", "not closed\n")]),
        ("A=$B ${C} %h # no comment", [("A", "$B ${C} %h # no comment")]),
    ],
)
def test_a_file_is_read_as_systemd_reads_it(text: str, expected: list[tuple[str, str]]) -> None:
    assert expected == list(assignments(text))


def test_names_are_let_in_besides_and_values_are_for_the_box_alone(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("LD_PRELOAD=/x.so\nPATH=/one\nexport BAD=1\nNOTIFY_SOCKET=/x\n1A=2\n")
    (tmp_path / "two").write_text("PATH=/two\n")
    request, variables = asked(
        "--env-file", f"{tmp_path}/one", "--set", 'environment.keep=["A"]', f"--env-file=-{tmp_path}/two"
    )
    assert {"SANDBOXER_INSIDE_LD_PRELOAD": "/x.so", "SANDBOXER_INSIDE_PATH": "/two"} == variables
    assert 'environment.keep=["A"]' == request.settings[0]
    assert ("LD_PRELOAD", "PATH") == parse_setting(request.settings[1]).settings[0].value
    assert 2 == len(request.settings)
    assert (*request.words, "--", "cat") == request.rest
    assert () == request.environment_files
    assert not any("env-file" in word for word in request.rest)


def test_a_file_that_sets_nothing_asks_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nothing\n")
    request, variables = asked("--env-file", f"{tmp_path}/empty", "--fd", "A=x")
    assert (("run",), {}) == (request.words, variables)
    assert ["A"] == [file.name for file in request.files]


def test_only_one_with_a_dash_may_be_absent(tmp_path: Path) -> None:
    assert {} == asked("--env-file", f"-{tmp_path}/none")[1]
    assert {} == asked("--env-file", f"-{tmp_path}/none/deeper")[1]
    with pytest.raises(LaunchError, match="cannot read") as caught:
        asked("--env-file", f"{tmp_path}/none")
    assert f"where it may be absent: --env-file -{tmp_path}/none" == caught.value.hint


def test_a_link_that_a_box_could_have_made_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("KEY=secret\n")
    (tmp_path / "env").symlink_to("keys")
    with pytest.raises(LaunchError, match="refuses to follow a link"):
        asked("--env-file", f"-{tmp_path}/env")


def test_what_is_no_file_of_ones_own_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/null"):
        with pytest.raises(LaunchError, match="isn't a file of yours"):
            asked("--env-file", f"-{path}")


@pytest.mark.parametrize("content", [b"A=\xff\n", b"A=1\0B=2\n", b"A=" + b"x" * SIZE_MAX])
def test_what_no_variable_can_hold_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "env").write_bytes(content)
    with pytest.raises(LaunchError):
        asked("--env-file", f"{tmp_path}/env")


def test_files_are_bounded_together(tmp_path: Path) -> None:
    (tmp_path / "env").write_text(f"A={'x' * (SIZE_MAX // 2)}\n")
    assert asked("--env-file", f"{tmp_path}/env")[1]
    with pytest.raises(LaunchError, match="too much"):
        asked("--env-file", f"{tmp_path}/env", "--env-file", f"{tmp_path}/env")


def test_files_of_variables_choose_no_plan() -> None:
    request = run_request(["run", "--env-file", "-a", "--set", "b=1", "--env-file=c", "--", "x"], debug=False)
    assert ("run", "--set", "b=1") == request.words
    assert ("run", "--set", "b=1", "--", "x") == request.rest
    expected = (EnvironmentFile(path="a", optional=True), EnvironmentFile(path="c", optional=False))
    assert expected == request.environment_files

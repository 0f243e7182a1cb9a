"""Command lines: what they ask for, and under which words the launcher will look for the plan."""

from __future__ import annotations

import pytest

from sandboxer.cli.request import HandedFile, app_request, run_request
from sandboxer.errors import UsageError
from sandboxer.plan.ops import PlanFlag


def run(*words: str) -> object:
    return run_request(["run", *words], debug=False)


def test_an_application_is_looked_up_by_its_name_alone() -> None:
    request = app_request(["firefox", "--private-window", "page.html"], debug=False)
    assert ("app", "firefox") == request.words
    assert ("firefox", "--private-window", "page.html") == request.rest
    assert request.policy_file is None


def test_an_application_given_as_a_path_is_refused_with_what_to_write() -> None:
    with pytest.raises(UsageError) as caught:
        app_request(["./firefox"], debug=False)
    assert "sandbox run -- ./firefox" == caught.value.hint


def test_a_command_is_looked_up_by_the_options_as_they_were_written() -> None:
    request = run_request(
        ["run", "--policy=gui", "--set", "a=1", "--keep-fd", "5", "--", "cmd", "--", "x"], debug=False
    )
    assert ("run", "--policy=gui", "--set", "a=1", "--keep-fd", "5") == request.words
    assert (*request.words, "--", "cmd", "--", "x") == request.rest
    assert ("gui", ("a=1",), (5,)) == (request.policy, request.settings, request.keep_fds)


def test_without_a_policy_a_command_is_strict() -> None:
    assert "strict" == run_request(["run", "--", "cmd"], debug=False).policy


def test_options_repeat_in_order() -> None:
    request = run_request(
        ["run", "--set=a=1", "--set", "b=2", "--keep-fd=3", "--keep-fd=4", "--", "x"], debug=False
    )
    assert (("a=1", "b=2"), (3, 4)) == (request.settings, request.keep_fds)


def test_dying_with_the_parent_is_a_flag() -> None:
    assert PlanFlag.DIE_WITH_PARENT is run_request(["run", "--die-with-parent", "--", "x"], debug=False).flags


def test_debug_is_no_part_of_the_words_so_that_a_plan_made_with_it_serves_without() -> None:
    request = run_request(["run", "--debug", "--set", "a=1", "--", "x", "--debug"], debug=False)
    assert request.debug
    assert ("run", "--set", "a=1") == request.words
    assert ("run", "--set", "a=1", "--", "x", "--debug") == request.rest


@pytest.mark.parametrize(
    ("policy", "file"), [("firefox", None), ("./x", "./x"), ("x.toml", "x.toml"), ("/a/b.toml", "/a/b.toml")]
)
def test_a_policy_with_a_slash_or_an_ending_is_a_file(policy: str, file: str | None) -> None:
    assert file == run_request(["run", "--policy", policy, "--", "x"], debug=False).policy_file


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("cmd",),
        ("--",),
        ("--policy", "gui", "--"),
        ("--polic", "gui", "--", "x"),
        ("--policy", "--", "x"),
        ("--policy=", "--", "x"),
        ("--policy=a", "--policy=b", "--", "x"),
        ("--keep-fd", "2", "--", "x"),
        ("--keep-fd", "-1", "--", "x"),
        ("--keep-fd", "three", "--", "x"),
        ("--keep-fd", "³", "--", "x"),
        ("--set", "--", "x"),
        ("--die-with-parent=yes", "--", "x"),
        ("cmd", "--", "x"),
        ("--fd", "--", "x"),
        ("--fd", "path", "--", "x"),
        ("--fd", "A=", "--", "x"),
        ("--fd", "=path", "--", "x"),
        ("--fd", "A B=path", "--", "x"),
        ("--fd=1=path", "--", "x"),
        ("--fd", "A=x", "--fd", "A=y", "--", "x"),
    ],
)
def test_what_cannot_be_understood_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        run(*words)


@pytest.mark.parametrize(
    ("words", "name", "path", "write"),
    [
        (("--fd", "A=x"), "A", "x", False),
        (("--fd=A=x:ro",), "A", "x", False),
        (("--fd", "DATA_1=/a b/c:rw"), "DATA_1", "/a b/c", True),
        (("--fd", "A=x:y"), "A", "x:y", False),
        (("--fd", "A=b=c:rw"), "A", "b=c", True),
        (("--fd", "A=x:rw:ro"), "A", "x:rw", False),
        (("--fd", "A=:rw"), "A", ":rw", False),
    ],
)
def test_a_file_by_number_has_a_name_a_path_and_a_mode(
    words: tuple[str, ...], name: str, path: str, write: bool
) -> None:
    request = run_request(["run", *words, "--", "x"], debug=False)
    assert (HandedFile(name=name, path=path, write=write),) == request.files


def test_files_by_number_choose_no_plan() -> None:
    request = run_request(["run", "--fd", "A=x", "--set", "a=1", "--fd=B=y:rw", "--", "x", "--fd"], debug=False)
    assert ("run", "--set", "a=1") == request.words
    assert ("run", "--set", "a=1", "--", "x", "--fd") == request.rest
    assert ["A", "B"] == [file.name for file in request.files]

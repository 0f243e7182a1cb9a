"""Words that name files are handed in, each file alone; and where an application starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from boxes import HOME, PlannedBox
from plans import bind

from sandboxer.plan.ops import PlanFlag

READ = PlanFlag.PRIVATE_NETWORK | PlanFlag.DOCUMENTS_READ
WRITE = READ | PlanFlag.DOCUMENTS_WRITE
WORDS = 'for word in "$@"; do echo "$word"; done'
CONTENTS = 'for word in "$@"; do cat "$word"; done'
LIMIT = 256


def named(
    box: PlannedBox, *words: str, cwd: Path, script: str = WORDS, flags: PlanFlag = READ, **plan: object
) -> list[str]:
    """What a script prints that gets these words."""
    start = box.plan("/bin/sh", "-c", script, "sh", flags=flags, **plan)  # type: ignore[arg-type] # as given
    done = box.run([*start, *words], cwd=cwd)
    assert "" == done.stderr
    assert 0 == done.returncode
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "name", ["plain.txt", "two words", "ünïcode ☃", "-dash", "quote'\"", "a\tb", "x" * 255, "..."]
)
def test_a_file_keeps_its_name_and_its_content(planned_box: PlannedBox, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("content")
    for word in (str(tmp_path / name), f"./{name}"):
        assert [f"/run/documents/1/{name}"] == named(planned_box, word, cwd=tmp_path)
        assert ["content"] == named(planned_box, word, cwd=tmp_path, script=CONTENTS)


def test_a_relative_word_is_found_from_the_callers_directory(planned_box: PlannedBox, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "report.pdf").write_text("content")
    for word, cwd in (("report.pdf", tmp_path), ("../report.pdf", tmp_path / "below")):
        assert ["/run/documents/1/report.pdf"] == named(planned_box, word, cwd=cwd)
        assert ["content"] == named(planned_box, word, cwd=cwd, script=CONTENTS)


def test_naming_a_file_grants_nothing_beside_it(planned_box: PlannedBox, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").touch()
    (tmp_path / "secret").touch()
    script = 'ls -A "$(dirname "$1")"; ls -A /run/documents; ls -d /tmp/*; true'
    done = planned_box.run(
        [*planned_box.plan("/bin/sh", "-c", script, "sh", flags=READ), "report.pdf"], cwd=tmp_path
    )
    assert ["report.pdf", "1"] == done.stdout.splitlines()


@pytest.mark.parametrize("flags", [READ, WRITE])
def test_a_document_is_writable_only_when_the_plan_says_so(
    planned_box: PlannedBox, tmp_path: Path, flags: PlanFlag
) -> None:
    document = tmp_path / "document"
    document.write_text("old\n")
    done = planned_box.run(
        [*planned_box.plan("/bin/sh", "-c", 'echo new >"$1"', "sh", flags=flags), "document"], cwd=tmp_path
    )
    assert ("new\n" if flags == WRITE else "old\n") == document.read_text()
    assert (flags == WRITE) == (done.returncode == 0)


def test_without_the_flag_words_are_words(planned_box: PlannedBox, tmp_path: Path) -> None:
    (tmp_path / "document").touch()
    assert ["document"] == named(planned_box, "document", cwd=tmp_path, flags=PlanFlag.PRIVATE_NETWORK)


def test_options_directories_and_what_does_not_exist_are_left_alone(
    planned_box: PlannedBox, tmp_path: Path
) -> None:
    (tmp_path / "-option").touch()
    (tmp_path / "--file=x").touch()
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    words = [
        "-option",
        "--file=x",
        "directory",
        "fifo",
        "dangling",
        "missing",
        "",
        "document/",
        "/dev/null",
        ".",
    ]
    (tmp_path / "document").touch()
    assert words == named(planned_box, *words, cwd=tmp_path)


def test_a_word_is_left_alone_where_the_box_shows_the_very_file(
    planned_box: PlannedBox, tmp_path: Path
) -> None:
    directory = tmp_path / "shown"
    directory.mkdir()
    (directory / "document").write_text("content\n")
    more = [bind(str(directory))]
    words = [str(directory / "document"), "document"]
    assert words == named(planned_box, *words, cwd=directory, more=more)
    assert ["content"] * 2 == named(planned_box, *words, cwd=directory, script=CONTENTS, more=more)


def test_a_relative_word_becomes_absolute_where_the_box_starts_elsewhere(
    planned_box: PlannedBox, tmp_path: Path
) -> None:
    directory = tmp_path / "shown"
    directory.mkdir()
    (directory / "document").write_text("content")
    more = [bind(str(directory))]
    assert [str(directory / "document")] == named(planned_box, "shown/document", cwd=tmp_path, more=more)


def test_another_file_at_the_same_path_in_the_box_is_not_mistaken_for_the_document(
    planned_box: PlannedBox, tmp_path: Path
) -> None:
    directory, other = tmp_path / "documents", tmp_path / "other"
    for one in (directory, other):
        one.mkdir()
        (one / "document").write_text(one.name)
    word = str(directory / "document")
    more = [bind(str(directory), str(other))]
    assert ["/run/documents/1/document"] == named(planned_box, word, cwd=tmp_path, more=more)
    assert ["documents"] == named(planned_box, word, cwd=tmp_path, script=CONTENTS, more=more)


def test_a_link_of_the_users_is_followed_and_keeps_its_name(planned_box: PlannedBox, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("content")
    (tmp_path / "link").symlink_to("real")
    assert ["/run/documents/1/link"] == named(planned_box, "link", cwd=tmp_path)
    assert ["content"] == named(planned_box, "link", cwd=tmp_path, script=CONTENTS)


@pytest.mark.parametrize("flags", [READ, WRITE])
@pytest.mark.parametrize("planted", ["the file", "its directory"])
def test_a_link_that_an_application_can_plant_hands_nothing_in(
    planned_box: PlannedBox, tmp_path: Path, flags: PlanFlag, planted: str
) -> None:
    """An application may write to Downloads, where it leaves a link to a secret, for the user to open."""
    downloads, secrets = tmp_path / "Downloads", tmp_path / "secrets"
    downloads.mkdir()
    secrets.mkdir()
    (secrets / "report.pdf").write_text("the secret")
    if planted == "the file":
        (downloads / "report.pdf").symlink_to("../secrets/report.pdf")
        word = downloads / "report.pdf"
    else:
        (downloads / "reports").symlink_to("../secrets")
        word = downloads / "reports" / "report.pdf"
    start = planned_box.plan("/bin/cat", flags=flags, more=[bind(str(downloads), write=True)])
    done = planned_box.run([*start, str(word)], cwd=tmp_path)
    assert "the secret" not in done.stdout


def test_files_of_the_same_name_stay_apart(planned_box: PlannedBox, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same").write_text(f"{name}\n")
    assert ["a", "b", "a"] == named(planned_box, "a/same", "b/same", "a/same", cwd=tmp_path, script=CONTENTS)


def test_as_many_documents_as_the_limit_and_no_more(planned_box: PlannedBox, tmp_path: Path) -> None:
    names = [f"document-{number}" for number in range(LIMIT + 1)]
    for name in names:
        (tmp_path / name).write_text(f"{name}\n")
    assert names[:-1] == named(planned_box, *names[:-1], cwd=tmp_path, script=CONTENTS)
    done = planned_box.run([*planned_box.plan("/bin/true", flags=READ), *names], cwd=tmp_path)
    assert 125 == done.returncode
    assert "so many documents" in done.stderr


def test_the_limit_does_not_count_files_that_the_box_shows(planned_box: PlannedBox, tmp_path: Path) -> None:
    names = [f"document-{number}" for number in range(LIMIT + 44)]
    for name in names:
        (tmp_path / name).touch()
    assert names == named(planned_box, *names, cwd=tmp_path, more=[bind(str(tmp_path))])


def test_a_file_without_read_permission_stays_unreadable(planned_box: PlannedBox, tmp_path: Path) -> None:
    (tmp_path / "document").write_text("x")
    (tmp_path / "document").chmod(0)
    done = planned_box.run([*planned_box.plan("/bin/cat", flags=READ), "document"], cwd=tmp_path)
    assert 1 == done.returncode
    assert "Permission denied" in done.stderr


def test_a_box_starts_where_the_caller_stands_when_it_shows_that_directory(
    planned_box: PlannedBox, tmp_path: Path
) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    assert [str(shown)] == named(planned_box, cwd=shown, script="pwd", more=[bind(str(shown))])
    assert [HOME] == named(planned_box, cwd=shown, script="pwd")
    assert ["/usr/lib"] == named(planned_box, cwd=Path("/usr/lib"), script="pwd")


def test_another_directory_at_the_callers_path_is_not_mistaken_for_it(
    planned_box: PlannedBox, tmp_path: Path
) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.mkdir()
    other.mkdir()
    assert [HOME] == named(planned_box, cwd=mine, script="pwd", more=[bind(str(mine), str(other))])


def test_a_directory_that_was_removed_is_no_place_to_start(planned_box: PlannedBox, tmp_path: Path) -> None:
    words = planned_box.plan("/bin/pwd")
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    done = planned_box.run(["/bin/sh", "-c", script, "sh", *words], cwd=tmp_path)
    assert f"{HOME}\n" == done.stdout

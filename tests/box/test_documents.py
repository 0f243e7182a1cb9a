"""Words that name files are handed in, each file alone; and where an application starts."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import quote

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


READ_URIS = """
import sys, urllib.parse
for word in sys.argv[1:]:
    path = urllib.parse.unquote(urllib.parse.urlsplit(word).path)
    print(open(path, encoding="utf-8").read())
"""


def uri_of(path: Path) -> str:
    """As file managers write it."""
    return "file://" + quote(str(path))


@pytest.mark.parametrize(
    "name",
    [
        "plain.txt",
        "two words",
        "ünïcode ☃",
        "-dash",
        "100%",
        "a?b#c",
        "quote'\"",
        "a+b&c=d",
        "x" * 80,
        "~tilde",
    ],
)
def test_a_uri_of_a_file_stays_one(planned_box: PlannedBox, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("content")
    word = uri_of(tmp_path / name)
    assert [f"file:///run/documents/1/{quote(name)}"] == named(planned_box, word, cwd=tmp_path)
    start = planned_box.plan("/usr/bin/python3", "-IS", "-c", READ_URIS, flags=READ)
    assert "content\n" == planned_box.run([*start, word], cwd=tmp_path).stdout


@pytest.mark.parametrize("rest", ["#page=3", "?query", "?a=%41#b%20c", "#", "?", "#/../x", "?x#?y"])
def test_what_follows_the_path_in_a_uri_is_kept_as_it_is(
    planned_box: PlannedBox, tmp_path: Path, rest: str
) -> None:
    (tmp_path / "report.pdf").touch()
    word = uri_of(tmp_path / "report.pdf") + rest
    assert [f"file:///run/documents/1/report.pdf{rest}"] == named(planned_box, word, cwd=tmp_path)


def test_a_uri_may_name_this_machine(planned_box: PlannedBox, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").touch()
    word = f"file://localhost{tmp_path}/report.pdf"
    assert ["file:///run/documents/1/report.pdf"] == named(planned_box, word, cwd=tmp_path)


def test_what_a_uri_escapes_without_need_is_read_the_same(planned_box: PlannedBox, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").touch()
    for word in (f"file://{tmp_path}/%72eport%2Epdf", f"file://{tmp_path}/%72eport%2epdf"):
        assert ["file:///run/documents/1/report.pdf"] == named(planned_box, word, cwd=tmp_path)


def test_what_a_uri_ought_to_escape_is_escaped(planned_box: PlannedBox, tmp_path: Path) -> None:
    (tmp_path / "ä b").touch()
    assert ["file:///run/documents/1/%C3%A4%20b"] == named(
        planned_box, f"file://{tmp_path}/ä b", cwd=tmp_path
    )


@pytest.mark.parametrize(
    "word",
    [
        "file://elsewhere{}/report.pdf",
        "file://localhost.example{}/report.pdf",
        "file://localhost:80{}/report.pdf",
        "file://user@localhost{}/report.pdf",
        "file:///%00{}/report.pdf",
        "file://{}/report.pdf%00",
        "file://{}/report.pdf%",
        "file://{}/report.pdf%4",
        "file://{}/report.pdf%zz",
        "file://{}/report%2pdf",
        "file://{}/report.pdf/",
        "file://{}/",
        "file://{}/missing",
        "file://{}",
        "file://",
        "file:",
        "file://localhost",
        "http://localhost{}/report.pdf",
        "xfile://{}/report.pdf",
        "-file://{}/report.pdf",
        "file://{}/" + "%41" * 5000,
        "file://{}/" + "a" * 5000,
    ],
    ids=lambda word: word[:40],
)
def test_a_uri_of_no_file_here_is_left_alone(planned_box: PlannedBox, tmp_path: Path, word: str) -> None:
    (tmp_path / "report.pdf").touch()
    word = word.format(tmp_path)
    assert [word] == named(planned_box, word, cwd=tmp_path)


def test_a_uri_of_a_file_that_the_box_shows_is_left_alone(planned_box: PlannedBox, tmp_path: Path) -> None:
    directory = tmp_path / "shown"
    directory.mkdir()
    (directory / "ä b").touch()
    for word in (uri_of(directory / "ä b") + "#x", f"file://localhost{directory}/ä b?y"):
        assert [word] == named(planned_box, word, cwd=tmp_path, more=[bind(str(directory))])


def test_a_uri_through_a_link_that_an_application_can_plant_hands_nothing_in(
    planned_box: PlannedBox, tmp_path: Path
) -> None:
    downloads, secrets = tmp_path / "Downloads", tmp_path / "secrets"
    downloads.mkdir()
    secrets.mkdir()
    (secrets / "key").write_text("the secret")
    (downloads / "report.pdf").symlink_to("../secrets/key")
    word = uri_of(downloads / "report.pdf")
    more = [bind(str(downloads), write=True)]
    assert [word] == named(planned_box, word, cwd=tmp_path, more=more)


def test_uris_and_paths_count_together(planned_box: PlannedBox, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a\n")
    (tmp_path / "b").write_text("b\n")
    words = ["a", uri_of(tmp_path / "b"), "a"]
    assert ["/run/documents/1/a", "file:///run/documents/2/b", "/run/documents/3/a"] == named(
        planned_box, *words, cwd=tmp_path
    )


SIBLINGS = READ | PlanFlag.DOCUMENTS_SIBLINGS
AROUND = 'for word in "$@"; do ls -A "$(dirname "$word")"; done'


@pytest.fixture
def user_home(tmp_path: Path) -> Path:
    """A home outside, away from the launcher's own directories, with something beside it."""
    home = tmp_path / "users" / "ann"
    (home / "Videos").mkdir(parents=True)
    return home


def beside(directory: Path, *names: str) -> Path:
    """A directory with these files; each holds its name."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).write_text(f"{name}\n")
    return directory


def around(
    box: PlannedBox, *words: str, home: Path, flags: PlanFlag = SIBLINGS, script: str = AROUND
) -> list[str]:
    """What the box shows where the documents are."""
    return named(box, *words, cwd=Path("/"), script=script, flags=flags, home=str(home))


def test_what_lies_beside_a_document_comes_with_it_when_the_plan_says_so(
    planned_box: PlannedBox, user_home: Path
) -> None:
    videos = beside(user_home / "Videos", "film.mkv", "film.srt")
    beside(videos / "extras", "more")
    word = str(videos / "film.mkv")
    assert ["extras", "film.mkv", "film.srt"] == around(planned_box, word, home=user_home)
    assert ["/run/documents/1/film.mkv"] == around(planned_box, word, home=user_home, script=WORDS)
    script = 'cd "$(dirname "$1")" && cat film.mkv film.srt extras/more'
    assert ["film.mkv", "film.srt", "more"] == around(planned_box, word, home=user_home, script=script)
    assert ["film.mkv"] == around(planned_box, word, home=user_home, flags=READ)


def test_what_lies_beside_a_document_cannot_be_changed(planned_box: PlannedBox, user_home: Path) -> None:
    videos = beside(user_home / "Videos", "film.mkv", "film.srt")
    script = """
        cd "$(dirname "$1")"
        echo new >film.mkv && echo written
        for try in "echo x >film.srt" "echo x >new" "rm film.srt" "rm film.mkv" "mv film.mkv other" "mkdir d" \\
            "ln film.srt l" "chmod 0 film.srt"
        do (eval "$try") 2>/dev/null && echo "$try"; done; true
    """
    word = str(videos / "film.mkv")
    flags = SIBLINGS | PlanFlag.DOCUMENTS_WRITE
    assert ["written"] == around(planned_box, word, home=user_home, flags=flags, script=script)
    assert {"film.mkv": "new\n", "film.srt": "film.srt\n"} == {
        path.name: path.read_text() for path in videos.iterdir()
    }
    assert ["film.mkv", "film.srt"] == around(planned_box, word, home=user_home)


def test_each_document_brings_its_own_neighbours(planned_box: PlannedBox, user_home: Path) -> None:
    one, other = beside(user_home / "one", "a", "b"), beside(user_home / "other", "c", "d")
    words = [str(one / "a"), str(other / "c"), uri_of(one / "b")]
    assert ["a", "b", "c", "d"] == around(planned_box, *words[:2], home=user_home)
    script = "ls -A /run/documents/3; echo $3"
    assert ["a", "b", "file:///run/documents/3/b"] == around(
        planned_box, *words, home=user_home, script=script
    )


@pytest.mark.parametrize(
    "where",
    [
        *("the home", "what holds the home", "a hidden directory", "a directory in a hidden one"),
        *("the runtime directory", "what lies in the runtime directory", "what holds the runtime directory"),
        "what holds the directory of boxes",
    ],
)
def test_what_is_more_than_neighbours_never_comes_with_a_document(
    planned_box: PlannedBox, user_home: Path, runtime_dir: Path, tmp_path: Path, where: str
) -> None:
    session = tmp_path / "session"
    (session / "runtime" / "app").mkdir(parents=True)
    planned_box.environment["XDG_RUNTIME_DIR"] = str(session / "runtime")
    directory = {
        "the home": user_home,
        "what holds the home": user_home.parent,
        "a hidden directory": user_home / ".config",
        "a directory in a hidden one": user_home / ".local" / "share",
        "the runtime directory": session / "runtime",
        "what lies in the runtime directory": session / "runtime" / "app",
        "what holds the runtime directory": session,
        "what holds the directory of boxes": planned_box.plans.parent,
    }[where]
    beside(directory, "document", "secret")
    (session / "runtime").chmod(0o755)  # not private: the launcher keeps its own things elsewhere
    assert ["document"] == around(planned_box, str(directory / "document"), home=user_home)
    assert ["document"] == around(planned_box, str(directory / "document"), home=user_home, script=CONTENTS)


def test_a_directory_in_the_root_never_comes_with_a_document(
    planned_box: PlannedBox, user_home: Path
) -> None:
    with NamedTemporaryFile(dir="/tmp", prefix="document-") as document:
        assert [Path(document.name).name] == around(planned_box, document.name, home=user_home)


@pytest.mark.parametrize("path", ["/proc/{}/limits", "/proc/sys/kernel/ostype", "/sys/kernel/mm/ksm/run"])
def test_the_kernels_directories_never_come_with_a_document(
    planned_box: PlannedBox, user_home: Path, path: str
) -> None:
    path = path.format(os.getpid())
    if not os.path.exists(path):
        pytest.skip(f"this kernel has no {path}")
    script = "ls -A /run/documents/1 2>/dev/null; true"
    assert around(planned_box, path, home=user_home, script=script) in ([Path(path).name], [])


def test_a_home_that_is_not_there_brings_nothing(planned_box: PlannedBox, user_home: Path) -> None:
    """Where the home isn't known, no directory is known to be another."""
    videos = beside(user_home / "Videos", "film.mkv", "film.srt")
    assert ["film.mkv"] == around(planned_box, str(videos / "film.mkv"), home=Path("/nowhere/at/all"))


def test_a_document_under_another_name_comes_alone(planned_box: PlannedBox, user_home: Path) -> None:
    videos = beside(user_home / "Videos", "film.mkv", "film.srt")
    (user_home / "Music").mkdir()
    (user_home / "Music" / "link").symlink_to(videos / "film.mkv")
    assert ["link"] == around(planned_box, str(user_home / "Music" / "link"), home=user_home)


def test_a_link_beside_a_document_leads_nowhere_else(planned_box: PlannedBox, user_home: Path) -> None:
    secrets = beside(user_home / "Secrets", "key")
    videos = beside(user_home / "Videos", "film.mkv")
    (videos / "absolute").symlink_to(secrets / "key")
    (videos / "relative").symlink_to("../Secrets/key")
    script = (
        'cd "$(dirname "$1")"; for l in absolute relative; do cat $l 2>/dev/null && echo read; done; true'
    )
    assert [] == around(planned_box, str(videos / "film.mkv"), home=user_home, script=script)


def test_as_many_directories_as_documents(planned_box: PlannedBox, user_home: Path) -> None:
    directories = [beside(user_home / f"d{number}", "document", "beside") for number in range(LIMIT)]
    words = [str(directory / "document") for directory in directories]
    script = 'n=0; for word in "$@"; do [ -e "$(dirname "$word")/beside" ] && n=$((n + 1)); done; echo $n'
    assert [str(LIMIT)] == around(planned_box, *words, home=user_home, script=script)

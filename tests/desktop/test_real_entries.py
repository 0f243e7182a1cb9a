"""
The desktop entries of some seventy real applications: each is wrapped, judged by others' readers, and unwrapped.

./test fetches their packages (tests/desktop/entries-packages.txt) and lays out the entries alone, without installing
anything. Their programs aren't here, so programs are taken for installed whatever they are called, and each entry has a
policy made for it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import TREE, missing, need
from unit.desktop.conftest import Desk

from sandboxer.desktop.wrappers import entries, programs
from sandboxer.desktop.wrappers.entries import ENTRY, Kind
from sandboxer.desktop.wrappers.exec_line import split
from sandboxer.desktop.wrappers.key_file import KeyFile

CORPUS = TREE / "build" / "desktop-entries"
PYTHON = "/usr/bin/python3"
APPLICATIONS_MIN = 60
READ_BY_GLIB = """
import json, sys
from gi.repository import GLib
found = {}
for path in json.load(sys.stdin):
    file = GLib.KeyFile()
    file.load_from_file(path, GLib.KeyFileFlags.NONE)
    commands = {}
    for group in file.get_groups()[0]:
        try:
            commands[group] = GLib.shell_parse_argv(file.get_string(group, "Exec"))[1]
        except GLib.Error:
            commands[group] = None
    found[path] = commands
json.dump(found, sys.stdout)
"""


class Corpus(Desk):
    """A desktop whose system directories are the real ones, with a policy for every program."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.system, self.config = CORPUS / "usr/share", CORPUS / "etc/xdg"
        self.variables |= {"XDG_DATA_DIRS": str(self.system), "XDG_CONFIG_DIRS": str(self.config)}
        found = (*self.system.glob("applications/**/*.desktop"), *self.config.glob("autostart/*.desktop"))
        self.files = [path for path in found if path.exists()]  # some are links to what isn't laid out here
        for path in self.files:
            program = started_by(path)
            if program:
                name = "".join(letter if letter.isalnum() else "-" for letter in os.path.basename(program))
                self.policy(f"p-{name.lower()}", program)


def started_by(path: Path) -> str:
    """The program of an entry, as a path; a bare name is taken for one in /usr/bin."""
    text = KeyFile(path.read_bytes())
    if text.get(ENTRY, "Type") != "Application" or entries.is_true(text, "Hidden"):
        return ""
    started = programs.command(split(text.text(ENTRY, "Exec")))
    if started.program != "gapplication":
        return pretended(started.program)
    service = CORPUS / f"usr/share/dbus-1/services/{started.rest[1].text}.service"
    command = KeyFile(service.read_bytes()).text(entries.SERVICE, "Exec")
    return pretended(split(command)[0].text)


def pretended(name: str, _search_path: object = ()) -> str:
    """In place of `programs.located`: whatever is named is there."""
    return name if name.startswith("/") else f"/usr/bin/{name}" if name else ""


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    if not CORPUS.is_dir():
        missing(f"{CORPUS}: the entries of real applications, which ./test fetches")
    monkeypatch.setattr(programs, "located", pretended)
    return Corpus(tmp_path)


def wrappers(corpus: Corpus) -> dict[Path, Path]:
    """Origin → wrapper, for entries and autostart entries."""
    found = {}
    with corpus.at_work(None) as (machine, _):
        for item in machine.ledger.items:
            if item.kind in (Kind.ENTRY, Kind.AUTOSTART):
                found[Path(item.origin)] = Path(item.path)
    return found


def glib(paths: list[Path]) -> dict[str, dict[str, list[str] | None]]:
    """The commands of entries by group, as GLib reads them; None for a group without one."""
    done = subprocess.run(
        [PYTHON, "-c", READ_BY_GLIB],
        input=json.dumps(list(map(str, paths))),
        capture_output=True,
        text=True,
        check=False,
    )
    if "No module named 'gi'" in done.stderr:
        missing("python3-gi")
    assert 0 == done.returncode, done.stderr
    read: dict[str, dict[str, list[str] | None]] = json.loads(done.stdout)
    return read


def complaints(paths: list[Path]) -> dict[str, list[str]]:
    """What desktop-file-validate says of each."""
    done = subprocess.run(
        [need("desktop-file-validate"), *paths], capture_output=True, text=True, check=False
    )
    said: dict[str, list[str]] = {str(path): [] for path in paths}
    for line in done.stdout.splitlines():
        path, _, message = line.partition(": ")
        said[path].append(message)
    return said


def test_every_entry_of_the_set_is_wrapped_or_said_to_be_left(corpus: Corpus) -> None:
    need("update-desktop-database")
    corpus.install(None)
    made = wrappers(corpus)
    unwrapped = [path for path in corpus.files if path not in made]
    left = corpus.left(None)
    assert [] == [path for path in unwrapped if started_by(path) and path.name not in left]
    assert len(made) >= APPLICATIONS_MIN
    assert len({started_by(path) for path in made}) >= APPLICATIONS_MIN


def test_no_wrapper_draws_a_complaint_that_its_origin_does_not(corpus: Corpus) -> None:
    corpus.install(None)
    made = wrappers(corpus)
    before, after = complaints(list(made)), complaints(list(made.values()))
    assert {} == {
        wrapper.name: new
        for origin, wrapper in made.items()
        if (new := sorted(set(after[str(wrapper)]) - set(before[str(origin)])))
    }


def test_glib_reads_the_launcher_and_behind_it_the_words_of_the_origin(corpus: Corpus) -> None:
    corpus.install(None)
    made = wrappers(corpus)
    before, after = glib(list(made)), glib(list(made.values()))
    for origin, wrapper in made.items():
        policy = KeyFile(wrapper.read_bytes()).text(ENTRY, "X-Sandboxer-Policy")
        for group, words in before[str(origin)].items():
            new = after[str(wrapper)][group]
            if words is None and not group.startswith("Desktop "):
                assert new is None
                continue
            assert new is not None, (wrapper, group)
            if words is None:  # an action for which D-Bus alone had a meaning
                assert [corpus.launcher, "--from-menu", policy] == new[:3]
                continue
            rest = [word for word in ordinary(words) if word not in ("%m", "%d", "%D", "%n", "%N", "%v")]
            start = new.index(corpus.launcher)
            assert "--from-menu" == new[start + 1], (wrapper, group)
            tail = new[start + 2 :]
            if tail[0] == "run":
                assert ["run", "--policy", policy, "--", pretended(rest[0])] == tail[:5]
                assert rest[1:] == tail[5:]
            else:
                assert [policy, *rest[1:]] == tail


def ordinary(words: list[str]) -> list[str]:
    """The words without `env` and its variables, and without `gapplication launch`."""
    if os.path.basename(words[0]) == "env":
        at = next(index for index, word in enumerate(words) if index and "=" not in word)
        return ordinary(words[at:])
    return [words[2], *words[3:]] if words[:2] == ["gapplication", "launch"] else words


def test_every_service_of_the_set_that_would_start_an_application_outside_is_shadowed(corpus: Corpus) -> None:
    corpus.install(None)
    started = {started_by(path) for path in corpus.files} - {""}
    for path in corpus.system.glob("dbus-1/services/*.service"):
        text = KeyFile(path.read_bytes())
        name, command = (text.text(entries.SERVICE, key) for key in ("Name", "Exec"))
        shadow = corpus.data / f"dbus-1/services/{name}.service"
        if (
            pretended(split(command)[0].text) in started
            or (corpus.system / f"applications/{name}.desktop").exists()
        ):
            assert f"Exec={corpus.launcher} install --serve {name}\n" in shadow.read_text()
            assert "SystemdService" not in shadow.read_text()


def test_after_undo_all_directories_are_as_they_were(corpus: Corpus) -> None:
    need("update-desktop-database")
    before = corpus.picture()
    corpus.install(None)
    assert len(corpus.picture()) > len(before) + APPLICATIONS_MIN
    corpus.undo()
    assert before == corpus.picture()

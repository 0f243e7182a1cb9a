"""Attack: from the one file that the user named to others: its neighbours, its content, what its path leads to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from escape.conftest import Attack, Boxed, Program, attacker, outcome
from escape.kernel import Kernel, nothing_there

READ, WRITE = ['files.documents="read"'], ['files.documents="write"']


@pytest.fixture
def document(home: Path) -> Path:
    document = home / "Documents" / "report.txt"
    document.write_text("what the user opens")
    return document


def read_neighbour(_kernel: Kernel, document: str) -> bytes:
    return os.read(os.open(os.path.join(os.path.dirname(document), "diary.txt"), os.O_RDONLY), 100)


def climb(_kernel: Kernel, document: str) -> bytes:
    directory = os.open(os.path.dirname(document), os.O_PATH)
    return os.read(os.open("../.ssh/id_ed25519", os.O_RDONLY, dir_fd=directory), 100)


def find_neighbours(_kernel: Kernel, document: str) -> str:
    names = os.listdir(os.path.dirname(document))
    if names == [os.path.basename(document)]:
        raise nothing_there()
    return " ".join(names)


def append(_kernel: Kernel, document: str) -> None:
    with open(document, "a", encoding="utf-8") as file:
        file.write("attacked")


def append_through_descriptor(_kernel: Kernel, document: str) -> None:
    descriptor = os.open(document, os.O_RDONLY)
    os.write(os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY), b"attacked")


def make_executable(_kernel: Kernel, document: str) -> None:
    os.chmod(document, 0o777)


def replace(_kernel: Kernel, document: str) -> None:
    with open(f"{document}.new", "w", encoding="utf-8") as file:
        file.write("attacked")
    os.rename(f"{document}.new", document)


@pytest.mark.parametrize(
    ("program", "settings", "refused"),
    [
        (read_neighbour, READ, "ENOENT"),
        (read_neighbour, WRITE, "ENOENT"),
        (climb, READ, "ENOENT"),
        (find_neighbours, READ, "ENOENT"),
        (append, READ, "EROFS"),
        (append_through_descriptor, READ, "EROFS"),
        (make_executable, READ, "EROFS"),
        (replace, READ, "EBUSY"),
        (replace, WRITE, "EBUSY"),
    ],
)
def test_a_document_is_that_file_and_no_more(
    attack: Attack, document: Path, program: Program, settings: list[str], refused: str
) -> None:
    """Inside, the word is changed to the document's path in the box."""
    attack(program, document, refused=refused, settings=settings, by_exec=False)


def test_a_document_can_be_read(boxed: Boxed, session: dict[str, str], document: Path) -> None:
    """Or the attacks above would fail for another reason than the one that they show."""
    inside = boxed("cat", document, settings=READ)
    done = subprocess.run(inside, env=session, cwd="/", capture_output=True, text=True, check=False)
    assert done.stdout == "what the user opens", done.stderr


def test_a_hidden_file_is_not_handed_in_by_a_name_that_the_application_chose(
    boxed: Boxed, session: dict[str, str], home: Path
) -> None:
    """A link in what the application may write, beneath a directory that the user names; see also planted links."""
    (home / "shared" / "reports").symlink_to(home / "Documents")
    word = home / "shared" / "reports" / "diary.txt"
    command = attacker(append, word)
    ended, said = outcome(command, env=session)
    assert ended == "succeeded", said
    settings = [*WRITE, 'files.write=["~/shared"]']
    before = (home / "Documents" / "diary.txt").read_text()
    ended, said = outcome(boxed(*command, settings=settings), env=session)
    assert ended == "refused: ENOENT", said
    assert (home / "Documents" / "diary.txt").read_text() == before

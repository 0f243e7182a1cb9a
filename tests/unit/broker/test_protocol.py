"""The protocol's table, what is generated from it, and the program on its page."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import need
from scripted import says, scripted

from sandboxer.broker import header, protocol, reference

TREE = Path(__file__).parents[3]
HEADER = TREE / "launchers" / "client" / "broker_protocol.h"
PAGE = TREE / "sandboxer" / "broker" / "PROTOCOL.md"


def test_the_header_in_the_tree_is_fresh() -> None:
    fresh = "python -m sandboxer.broker.header > launchers/client/broker_protocol.h"
    assert header.render() == HEADER.read_text(), fresh


def test_the_page_in_the_tree_is_fresh() -> None:
    fresh = "python -m sandboxer.broker.reference > sandboxer/broker/PROTOCOL.md"
    assert reference.reference() == PAGE.read_text(), fresh


def test_commands_are_numbered_in_their_order_and_named_once() -> None:
    assert list(range(len(protocol.COMMANDS))) == [command.number for command in protocol.COMMANDS]
    assert len(protocol.COMMANDS) == len({command.name for command in protocol.COMMANDS})


def test_every_flag_is_one_bit_that_some_command_takes() -> None:
    taken = 0
    for command in protocol.COMMANDS:
        taken |= command.flags
    assert sum(protocol.FLAGS) == taken
    assert list(protocol.FLAGS) == [1 << number for number in range(len(protocol.FLAGS))]


def test_what_changes_something_is_never_repeatable() -> None:
    changes = {protocol.MKDIR, protocol.RENAME, protocol.UNLINK, protocol.CONNECT, protocol.PRESENT}
    assert not changes.intersection(protocol.REPEATABLE)


@pytest.mark.parametrize(
    ("layout", "fields"),
    [
        (protocol.REQUEST, protocol.REQUEST_FIELDS),
        (protocol.REPLY, protocol.REPLY_FIELDS),
        (protocol.STAT, protocol.STAT_FIELDS),
    ],
)
def test_every_number_of_a_struct_has_a_name(layout: object, fields: tuple[str, ...]) -> None:
    assert len(layout.unpack(bytes(layout.size))) == len(fields)  # type: ignore[attr-defined]


def test_the_page_has_every_command_and_every_flag_once() -> None:
    rows = PAGE.read_text().splitlines()
    for command in protocol.COMMANDS:
        assert 1 == sum(row.startswith(f"| {command.number} | `{command.name}` | ") for row in rows), command.name
    for bit, (name, meaning) in protocol.FLAGS.items():
        assert 1 == rows.count(f"| {bit} | `{name}` | {meaning} |")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The program of the page, compiled."""
    source = PAGE.read_text().split("```c\n")[1].partition("```")[0]
    (tmp_path / "open.c").write_text(source)
    built = subprocess.run(
        [
            *(need("gcc", "cc"), "-std=gnu17", "-Wall", "-Wextra", "-Werror", f"-I{HEADER.parent}"),
            *("-o", tmp_path / "open", tmp_path / "open.c"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (built.returncode, built.stderr)
    return tmp_path / "open"


def test_the_program_on_the_page_opens_a_file_by_the_broker(program: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    with scripted(tmp_path / "s") as broker, open(tmp_path / "file", "rb") as file:
        broker.script(says(fds=[file.fileno()]), says(error=13))
        environment = {protocol.VARIABLE: str(tmp_path / "s")}
        got, refused = (
            subprocess.run([program, "/a/b"], env=environment, capture_output=True, text=True, check=False)
            for _ in range(2)
        )
    assert (0, "content", "") == (got.returncode, got.stdout, got.stderr)
    assert (1, "", "/a/b: Permission denied\n") == (refused.returncode, refused.stdout, refused.stderr)
    request = broker.requests[0]
    assert (protocol.OPEN, protocol.READ, 0) == (request.command, request.flags, request.argument)
    assert (b"/a/b", b"") == request.paths


def test_the_program_on_the_page_fits_one_page() -> None:
    assert len(reference.PROGRAM.splitlines()) <= 72

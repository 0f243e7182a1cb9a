"""From `[broker]` in a policy to a program in a real box that asks: each is tried with the policy's own words."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Box, need


@pytest.fixture
def home(session: dict[str, str]) -> Path:
    return Path(session["HOME"])


@pytest.fixture
def papers(home: Path) -> Path:
    directory = home / "papers"
    (directory / "taxes").mkdir(parents=True)
    (directory / "letter").write_text("dear reader")
    (directory / "taxes" / "2024").write_text("secret")
    return directory


def logged(home: Path) -> list[dict[str, str]]:
    """What the broker of the set `strict` was asked."""
    lines = (home / ".local/state/sandboxer/broker/strict/strict.log").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_file_is_handed_in_that_is_nowhere_in_the_box(box: Box, home: Path, papers: Path) -> None:
    script = (
        f"cat {papers}/letter; sandbox-broker open {papers}/letter; sandbox-broker open {papers}/taxes/2024"
    )
    done = box(
        "sh", "-c", script, settings=['broker.read=["~/papers"]', 'files.hide=["~/papers/taxes"]'], cwd="/"
    )
    assert "dear reader" == done.stdout, done.stderr
    assert "letter: No such file" in done.stderr
    assert "2024: Permission denied" in done.stderr
    assert [("allowed", "command line broker.read"), ("denied", "command line broker.read")] == [
        (entry["verdict"], entry["rule"]) for entry in logged(home)
    ]


def test_without_a_rule_there_is_no_broker_and_no_program_for_one(box: Box, papers: Path) -> None:
    done = box("sh", "-c", "command -v sandbox-broker; ls /run/sandboxer; echo $SANDBOXER_BROKER", cwd="/")
    assert "\n" == done.stdout


def test_a_descriptor_is_connected_before_anything_asks(box: Box, papers: Path) -> None:
    script = "ls -l /proc/self/fd/$SANDBOXER_BROKER_FD"
    done = box("sh", "-c", script, settings=['broker.read=["~/papers"]', "broker.descriptor=true"])
    assert "/proc/self/fd/99 -> socket:[" in done.stdout, done.stderr


@pytest.mark.parametrize("command", ["xdg-open", "/run/sandboxer/bin/xdg-open", "gio open"])
def test_links_reach_the_broker_however_they_are_opened(box: Box, home: Path, command: str) -> None:
    end = ""
    if command == "gio open":
        need("gio")
        # It doesn't wait for the program that it starts, and all ends with the shell.
        end = "; sleep 0.5; while grep -qs xdg-open /proc/[0-9]*/comm; do sleep 0.1; done"
    for link in ("https://example.org/a", "ftp://example.org/b"):
        box("sh", "-c", f"{command} {link}{end}", settings=['broker.links=["https"]'])
    asked = [(entry["path"], entry["verdict"]) for entry in logged(home)]
    assert ("https://example.org/a", "denied") not in asked
    assert any(path == "https://example.org/a" for path, _ in asked)
    assert not any(path == "ftp://example.org/b" and verdict != "denied" for path, verdict in asked)


@pytest.fixture
def compositor(home: Path) -> Iterator[socket.socket]:
    """Somebody who listens where a compositor would."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "compositor"))
        listener.listen()
        listener.settimeout(20)
        yield listener


def test_one_connection_is_there_from_the_start_and_no_socket_is(
    box: Box, home: Path, compositor: socket.socket
) -> None:
    script = 'echo hello >&"$WAYLAND_SOCKET"; ls "$XDG_RUNTIME_DIR"; echo "[$WAYLAND_DISPLAY]"'
    done = box(
        "bash",
        "-c",
        script,
        settings=["display.wayland=one-connection"],
        env={"WAYLAND_DISPLAY": f"{home}/compositor"},
    )
    assert "[]\n" == done.stdout, done.stderr
    connection, _ = compositor.accept()
    with connection:
        assert b"hello\n" == connection.recv(100)
    compositor.settimeout(0.2)
    with pytest.raises(TimeoutError):
        compositor.accept()


@pytest.mark.parametrize(
    "setting", ["files.home=host", 'files.read=["~/.cache"]', 'files.read=["~/.local/state"]']
)
def test_what_boxes_are_controlled_by_is_in_none(box: Box, home: Path, setting: str) -> None:
    (home / ".local/state/sandboxer").mkdir(parents=True)
    (home / ".local/state/sandboxer/log").write_text("")
    script = "ls ~/.cache/sandboxer ~/.local/state/sandboxer"
    done = box("sh", "-c", script, settings=[setting], env={"XDG_RUNTIME_DIR": ""})
    assert (home / ".cache/sandboxer/plans").is_dir()
    assert {"plans", "boxes", "filters", "log"}.isdisjoint(done.stdout.split()), done.stdout

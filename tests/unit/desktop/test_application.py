"""What stands for an application on the bus: which calls start it, with which files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from sandboxer.desktop.bus import Call, Refusal
from sandboxer.desktop.wrappers.application import FILES_MAX, INTERFACE, answering


def opened(*links: str) -> list[str]:
    """What is started when a caller opens these."""
    started: list[str] = []

    def start(_action: str, files: Sequence[str], _platform: Mapping[str, Any]) -> None:
        started.extend(files)

    call = Call(
        sender=":1.1",
        path="/org/example/Tool",
        interface=INTERFACE,
        member="Open",
        signature="asa{sv}",
        body=[list(links), {}],
        descriptors=(),
    )
    assert ("", []) == answering("org.example.Tool", start)(call)
    return started


def test_files_and_links_are_opened_as_they_are_named() -> None:
    links = ["file:///home/ann/a%20b", "https://example.org/?-x", "file://nas/a"]
    assert links == opened(*links)


@pytest.mark.parametrize(
    "link", ["--preferences", "file:--preferences", "file:%2d%2dopt", "file:..%2f", "file:///a%00b", ""]
)
def test_an_option_is_refused_however_it_is_written_and_nothing_starts(link: str) -> None:
    with pytest.raises(Refusal, match="no links"):
        opened("file:///good", link)


def test_more_files_than_a_command_can_take_are_refused() -> None:
    with pytest.raises(Refusal, match="no links"):
        opened(*["file:///a"] * (FILES_MAX + 1))

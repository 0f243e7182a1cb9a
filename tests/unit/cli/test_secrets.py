"""Grants of secrets, and of far more than a program's own, are holes."""

from __future__ import annotations

import machines
import pytest

from sandboxer.cli.survey import survey
from sandboxer.grants.grant import Grant, Weight
from sandboxer.policy.layers import load


def holes(*settings: str) -> dict[str, str]:
    """Holes that files are, by their words: with what is said of them."""
    host = machines.wayland({"/home/ann/.config/chromium/Default": "", "/home/ann/.aws/credentials": ""})
    found = survey(load("foo", host, settings=settings), host, with_program=False).found
    return {
        item.words: item.detail
        for item in found
        if isinstance(item, Grant) and item.topic == "files" and item.weight is Weight.HOLE
    }


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("~/.ssh", "keys to other machines"),
        ("~/.ssh/id_ed25519", "keys to other machines"),
        ("~/.aws", "keys to cloud accounts"),
        ("~/.config/chromium", "a browser's passwords and sessions"),
        ("~/.config", "the settings of all other programs"),
        ("~/.local/share", "the data of all other programs"),
    ],
)
def test_a_grant_of_a_secret_place_is_a_hole_that_says_why(path: str, why: str) -> None:
    assert why in holes(f'files.read=["{path}"]')[f"can read {path}"]


def test_ordinary_files_are_no_hole() -> None:
    assert {} == holes('files.write=["~/Downloads"]', 'files.read=["~/.bashrc"]')


def test_what_is_hidden_is_not_held_against_a_grant() -> None:
    host = machines.wayland({"/home/ann/work/key": "", "/home/ann/.ssh/id_ed25519": ""})
    host.add("/home/ann/.netrc", "")
    settings = ('files.home="private"', 'files.read=["/home"]', 'files.hide=["~/.ssh"]')
    found = survey(load("foo", host, settings=settings), host, with_program=False)
    (home,) = (item for item in found.found if isinstance(item, Grant) and item.words == "can read /home")
    assert (Weight.HOLE, "the files of every user") == (home.weight, home.detail)


def test_the_whole_home_through_another_name_is_a_hole() -> None:
    found = holes('files.home="private"', 'files.read=["/home"]')
    assert {"can read /home": "the files of every user"} == found

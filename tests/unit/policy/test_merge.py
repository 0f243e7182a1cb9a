"""Layers → Effective: which value holds, and which line made it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxer.errors import PolicyError
from sandboxer.policy.effective import Effective
from sandboxer.policy.merge import merge, merge_list
from sandboxer.policy.model import Policy
from sandboxer.policy.parse import parse
from sandboxer.words import BUILT_IN, Origin


def merged(*texts: str) -> Effective:
    layers = [parse(text.encode(), f"layer{number}") for number, text in enumerate(texts, 1)]
    return merge("x", layers, sets={}, found=True)


def test_nothing_merges_to_the_defaults() -> None:
    effective = merged()
    assert Policy() == effective.policy
    assert BUILT_IN == effective.origin("files.home")


def test_the_later_value_holds_with_its_line() -> None:
    effective = merged("[files]\nhome = 'host'", "[look]\nfonts = true", "[files]\n\nhome = 'private'")
    assert "private" == effective.policy.files.home
    assert effective.policy.look.fonts
    assert Origin("layer3", 3, "files.home") == effective.origin("files.home")
    assert Origin("layer2", 2, "look.fonts") == effective.origin("look.fonts")


def test_a_later_layer_can_take_a_grant_back() -> None:
    assert not merged("[look]\nfonts = true", "[look]\nfonts = false").policy.look.fonts


def test_lists_are_appended_each_item_with_its_line() -> None:
    effective = merged("[files]\nread = [\n'~/a',\n'~/b']", "[files]\nread = ['~/c']")
    assert ("~/a", "~/b", "~/c") == effective.policy.files.read
    lines = [effective.origin("files.read", item) for item in effective.policy.files.read]
    assert [
        Origin("layer1", 3, "files.read"),
        Origin("layer1", 4, "files.read"),
        Origin("layer2", 2, "files.read"),
    ] == lines


def test_an_item_that_is_there_is_not_added_again() -> None:
    effective = merged("[files]\nread = ['~/a', '~/b']", "[files]\nread = ['~/b', '~/a']")
    assert ("~/a", "~/b") == effective.policy.files.read
    assert "layer1" == effective.origin("files.read", "~/b").file


@pytest.mark.parametrize(("first", "second"), [("?~/a", "~/a"), ("~/a", "?~/a"), ("~/a", "~/a/")])
def test_a_path_written_in_another_way_is_the_same_path_and_the_later_way_holds(
    first: str, second: str
) -> None:
    effective = merged(f"[files]\nread = ['{first}', '~/b']", f"[files]\nread = ['{second}']")
    assert (second, "~/b") == effective.policy.files.read
    assert "layer2" == effective.origin("files.read", second).file


@pytest.mark.parametrize(
    ("there", "away"), [("~/a", "!~/a"), ("?~/a", "!~/a"), ("~/a", "!?~/a"), ("~/a/", "!~/a")]
)
def test_an_exclamation_mark_takes_an_item_away(there: str, away: str) -> None:
    effective = merged(f"[files]\nread = ['{there}', '~/b']", f"[files]\nread = ['{away}']")
    assert ("~/b",) == effective.policy.files.read


def test_an_item_can_be_taken_away_and_put_back() -> None:
    effective = merged("[files]\nread = ['~/a', '~/b']", "[files]\nread = ['!~/a', '~/a']")
    assert ("~/b", "~/a") == effective.policy.files.read
    assert "layer2" == effective.origin("files.read", "~/a").file


def test_all_items_can_be_taken_away() -> None:
    effective = merged("command = ['a', 'b']", "command = ['!*', 'c']", "[files]\nread = ['!*']")
    assert ("c",) == effective.policy.command
    assert () == effective.policy.files.read


def test_taking_away_what_is_not_there_is_an_error_that_says_what_is() -> None:
    with pytest.raises(PolicyError) as caught:
        merged("[files]\nread = ['~/notes']", "[files]\nread = [\n'!~/note']")
    assert Origin("layer2", 3, "files.read") == caught.value.origin
    assert '"!~/note": files.read holds no "~/note" before it' == caught.value.subject
    assert 'write "!~/notes", or take the line out' == caught.value.hint


def test_what_another_list_holds_is_not_taken_away() -> None:
    with pytest.raises(PolicyError):
        merged("[files]\nwrite = ['~/a']", "[files]\nread = ['!~/a']")


def test_a_later_layer_does_not_feed_an_earlier_removal() -> None:
    with pytest.raises(PolicyError):
        merged("[files]\nread = ['!~/a']", "[files]\nread = ['~/a']")


def test_foreign_abis_can_be_taken_away() -> None:
    assert ("x32",) == merged(
        "[syscalls]\nforeign = ['i386', 'x32']", "[syscalls]\nforeign = ['!i386']"
    ).policy.syscalls.foreign


def test_services_and_links_can_be_taken_away() -> None:
    broker = merged(
        "[broker]\nconnect = ['x11', 'wayland']\nlinks = ['https', 'mailto']",
        "[broker]\nconnect = ['!x11']\nlinks = ['!*', 'http']",
    ).policy.broker
    assert (("wayland",), ("http",)) == (broker.connect, broker.links)


def test_arguments_may_repeat_since_their_place_means_something() -> None:
    effective = merged("arguments = ['-v', 'a', '-v']", "arguments = ['!a', '-v', 'b']")
    assert ("-v", "-v", "-v", "b") == effective.policy.arguments
    assert ("b",) == merged(
        "arguments = ['-v', 'a', '-v']", "arguments = ['!-v', '!a', 'b']"
    ).policy.arguments


def test_variables_merge_one_by_one() -> None:
    effective = merged("[environment.set]\nA = '1'\nB = '2'", "[environment.set]\nB = '3'\nC = '4'")
    assert {"A": "1", "B": "3", "C": "4"} == effective.policy.environment.set
    assert Origin("layer1", 2, "environment.set") == effective.origin("environment.set", "A")
    assert Origin("layer2", 2, "environment.set") == effective.origin("environment.set", "B")


def test_one_list_can_be_merged_alone() -> None:
    layers = [
        parse(b"extends = ['a', 'b']", "1"),
        parse(b"extends = ['!a',\n'c']\n[files]\nread=['~/x']", "2"),
    ]
    assert (("b", Origin("1", 1, "extends")), ("c", Origin("2", 2, "extends"))) == merge_list(
        "extends", layers
    )


ITEMS = st.lists(st.sampled_from(["~/a", "?~/a", "~/b", "~/c", "!*"]), max_size=5)


@given(st.lists(ITEMS, max_size=5))
def test_every_item_that_holds_has_an_origin_that_says_it(layers: list[list[str]]) -> None:
    def text(items: list[str]) -> str:
        return "[files]\nread = [" + "".join(f"\n'{item}'," for item in items) + "]"

    effective = merged(*(text(items) for items in layers))
    read = effective.policy.files.read
    assert len({item.removeprefix("?") for item in read}) == len(read)
    for item in read:
        origin = effective.origins["files.read", item]
        written: Any = layers[int(origin.file.removeprefix("layer")) - 1]
        assert item == written[origin.line - 3]

"""At least what flatpak, docker and firejail refuse, decided one by one."""

from __future__ import annotations

import tomllib

import peers
import pytest
from filters import numbers, rules, shipped_host

from sandboxer.paths import data_dir
from sandboxer.policy.deny import read_groups
from sandboxer.policy.layers import names


def allowed() -> list[dict[str, list[str]]]:
    with open(f"{data_dir('policies')}/allowed.toml", "rb") as file:
        return list(tomllib.load(file)["allowed"])


@pytest.mark.parametrize("peer", peers.ALL)
def test_what_a_peer_refuses_is_refused_or_allowed_for_a_reason(peer: str) -> None:
    refused = {rule.name for rule in rules()}
    reasoned = {name for row in allowed() if peer in row["refused-by"] for name in row["names"]}
    assert set() == peers.ALL[peer] - refused - reasoned


def test_a_call_that_is_partly_allowed_says_so() -> None:
    partly = {rule.name for rule in rules() if rule.when} - {"ioctl", "socket", "socketpair", "socketcall"}
    ours = {"fcntl", "setpriority"}
    assert partly == ours | {"clone", "ioprio_set", "kcmp", "personality"}
    assert partly - ours <= {name for row in allowed() for name in row["names"]}


def test_each_allowed_call_is_refused_by_the_peers_that_it_names() -> None:
    assert allowed()
    for row in allowed():
        assert {"names", "refused-by", "reason"} == set(row)
        assert row["reason"]
        for peer in row["refused-by"]:
            assert set(row["names"]) <= peers.ALL[peer], (row["names"], peer)


def test_a_source_that_is_named_does_refuse_the_call() -> None:
    for rule in rules():
        for source in set(rule.source) & set(peers.ALL):
            assert rule.name in peers.ALL[source], (rule.name, source)


def test_a_call_is_ours_only_where_no_peer_refuses_it() -> None:
    for rule in rules():
        if not rule.when and rule.source == ("ours",):
            assert not any(rule.name in peer for peer in peers.ALL.values()), rule.name


def test_the_base_set_names_every_group_that_is_shipped() -> None:
    groups = {rule.group for rule in rules()}
    assert set(names("deny", shipped_host())) == groups


def test_every_call_of_every_group_exists_somewhere() -> None:
    host = shipped_host()
    exists = {name for abi in ("x86_64", "i386", "x32", "aarch64") for name in numbers(abi)}
    for group in read_groups(names("deny", host), host).values():
        for call in group.calls:
            assert set(call.names) <= exists, group.name


def test_every_reason_is_one_sentence() -> None:
    host = shipped_host()
    for group in read_groups(names("deny", host), host).values():
        for call in group.calls:
            assert call.reason.endswith("."), call.names
            assert call.reason[0].isupper(), call.names

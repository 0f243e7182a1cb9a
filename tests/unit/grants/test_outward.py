"""Out of the box: what makes programs ask, and what it is called."""

from __future__ import annotations

import configparser

import pytest
from fakes import FakeHost, Link
from machines import effective, machine

from sandboxer.broker.rules import Outward
from sandboxer.grants.grant import Grant, Weight
from sandboxer.grants.outward import ENTRY, FAMILIES, grants
from sandboxer.host.installation import broker_client
from sandboxer.plan.ops import Op, OpKind
from sandboxer.policy.checks import check
from sandboxer.policy.model import Broker, Network, Policy

ENTRIES = f"/run/sandboxer/share/applications/{ENTRY}"
DEFAULTS = "/run/sandboxer/share/applications/mimeapps.list"
BOTH = Broker(links=("https", "mailto"), presents=("application/pdf", "image/*"))


def given(broker: Broker, host: FakeHost | None = None, *, online: bool = True) -> list[Grant]:
    policy = Policy(broker=broker, network=Network(access="host" if online else "none"))
    found = grants(effective(policy), host or machine({"/usr/bin/xdg-open": ""}))
    return [item for item in found if isinstance(item, Grant)]


def ops(found: list[Grant]) -> dict[str, Op]:
    return {str(op.box_path): op for grant in found for op in grant.ops}


def variables(found: list[Grant]) -> dict[str, str]:
    return {entry.name: entry.value for grant in found for entry in grant.environment}


def test_without_links_and_files_there_is_nothing() -> None:
    assert [] == given(Broker())


def test_rules_are_by_kind_with_the_line_that_asked() -> None:
    found = [item for grant in given(BOTH) for item in grant.brokered if isinstance(item, Outward)]
    assert [
        ("link", "https"),
        ("link", "mailto"),
        ("file", "application/pdf"),
        ("file", "image/*"),
    ] == [(item.kind, item.value) for item in found]
    assert {"apps/test.toml:7 broker.links", "apps/test.toml:7 broker.presents"} == {
        item.origin for item in found
    }


def test_links_of_one_line_are_one_sentence() -> None:
    words = [grant.words for grant in given(BOTH)]
    assert "can have https and mailto links opened outside, in your own program for them" in words


def test_links_of_a_box_without_network_are_a_hole() -> None:
    (online, *_), (offline, *_) = given(BOTH), given(BOTH, online=False)
    assert (Weight.ACCESS, Weight.HOLE) == (online.weight, offline.weight)
    assert "can send out what it reads, in https and mailto links that your own program opens outside" == (
        offline.words
    )


def test_files_that_are_presented_are_a_hole() -> None:
    assert [Weight.HOLE] == [grant.weight for grant in given(BOTH) if "files that it made" in grant.words]


def test_xdg_open_is_the_client_by_its_name_and_by_its_path() -> None:
    found = ops(given(BOTH))
    link, cover = found["/run/sandboxer/bin/xdg-open"], found["/usr/bin/xdg-open"]
    assert (OpKind.LINK, "sandbox-broker") == (link.kind, link.source)
    assert (OpKind.BIND, broker_client()) == (cover.kind, cover.source)
    assert "xdg-open" == variables(given(BOTH))["BROWSER"]


@pytest.mark.parametrize("tree", [{}, {"/usr/bin/xdg-open": Link(target="exo-open"), "/usr/bin/exo-open": ""}])
def test_an_xdg_open_that_is_absent_or_another_program_is_not_covered(tree: dict[str, Link | str]) -> None:
    assert not any(path.startswith("/usr") for path in ops(given(BOTH, machine(tree))))


def test_the_entry_and_the_defaults_name_what_is_permitted_and_nothing_else() -> None:
    found = ops(given(Broker(links=("https",), presents=("application/pdf",))))
    entry, defaults = configparser.RawConfigParser(), configparser.RawConfigParser(delimiters=("=",))
    entry.read_string(found[ENTRIES].data.decode())
    defaults.read_string(found[DEFAULTS].data.decode())
    assert "x-scheme-handler/https;application/pdf;" == entry["Desktop Entry"]["MimeType"]
    assert "/run/sandboxer/bin/xdg-open %u" == entry["Desktop Entry"]["Exec"]
    assert {"x-scheme-handler/https": ENTRY, "application/pdf": ENTRY} == dict(defaults["Default Applications"])
    assert variables(given(BOTH))["XDG_DATA_DIRS"].startswith("/run/sandboxer/share:")


def test_a_family_is_spelt_out_in_types_that_a_policy_could_name() -> None:
    found = ops(given(Broker(presents=("image/*",))))
    assert b"image/png;" in found[ENTRIES].data
    assert b"*" not in found[ENTRIES].data + found[DEFAULTS].data
    for family, names in FAMILIES.items():
        assert check("broker.presents", f"{family}/*") is None
        for name in names:
            assert check("broker.presents", f"{family}/{name}") is None


def test_without_landlock_nothing_is_opened_outside() -> None:
    host = machine(landlock_abi=0)
    (withheld,) = grants(effective(Policy(broker=BOTH)), host)
    assert "Landlock" in withheld.words

"""Limits: what holds each, what isn't held and why, and what the launcher and the scope service are told."""

from __future__ import annotations

import json

import pytest
from fakes import FakeHost
from machines import effective, machine

from sandboxer.errors import ResolveError
from sandboxer.grants import limits
from sandboxer.grants.grant import Grant, Weight
from sandboxer.plan.ops import LimitKind
from sandboxer.policy.amounts import percent, size, size_words
from sandboxer.policy.model import Limits, Policy

ALL = ("cpu", "io", "memory", "pids")
EVERYTHING = Limits(
    memory="2GiB",
    memory_high="1.5GiB",
    tasks=100,
    cpu="150%",
    io_weight=50,
    open_files=64,
    no_new_files=True,
)
GIB = 1 << 30


def granted(wanted: Limits, host: FakeHost) -> dict[str, Grant]:
    """By the keys that asked, the scope's own statement aside."""
    found = limits.grants(effective(Policy(limits=wanted)), host)
    return {grant.origin.key: grant for grant in found if grant.topic == "limits"}


def asked(wanted: Limits, host: FakeHost) -> dict[str, int]:
    data = json.loads(limits.scope(effective(Policy(limits=wanted), "firefox-esr"), host))
    assert "firefox-esr" == data.pop("app")
    properties: dict[str, int] = data.pop("properties")
    assert {} == data
    return properties


def test_every_box_has_a_limit_on_tasks_that_needs_nobody() -> None:
    host = machine()
    assert ((LimitKind.PROCESSES, 4096),) == limits.of_processes(effective(Policy()), host)
    (grant,) = granted(Limits(), host).values()
    assert ("can have at most 4096 processes and threads at once", Weight.NOTICE) == (
        grant.words,
        grant.weight,
    )
    assert "its control group" not in grant.detail


def test_without_a_user_manager_there_is_no_scope() -> None:
    assert b"" == limits.scope(effective(Policy(limits=EVERYTHING)), machine())


def test_with_one_there_is_a_scope_even_where_it_can_hold_nothing() -> None:
    assert {} == asked(EVERYTHING, machine(controllers=()))


def test_what_is_delegated_becomes_a_property_of_the_scope() -> None:
    expected = {
        "TasksMax": 100,
        "MemoryMax": 2 * GIB,
        "MemorySwapMax": 0,
        "MemoryHigh": 3 * GIB // 2,
        "CPUQuotaPerSecUSec": 1_500_000,
        "IOWeight": 50,
    }
    assert expected == asked(EVERYTHING, machine(controllers=ALL))
    assert {"TasksMax": 4096} == asked(Limits(), machine(controllers=ALL))


def test_the_controllers_decide_one_by_one() -> None:
    assert {"TasksMax": 100} == asked(EVERYTHING, machine(controllers=("pids",)))
    assert {"CPUQuotaPerSecUSec": 1_500_000} == asked(EVERYTHING, machine(controllers=("cpu",)))


def test_held_limits_are_no_holes() -> None:
    found = granted(EVERYTHING, machine(controllers=ALL))
    assert {Weight.NOTICE} == {grant.weight for grant in found.values()}
    assert "can use at most 2 GiB of memory, and no swap" == found["limits.memory"].words
    assert "can use at most 150% of one processor" == found["limits.cpu"].words
    assert "held by its control group and by the kernel" in found["limits.tasks"].detail


@pytest.mark.parametrize(
    ("controllers", "why"),
    [(None, "there is no user manager"), (("pids",), "doesn't delegate the controller")],
)
def test_what_was_asked_for_and_isn_t_held_is_a_hole_that_says_why(
    controllers: tuple[str, ...] | None, why: str
) -> None:
    found = granted(EVERYTHING, machine(controllers=controllers))
    loose = {key for key, grant in found.items() if grant.weight is Weight.HOLE}
    assert {"limits.memory", "limits.memory-high", "limits.cpu", "limits.io-weight"} == loose
    assert all(why in found[key].detail for key in loose)


def test_swap_is_limited_only_with_memory() -> None:
    assert "MemorySwapMax" not in asked(Limits(memory_high="1GiB"), machine(controllers=ALL))


@pytest.mark.parametrize(
    ("missing", "key", "name"),
    [("io.weight", "limits.io-weight", "IOWeight"), ("memory.swap.max", "limits.memory", "MemorySwapMax")],
)
def test_what_this_kernel_has_no_file_for_is_a_hole_and_not_asked_for(
    missing: str, key: str, name: str
) -> None:
    host = machine({"/proc/swaps": ""}, controllers=ALL, missing=(missing,))
    found = granted(EVERYTHING, host)
    assert [key] == [other for other, grant in found.items() if grant.weight is Weight.HOLE]
    assert "this kernel" in found[key].detail
    assert missing in found[key].detail
    assert asked(EVERYTHING, machine(controllers=ALL)).keys() - {name} == asked(EVERYTHING, host).keys()


def test_a_kernel_without_swap_needs_no_limit_on_it() -> None:
    host = machine(controllers=ALL, missing=("memory.swap.max",))
    assert Weight.NOTICE is granted(EVERYTHING, host)["limits.memory"].weight
    assert "MemorySwapMax" not in asked(EVERYTHING, host)


def test_what_processes_share_is_said_not_to_be_held_by_their_own_limit() -> None:
    grant = granted(Limits(memory="64MiB"), machine())["limits.memory"]
    assert "can use more than 64 MiB of memory" == grant.words
    assert "neither what programs share (MAP_SHARED, files in memory)" in grant.detail


def test_limits_of_processes_hold_what_they_can() -> None:
    expected = (
        (LimitKind.PROCESSES, 100),
        (LimitKind.OPEN_FILES, 64),
        (LimitKind.FILE_SIZE, 0),
        (LimitKind.DATA, 2 * GIB),
    )
    assert expected == limits.of_processes(effective(Policy(limits=EVERYTHING)), machine())
    held = limits.of_processes(effective(Policy(limits=EVERYTHING)), machine(controllers=("memory",)))
    assert expected[:3] == held, "memory is held by the group: no process needs a limit of its own"


def test_a_limit_that_slows_down_beyond_the_one_that_ends_is_a_mistake() -> None:
    with pytest.raises(ResolveError, match="contradict"):
        granted(Limits(memory="1GiB", memory_high="2GiB"), machine())


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2GiB", 2 * GIB),
        ("1.5GiB", 3 * GIB // 2),
        ("512MiB", GIB // 2),
        ("1TiB", 1024 * GIB),
        ("0.5KiB", 512),
    ],
)
def test_sizes_are_read_and_said(text: str, amount: int) -> None:
    assert amount == size(text)
    if amount >= 1024:
        assert amount == size(size_words(amount).replace(" ", ""))


@pytest.mark.parametrize(
    "text", ["", "2", "2G", "2GB", "2 GiB", "GiB", ".5GiB", "1.GiB", "-1GiB", "1e3MiB", "٢GiB"]
)
def test_what_is_no_size_is_none(text: str) -> None:
    assert size(text) is None


@pytest.mark.parametrize(
    ("text", "share"), [("150%", 150), ("1%", 1), ("1.5%", None), ("150", None), ("%", None)]
)
def test_shares_are_whole_percents(text: str, share: int | None) -> None:
    assert share == percent(text)

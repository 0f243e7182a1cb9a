"""Services through the broker: which sockets, the SSH agent's keys, and what is told."""

from __future__ import annotations

import pytest
from fakes import Entry, FakeHost
from machines import RUNTIME, SOCKET, effective, machine, wayland, x11

from sandboxer.broker.rules import Service
from sandboxer.errors import PolicyError
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.grants.services import grants
from sandboxer.plan.ops import OpFlag, OpKind
from sandboxer.policy.model import Broker, Display, Policy

AGENT: dict[str, Entry] = {"/tmp/ssh-x/agent.1": SOCKET}
NO_DISPLAY = Display()
KEY = "SHA256:" + "A" * 43


def given(broker: Broker, host: FakeHost, display: Display = NO_DISPLAY) -> list[Grant | Withheld]:
    return list(grants(effective(Policy(broker=broker, display=display)), host))


def agent(abi: int = 7) -> FakeHost:
    return machine(AGENT, {"SSH_AUTH_SOCK": "/tmp/ssh-x/agent.1"}, landlock_abi=abi)


def one(found: list[Grant | Withheld]) -> tuple[Grant, Service]:
    (grant,) = (item for item in found if isinstance(item, Grant))
    (service,) = (item for item in grant.brokered if isinstance(item, Service))
    return grant, service


@pytest.mark.parametrize(
    ("name", "path", "weight"),
    [
        ("wayland", f"{RUNTIME}/wayland-0", Weight.ACCESS),
        ("x11", "/tmp/.X11-unix/X0", Weight.HOLE),
        ("pulseaudio", f"{RUNTIME}/pulse/native", Weight.HOLE),
        ("pipewire", f"{RUNTIME}/pipewire-0", Weight.HOLE),
    ],
)
def test_a_service_is_the_socket_that_its_clients_would_take(name: str, path: str, weight: Weight) -> None:
    grant, service = one(given(Broker(connect=(name,)), wayland()))  # type: ignore[arg-type]  # one of the four
    assert (name, path, "apps/test.toml:7 broker.connect", ()) == (
        service.name,
        service.path,
        service.origin,
        service.keys,
    )
    assert weight is grant.weight
    assert not any(op.kind is OpKind.BIND for op in grant.ops)


def test_a_service_that_is_not_there_is_told_and_left_out() -> None:
    (withheld,) = given(Broker(connect=("pulseaudio",)), machine())
    assert isinstance(withheld, Withheld)
    assert f"can't be connected to PulseAudio: {RUNTIME}/pulse/native isn't there" == withheld.words
    (withheld,) = given(Broker(connect=("x11",)), machine({}, {"DISPLAY": "far:0"}))
    assert "can't be connected to the X server: the session names none" == withheld.words


def test_without_landlock_there_are_no_services() -> None:
    host = x11(landlock_abi=0)
    (withheld,) = given(Broker(connect=("pulseaudio",)), host)
    assert isinstance(withheld, Withheld)
    assert "Landlock" in withheld.words
    assert one(given(Broker(connect=("pulseaudio",)), x11(landlock_abi=1)))


def test_the_x_server_comes_with_its_cookie_unless_the_display_has_it() -> None:
    grant, _ = one(given(Broker(connect=("x11",)), x11()))
    assert [f"{RUNTIME}/Xauthority"] == [op.box_path for op in grant.ops]
    assert {"XAUTHORITY": f"{RUNTIME}/Xauthority"} == {entry.name: entry.value for entry in grant.environment}
    assert () == one(given(Broker(connect=("x11",)), x11(), Display(x11=True)))[0].ops


def test_the_agent_is_a_stream_socket_of_the_broker_s_with_the_keys_that_are_named() -> None:
    grant, service = one(given(Broker(connect=("ssh-agent",), ssh_agent_keys=(KEY, "me@laptop")), agent()))
    (listen,) = grant.ops
    assert (OpKind.LISTEN, "ssh-agent", OpFlag.STREAM, 0o600) == (
        listen.kind,
        listen.source,
        listen.flags,
        listen.mode,
    )
    assert {"SSH_AUTH_SOCK": str(listen.box_path)} == {entry.name: entry.value for entry in grant.environment}
    assert ("/tmp/ssh-x/agent.1", (KEY, "me@laptop")) == (service.path, service.keys)
    assert Weight.HOLE is grant.weight
    assert f"can log in and sign with your SSH keys {KEY}, me@laptop" == grant.words


def test_an_agent_without_named_keys_is_refused_whether_it_runs_or_not() -> None:
    for host in (agent(), machine()):
        with pytest.raises(PolicyError, match="without naming keys") as caught:
            given(Broker(connect=("ssh-agent",)), host)
        assert "every key" in caught.value.subject


def test_an_agent_that_does_not_run_is_told() -> None:
    (withheld,) = given(Broker(connect=("ssh-agent",), ssh_agent_keys=(KEY,)), machine())
    assert isinstance(withheld, Withheld)
    assert "can't be connected to the SSH agent: the session names none" == withheld.words

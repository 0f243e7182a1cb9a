"""Windows: sockets, cookies, and which display number is seen inside."""

from __future__ import annotations

import pytest
from fakes import FakeHost
from machines import RUNTIME, SOCKET, cookie, effective, machine, wayland, x11

from sandboxer.errors import ResolveError
from sandboxer.grants.cookies import entries, find_cookie, rewritten
from sandboxer.grants.display import grants
from sandboxer.grants.grant import Grant, Weight
from sandboxer.plan.ops import OpKind
from sandboxer.policy.model import Display, Network, Policy
from sandboxer.resolve import resolve

GUI = Display(wayland="if-present", x11="fallback")


NO_NETWORK = Network()


def granted(display: Display, host: FakeHost, network: Network = NO_NETWORK) -> list[Grant]:
    found = grants(effective(Policy(display=display, network=network)), host)
    return [one for one in found if isinstance(one, Grant)]


def places(found: list[Grant]) -> list[str]:
    return [str(op.box_path) for grant in found for op in grant.ops]


def variables(found: list[Grant]) -> dict[str, str]:
    return {entry.name: entry.value for grant in found for entry in grant.environment}


def test_wayland_is_one_socket_and_x11_stays_out() -> None:
    found = granted(GUI, wayland())
    assert [f"{RUNTIME}/wayland-0"] == places(found)
    assert "DISPLAY" not in variables(found)


def test_a_compositor_under_another_name_is_wayland_0_inside() -> None:
    host = wayland({"/srv/compositor": SOCKET}, WAYLAND_DISPLAY="/srv/compositor")
    (grant,) = granted(GUI, host)
    assert ("/srv/compositor", f"{RUNTIME}/wayland-0") == (grant.ops[0].source, grant.ops[0].box_path)


def test_x11_is_the_fallback_and_a_hole() -> None:
    (grant,) = granted(GUI, x11())
    assert Weight.HOLE is grant.weight
    assert "/tmp/.X11-unix/X0" in places([grant])
    assert ":0" == variables([grant])["DISPLAY"]


def test_wayland_that_must_be_there_is_an_error_without_it() -> None:
    with pytest.raises(ResolveError, match="Wayland socket"):
        granted(Display(wayland=True), x11())


@pytest.mark.parametrize("display", [GUI, Display(x11=True), Display(wayland="if-present")])
def test_no_display_at_all_is_one_clear_error(display: Display) -> None:
    with pytest.raises(ResolveError, match="no display"):
        granted(display, machine())


@pytest.mark.parametrize("name", ["localhost:10.0", "office:0", "nonsense", ":x", ":²"])
def test_a_display_that_is_no_socket_here_is_refused(name: str) -> None:
    with pytest.raises(ResolveError, match="through the network"):
        granted(Display(x11=True), machine(variables={"DISPLAY": name}))


def test_an_x_server_that_is_gone_is_an_error() -> None:
    with pytest.raises(ResolveError, match="X server's socket"):
        granted(Display(x11=True), machine(variables={"DISPLAY": ":5"}))


def test_with_the_machine_s_network_the_number_is_one_that_has_no_abstract_socket() -> None:
    found = granted(GUI, x11(), Network(access="host"))
    assert ":99" == variables(found)["DISPLAY"]
    taken = x11({"/tmp/.X11-unix/X99": SOCKET})
    assert ":100" == variables(granted(GUI, taken, Network(access="host")))["DISPLAY"]


def test_without_landlock_the_open_abstract_socket_is_said() -> None:
    (grant,) = granted(GUI, x11(landlock_abi=0), Network(access="host"))
    assert "abstract socket stays open" in grant.detail
    (closed,) = granted(GUI, x11(landlock_abi=0))
    assert "abstract" not in closed.detail


def test_only_this_display_s_cookie_gets_in() -> None:
    (grant,) = granted(GUI, x11())
    (file,) = (op for op in grant.ops if op.kind is OpKind.FILE)
    (only,) = entries(file.data)
    assert (0o600, b"\1" * 16, b"0", 65535) == (file.mode, only.data, only.number, only.family)
    assert file.box_path == variables([grant])["XAUTHORITY"]


def test_without_a_cookie_there_is_no_authority_file() -> None:
    host = x11({"/home/ann/.Xauthority": b""})
    assert "XAUTHORITY" not in variables(granted(GUI, host))


def test_this_machine_s_cookie_goes_before_another_name_s() -> None:
    content = cookie(256, b"old-name", b"0", b"old") + cookie(256, b"laptop", b"0", b"new")
    found = find_cookie(content, 0, b"laptop")
    assert found is not None
    assert b"new" == found.data
    other = find_cookie(content, 0, b"renamed")
    assert other is not None
    assert b"old" == other.data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\1\0\0",
        cookie(256, b"laptop", b"0", b"x")[:-1],
        b"\xff" * 40,
        cookie(256, b"laptop", b"1", b"x"),
        cookie(0, b"\x7f\0\0\1", b"0", b"x"),
        cookie(256, b"laptop", b"0", b"x", name=b"XDM-AUTHORIZATION-1"),
    ],
)
def test_what_is_no_cookie_of_this_display_gives_none(content: bytes) -> None:
    assert find_cookie(content, 0, b"laptop") is None


def test_a_cookie_written_anew_reads_back() -> None:
    (first,) = entries(cookie(256, b"laptop", b"0", b"secret"))
    (again,) = entries(rewritten(first, 99))
    assert (65535, b"", b"99", b"MIT-MAGIC-COOKIE-1", b"secret") == (
        again.family,
        again.address,
        again.number,
        again.name,
        again.data,
    )


def test_one_connection_is_a_descriptor_and_no_socket() -> None:
    (grant,) = granted(Display(wayland="one-connection", x11="fallback"), wayland())
    (connect,) = grant.ops
    assert (OpKind.CONNECT, "/dev/fd/100", f"{RUNTIME}/wayland-0", 100) == (
        connect.kind,
        connect.box_path,
        connect.source,
        connect.mode,
    )
    passed_on = {"DESKTOP_STARTUP_ID": "", "XDG_ACTIVATION_TOKEN": ""}
    assert {"WAYLAND_SOCKET": "100", "XDG_SESSION_TYPE": "wayland"} | passed_on == variables([grant])


def test_one_connection_must_be_there() -> None:
    with pytest.raises(ResolveError, match="Wayland socket"):
        granted(Display(wayland="one-connection", x11="fallback"), x11())


def test_a_connection_stays_where_it_is_though_its_path_leads_through_a_link() -> None:
    found = resolve(
        effective(Policy(display=Display(wayland="one-connection"))), wayland(), command_given=True
    )
    assert ["/dev/fd/100"] == [
        op.box_path for grant in found.grants for op in grant.ops if op.kind is OpKind.CONNECT
    ]

"""Sound, devices, looks, network, environment, and what every box has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fakes import FakeHost, Link
from machines import RUNTIME, SOCKET, character, effective, machine, nvidia, wayland, x11

from sandboxer.errors import PolicyError, ResolveError
from sandboxer.grants import base, devices, environment, landlock, look, network, proc, sound
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.plan.ops import EnvEntry, EnvKind, Op, OpFlag, OpKind, PlanFlag
from sandboxer.policy.model import Advanced, Devices, Display, Environment, Look, Network, Policy, Sound


def granted(room: Callable[..., object], policy: Policy, host: FakeHost, name: str = "test") -> list[Grant]:
    found = list(room(effective(policy, name), host))  # type: ignore[call-overload]
    return [one for one in found if isinstance(one, Grant)]


def ops(found: list[Grant]) -> dict[str, Op]:
    return {str(op.box_path): op for grant in found for op in grant.ops}


def variables(found: list[Grant]) -> dict[str, EnvEntry]:
    return {entry.name: entry for grant in found for entry in grant.environment}


LOUD = Policy(sound=Sound(playback="if-present", record=True))


def test_playing_without_recording_is_refused_with_a_hint() -> None:
    with pytest.raises(PolicyError) as caught:
        granted(sound.grants, Policy(sound=Sound(playback=True)), wayland())
    assert "sound.record = true" in caught.value.hint


def test_pulseaudio_goes_before_pipewire_whose_socket_opens_cameras() -> None:
    found = granted(sound.grants, LOUD, wayland())
    assert {f"{RUNTIME}/pulse/native", f"{RUNTIME}/pulse/client.conf"} == set(ops(found))
    assert Weight.HOLE is found[0].weight
    assert b"enable-shm = no" in ops(found)[f"{RUNTIME}/pulse/client.conf"].data


def test_pipewire_is_taken_where_it_is_alone() -> None:
    found = granted(sound.grants, LOUD, machine({f"{RUNTIME}/pipewire-0": SOCKET}))
    assert [f"{RUNTIME}/pipewire-0"] == list(ops(found))


def test_the_session_s_own_server_needs_no_cookie_another_one_gets_it() -> None:
    cookie = {"/home/ann/.config/pulse/cookie": b"c" * 256}
    assert "PULSE_COOKIE" not in variables(granted(sound.grants, LOUD, wayland(cookie)))
    other = wayland({**cookie, "/srv/pulse": SOCKET}, PULSE_SERVER="unix:/srv/pulse")
    found = granted(sound.grants, LOUD, other)
    assert b"c" * 256 == ops(found)[variables(found)["PULSE_COOKIE"].value].data
    assert "/srv/pulse" == ops(found)[f"{RUNTIME}/pulse/native"].source


def test_a_server_that_is_reached_by_network_is_not_shared() -> None:
    assert not granted(sound.grants, LOUD, machine(variables={"PULSE_SERVER": "tcp:nas:4713"}))


def test_sound_that_must_be_there_is_an_error_without_a_server() -> None:
    with pytest.raises(ResolveError, match="sound server"):
        granted(sound.grants, Policy(sound=Sound(playback=True, record=True)), machine())


def test_a_card_gives_its_render_node_and_what_describes_it_and_no_card_node() -> None:
    found = ops(granted(devices.grants, Policy(devices=Devices(gpu=True)), x11()))
    assert OpFlag.DEVICE in found["/dev/dri/renderD128"].flags
    assert "/dev/dri/card0" not in found
    assert OpFlag(0) == found["/sys/devices/pci0000:00/0000:00:02.0"].flags & ~OpFlag.DIRECTORY
    assert "../../devices/pci0000:00/0000:00:02.0/drm/renderD128" == found["/sys/dev/char/226:128"].source


def test_full_gives_card_nodes_and_is_a_hole() -> None:
    found = granted(devices.grants, Policy(devices=Devices(gpu="full")), x11())
    assert "/dev/dri/card0" in ops(found)
    assert Weight.HOLE in {grant.weight for grant in found}


def test_nvidia_s_own_nodes_come_with_the_card() -> None:
    found = ops(granted(devices.grants, Policy(devices=Devices(gpu=True)), nvidia()))
    assert {"/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia-uvm", "/dev/nvidia-caps/nvidia-cap2"} <= set(found)


def test_a_virtual_card_is_described_by_the_pci_device_above_it() -> None:
    real = "/sys/devices/pci0000:00/0000:00:01.0/virtio0/drm/renderD128"
    host = machine(
        {
            "/dev/dri/renderD128": character(226, 128),
            "/sys/dev/char/226:128": Link(target="../.." + real.removeprefix("/sys")),
            real: Link(target="x"),
        }
    )
    host.add(real, "")
    found = ops(granted(devices.grants, Policy(devices=Devices(gpu=True)), host))
    assert "/sys/devices/pci0000:00/0000:00:01.0" in found


def test_a_card_that_must_be_there_is_an_error_without_one() -> None:
    with pytest.raises(ResolveError, match="graphics card"):
        granted(devices.grants, Policy(devices=Devices(gpu=True)), machine())


def test_no_device_but_the_minimal_ones_without_a_grant() -> None:
    found = ops(granted(devices.grants, Policy(), nvidia()))
    assert set(devices.NODES) == {
        path.removeprefix("/dev/") for path, op in found.items() if op.kind is OpKind.BIND
    }


def test_fonts_and_themes_are_read_only_and_bookmarks_stay_out() -> None:
    found = ops(granted(look.grants, Policy(look=Look(fonts=True, themes=True)), machine()))
    assert "/home/ann/.local/share/fonts" in found
    assert "/home/ann/.config/gtk-3.0/settings.ini" in found
    assert not any("bookmarks" in path for path in found)
    assert not any(op.flags & (OpFlag.WRITE | OpFlag.DEVICE) for op in found.values())


def test_the_time_zone_is_a_link_where_it_is_one_and_a_copy_elsewhere() -> None:
    zone = ops(granted(look.grants, Policy(), machine()))["/etc/localtime"]
    assert OpKind.LINK is zone.kind
    copied = ops(granted(look.grants, Policy(), machine({"/etc/localtime": b"TZif2"})))["/etc/localtime"]
    assert (OpKind.FILE, b"TZif2") == (copied.kind, copied.data)


def test_a_time_zone_that_leads_out_of_usr_is_copied_not_linked() -> None:
    host = machine(
        {"/etc/localtime": Link(target="/usr/share/zoneinfo/../../../home/ann/zone"), "/home/ann/zone": b"TZ"}
    )
    assert OpKind.FILE is ops(granted(look.grants, Policy(), host))["/etc/localtime"].kind


def test_no_network_is_a_namespace_of_its_own() -> None:
    (grant,) = granted(network.grants, Policy(), machine())
    assert PlanFlag.PRIVATE_NETWORK is grant.flags


def test_the_machine_s_network_is_a_hole_and_follows_resolv_conf() -> None:
    found = granted(network.grants, Policy(network=Network(access="host")), machine())
    assert Weight.HOLE is found[0].weight
    assert "/run/systemd/resolve/stub-resolv.conf" == ops(found)["/etc/resolv.conf"].source


def test_landlock_guards_descriptors_signals_and_abstract_sockets_in_every_box() -> None:
    for policy in (Policy(), Policy(advanced=Advanced(nested=True)), Policy(network=Network(access="host"))):
        found = granted(landlock.grants, policy, machine())
        assert [PlanFlag.LANDLOCK_FILES, PlanFlag.LANDLOCK_SCOPE] == [grant.flags for grant in found]
        assert not [grant for grant in found if grant.weight is Weight.HOLE]


def test_what_an_older_kernel_leaves_open_is_a_hole() -> None:
    found = granted(landlock.grants, Policy(network=Network(access="host")), machine(landlock_abi=0))
    assert {Weight.HOLE} == {grant.weight for grant in found}
    assert ["standard input", "signals", "abstract sockets"] == [
        next(part for part in ("standard input", "signals", "abstract sockets") if part in grant.words)
        for grant in found
    ]
    alone = granted(landlock.grants, Policy(), machine(landlock_abi=5))
    assert ["files", "processes"] == [grant.topic for grant in alone]


def kept(*names: str) -> list[Grant]:
    return granted(environment.grants, Policy(environment=Environment(keep=names)), machine())


def test_a_variable_is_kept_by_its_name() -> None:
    assert EnvKind.PASS is variables(kept("EDITOR"))["EDITOR"].kind


@pytest.mark.parametrize(
    "name", ["GITHUB_TOKEN", "SSH_AUTH_SOCK", "GPG_AGENT_INFO", "aws_secret_x", "MY_API_KEY"]
)
def test_a_variable_that_gives_something_away_is_a_hole(name: str) -> None:
    assert Weight.HOLE is kept(name)[0].weight


@pytest.mark.parametrize("pattern", ["SSH_AUTH*", "GITHUB_TOKEN*", "AWS_SECRET*"])
def test_secrets_are_not_kept_by_a_pattern(pattern: str) -> None:
    with pytest.raises(ResolveError, match="by a pattern"):
        kept(pattern)


def test_a_pattern_keeps_out_what_speaks_of_secrets() -> None:
    found = variables(kept("GIT_*"))
    assert EnvKind.PASS_PREFIX is found["GIT_"].kind
    assert {"TOKEN", "SECRET", "PASSWORD", "AUTH"} <= {
        n for n, one in found.items() if one.kind is EnvKind.KEEP_OUT
    }


def test_a_fixed_variable_has_its_value() -> None:
    policy = Policy(environment=Environment(set={"A": "b=c"}))
    assert "b=c" == variables(granted(environment.grants, policy, machine()))["A"].value


def test_only_the_user_and_nobody_are_in_passwd() -> None:
    passwd = ops(granted(base.grants, Policy(), machine()))["/etc/passwd"].data.decode().splitlines()
    assert ["ann", "nobody"] == [line.split(":")[0] for line in passwd]


def test_the_machine_s_id_is_each_application_s_own_and_never_the_real_one() -> None:
    host = machine()
    one, other = base.machine_id("firefox", host), base.machine_id("xterm", host)
    assert len({one, other, "0123456789abcdef0123456789abcdef"}) == 3
    assert one == base.machine_id("firefox", machine())
    assert one != base.machine_id("firefox", machine({"/etc/machine-id": "f" * 32}))
    assert set("0123456789abcdef") >= set(one)
    assert 32 == len(one)


def test_known_hosts_come_only_with_the_network() -> None:
    hosts = [
        ops(granted(base.grants, policy, machine()))["/etc/hosts"].data
        for policy in (Policy(), Policy(network=Network(access="host")))
    ]
    assert [False, True] == [b"nas" in content for content in hosts]


def test_a_list_of_hosts_that_is_too_large_to_copy_is_bound() -> None:
    host = machine({"/etc/hosts": b"0.0.0.0 ads\n" * 10_000})
    found = ops(granted(base.grants, Policy(network=Network(access="host")), host))
    assert OpKind.BIND is found["/etc/hosts"].kind


def test_a_root_that_is_not_merged_is_bound_by_its_directories() -> None:
    host = machine()
    host.add("/lib32/x", "")
    assert OpKind.BIND is ops(granted(base.grants, Policy(), host))["/lib32"].kind


def test_a_shell_from_elsewhere_is_not_the_box_s_shell() -> None:
    host = machine({"/home/ann/bin/sh": ""}, {"SHELL": "/home/ann/bin/sh"})
    assert "/bin/sh" == variables(granted(base.grants, Policy(), host))["SHELL"].value


def test_with_the_x_server_the_box_has_the_machine_s_name() -> None:
    host = machine({"/proc/sys/kernel/hostname": b"laptop\n"})
    assert "laptop" == base.host_name(effective(Policy(display=Display(x11=True)), "firefox"), host)
    assert "firefox" == base.host_name(effective(Policy(display=Display(wayland=True)), "firefox"), host)


@pytest.mark.parametrize(
    ("name", "expected"), [("firefox", "firefox"), ("org.a_b", "org-a-b"), ("...", "sandbox")]
)
def test_the_box_is_named_after_the_application(name: str, expected: str) -> None:
    assert expected == base.host_name(effective(Policy(), name), machine())


def test_what_tells_of_the_machine_is_covered_in_proc_and_only_what_is_there() -> None:
    found = ops(granted(proc.grants, Policy(), machine()))
    assert OpKind.HIDE is found["/proc/keys"].kind
    assert OpKind.SEAL is found["/proc/sys"].kind
    assert "/proc/sched_debug" not in found
    assert OpKind.HIDE is found["/sys/devices/system/cpu/cpu0/thermal_throttle"].kind


def test_what_is_not_granted_is_told() -> None:
    found = list(devices.grants(effective(Policy()), machine()))
    assert any(isinstance(one, Withheld) and "graphics card" in one.words for one in found)

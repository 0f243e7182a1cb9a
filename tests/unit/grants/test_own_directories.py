"""`files.own`: a service's own directories, in places where nothing else may be written."""

from __future__ import annotations

import pytest
from fakes import Directory, FakeHost, Link
from machines import effective, machine

from sandboxer.errors import ResolveError
from sandboxer.grants.files import grants
from sandboxer.grants.grant import Grant
from sandboxer.plan.ops import OpFlag
from sandboxer.policy.model import Files, Policy

RUNTIME = "/run/user/1000"


def with_directories(*paths: str) -> FakeHost:
    return machine({path: Directory() for path in paths})


def own(path: str, host: FakeHost, *command: str) -> dict[str, OpFlag]:
    policy = Policy(files=Files(own=(path,)), command=("/usr/bin/other-name", *command))
    found = grants(effective(policy), host)
    return {str(op.box_path): op.flags for grant in found if isinstance(grant, Grant) for op in grant.ops}


@pytest.mark.parametrize(
    "path",
    [
        "/home/ann/.config/test",
        "/home/ann/.config/test/deeper",
        "/home/ann/.config/other-name",
        "/home/ann/.local/state/mine",
        "/home/ann/.cache/mine/deeper",
        "/home/ann/.config/log/test",
        f"{RUNTIME}/mine",
    ],
)
def test_a_directory_of_its_own_can_be_changed(path: str) -> None:
    assert OpFlag.WRITE in own(path, with_directories(path))[path]


@pytest.mark.parametrize(
    "path",
    [
        "/home/ann/.config",
        "/home/ann/.config/systemd",
        "/home/ann/.config/systemd/user",
        "/home/ann/.config/sandboxer",
        "/home/ann/.config/mine",
        "/home/ann/.config/kitty",
        "/home/ann/.config/log",
        "/home/ann/.config/log/mine",
        "/home/ann/.config/autostart",
        "/home/ann/.cache/sandboxer",
        "/home/ann/.local/state/sandboxer/broker",
        "/home/ann/.local/share/mine",
        "/home/ann/.ssh",
        "/home/ann/Documents",
        "/home/ann",
        "/srv/mine",
        RUNTIME,
        f"{RUNTIME}/systemd",
        f"{RUNTIME}/sandboxer/x",
        f"{RUNTIME}/gnupg",
        f"{RUNTIME}/.flatpak",
        f"{RUNTIME}/wayland-0.d",
    ],
)
def test_what_is_anothers_is_refused(path: str) -> None:
    with pytest.raises(ResolveError, match="what runs outside"):
        own(path, with_directories(path))


@pytest.mark.parametrize("name", ["kitty", "mpv", "bspwm", "gdb", "npm", "pipewire", "google-chrome", "nix"])
def test_what_starts_programs_outside_is_refused_whatever_the_application_is_called(name: str) -> None:
    path = f"/home/ann/.config/{name}"
    with pytest.raises(ResolveError, match="what runs outside") as caught:
        own(path, with_directories(path), name)
    assert f"would open {path}" in str(caught.value)


def test_a_file_is_refused() -> None:
    with pytest.raises(ResolveError, match="what runs outside"):
        own("/home/ann/.config/mine", machine({"/home/ann/.config/mine": "text"}))


def test_a_link_is_judged_by_where_it_leads() -> None:
    host = machine(
        {"/home/ann/.config/systemd": Directory(), "/home/ann/.config/mine": Link(target="systemd")}
    )
    with pytest.raises(ResolveError, match="what runs outside"):
        own("/home/ann/.config/mine", host)

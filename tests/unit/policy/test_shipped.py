"""The policies that come with sandboxer: each loads, promises what its comments say, and grants no more."""

from __future__ import annotations

import os

import pytest
from fakes import FakeHost

from sandboxer.paths import data_dir
from sandboxer.policy.effective import Effective
from sandboxer.policy.layers import load, load_set, names
from sandboxer.policy.model import Policy
from sandboxer.policy.parse import problems

POLICIES = data_dir("policies")


def shipped() -> FakeHost:
    tree = {}
    for directory, _, files in os.walk(POLICIES):
        for name in files:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                tree[path] = file.read()
    return FakeHost(tree)


APPS = names("apps", shipped())
SETS = names("sets", shipped())


def app(name: str) -> Policy:
    return load(name, shipped()).policy


def everything() -> list[Effective]:
    return [*(load(name, shipped()) for name in APPS), *(load_set(name, shipped()) for name in SETS)]


def test_the_promised_ones_are_there() -> None:
    assert {"ffmpeg", "firefox", "firefox-esr", "git", "python3", "xterm"} <= set(APPS)
    assert {"base", "cli", "gui", "strict"} <= set(SETS)


@pytest.mark.parametrize("kind", ["apps", "sets"])
def test_each_begins_with_the_line_for_editors_and_has_a_summary(kind: str) -> None:
    for name in names("apps" if kind == "apps" else "sets", shipped()):
        with open(f"{POLICIES}/{kind}/{name}.toml", "rb") as file:
            content = file.read()
        assert content.startswith(b"#:schema ../policy.schema.json\n"), name
        assert () == problems(content, name)
        assert b"\nsummary = " in content, name


def test_the_strict_set_grants_nothing() -> None:
    policy = load_set("strict", shipped()).policy
    base = load_set("base", shipped()).policy
    assert (base.files, base.syscalls) == (policy.files, policy.syscalls)
    assert ((), (), "ephemeral", "none") == (
        policy.files.read,
        policy.files.write,
        policy.files.home,
        policy.files.working_directory,
    )
    nothing = Policy()
    for name in ("display", "sound", "devices", "look", "network", "environment", "advanced"):
        assert getattr(nothing, name) == getattr(policy, name), name


def test_every_policy_refuses_every_group_of_system_calls() -> None:
    groups = tuple(f"@{name}" for name in names("deny", shipped()))
    assert groups
    for effective in everything():
        if effective.name not in ("network", "links"):
            assert groups == tuple(sorted(effective.policy.syscalls.deny)), effective.name
        assert () == effective.policy.syscalls.allow
        assert () == effective.policy.syscalls.foreign


def test_no_policy_asks_for_a_system_file_that_must_be_there() -> None:
    for effective in everything():
        for path in effective.policy.files.system:
            assert path.startswith(("?/etc/", "?/var/cache/")), path


@pytest.mark.parametrize(
    "secret",
    [
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/sudoers",
        "/etc/ssl/private/key.pem",
        "/etc/pki/tls/private/key.pem",
        "/etc/ssh/ssh_host_rsa_key",
        "/etc/NetworkManager/system-connections/wifi",
        "/etc/default/grub",
        "/etc/wpa_supplicant/wpa.conf",
        "/etc/fstab",
        "/etc/cups/printers.conf",
        "/etc/machine-id",
        "/etc/passwd",
        "/etc/xdg/autostart/x.desktop",
    ],
)
def test_no_policy_shows_a_part_of_etc_that_can_hold_secrets(secret: str) -> None:
    for effective in everything():
        for path in effective.policy.files.system:
            plain = path.removeprefix("?")
            assert not f"{secret}/".startswith(f"{plain}/"), (effective.name, path)


def test_only_browsers_connect_and_nest() -> None:
    open_ones = {name for name in APPS if app(name).network.access != "none"}
    assert {"firefox", "firefox-esr"} == open_ones
    assert open_ones == {name for name in APPS if app(name).advanced.nested}
    assert not any(app(name).advanced.let_application_change_what_runs_outside for name in APPS)


def test_firefox_goes_by_either_name_with_the_same_grants() -> None:
    one, other = app("firefox"), app("firefox-esr")
    assert ("firefox", "firefox-esr") == one.command
    assert ("firefox-esr",) == other.command
    for name in (
        "files",
        "display",
        "sound",
        "devices",
        "look",
        "network",
        "environment",
        "syscalls",
        "advanced",
    ):
        assert getattr(one, name) == getattr(other, name)


def test_firefox_has_what_a_browser_needs() -> None:
    policy = app("firefox")
    assert ("private", ("?Downloads",), "read") == (
        policy.files.home,
        policy.files.write,
        policy.files.documents,
    )
    assert ("if-present", "fallback") == (policy.display.wayland, policy.display.x11)
    assert ("if-present", True) == (policy.sound.playback, policy.sound.record)


def test_command_line_programs_see_only_the_directory_they_are_started_in() -> None:
    expected = {"ffmpeg": "write", "git": "write", "python3": "read"}
    for name, directory in expected.items():
        policy = app(name)
        assert (directory, "none", "ephemeral") == (
            policy.files.working_directory,
            policy.files.documents,
            policy.files.home,
        )
        assert (False, False) == (policy.display.wayland, policy.display.x11)


def test_git_reads_settings_but_not_where_passwords_are_kept() -> None:
    read = app("git").files.read
    assert "?~/.gitconfig" in read
    assert not {"~/.config/git", "~/.git-credentials", "~/.config/git/credentials"} & {
        path.removeprefix("?") for path in read
    }


def test_an_application_without_a_policy_is_strict() -> None:
    effective = load("no-such-program", shipped())
    assert not effective.found
    assert load_set("strict", shipped()).policy == effective.policy

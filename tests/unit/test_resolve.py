"""Grants together: hiding, placing, commands, contradictions."""

from __future__ import annotations

import pytest
from fakes import Directory, FakeHost, Link
from machines import effective, machine

from sandboxer.errors import ResolveError
from sandboxer.plan.build import build
from sandboxer.plan.ops import Op, OpFlag, OpKind, PlanFlag
from sandboxer.policy.model import Bus, Files, Policy, Wanted
from sandboxer.resolve import resolve

DOCUMENTS = {"/home/ann/Documents/tax/2025": "", "/home/ann/Documents/letters": ""}


def ops(files: Files, host: FakeHost) -> dict[tuple[OpKind, str], Op]:
    plan = build(resolve(effective(Policy(files=files)), host, command_given=True), b"", ("run",), ())
    return {(op.kind, str(op.box_path)): op for op in plan.ops}


def test_hiding_works_inside_a_granted_directory() -> None:
    found = ops(Files(read=("Documents",), hide=("Documents/tax",)), machine(DOCUMENTS))
    assert (OpKind.HIDE, "/home/ann/Documents/tax") in found


def test_hiding_follows_the_content_to_wherever_it_is_shown() -> None:
    host = machine({"/data/secret/x": "", "/home/ann/link": Link(target="/data")})
    found = ops(Files(read=("~/link",), hide=("/data/secret",)), host)
    assert (OpKind.HIDE, "/home/ann/link/secret") in found


def test_hiding_by_a_link_hides_what_it_leads_to() -> None:
    host = machine({"/data/secret/x": "", "/home/ann/keys": Link(target="/data/secret")})
    found = ops(Files(read=("/data",), hide=("~/keys",)), host)
    assert (OpKind.HIDE, "/data/secret") in found


def test_what_nothing_shows_needs_no_cover() -> None:
    assert OpKind.HIDE not in {
        kind for kind, path in ops(Files(hide=("~/.ssh",)), machine()) if path.startswith("/home")
    }


@pytest.mark.parametrize("hidden", ["Documents/tax", "Documents", "Documents/tax/2025"])
def test_a_grant_inside_what_is_hidden_names_both_lines(hidden: str) -> None:
    files = Files(read=("Documents/tax/2025",), hide=(hidden,))
    with pytest.raises(ResolveError, match="grants what it hides") as caught:
        ops(files, machine(DOCUMENTS))
    assert "files.read" in caught.value.subject
    assert "files.hide" in str(caught.value.origin)


def test_hiding_what_every_box_needs_is_an_error() -> None:
    with pytest.raises(ResolveError, match="grants what it hides"):
        ops(Files(hide=("/usr",)), machine())


def test_hiding_a_parent_of_the_private_home_does_not_hide_that() -> None:
    assert ops(Files(home="private", hide=("~/.local",)), machine())


def test_a_grant_beneath_a_link_in_a_bound_directory_goes_to_where_the_link_leads() -> None:
    host = machine({"/home/ann/work/data": Link(target="/srv/data"), "/srv/data/set1": ""})
    found = ops(Files(read=("~/work", "~/work/data/set1")), host)
    assert (OpKind.BIND, "/srv/data/set1") in found


def test_a_grant_beneath_a_link_of_the_box_goes_to_where_it_leads() -> None:
    host = machine({"/usr/lib/x": "", "/var/run": Link(target="/run"), "/run/thing": ""})
    found = ops(Files(read=("/var/run/thing",)), host)
    assert (OpKind.BIND, "/run/thing") in found


@pytest.mark.parametrize("path", ["/tmp", "/run", "/var", "/etc", "/home"])
def test_a_directory_in_which_a_box_has_things_of_its_own_is_refused(path: str) -> None:
    with pytest.raises(ResolveError):
        ops(Files(read=(path,)), machine())


def test_a_system_file_that_each_box_has_its_own_of_is_refused() -> None:
    with pytest.raises(ResolveError, match="contradict") as caught:
        ops(Files(system=("/etc/hostname",)), machine())
    assert "built in" in caught.value.subject


def test_reading_what_is_in_the_real_home_costs_no_mount_of_its_own() -> None:
    found = ops(Files(home="host", read=("Downloads",)), machine())
    assert (OpKind.BIND, "/home/ann/Downloads") not in found


def test_reading_inside_what_can_be_written_keeps_it_from_being_written() -> None:
    host = machine({"/home/ann/work/.git": Directory()})
    found = ops(Files(write=("~/work",), read=("~/work/.git",)), host)
    assert (OpKind.BIND, "/home/ann/work/.git") in found


def test_a_write_beats_a_read_of_the_same_path() -> None:
    found = ops(Files(write=("Downloads",), read=("Downloads",)), machine())
    assert OpFlag.WRITE in found[(OpKind.BIND, "/home/ann/Downloads")].flags


def test_the_first_command_that_is_installed_is_taken() -> None:
    policy = Policy(command=("firefox", "firefox-esr"), arguments=("--safe",))
    assert ("/usr/bin/firefox-esr", "--safe") == resolve(effective(policy), machine()).command


def test_without_a_command_the_name_is_it() -> None:
    assert ("/usr/bin/bash",) == resolve(effective(Policy(), "bash"), machine()).command


def test_a_command_that_is_not_installed_says_where_it_was_looked_for() -> None:
    with pytest.raises(ResolveError, match="foo isn't installed") as caught:
        resolve(effective(Policy(), "foo"), machine())
    assert "/usr/bin" in caught.value.subject


def test_a_command_that_the_box_does_not_show_says_so() -> None:
    host = machine({"/usr/bin/chrome": Link(target="/opt/chrome/chrome"), "/opt/chrome/chrome": ""})
    with pytest.raises(ResolveError, match="can't see it"):
        resolve(effective(Policy(), "chrome"), host)
    assert resolve(effective(Policy(files=Files(system=("/opt/chrome",))), "chrome"), host).command


def test_an_application_without_a_policy_says_so_at_each_start() -> None:
    assert "no policy" in resolve(effective(Policy(), "bash", found=False), machine()).notice
    assert not resolve(effective(Policy(), "bash"), machine()).notice


@pytest.mark.parametrize(
    ("second", "private", "given", "joins"),
    [
        (True, False, False, True),
        (True, True, False, True),
        (False, False, False, False),
        (True, "if-present", False, False),
        (True, False, True, False),
    ],
    ids=["by itself", "over its bus", "not by the policy", "without the bus that it needs", "a command"],
)
def test_what_finds_its_first_instance_joins_it(
    second: bool, private: Wanted, given: bool, joins: bool
) -> None:
    daemon = {"/usr/bin/dbus-daemon": ""} if private is True else {}
    policy = Policy(command=("/usr/bin/foo",), second_instance=second, bus=Bus(private=private))
    host = machine({"/usr/bin/foo": "", **daemon})
    found = resolve(effective(policy), host, command_given=given)
    assert joins == bool(found.flags & PlanFlag.JOINS)

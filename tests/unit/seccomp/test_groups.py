"""Groups and rules: layers, allowing, refusing, and every way to get it wrong."""

from __future__ import annotations

import errno

import pytest
from filters import effective, program, rules, shipped_host, verdict

from sandboxer.errors import PolicyError
from sandboxer.grants import syscalls
from sandboxer.grants.grant import Grant, Weight
from sandboxer.plan import seccomp
from sandboxer.plan.ops import PlanFlag
from sandboxer.policy.deny import parse_group
from sandboxer.policy.layers import load

GOOD = '[[call]]\nnames = ["mount"]\nreason = "Because."\nsource = ["ours"]\n'

WRONG = [
    ('summary = "S"\nsumary = "S"\n' + GOOD, 2, 'no key "sumary"', "write summary"),
    ('summary = "S"\n' + GOOD + 'errn = "EPERM"\n', 6, 'no key "errn"', "write errno"),
    ('summary = "S"\n' + GOOD + 'errno = "EPREM"\n', 6, "EPREM", "errno"),
    ('summary = "S"\n' + GOOD + "errno = 1\n", 6, "expected `str`", "errno"),
    ('summary = "S"\n' + GOOD + 'unless = "never"\n', 6, "never", "unless"),
    ('summary = "S"\n' + GOOD.replace('"ours"', '"wikipedia"'), 5, "wikipedia", "source"),
    ('summary = "S"\n' + GOOD.replace('["mount"]', '"mount"'), 3, "expected `array`", "names"),
    ('summary = "S"\n' + GOOD.replace('["mount"]', "[]"), 3, "length", "names"),
    ('summary = "S"\n' + GOOD.replace('["mount"]', '["Mount"]'), 3, "matching regex", "names"),
    ('summary = "S"\n' + GOOD.replace('reason = "Because."\n', ""), 2, '"reason" is missing', "add reason"),
    (GOOD, 1, '"summary" is missing', "add summary"),
    ('summary = "S"\n', 1, '"call" is missing', "add call"),
    ('summary = "S"\n' + GOOD + "when = [{ argument = 6, is = [1] }]\n", 6, "<= 5", "argument"),
    ('summary = "S"\n' + GOOD + "when = [{ argument = 0 }]\n", 6, "argument 0 of mount", "exactly one of"),
    (
        'summary = "S"\n' + GOOD + "when = [{ argument = 0, is = [1], any-bit = 2 }]\n",
        6,
        "argument 0",
        "exactly one of",
    ),
    ('summary = "S"\n' + GOOD + "when = [{ argument = 0, iz = [1] }]\n", 6, 'no key "iz"', "write is"),
    ('summary = "S"\n' + GOOD + "when = [{ argument = 0, is = [-1] }]\n", 6, ">= 0", "is"),
    ('summary = "S"\n' + GOOD + "when = [{ argument = 0, is = [0x100000000] }]\n", 6, "<= 4294967295", "is"),
    ('summary = "S"\n[[call]\n', 2, "", ""),
    ('summary = "S\n', 1, "", ""),
]


@pytest.mark.parametrize(("text", "line", "subject", "hint"), WRONG)
def test_a_malformed_group_is_an_error_with_file_line_and_hint(
    text: str, line: int, subject: str, hint: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_group("mount", text.encode(), "deny/mount.toml")
    assert caught.value.origin is not None
    assert ("deny/mount.toml", line) == (caught.value.origin.file, caught.value.origin.line)
    assert subject in caught.value.subject
    assert hint in caught.value.hint
    assert caught.value.hint


def test_bytes_that_are_no_text_are_an_error_with_the_line() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_group("mount", b'summary = "S"\n# \xff\n', "deny/mount.toml")
    assert caught.value.origin is not None
    assert caught.value.origin.line == 2


def test_an_unknown_group_names_the_nearest_one_and_the_line() -> None:
    with pytest.raises(PolicyError) as caught:
        rules('deny = ["@mout"]')
    assert caught.value.hint == 'write "@mount"'
    assert str(caught.value.origin) == "/etc/sandboxer/apps/t.toml:3 syscalls.deny"


def test_an_unknown_call_names_the_nearest_one_and_the_line() -> None:
    with pytest.raises(PolicyError) as caught:
        program('deny = ["opennat"]')
    assert caught.value.hint == 'write "openat"'
    assert str(caught.value.origin) == "/etc/sandboxer/apps/t.toml:3 syscalls.deny"


def test_an_unknown_call_in_a_group_names_the_group() -> None:
    host = shipped_host(
        apps__t='[syscalls]\ndeny = ["@mine"]\n',
        deny__mine='summary = "S"\n' + GOOD.replace("mount", "mountt"),
    )
    found = syscalls.rules(load("t", host), host)
    with pytest.raises(PolicyError) as caught:
        seccomp.assemble(found, ())
    assert 'deny/mine.toml names "mountt"' in caught.value.subject


def test_what_the_kernel_makes_a_program_call_cant_be_refused() -> None:
    with pytest.raises(PolicyError, match="kernel makes programs do"):
        program('deny = ["uretprobe"]')


def test_allowing_what_no_group_refuses_is_an_error() -> None:
    with pytest.raises(PolicyError) as caught:
        rules('allow = ["ptrac"]')
    assert caught.value.hint == 'write "ptrace"'


def test_allowing_what_another_group_refuses_changes_nothing() -> None:
    policy, host = effective('deny = ["!@debug"]\nallow = ["ptrace"]')
    assert "ptrace" not in {rule.name for rule in syscalls.rules(policy, host)}


def test_a_group_can_be_taken_off_as_a_whole() -> None:
    filter_ = program('allow = ["@debug"]')
    assert verdict("ptrace", filter_=filter_) == "allow"
    assert verdict("kcmp", 1, 1, 5, filter_=filter_) == "allow"
    assert verdict("bpf", filter_=filter_) == "EPERM"


def test_allowing_a_call_takes_all_its_rules_off() -> None:
    filter_ = program('allow = ["ioctl", "modify_ldt"]')
    assert verdict("ioctl", 0, 0x5412, filter_=filter_) == "allow"
    assert verdict("modify_ldt", filter_=filter_) == "allow"


def test_a_bare_name_is_refused_always() -> None:
    filter_ = program('deny = ["socket", "uname"]')
    assert verdict("socket", 1, 1, 0, filter_=filter_) == "EPERM"
    assert verdict("uname", filter_=filter_) == "EPERM"


def test_a_bare_name_keeps_the_errno_that_lets_programs_fall_back() -> None:
    assert [errno.ENOSYS] == [rule.errno for rule in rules('deny = ["clone3"]') if rule.name == "clone3"]


def test_a_bare_socket_is_refused_through_i386_in_both_ways() -> None:
    filter_ = program('deny = ["socket"]\nforeign = ["i386"]')
    assert verdict("socket", 1, 1, 0, abi="i386", filter_=filter_) == "EPERM"
    assert verdict("socketcall", 1, abi="i386", filter_=filter_) != "allow"


def test_a_later_layer_adds_to_a_group() -> None:
    text = (
        'summary = "More"\n'
        + GOOD.replace("mount", "uname")
        + GOOD.replace('["mount"]', '["umount2"]')
        + 'errno = "EACCES"\n'
    )
    host = shipped_host(apps__t='extends = ["base"]\n', deny__mount=text)
    found = {rule.name: rule for rule in syscalls.rules(load("t", host), host)}
    assert found["uname"].errno == errno.EPERM
    assert found["umount2"].errno == errno.EACCES
    assert found["pivot_root"].errno == errno.EPERM


def test_a_group_that_others_can_write_is_refused() -> None:
    host = shipped_host(apps__t='extends = ["base"]\n', deny__mount='summary = "More"\n' + GOOD)
    host.owners["/etc/sandboxer/deny/mount.toml"] = (0o666, 0, 0)
    with pytest.raises(PolicyError, match="can't be trusted"):
        syscalls.rules(load("t", host), host)


def test_group_files_become_stamps() -> None:
    host = shipped_host(apps__t='extends = ["base"]\n')
    syscalls.rules(load("t", host), host)
    stamped = {stamp.name for stamp in host.stamps()}
    assert any(name.endswith("policies/deny/terminal.toml") for name in stamped)
    assert "/etc/sandboxer/deny" in stamped
    assert not any(name.startswith("/etc/sandboxer/deny/") for name in stamped), (
        "one stamp for a directory without groups"
    )


def test_rules_are_sorted_and_each_says_where_it_is_from() -> None:
    found = rules()
    assert [rule.name for rule in found] == sorted(rule.name for rule in found)
    assert {"sets/base.toml"} == {rule.origin.file for rule in found}


def test_what_is_opened_is_a_hole_with_its_line() -> None:
    policy, _ = effective('allow = ["ptrace", "@numa"]\nforeign = ["i386"]', nested=True)
    holes = [each for each in syscalls.grants(policy) if isinstance(each, Grant)]
    assert {Weight.HOLE} == {hole.weight for hole in holes}
    assert ["/etc/sandboxer/apps/t.toml"] * 4 == [hole.origin.file for hole in holes]
    assert PlanFlag.NESTED_NAMESPACES in holes[-1].flags


def test_the_base_set_opens_nothing() -> None:
    policy, _ = effective()
    assert [] == [each for each in syscalls.grants(policy) if isinstance(each, Grant)]

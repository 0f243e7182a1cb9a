"""What a request may do: the pure function, rule by rule and refusal by refusal."""

from __future__ import annotations

import errno

import pytest
from brokers import message, rule, rules_for

from sandboxer.broker import protocol, rules
from sandboxer.broker.messages import Request, parse
from sandboxer.broker.protocol import (
    ACCESS,
    APPEND,
    CONNECT,
    CREATE,
    DIRECTORY,
    EXCLUSIVE,
    HELLO,
    LIST,
    MKDIR,
    NO_FOLLOW,
    NO_REPLACE,
    OPEN,
    PRESENT,
    READ,
    READLINK,
    RENAME,
    STAT_,
    TRUNCATE,
    UNLINK,
    WATCH,
    WRITE,
)
from sandboxer.broker.rules import Outward, Rule, Rules, Service
from sandboxer.broker.verdicts import Table, Verdict, is_normal, verdict


def asked(
    given: Rules | tuple[Rule, ...],
    command: int,
    path: str = "",
    second: str = "",
    *,
    flags: int = 0,
    argument: int = 0,
) -> Verdict:
    """The verdict on one request."""
    table = Table(given if isinstance(given, Rules) else rules_for("/log", given))
    return verdict(parse(message(command, path, second, flags=flags, argument=argument)), table)


def said(found: Verdict) -> str:
    return errno.errorcode[found.error] if found.error else "allowed"


ONE = (rule("/d"),)
"""Everything beneath /d."""

NEEDS: list[tuple[str, int, int, int, str]] = [
    ("read", OPEN, READ, 0, ""),
    ("write", OPEN, WRITE, 0, ""),
    ("write", OPEN, WRITE | TRUNCATE, 0, ""),
    ("write", OPEN, WRITE | APPEND, 0, ""),
    ("write", OPEN, APPEND, 0, ""),
    ("append", OPEN, APPEND, 0, ""),
    ("stat", STAT_, 0, 0, ""),
    ("stat", STAT_, NO_FOLLOW, 0, ""),
    ("access", ACCESS, 0, 0, ""),
    ("read", ACCESS, 0, 4, ""),
    ("write", ACCESS, 0, 2, ""),
    ("append", ACCESS, 0, 2, ""),
    ("readlink", READLINK, 0, 0, ""),
    ("list", LIST, 0, 0, ""),
    ("mkdir", MKDIR, 0, 0o700, ""),
    ("rename", RENAME, 0, 0, "/d/y"),
    ("rename", RENAME, NO_REPLACE, 0, "/d/y"),
    ("unlink", UNLINK, 0, 0, ""),
    ("unlink", UNLINK, DIRECTORY, 0, ""),
    ("watch", WATCH, 0, 0x100, ""),
]
"""Key of a policy, and a request that it allows beneath its path."""


@pytest.mark.parametrize(("key", "command", "flags", "argument", "second"), NEEDS)
def test_a_key_allows_what_it_is_for(key: str, command: int, flags: int, argument: int, second: str) -> None:
    found = asked((rule("/d", key),), command, "/d/x", second, flags=flags, argument=argument)
    assert ("allowed", b"x") == (said(found), found.rest)
    assert f"policy.toml:2 broker.{key}" == found.origin


@pytest.mark.parametrize(("key", "command", "flags", "argument", "second"), NEEDS)
def test_without_a_key_that_gives_the_right_it_is_refused(
    key: str, command: int, flags: int, argument: int, second: str
) -> None:
    needed = asked((rule("/d", key),), command, "/d/x", second, flags=flags, argument=argument)
    assert needed.place is not None
    for other, rights in rules.KEYS.items():
        found = asked((rule("/d", other),), command, "/d/x", second, flags=flags, argument=argument)
        if found.error:
            assert "EACCES" == said(found)
            assert found.place is None
        else:
            assert rights & rules.KEYS[key], f"{other} gives what {key} is for"


def test_creating_takes_the_right_to_create_and_to_write() -> None:
    for keys in (("create",), ("write",), ("read", "create")):
        assert "EACCES" == said(asked((rule("/d", *keys),), OPEN, "/d/x", flags=WRITE | CREATE))
    for keys in (("create", "write"), ("create", "append")):
        flags = APPEND | CREATE | EXCLUSIVE
        assert "allowed" == said(asked((rule("/d", *keys),), OPEN, "/d/x", flags=flags, argument=0o644))


def test_only_writing_gives_truncating() -> None:
    assert "EACCES" == said(asked((rule("/d", "append"),), OPEN, "/d/x", flags=WRITE | TRUNCATE))


@pytest.mark.parametrize(
    ("command", "flags", "argument", "path", "second"),
    [
        (OPEN, 0, 0, "/d/x", ""),
        (OPEN, CREATE | READ, 0, "/d/x", ""),
        (OPEN, EXCLUSIVE | WRITE, 0, "/d/x", ""),
        (OPEN, TRUNCATE | READ, 0, "/d/x", ""),
        (OPEN, TRUNCATE | APPEND, 0, "/d/x", ""),
        (OPEN, READ | NO_FOLLOW, 0, "/d/x", ""),
        (OPEN, READ | 1 << 31, 0, "/d/x", ""),
        (OPEN, WRITE | CREATE, 0o4755, "/d/x", ""),
        (OPEN, WRITE | CREATE, 0o777, "/d/x", ""),
        (OPEN, READ, 0, "/d/x", "/d/y"),
        (OPEN, READ, 0, "", ""),
        (STAT_, READ, 0, "/d/x", ""),
        (STAT_, 0, 1, "/d/x", ""),
        (ACCESS, 0, 8, "/d/x", ""),
        (MKDIR, 0, 0o1777, "/d/x", ""),
        (RENAME, 0, 0, "/d/x", ""),
        (RENAME, DIRECTORY, 0, "/d/x", "/d/y"),
        (UNLINK, NO_REPLACE, 0, "/d/x", ""),
        (WATCH, 0, 0, "/d/x", ""),
        (WATCH, 0, 0x20000100, "/d/x", ""),
        (LIST, 0, 0, "/d", "a/b"),
        (LIST, 0, 0, "/d", "a\0b"),
        (HELLO, 0, 0, "/d", ""),
        (HELLO, 1, 0, "", ""),
        (CONNECT, 0, 0, "", ""),
        (CONNECT, 0, 0, "wayland", "x"),
    ],
)
def test_what_contradicts_itself_is_malformed(
    command: int, flags: int, argument: int, path: str, second: str
) -> None:
    found = asked(ONE, command, path, second, flags=flags, argument=argument)
    assert "EINVAL" == said(found)


@pytest.mark.parametrize(
    "path",
    ["x", "d/x", "/d/../x", "/d/..", "/d/./x", "/d/.", "//d/x", "/d//x", "/d/x/", "/d/\0x", "/" + "a" * 4095],
)
@pytest.mark.parametrize("command", [OPEN, STAT_, LIST, UNLINK, RENAME])
def test_a_path_is_written_in_one_way_only(command: int, path: str) -> None:
    flags = READ if command == OPEN else 0
    second = "/d/y" if command == RENAME else ""
    request = Request(command, flags, 0, path.encode(), second.encode())
    assert errno.EINVAL == verdict(request, Table(rules_for("/log", ONE))).error
    if command == RENAME:
        request = Request(command, flags, 0, second.encode(), path.encode())
        assert errno.EINVAL == verdict(request, Table(rules_for("/log", ONE))).error


@pytest.mark.parametrize("path", [b"/", b"/a", b"/a/.b", b"/...", b"/a/b..", b"/\xff", b"/" + b"a" * 4094])
def test_other_paths_are_fine(path: bytes) -> None:
    assert is_normal(path)


@pytest.mark.parametrize("path", ["/", "/e", "/dd", "/d2/x", "/D/x", "/e/d/x"])
def test_a_rule_is_for_components_not_for_letters(path: str) -> None:
    assert "EACCES" == said(asked(ONE, STAT_, path))


def test_a_rule_for_the_root_is_for_everything() -> None:
    everything = (rule("/", "stat"),)
    assert (b".", b"x/y") == (asked(everything, STAT_, "/").rest, asked(everything, STAT_, "/x/y").rest)


@pytest.mark.parametrize("command", [12, 13, 255, 65535])
def test_an_unknown_command_is_refused(command: int) -> None:
    assert "EACCES" == said(asked(ONE, command, "/d/x"))


def test_execute_is_always_refused() -> None:
    for mode in (1, 3, 5, 7):
        assert "EACCES" == said(asked(ONE, ACCESS, "/d/x", argument=mode))


def test_a_rules_own_directory_can_be_looked_at_but_not_changed() -> None:
    for command in (STAT_, LIST, ACCESS):
        found = asked(ONE, command, "/d")
        assert ("allowed", b".") == (said(found), found.rest)
    for command in (MKDIR, UNLINK):
        assert "EACCES" == said(asked(ONE, command, "/d"))
    assert "EACCES" == said(asked(ONE, RENAME, "/d", "/d/x"))
    assert "EACCES" == said(asked(ONE, RENAME, "/d/x", "/d"))


def test_a_rule_for_one_file_is_for_that_name_alone() -> None:
    one = (rule("/d", "read", name="f"),)
    found = asked(one, OPEN, "/d/f", flags=READ)
    assert ("allowed", b"f") == (said(found), found.rest)
    for path in ("/d", "/d/g", "/d/f/x", "/d/ff"):
        assert "EACCES" == said(asked(one, OPEN, path, flags=READ))


def test_the_longest_rule_with_the_right_wins() -> None:
    several = (rule("/d", "read", "list"), rule("/d/e", "write", root="/elsewhere"), rule("/d/e/f", "stat"))
    assert b"x" == asked(several, OPEN, "/d/e/x", flags=WRITE).rest
    assert b"e/x" == asked(several, OPEN, "/d/e/x", flags=READ).rest
    assert b"f/x" == asked(several, OPEN, "/d/e/f/x", flags=WRITE).rest
    # what two rules mean by the name isn't the same file: their rights don't add up
    assert "EACCES" == said(asked(several, OPEN, "/d/e/x", flags=READ | WRITE))


def test_rights_on_the_same_file_add_up() -> None:
    several = (rule("/d", "read"), rule("/d/e", "write"))
    found = asked(several, OPEN, "/d/e/x", flags=READ | WRITE)
    assert ("allowed", b"x") == (said(found), found.rest)
    assert "EACCES" == said(asked(several, OPEN, "/d/x", flags=READ | WRITE))


HIDDEN = rules_for("/log", [rule("/d"), rule("/d/s/t"), rule("/d/s", "stat")], hidden=["/d/s", "/d/a/b"])


@pytest.mark.parametrize("path", ["/d/s", "/d/s/x", "/d/s/t", "/d/s/t/x", "/d/a/b", "/d/a/b/c/d"])
def test_what_is_hidden_is_refused(path: str) -> None:
    for command, flags in ((OPEN, READ), (STAT_, 0), (LIST, 0), (UNLINK, 0), (MKDIR, 0), (ACCESS, 0)):
        assert "EACCES" == said(asked(HIDDEN, command, path, flags=flags))
    assert "EACCES" == said(asked(HIDDEN, WATCH, path, argument=2))
    assert "EACCES" == said(asked(HIDDEN, RENAME, path, "/d/x"))
    assert "EACCES" == said(asked(HIDDEN, RENAME, "/d/x", path))


def test_what_lies_beside_the_hidden_is_not() -> None:
    for path in ("/d/ss", "/d/a/bb", "/d/a/c", "/d/b"):
        assert "allowed" == said(asked(HIDDEN, OPEN, path, flags=READ))


def test_the_way_to_the_hidden_can_be_looked_at_but_not_changed() -> None:
    assert "allowed" == said(asked(HIDDEN, STAT_, "/d/a"))
    assert "allowed" == said(asked(HIDDEN, LIST, "/d"))
    assert "EACCES" == said(asked(HIDDEN, UNLINK, "/d/a", flags=DIRECTORY))
    assert "EACCES" == said(asked(HIDDEN, MKDIR, "/d/a"))
    assert "EACCES" == said(asked(HIDDEN, OPEN, "/d/a", flags=WRITE | CREATE))
    assert "EACCES" == said(asked(HIDDEN, RENAME, "/d/a", "/d/x"))
    assert "EACCES" == said(asked(HIDDEN, RENAME, "/d/x", "/d/a"))


def test_hidden_paths_are_the_hosts() -> None:
    renamed = rules_for("/log", [rule("/in/box", root="/out/side")], hidden=["/out/side/s"])
    assert "EACCES" == said(asked(renamed, STAT_, "/in/box/s/x"))
    assert "allowed" == said(asked(renamed, STAT_, "/in/box/t"))


def test_no_link_is_followed_where_something_is_hidden() -> None:
    follows = rules_for("/log", [rule("/d", follow=True), rule("/e", follow=True)], hidden=["/d/s"])
    assert [False, True] == [place.follow for place in Table(follows).places]


def test_nothing_moves_out_of_a_rules_directory() -> None:
    two = (rule("/d"), rule("/e"))
    assert "EACCES" == said(asked(two, RENAME, "/d/x", "/e/x"))
    assert "EACCES" == said(asked(two, RENAME, "/d/x", "/f"))


def test_a_move_between_nested_rules_takes_the_outer_one() -> None:
    nested = (rule("/d", "rename", "read"), rule("/d/e", "rename"))
    found = asked(nested, RENAME, "/d/e/x", "/d/y")
    assert ("allowed", b"e/x", b"y") == (said(found), found.rest, found.other)


def test_nothing_moves_to_where_it_would_be_given_more() -> None:
    nested = (rule("/d", "rename", "read"), rule("/d/out", "write"), rule("/d", "append", name="log"))
    assert "EACCES" == said(asked(nested, RENAME, "/d/x", "/d/out/x"))
    assert "EACCES" == said(asked(nested, RENAME, "/d/x", "/d/log"))
    assert "allowed" == said(asked(nested, RENAME, "/d/out/x", "/d/x"))
    assert "allowed" == said(asked(nested, RENAME, "/d/x", "/d/y"))


def test_nothing_moves_that_another_rule_stands_on() -> None:
    nested = (rule("/d", "rename", "read", "write"), rule("/d/a/b", "read"), rule("/d/c", "read", name="f"))
    for path in ("/d/a", "/d/a/b", "/d/c"):
        assert "EACCES" == said(asked(nested, RENAME, path, "/d/x"))
        assert "EACCES" == said(asked(nested, RENAME, "/d/x", path))
    assert "allowed" == said(asked(nested, RENAME, "/d/x", "/d/c/f"))


def test_a_file_is_replaced_as_programs_save_them() -> None:
    saving = (rule("/d", "read", "write", "create", "rename"),)
    assert "allowed" == said(asked(saving, RENAME, "/d/settings.new", "/d/settings"))


def test_services_go_by_name() -> None:
    services = [Service(name="pulseaudio", path="/run/p", origin="p:1")]
    given = rules_for("/log", services=services)
    found = asked(given, CONNECT, "pulseaudio")
    assert ("allowed", services[0], "p:1") == (said(found), found.service, found.origin)
    for name in ("pulse", "pulseaudio2", "/run/p", "wayland"):
        assert "EACCES" == said(asked(given, CONNECT, name))


def test_presenting_is_judged_by_its_own_rules() -> None:
    given = rules_for("/log", outward=[Outward(kind="link", value="https", origin="p:2")])
    found = asked(given, PRESENT, "https://example.org/")
    assert ("allowed", "p:2", b"https://example.org/") == (said(found), found.origin, found.text)
    assert "EACCES" == said(asked(given, PRESENT, "http://example.org/"))
    assert "EACCES" == said(asked(ONE, PRESENT, "https://example.org/"))


def test_every_command_is_refused_without_rules() -> None:
    for command in protocol.COMMANDS:
        if command.number == HELLO:
            continue
        flags = READ if command.number == OPEN else 0
        argument = 2 if command.number == WATCH else 0
        second = "/e" if command.paths > 1 else ""
        assert "EACCES" == said(asked((), command.number, "/d", second, flags=flags, argument=argument))

"""Bytes → Layer, and --set → Layer."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxer.errors import PolicyError, UsageError
from sandboxer.policy.checks import check
from sandboxer.policy.keys import keys, tables, toml
from sandboxer.policy.layer import Layer, Setting
from sandboxer.policy.merge import merge
from sandboxer.policy.model import Policy
from sandboxer.policy.parse import SECTIONS, parse, parse_setting, problems
from sandboxer.words import Origin


def test_a_layer_holds_the_keys_that_are_there_and_their_lines() -> None:
    content = b"""\
summary = "x"   # 1

[files]
home = "private"
read = [
    "~/x",
    "?Downloads/y",
]
[environment.set]
A = "1"
B = ""
"""
    expected = Layer(
        file="apps/x.toml",
        settings=(
            Setting(key="summary", value="x", line=1),
            Setting(key="files.home", value="private", line=4),
            Setting(key="files.read", value=("~/x", "?Downloads/y"), line=5, lines=(6, 7)),
            Setting(key="environment.set", value={"A": "1", "B": ""}, line=9, lines=(10, 11)),
        ),
    )
    assert expected == parse(content, "apps/x.toml")


def test_an_origin_reads_as_file_line_and_key() -> None:
    layer = parse(b"[files]\nread = [\n'~/x']\n", "apps/x.toml")
    assert "apps/x.toml:3 files.read" == str(layer.origin(layer.settings[0], 0))
    assert "apps/x.toml:2 files.read" == str(layer.origin(layer.settings[0]))


def test_an_empty_file_is_a_policy() -> None:
    assert Layer(file="x", settings=()) == parse(b"", "x")


@pytest.mark.parametrize(
    "policy",
    [
        "files = { home = 'host', read = ['~/x'] }",
        "files.home = 'host'",
        "[syscalls]\nforeign = ['!i386', '!*', 'x32']",
        "[files]\nread = ['!*', '!?~/x', '~/x/', '~/.ssh/id_*', 'Music', 'Videos/a b', '/srv/[ab]/x', '~/ü']",
        "[files]\nhide = ['/proc/cpuinfo']",
        "[environment]\nkeep = ['LC_*', 'EDITOR', '!LC_*']\nset = { A = 'tabs\\tand\\nlines' }",
        "[environment]\nset.A = 'x'",
        "arguments = ['', '!', '?', '--', '..', 'a\\tb']",
        "command = ['firefox', '/opt/x y/firefox', 'a.out', '!*']",
        "[syscalls]\ndeny = ['@raw-io', 'clone3', '!@mount']\nallow = ['io_uring_setup']",
        "[devices]\ngpu = 'full'",
        "[display]\nwayland = 'if-present'\nx11 = false",
    ],
)
def test_what_is_right_is_taken(policy: str) -> None:
    assert () == problems(policy.encode(), "x")
    assert parse(policy.encode(), "x").settings


def test_a_set_argument_is_toml() -> None:
    layer = parse_setting('files.read=["~/x", "Music"]')
    assert (
        Layer(
            file="command line",
            settings=(Setting(key="files.read", value=("~/x", "Music"), line=0, lines=(0, 0)),),
        )
        == layer
    )
    assert "command line files.read" == str(layer.origin(layer.settings[0], 1))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("files.home=private", "private"),
        ('files.home="private"', "private"),
        ("display.wayland=if-present", "if-present"),
        ("display.wayland=true", True),
        ("summary=a b=c", "a b=c"),
        (" sound.record = false ", False),
        ("environment.set.A=1", {"A": "1"}),
        ("environment.set.A=true", {"A": "true"}),
        ("environment.set.A=", {"A": ""}),
        ("environment.set.A='x'", {"A": "x"}),
        ("environment.set.A=[x", {"A": "[x"}),
        ("environment.set.A=1\nB=2", {"A": "1\nB=2"}),
    ],
)
def test_a_bare_word_in_a_set_argument_is_text(argument: str, value: object) -> None:
    (setting,) = parse_setting(argument).settings
    assert value == setting.value


@pytest.mark.parametrize("argument", ["", "files.home", "=x", " = x"])
def test_a_set_argument_without_key_or_value_is_a_usage_error(argument: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_setting(argument)
    assert "network.access=host" in caught.value.hint


@pytest.mark.parametrize(
    ("argument", "subject", "hint"),
    [
        ("files.read=~/x", 'files.read = "~/x": expected a list', 'write files.read = ["~/x"]'),
        ("files.raed=[]", '[files] has no key "raed"', "write files.read"),
        ("files.read=[~/x]", "files.read=[~/x]", "--set 'files.read="),
        ("files.home=", "files.home=", "--set"),
        ("files.home='host'\nread = []", "files.home=", "once for each key"),
        ("files.read=['..']", '"..": a path begins with', "write"),
        ("files.home.x=1", "files.home", "write files.home"),
        (".=1", 'a policy has no table ""', "known here"),
    ],
)
def test_a_wrong_set_argument_is_told_as_in_a_file(argument: str, subject: str, hint: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_setting(argument)
    assert subject in caught.value.subject
    assert hint in caught.value.hint
    assert caught.value.origin is not None
    assert Origin("command line", 0, caught.value.origin.key) == caught.value.origin


WORDS = st.sampled_from(["host", "read", "~/x", "i386", "if-present"])
JUNK = st.recursive(
    st.one_of(st.booleans(), st.integers(-1, 2), st.text("!?*~/.@a=", max_size=4), WORDS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["home", "read", "A"]), inner, max_size=2),
    ),
    max_leaves=4,
)
NAMES = st.sampled_from([*keys(), *(table.name for table in tables() if table.name), "files.raed", "other"])


@given(st.dictionaries(NAMES, JUNK, max_size=4))
def test_whatever_the_model_refuses_has_a_message_and_nothing_else_has(values: dict[str, Any]) -> None:
    tree: dict[str, Any] = {}
    for name, value in values.items():
        table, _, key = name.rpartition(".")
        place = tree.setdefault(table, {}) if table else tree
        if isinstance(place, dict):
            place[key] = value
    text = "".join(f"{toml(key)} = {toml(value)}\n" for key, value in tree.items())
    found = problems(text.encode(), "x")
    assert all(problem.origin is not None and problem.origin.line for problem in found)
    if found:
        with pytest.raises(PolicyError) as caught:
            parse(text.encode(), "x")
        assert str(caught.value) == str(found[0])
    else:
        assert {setting.key for setting in parse(text.encode(), "x").settings} <= set(keys())


def test_the_model_has_tables_of_one_level_and_every_key_a_description() -> None:
    assert SECTIONS == {table.name for table in tables()} - {""}
    assert all(key.description for key in keys().values())
    assert all(table.description for table in tables())


def test_defaults_of_the_reference_are_those_of_the_model() -> None:
    text = "\n".join(f"{key.name} = {key.default}" for key in keys().values())
    layer = parse(text.encode(), "x")
    assert set(keys()) == {setting.key for setting in layer.settings}
    merged = merge("x", [layer], sets={}, found=True)
    assert Policy() == merged.policy


def test_a_right_policy_imports_nothing_that_only_errors_need() -> None:
    program = (
        "import sys; from sandboxer.policy.parse import parse; parse(b'[files]\\nread=[\"~/x\"]', 'x');"
        "slow = {'difflib', 'dataclasses', 'json', 'pathlib', 'argparse', 'hashlib', 'subprocess', 'tempfile',"
        " 'logging', 'glob', 'sandboxer.policy.keys', 'sandboxer.policy.diagnosis'};"
        "print(*sorted(slow & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-S", "-c", program_path() + program], capture_output=True, text=True, check=True
    )
    assert "" == output.stdout.strip()


def program_path() -> str:
    """-S keeps site's own imports out; what it would have put on the path is put there by hand."""
    return f"import sys; sys.path[:] = {sys.path!r};"


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("../x", 'write where it is from the home or from the root: "~/name" or "/name"'),
        ("./x", 'write "~/x"; XDG names'),
        ("Docs", 'write "Documents", or "~/Docs"'),
        ("Pics/2025", 'write "Pictures/2025", or "~/Pics/2025"'),
        ("downloads", 'write "Downloads"'),
    ],
)
def test_what_a_hint_says_to_write_is_right_itself(written: str, hint: str) -> None:
    complaint = check("files.read", written)
    assert complaint is not None
    assert complaint.hint.startswith(hint)
    for suggested in complaint.hint.split('"')[1::2]:
        assert check("files.read", suggested) is None

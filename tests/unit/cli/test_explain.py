"""`sandbox explain`: the account on machines as they come."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import machines
import pytest
from fakes import FakeHost

from sandboxer.cli import explain
from sandboxer.cli.check import check
from sandboxer.cli.check import facts as check_facts
from sandboxer.cli.lint import Finding
from sandboxer.cli.list import entries
from sandboxer.cli.list import facts as list_facts
from sandboxer.cli.output import plain
from sandboxer.cli.request import Request
from sandboxer.cli.sources import layer_sources
from sandboxer.errors import PolicyError, UsageError
from sandboxer.host.view import Host

TREE = Path(__file__).resolve().parents[3]


def request(policy: str, *settings: str) -> Request:
    return Request(words=("app", policy), rest=(), policy=policy, settings=settings)


def page(host: Host, policy: str, *settings: str) -> str:
    return plain(explain.explained(request(policy, *settings), host)[0])


def test_without_a_display_the_rest_is_told_and_what_is_missing() -> None:
    blocks, values = explain.explained(request("firefox"), machines.machine())
    text = plain(blocks)
    assert "It can't be started here as things are:" in text
    assert "try: start it in a graphical session, or set DISPLAY" in text
    assert "can connect to whatever you can" in text
    assert "can read and change Downloads" in text
    errors = values["errors"]
    assert isinstance(errors, list)
    assert ["display.x11"] == [error["origin"]["key"] for error in errors]


def test_everything_that_is_missing_is_told_at_once() -> None:
    text = page(machines.machine(), "firefox", 'files.read=["~/absent"]', "sound.playback=true")
    assert "there is no display" in text
    assert "/home/ann/absent: nothing there" in text
    assert "cannot share the sound server's socket" in text


def test_what_can_not_be_started_keeps_its_hidden_paths_and_its_program() -> None:
    policy = 'extends = ["gui"]\nsummary = "PDF viewer"\n[files]\nhome = "private"\nread = ["Documents"]\n'
    policy += 'hide = ["~/Documents/taxes"]\n'
    tree = {
        "/home/ann/.config/sandboxer/apps/mupdf.toml": policy,
        "/home/ann/Documents/taxes/2025.pdf": "",
        "/usr/bin/mupdf": "",
    }
    text = page(machines.machine(tree), "mupdf")
    assert "there is no display" in text
    assert "~/Documents/taxes is covered" in text
    assert "starts: /usr/bin/mupdf" in text
    assert "can read Documents" in text


def test_what_can_not_be_granted_is_left_out_and_nothing_else() -> None:
    host = machines.x11()
    text = page(host, "foo", 'files.read=["~/absent", "~/Downloads"]', 'files.hide=["~/gone"]')
    assert "/home/ann/absent: nothing there" in text
    assert "/home/ann/gone: nothing there" in text
    assert "can read ~/Downloads" in text
    assert "can read ~/absent" not in text


def test_a_grant_of_a_secret_is_told_among_the_holes() -> None:
    text = page(machines.x11(), "foo", 'files.read=["~/.ssh"]')
    assert "Holes: none" not in text
    assert text.index("keys to other machines") < text.index("Files")


def test_a_system_call_that_does_not_exist_is_an_error_of_every_page() -> None:
    with pytest.raises(PolicyError, match="system call that doesn't exist"):
        page(machines.x11(), "foo", 'syscalls.deny=["ptracee"]')


def test_a_misspelt_name_is_led_to_the_policy_that_was_meant() -> None:
    assert "Did you mean firefox?" in page(machines.x11(), "firefx")
    assert "Did you mean" not in page(machines.x11(), "foo")


def test_a_desktop_directory_that_is_missing_is_told_with_what_follows() -> None:
    host = machines.x11()
    del host.tree["/home/ann/Downloads"]
    assert "Downloads isn't there, so what is saved there stays in its own home" in page(host, "firefox")
    assert "Downloads isn't there" not in page(machines.x11(), "firefox")


def test_a_program_that_is_not_installed_takes_nothing_from_the_account() -> None:
    host = machines.x11()
    del host.tree["/usr/bin/firefox-esr"]
    blocks, values = explain.explained(request("firefox"), host)
    assert "firefox isn't installed" in plain(blocks)
    assert [] == values["errors"]


def test_the_program_that_is_started_is_named() -> None:
    assert "starts: /usr/bin/firefox-esr\n" in page(machines.x11(), "firefox")


def test_a_set_can_be_explained_by_its_name() -> None:
    text = page(machines.machine(), "strict")
    assert text.startswith("strict: No network, no display, a throw-away home\n")
    assert "isn't installed" not in text


def test_a_setting_is_explained_as_if_it_were_set() -> None:
    text = page(machines.x11(), "firefox", "network.access=none")
    assert "has a network of its own with nothing in it  [command line network.access]" in text


def test_an_unknown_set_or_group_is_an_error_and_no_account() -> None:
    with pytest.raises(PolicyError, match="extends a set that doesn't exist"):
        page(machines.x11(), "firefox", 'extends=["guy"]')
    with pytest.raises(PolicyError, match="group of system calls that doesn't exist"):
        page(machines.x11(), "firefox", 'syscalls.deny=["@mounts"]')


@pytest.mark.parametrize("session", [machines.x11, machines.wayland, machines.machine])
def test_json_holds_what_the_page_says(session: type[FakeHost]) -> None:
    blocks, values = explain.explained(request("firefox"), session())
    text = plain(blocks)
    read = json.loads(json.dumps(values))
    assert read["grants"]
    for grant in read["grants"]:
        words = grant["words"].removeprefix("can read ")
        assert words in text
        assert grant["detail"] in text
    for item in read["withheld"]:
        assert item["words"] in text


def test_the_filter_is_explained_from_the_program_alone() -> None:
    blocks, values = explain.filtered(request("firefox"), machines.x11())
    assert "@mount: Change what is mounted" in plain(blocks)
    assert {"instructions", "abis"} == set(values)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "cannot tell what to explain"),
        (["foo", "--policy", "bar"], "there can be only one policy"),
        (["foo", "--plan", "--syscalls"], "cannot understand the command line"),
        (["foo", "--jsn"], "cannot understand the command line"),
        (["./foo"], "an application goes by its name"),
        (["foo", "--set", "x"], "cannot understand --set"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused_in_words(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        explain.main(words)


@pytest.mark.parametrize(
    "words",
    [
        ["explain", "firefox"],
        ["explain", "strict", "--syscalls"],
        ["explain", "firefox", "--json"],
        ["list"],
        ["check"],
    ],
)
def test_looking_leaves_nothing_behind(words: list[str], tmp_path: Path) -> None:
    home, runtime = tmp_path / "home", tmp_path / "runtime"
    home.mkdir()
    runtime.mkdir(mode=0o700)
    environment = {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(runtime),
        "PATH": os.defpath,
        "PYTHONPATH": str(TREE),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "sandboxer.cli.main", *words],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout
    assert [] == [*home.iterdir(), *runtime.iterdir()]
    assert {"home", "runtime"} == {path.name for path in tmp_path.iterdir()}


README = (TREE / "sandboxer" / "cli" / "README.md").read_text(encoding="utf-8")


def keys_of(value: object) -> set[str]:
    """Every key of nested JSON values."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


def test_every_key_of_the_json_is_documented() -> None:
    host = machines.x11()
    sources = layer_sources(host)
    values = [
        explain.explained(request("firefox", 'files.read=["~/absent"]'), host)[1],
        explain.filtered(request("firefox"), host)[1],
        check_facts(
            sources, [*check(sources, host), Finding(level="error", file="a", line=1, key="b", what="c")]
        ),
        {"applications": [list_facts(entry) for entry in entries(host)]},
    ]
    assert set() == {
        key
        for key in keys_of(json.loads(json.dumps(values)))
        if f"`{key}`" not in README and f'"{key}"' not in README
    }

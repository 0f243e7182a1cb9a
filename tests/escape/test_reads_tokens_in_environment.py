"""Attack: tokens, passwords and agents' sockets in the caller's environment."""

from __future__ import annotations

import os

import pytest
from escape.conftest import Attack
from escape.kernel import Kernel, nothing_there

SECRET = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "DBUS_SESSION_BUS_ADDRESS",
    "GITHUB_TOKEN",
    "GPG_AGENT_INFO",
    "HISTFILE",
    "LD_PRELOAD",
    "MY_OWN_PASSWORD",
    "OPENAI_API_KEY",
    "PGPASSWORD",
    "SSH_AGENT_PID",
    "SSH_AUTH_SOCK",
    "SSH_CONNECTION",
    "SUDO_USER",
    "SWAYSOCK",
    "XDG_SESSION_ID",
)
GUI = ['extends=["gui"]', "display.x11=false", "display.wayland=false"]


def read(_kernel: Kernel, *names: str) -> str:
    """Those of the variables that are there."""
    values = {name: os.environ.get(name, "") for name in names}
    if not (found := [name for name, value in values.items() if value not in ("", "disabled:")]):
        raise nothing_there()
    return " ".join(found)


def find(_kernel: Kernel) -> str:
    """Anywhere in the memory that /proc shows of any process."""
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/environ", "rb") as file:
                if b"hunter" + b"2" in file.read():
                    return process
        except OSError:
            continue
    raise nothing_there()


@pytest.mark.parametrize("settings", [[], GUI], ids=["strict", "gui"])
def test_no_secret_variable_gets_in(attack: Attack, settings: list[str]) -> None:
    env = dict.fromkeys(SECRET, "/nowhere/hunter2")
    attack(read, *SECRET, refused="ENOENT", settings=settings, env=env)


def test_no_process_shows_it(attack: Attack) -> None:
    attack(find, refused="ENOENT", env={"GITHUB_TOKEN": "hunter2"})


@pytest.mark.parametrize("pattern", ["*", "GITHUB_*", "AWS_*"])
def test_a_pattern_does_not_let_it_in(attack: Attack, pattern: str) -> None:
    """A policy that keeps many variables at once: either it is refused, or secrets don't fall under it."""
    name = {"*": "GITHUB_TOKEN", "GITHUB_*": "GITHUB_TOKEN", "AWS_*": "AWS_SESSION_TOKEN"}[pattern]
    refused = ("ENOENT", "exit status 125")
    attack(read, name, refused=refused, settings=[f'environment.keep=["{pattern}"]'], env={name: "hunter2"})

"""Attack: run a set-uid program of root's, which outside starts with all of root's rights."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time

import pytest
from escape.conftest import Attack
from escape.kernel import Kernel, nothing_there


def run_as_root(_kernel: Kernel, program: str, option: str) -> None:
    """Start it where its output is stuck in a full pipe, so that it stands still, and look whose rights it has."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, bytes(4096))
    if not (child := os.fork()):
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.execv(program, [program, option])
    for _ in range(200):
        time.sleep(0.01)
        with open(f"/proc/{child}/status", encoding="ascii") as file:
            status = file.read()
        name = re.findall(r"^Name:\s*(.*)$", status, re.MULTILINE)[0]
        if program.endswith(f"/{name}") and "\nState:\tR" not in status:
            break
    effective = re.findall(r"^Uid:\s+\d+\s+(\d+)", status, re.MULTILINE)[0]
    os.close(reading)
    os.kill(child, 9)
    os.waitpid(child, 0)
    if effective != "0":
        raise nothing_there(errno.EPERM)


def find_mount_with_set_uid(_kernel: Kernel) -> str:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            place, options = line.split()[4:6]
            if "nosuid" not in options.split(","):
                return place
    raise nothing_there()


def gain(_kernel: Kernel) -> None:
    """Whether a program could gain any privilege at all by being executed."""
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.split(":", 1) for line in file)
    if status["NoNewPrivs"].strip() == "1" and int(status["CapBnd"], 16) == 0:
        raise nothing_there(errno.EPERM)


@pytest.mark.parametrize("name", ["su", "mount", "umount"])
def test_a_set_uid_program_stays_the_users(attack: Attack, name: str) -> None:
    attack(run_as_root, f"/usr/bin/{name}", "--version", refused="EPERM")


def test_no_mount_honours_set_uid(attack: Attack) -> None:
    attack(find_mount_with_set_uid, refused="ENOENT")
    attack(find_mount_with_set_uid, refused="ENOENT", settings=['files.home="host"', "advanced.nested=true"])


@pytest.mark.parametrize("settings", [[], ["advanced.nested=true"], ['network.access="host"']])
def test_nothing_can_be_gained(attack: Attack, settings: list[str]) -> None:
    attack(gain, refused="EPERM", settings=settings)

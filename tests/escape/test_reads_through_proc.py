"""Attack: through the entries of other processes in /proc, which lead to their files and memory, past all paths."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from escape.conftest import Attack, Bystander
from escape.kernel import Kernel, nothing_there

DIARY = "a file that no policy grants"


def look_everywhere(_kernel: Kernel, way: str) -> str:
    """Follow `way` in the entry of each process that there is; the loot is the process where it led to the diary."""
    for process in filter(str.isdecimal, os.listdir("/proc")):
        path = f"/proc/{process}/{way}"
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                continue
            with open(path, encoding="utf-8", errors="replace") as file:
                if DIARY in file.read():
                    return process
        except OSError:
            continue
    raise nothing_there()


def read_named(_kernel: Kernel, path: str) -> bytes:
    return os.read(os.open(path, os.O_RDONLY), 100)


def search_variables(_kernel: Kernel, name: str, start: str, *_: str) -> str:
    """Whether any process' environment or command line has a text; it comes in two parts, not to find ourselves."""
    end = "-cret"
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/{name}", "rb") as file:
                if (start + end).encode() in file.read():
                    return process
        except OSError:
            continue
    raise nothing_there(errno.ENODATA)


def test_no_working_directory_leads_out(attack: Attack, bystander: Bystander) -> None:
    attack(look_everywhere, "cwd/diary.txt", refused="ENOENT")


def test_no_root_leads_out(attack: Attack, bystander: Bystander, home: Path) -> None:
    attack(look_everywhere, f"root{home}/Documents/diary.txt", refused="ENOENT")


def test_no_descriptor_leads_out(attack: Attack, bystander: Bystander) -> None:
    attack(look_everywhere, f"fd/{bystander.descriptor}", refused="ENOENT")


def test_the_root_of_the_first_process_is_closed(attack: Attack, bystander: Bystander, home: Path) -> None:
    """Inside it is the box's first process, which isn't dumpable, so that the same user may not follow its links."""
    diary = f"root{home}/Documents/diary.txt"
    outside, inside = f"/proc/{bystander.pid}/{diary}", f"/proc/1/{diary}"
    attack(read_named, outside, instead={outside: inside}, refused="EACCES")


def test_no_environment_in_proc_has_the_sessions_variables(attack: Attack, bystander: Bystander) -> None:
    attack(search_variables, "environ", "the-se", env={"SESSION_SECRET": "the-se-cret"}, refused="ENODATA")


def test_no_command_line_in_proc_has_the_launchers_words(attack: Attack, home: Path) -> None:
    """The launcher's own words name policies and paths; outside, the test's stand-in for it has them as a word."""
    policy = home / "the-se-cret.toml"
    policy.write_text('extends = ["strict"]\n')
    attack(
        search_variables,
        "cmdline",
        "the-se",
        "the-se-cret",
        instead={"the-se-cret": "x"},
        policy=policy,
        refused="ENODATA",
    )

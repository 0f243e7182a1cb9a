"""The report that ./run prints: a program that asks the kernel what its box is like."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import Box, need_user_namespaces

from sandboxer import report

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
PLACE = "/sys/kernel"
"""Exists outside, can be read there, and is no box's business."""


def words() -> list[str]:
    """The arguments that ./run gives: what the world outside looks like."""
    links = [os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES]
    return [*(f"--outside={link}" for link in links), "--home=.ssh", f"--place={PLACE}"]


def test_the_strict_box_is_as_it_should_be(box: Box) -> None:
    package = os.path.dirname(os.path.dirname(report.__file__))
    places = ", ".join(f'"{place}"' for place in {sys.prefix, package})
    done = box(
        f"{sys.prefix}/bin/python",
        "-m",
        "sandboxer.report",
        *words(),
        policy="strict",
        settings=[f"files.read=[{places}]"],
    )
    assert "NOT CONTAINED" not in done.stdout
    assert 0 == done.returncode, done.stderr
    assert "of the home outside, not here: .ssh" in done.stdout
    assert f"ok  {PLACE} is not here" in done.stdout
    assert "/.cover is an empty directory and file" in done.stdout


def test_outside_a_box_the_report_says_that_nothing_is_contained() -> None:
    need_user_namespaces()
    done = subprocess.run(
        [sys.executable, "-m", "sandboxer.report", *words()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 1 == done.returncode, done.stderr
    findings = ["files: ", "make a user namespace: IT WORKED", f"{PLACE} can be read"]
    if "\nSeccomp:\t0\n" in Path("/proc/self/status").read_text():  # A container may have a filter of its own.
        findings.append("system calls are not filtered")
    for finding in findings:
        assert any(
            finding in line for line in done.stdout.splitlines() if "NOT CONTAINED" in line
        ), f"{finding}\n{done.stdout}"

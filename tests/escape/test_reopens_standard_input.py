"""
Attack: open a descriptor that was handed over for reading again, for writing, through its name in /proc.

A program of `sandbox exec` has no file of the caller's at all, but a pipe that nobody else has: tests/box/test_exec.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from escape.conftest import Attack
from escape.kernel import Kernel

FOLLOW = 0x400
NESTED = ["advanced.nested=true"]


@pytest.fixture
def start_up_file(home: Path) -> Iterator[int]:
    file = home / ".profile"
    file.write_text("# what the shell runs\n")
    descriptor = os.open(file, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def write_input(_kernel: Kernel) -> None:
    os.write(os.open("/proc/self/fd/0", os.O_WRONLY), b"# attacked\n")


def truncate_input(_kernel: Kernel) -> None:
    os.truncate("/proc/self/fd/0", 0)


def link_input(kernel: Kernel, directory: str) -> None:
    """A second name, in a directory that is granted for writing, under which the file can be opened."""
    name = f"{directory}/{os.getpid()}"
    kernel.call("linkat", -100, b"/proc/self/fd/0", -100, name.encode(), FOLLOW)


@pytest.mark.parametrize("settings", [[], NESTED], ids=["plain", "nested"])
def test_a_file_to_read_cannot_be_written(attack: Attack, start_up_file: int, settings: list[str]) -> None:
    attack(write_input, refused="EACCES", stdin=start_up_file, settings=settings, by_exec=False)


@pytest.mark.parametrize("settings", [[], NESTED], ids=["plain", "nested"])
def test_a_file_to_read_cannot_be_cut(attack: Attack, start_up_file: int, settings: list[str]) -> None:
    attack(truncate_input, refused="EACCES", stdin=start_up_file, settings=settings, by_exec=False)


def test_a_file_to_read_cannot_be_linked_to_where_it_can_be_written(
    attack: Attack, start_up_file: int, home: Path
) -> None:
    settings = ['files.write=["~/shared"]']
    attack(link_input, home / "shared", refused=("EXDEV", "EACCES"), stdin=start_up_file, settings=settings)

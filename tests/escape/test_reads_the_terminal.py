"""
Attack: read what the user types at the shell, while the application runs in the background.

A process that has left the terminal's session (setsid) is no longer stopped by SIGTTIN when it reads a descriptor of
the terminal that it still has. With `terminal.access = "full"` that works, as it does without a box; with "output",
which every policy with windows has, nothing that can be read leads to the terminal.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import need_user_namespaces

TYPED = b"password-for-sudo\n"
ATTACK = """
import os, select, sys
if os.fork():
    os.wait()
    os._exit(0)
os.setsid()
found = []
for name in ("/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "/dev/tty", "/dev/console"):
    try:
        found.append(os.open(name, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        pass
terminals = [fd for fd in (0, 1, 2, *found) if os.isatty(fd)]
os.write(1, b"waiting\\n")
got = b""
for _ in range(20):
    for fd in select.select(terminals, [], [], 0.1)[0][:1]:
        try:
            got += os.read(fd, 100)
        except OSError:
            pass
os.write(1, b"stolen: " + got.strip() + b".\\n")
"""


def on_terminal(words: Sequence[str | Path], env: dict[str, str]) -> bytes:
    """All that the words write to a terminal of their own, on which TYPED is typed once they wait."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [str(word) for word in words],
        env=env,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    written, deadline, typed = b"", time.monotonic() + 20, False
    while b"stolen: " not in written or not written.endswith(b"\n"):
        assert time.monotonic() < deadline, written
        if master in select.select([master], [], [], 0.1)[0]:
            written += os.read(master, 1000)
        if b"waiting" in written and not typed:
            os.write(master, TYPED)
            typed = True
    process.wait(timeout=10)
    os.close(master)
    return written


@pytest.mark.parametrize(
    ("settings", "stolen"),
    [(None, True), (("terminal.access='full'",), True), (("terminal.access='output'",), False)],
    ids=["outside", "full", "output"],
)
def test_what_is_typed_at_the_shell_is_not_for_the_application(
    settings: tuple[str, ...] | None, stolen: bool, sandbox_program: Path, session: dict[str, str]
) -> None:
    need_user_namespaces()
    words: list[str | Path] = ["/usr/bin/python3", "-c", ATTACK]
    if settings is not None:
        options = [word for setting in settings for word in ("--set", setting)]
        words = [sandbox_program, "run", *options, "--", *words]
    written = on_terminal(words, session)
    assert stolen is (b"stolen: " + TYPED.strip() in written), written
    assert (b"stolen: ." in written) is not stolen, written


def test_the_application_still_writes_to_the_terminal(sandbox_program: Path, session: dict[str, str]) -> None:
    need_user_namespaces()
    words: list[str | Path] = [
        sandbox_program,
        "run",
        "--set",
        "terminal.access='output'",
        "--",
        "sh",
        "-c",
    ]
    script = "echo to-stdout; echo again >/dev/stdout; echo to-stderr >&2; echo stolen: nothing"
    written = on_terminal([*words, script], session)
    for line in (b"to-stdout", b"again", b"to-stderr"):
        assert line in written

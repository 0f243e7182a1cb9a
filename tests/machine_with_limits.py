"""
A virtual machine for tests: Linux in user mode, an ordinary user's process like any other, with the root of the machine
that the tests run on (read-only), so that nothing is installed or downloaded for it. It boots in two seconds.

What it has and the tests' machine may not: all cgroup controllers, delegated to a real `systemd --user`; sysctls of its
own. What it doesn't have: a second processor, Landlock, a network but loopback, a screen.

`boot(directory, words, …)` runs one program in it as the user, from boot to power-off. Paths are the same inside, but
/tmp, /run and /dev/shm are empty there; `directory` is /run/shared inside, and is how files come out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from conftest import BESIDE_PYTHON, PROGRAMS, missing, need
from servers import end

MEMORY_BYTES = 768 << 20
HOME = "/tmp/home"  # in the machine, whose /tmp is its own
SHARED = Path("/run/shared")
"""Where the directory that is given to `boot` is inside."""


def boot(
    directory: Path,
    words: Sequence[str | Path],
    *,
    sysctls: Mapping[str, str] | None = None,
    timeout_s: float = 90.0,
) -> subprocess.CompletedProcess[str]:
    """
    What a program says in a machine of its own, and its status; the test fails when the machine doesn't get that far.

    `sysctls` are set before the user's manager starts. `directory` must be empty; the machine may write into it.
    """
    if os.getuid() == 0:
        missing("an ordinary user: the sandbox refuses to run as root")
    if not shutil.which("linux.uml"):
        missing("virtual-machine: linux.uml of Debian's package user-mode-linux")
    need("systemctl")
    user = os.getuid()
    told = [str(word) for word in words]
    task = {
        "user": user,
        "group": os.getgid(),
        "words": told,
        "sysctls": dict(sysctls or {}),
        "environment": {
            "HOME": HOME,
            "USER": os.environ.get("USER", str(user)),
            "LOGNAME": os.environ.get("LOGNAME", str(user)),
            "SHELL": "/bin/sh",
            "PATH": f"{BESIDE_PYTHON}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "XDG_RUNTIME_DIR": f"/run/user/{user}",
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{user}/bus",
        },
    }
    (directory / "task.json").write_text(json.dumps(task))
    with tempfile.TemporaryDirectory(prefix="machine-") as own:
        # The kernel hands what follows -- to its first process; none of these words has a blank in it.
        first = [
            os.path.realpath("/usr/bin/python3"),
            "-I",
            "-S",
            str(PROGRAMS / "machine.py"),
            str(directory),
        ]
        machine = [
            "linux.uml",
            f"mem={MEMORY_BYTES >> 20}M",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            "quiet",
        ]
        machine += ["con=null", "con0=null,fd:1", "ssl=null", f"uml_dir={own}/", "umid=machine"]
        machine += [f"init={first[0]}", "--", *first[1:]]
        console = Path(own) / "console"
        status = _run(
            machine, console, {"TMPDIR": _memory_place(), "HOME": own, "PATH": "/usr/bin:/bin"}, timeout_s
        )
        said = {name: _text(directory / name) for name in ("out", "err", "status", "manager")}
        if not said["status"]:
            shown = "\n".join((_text(console)[-3000:], said["manager"][-2000:], said["out"], said["err"]))
            pytest.fail(f"the machine ended without a result ({status}):\n{shown}", pytrace=False)
    return subprocess.CompletedProcess(told, int(said["status"]), said["out"], said["err"])


def _run(words: Sequence[str], console: Path, env: Mapping[str, str], timeout_s: float) -> str:
    with console.open("wb") as out:
        guard = [need("setpriv"), "--pdeathsig", "KILL", "--"]
        process = subprocess.Popen(
            [*guard, *words],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            return f"status {process.wait(timeout_s)}"
        except subprocess.TimeoutExpired:
            return f"killed after {timeout_s} s"
        finally:
            end(process)


def _memory_place() -> str:
    """Where the machine's memory lies as a file: in memory, if that has room; pages on a disk are written out."""
    try:
        free = os.statvfs("/dev/shm")
    except FileNotFoundError:
        return tempfile.gettempdir()
    fits = free.f_bavail * free.f_frsize > MEMORY_BYTES and not free.f_flag & os.ST_NOEXEC
    return "/dev/shm" if fits else tempfile.gettempdir()


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""

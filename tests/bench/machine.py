"""
What the benchmark knows of the machine: its programs, its processes and what they hold, and how to say all that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SANDBOX = Path(sys.executable).parent / "sandbox"
PACKAGES = {"hyperfine": "hyperfine", "bwrap": "bubblewrap", "firejail": "firejail", "gcc": "gcc libc6-dev"}
"""Programs that are needed → Debian's packages that have them."""


def stop(why: str) -> SystemExit:
    return SystemExit(f"tests/bench/run: {why}")


def program(name: str) -> str:
    """The path of a program that must be there."""
    found = shutil.which(name)
    if found is None:
        raise stop(f"{name} isn't installed (apt install {PACKAGES[name]})")
    return found


def built(name: str, directory: Path) -> str:
    """A C program of this directory, compiled statically."""
    headers = HERE.parents[1] / "launchers" / "client"
    path = directory / name
    subprocess.run(
        [program("gcc"), "-O2", "-static", f"-I{headers}", "-o", path, HERE / f"{name}.c"], check=True
    )
    return str(path)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kilobytes(path: str, field: str) -> int | None:
    """A line "FIELD:  N kB" of a file in /proc; None where the file may not be read."""
    try:
        lines = Path(path).read_text().splitlines()
    except PermissionError:
        return None
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def machine() -> str:
    """One line on where this was measured."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )
    versions = [
        subprocess.run([name, "--version"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
        for name in ("bwrap", "firejail", "hyperfine")
    ]
    parts = [
        f"{os.cpu_count()} processors: {models[0].split(':')[1].strip() if models else 'unknown processor'}",
        f"Linux {os.uname().release}",
        release.get("PRETTY_NAME", "").strip('"'),
        f"Python {sys.version.split()[0]}",
        *versions,
        f"load {os.getloadavg()[0]:.1f}",
    ]
    return ", ".join(parts)

"""
Units of the user manager: whether one can be started, and what has to be done first.

What comes in: names of units, systemctl's answer. What goes out: records, and the line that starts a unit. Nothing
where no manager answers; nothing is started or changed.

Source: systemctl(1), org.freedesktop.systemd1(5), "Properties".
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

COMMAND = (
    "systemctl",
    "--user",
    "--no-pager",
    "show",
    "--property=Id,LoadState,UnitFileState,ActiveState",
    "--",
)
TIME_S = 3.0
States = dict[str, dict[str, str]]
"""Of each unit's name: its properties."""


def states(names: Sequence[str]) -> States:
    """What the manager says of them."""
    try:
        done = subprocess.run(
            [*COMMAND, *names], stdin=subprocess.DEVNULL, capture_output=True, timeout=TIME_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return read(done.stdout.decode(errors="replace"))


def read(answer: str) -> States:
    """systemctl's answer: units are divided by an empty line."""
    units = [
        dict(line.split("=", 1) for line in unit.splitlines() if "=" in line) for unit in answer.split("\n\n")
    ]
    return {unit["Id"]: unit for unit in units if "Id" in unit}


def starting(units: States) -> str:
    """How the first that can be started is started, masked ones last; "" where there is none."""
    for name, unit in units.items():
        if unit.get("LoadState") == "loaded":
            return f"systemctl --user {'restart' if unit.get('ActiveState') == 'active' else 'start'} {name}"
    for name, unit in units.items():
        if unit.get("LoadState") == "masked":
            runtime = "--runtime " if unit.get("UnitFileState") == "masked-runtime" else ""
            return f"systemctl --user unmask {runtime}{name} && systemctl --user start {name}"
    return ""

"""
Limits are held where the controllers are real: boxes in a virtual machine, under a real user manager.

One boot measures everything (tests/programs/session_under_load.py); each test here looks at its part of the figures,
which are printed: `pytest -rP` shows them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import PROGRAMS
from machine_with_limits import boot

pytestmark = pytest.mark.timeout(150)
MIB = 1 << 20
LIMIT_MIB, TASKS, CPU_SHARE = 80, 48, 0.25
"""As session_under_load.py sets them."""
SCOPE = re.compile(r"^/user\.slice/.*/app\.slice/app-sandboxer-strict-[0-9a-f]+\.scope$")
Figures = dict[str, Any]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    """What the session under load has measured, by what was limited."""
    done = boot(
        tmp_path_factory.mktemp("machine"), ["/usr/bin/python3", "-I", PROGRAMS / "session_under_load.py"]
    )
    assert 0 == done.returncode, done.stderr
    found: Figures = json.loads(done.stdout)
    return found


def shown(figures: Figures, name: str) -> Figures:
    """The figures of one measurement, which are printed, too."""
    part: Figures = figures[name]
    print(name, json.dumps(part, indent=1, sort_keys=True))
    assert "failed" not in part, part
    return part


@pytest.mark.parametrize("start", ["place", "place again"])
def test_a_box_is_in_its_scope_before_its_first_instruction(figures: Figures, start: str) -> None:
    part = shown(figures, start)
    assert SCOPE.match(part["scope"]), part["scope"]
    assert "sh" in part["processes"]
    # The cgroup that a box starts in is the root of those that it sees. So it was in that one from the first act to
    # the last, and outside it was seen to be the scope.
    assert ("0::/", "0::/") == (part["first"], part["last"])
    assert part["gone"]


def test_a_memory_hog_is_killed_and_the_session_and_the_rest_of_the_box_go_on(figures: Figures) -> None:
    part = shown(figures, "memory")
    assert (str(LIMIT_MIB * MIB), "0") == (part["max"], part["swap"])
    assert 1 == part["killed"]
    assert LIMIT_MIB / 2 < part["reached MiB"] <= LIMIT_MIB
    assert LIMIT_MIB / 2 < part["most used"] / MIB <= LIMIT_MIB
    assert "hog 137" == part["end"]
    assert (["the box goes on"], 0) == (part["out"], part["status"])
    assert "running" == part["manager"]
    assert part["latency"]["middle"] < 200
    assert part["gone"]


def test_a_fork_bomb_is_refused_tasks_and_the_session_goes_on(figures: Figures) -> None:
    part = shown(figures, "tasks")
    assert str(TASKS) == part["max"]
    assert TASKS / 2 < int(part["now"]) <= TASKS
    assert ["Resource temporarily unavailable"] == part["out"]
    assert "running" == part["manager"]
    # one processor is shared with the bomb's tasks, which spin: a command outside still runs at once for a person
    assert part["during"]["middle"] < max(10 * part["before"]["middle"], 500)
    assert part["gone"]


def test_the_control_group_alone_refuses_a_fork_bomb_tasks(figures: Figures) -> None:
    part = shown(figures, "tasks_of_the_group")
    assert str(TASKS) == part["max"]
    assert TASKS / 2 < int(part["now"]) <= TASKS
    assert part["events"]["max"] > 0
    assert "running" == part["manager"]
    assert part["gone"]


def test_a_spinning_box_is_throttled(figures: Figures) -> None:
    part = shown(figures, "cpu")
    quota, period = map(int, part["max"].split())
    assert CPU_SHARE == quota / period
    assert part["throttled"] >= 5
    assert CPU_SHARE / 2 < part["used"] < CPU_SHARE * 1.3
    assert part["gone"]


def test_a_weight_on_the_disks_that_this_kernel_can_t_hold_is_a_hole_and_not_asked_for(
    figures: Figures,
) -> None:
    """The machine's kernel has the controller, and no io.weight: the manager would take it, and do nothing."""
    part = shown(figures, "io")
    assert "No such file or directory" == part["file"]
    assert ("[not set]", "4096", "app.slice") == (part["IOWeight"], part["TasksMax"], part["Slice"])
    holes = part["explained"].partition("Holes")[2].partition("\n\n")[0]
    assert "has as large a part of the disks' time as others" in holes
    assert "this kernel has no io.weight" in holes
    assert part["gone"]


def test_where_user_namespaces_are_forbidden_a_start_says_so_and_doctor_says_why(tmp_path: Path) -> None:
    script = "sandbox run -- true; echo start $?; sandbox doctor; echo doctor $?"
    done = boot(tmp_path, ["sh", "-c", script], sysctls={"kernel.unprivileged_userns_clone": "0"})
    print(done.stdout, done.stderr)
    assert done.stdout.startswith("start 125\n")
    assert done.stdout.endswith("doctor 2\n")
    assert "cannot make the box's namespaces" in done.stderr
    assert "sandbox doctor" in done.stderr
    report = done.stdout.splitlines()[1:-1]
    cause = next(
        at for at, line in enumerate(report) if "sysctl kernel.unprivileged_userns_clone is 0" in line
    )
    assert cause < 6, "what keeps everything from starting comes first"
    assert "kernel.unprivileged_userns_clone=1" in "\n".join(report[cause : cause + 4])

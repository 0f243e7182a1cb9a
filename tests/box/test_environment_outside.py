"""
What the caller's environment does outside: nothing in it makes our own programs load code, and values that are for the
box alone are nothing to the launcher.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from boxes import PlannedBox
from companions import AccompaniedBox

from sandboxer.plan.ops import EnvEntry, EnvKind

LOADING = {
    "LD_PRELOAD": "/nowhere/a.so",
    "LD_LIBRARY_PATH": "/nowhere",
    "GCONV_PATH": "/nowhere",
    "GLIBC_TUNABLES": "glibc.malloc.check=0",
    "OPENSSL_CONF": "/nowhere/conf",
    "PYTHONHOME": "/nowhere",
    "LOCPATH": "/nowhere",
}
SAY = "import os, json; print(json.dumps(dict(os.environ)))"


@pytest.fixture
def python_half(planned_box: PlannedBox, tmp_path: Path) -> Path:
    """A launcher whose Python half writes down its environment and words."""
    half = tmp_path / "half"
    half.mkdir()
    (half / "sandbox").write_bytes(Path(planned_box.launcher).read_bytes())
    (half / "sandbox").chmod(0o755)
    (half / "sandboxer").write_text(f"#!{half / 'python'}\n")
    (half / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@"; exec /usr/bin/env\n')
    (half / "python").chmod(0o755)
    planned_box.launcher = str(half / "sandbox")
    return half


def variables(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def test_what_loads_code_gets_to_python_under_another_name(
    planned_box: PlannedBox, python_half: Path
) -> None:
    planned_box.environment |= LOADING
    found = variables(planned_box.run([planned_box.launcher, "explain", "t"]).stdout)
    assert {f"SANDBOXER_INSIDE_{name}": value for name, value in LOADING.items()}.items() <= found.items()
    assert set() == LOADING.keys() & found.keys()


def test_a_value_for_the_box_covers_the_caller_s(planned_box: PlannedBox, python_half: Path) -> None:
    planned_box.environment |= {"LD_PRELOAD": "caller's", "SANDBOXER_INSIDE_LD_PRELOAD": "box's"}
    found = variables(planned_box.run([planned_box.launcher, "explain", "t"]).stdout)
    assert ("box's", None) == (found["SANDBOXER_INSIDE_LD_PRELOAD"], found.get("LD_PRELOAD"))


def test_values_for_the_box_alone_are_passed_in_and_not_heeded(
    planned_box: PlannedBox, tmp_path: Path
) -> None:
    """Were XDG_CACHE_HOME heeded, the launcher would look for its plan there."""
    passed = ("LC_ALL", "TERM", "XDG_CACHE_HOME", "LD_LIBRARY_PATH")
    entries = (
        EnvEntry(kind=EnvKind.PASS, name="TERM"),
        EnvEntry(kind=EnvKind.PASS, name="XDG_CACHE_HOME"),
        EnvEntry(kind=EnvKind.PASS, name="LD_LIBRARY_PATH"),
        EnvEntry(kind=EnvKind.PASS_PREFIX, name="LC_"),
        EnvEntry(kind=EnvKind.PASS_PREFIX, name="SANDBOXER"),
    )
    planned_box.environment |= {
        "LC_ALL": "C",
        "LD_LIBRARY_PATH": "/caller",
        "SANDBOXER_INSIDE_LC_ALL": "C.UTF-8",
        "SANDBOXER_INSIDE_TERM": "vt100",
        "SANDBOXER_INSIDE_XDG_CACHE_HOME": str(tmp_path / "elsewhere"),
    }
    words = planned_box.plan("/usr/bin/python3", "-IS", "-c", SAY, parts={"environment": entries})
    done = planned_box.run(words)
    found = json.loads(done.stdout)
    expected = {
        "LC_ALL": "C.UTF-8",
        "TERM": "vt100",
        "XDG_CACHE_HOME": str(tmp_path / "elsewhere"),
        "LD_LIBRARY_PATH": "/caller",
    }
    assert expected == {name: found.get(name) for name in passed}
    assert [] == [name for name in found if name.startswith("SANDBOXER")]


def test_the_steward_gets_neither(accompanied_box: AccompaniedBox) -> None:
    accompanied_box.environment |= {"LD_LIBRARY_PATH": "/nowhere", "SANDBOXER_INSIDE_A": "b", "KEPT": "c"}
    application = accompanied_box.application()
    pid = int(accompanied_box.control(application.process))
    found = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert b"KEPT=c" in found
    assert [] == [one for one in found if one.startswith((b"LD_", b"SANDBOXER_INSIDE"))]


def test_a_start_from_a_menu_is_told_by_its_policy_s_name(
    planned_box: PlannedBox, python_half: Path
) -> None:
    """`run` is no name: the words of --failed are the status and the policy."""
    (planned_box.plans / "no-plan").touch()
    planned_box.environment["XDG_CACHE_HOME"] = "/proc/self/nowhere"
    os.chmod(planned_box.plans, 0o777)
    planned_box.environment["XDG_CACHE_HOME"] = str(planned_box.plans.parents[1])
    words = [planned_box.launcher, "--from-menu", "run", "--policy", "p", "--", "/bin/true"]
    done = subprocess.run(
        words, env=planned_box.environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert ["--failed", "125", "p"] == [line for line in done.stdout.splitlines() if "=" not in line][-3:]

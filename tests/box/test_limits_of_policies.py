"""Limits as policies write them, in a session without a user manager: what holds them, and that `explain` says so."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from conftest import BESIDE_PYTHON, Box

BOMB = "(while :; do sleep 1000 & done); echo over"
HOG = "b = bytearray(300 << 20); print('got it')"


def test_a_fork_bomb_is_held_and_nothing_outside_notices(box: Box) -> None:
    done = box("sh", "-c", BOMB, settings=["limits.tasks=30"])
    assert (0, "over\n") == (done.returncode, done.stdout)
    assert "annot fork" in done.stderr
    assert 0 == subprocess.run(["/bin/true"], check=False).returncode


def test_the_fewest_tasks_that_a_policy_may_give_suffice_for_one_program(box: Box) -> None:
    assert 0 == box("true", settings=["limits.tasks=2"]).returncode


def test_every_box_has_a_limit_on_tasks(box: Box) -> None:
    assert "4096\n" == box("bash", "-c", "ulimit -Hu").stdout


def test_a_program_gets_no_more_memory_than_it_may_have(box: Box) -> None:
    python = ("/usr/bin/python3", "-IS", "-c", HOG)
    assert "got it\n" == box(*python, settings=["limits.memory=1GiB"]).stdout
    done = box(*python, settings=["limits.memory=200MiB"])
    assert (1, "") == (done.returncode, done.stdout)
    assert "MemoryError" in done.stderr


def test_no_file_is_written_where_none_may_be(box: Box) -> None:
    done = box("sh", "-c", "echo x > /tmp/a; echo still there", settings=["limits.no-new-files=true"])
    assert "x" not in done.stdout
    again = box(
        "sh", "-c", "trap '' XFSZ; echo x > /tmp/a; wc -c < /tmp/a", settings=["limits.no-new-files=true"]
    )
    assert "0" == again.stdout.strip()


def test_explain_tells_what_is_not_held_and_why(session: Mapping[str, str], tmp_path: Path) -> None:
    words = ["--set", "limits.memory=200MiB", "--set", "limits.cpu=50%", "--json"]
    done = subprocess.run(
        [BESIDE_PYTHON / "sandboxer", "explain", "--policy", "strict", *words],
        env=dict(session),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    grants = [grant for grant in json.loads(done.stdout)["grants"] if grant["topic"] == "limits"]
    holes = {grant["origin"]["key"]: grant["detail"] for grant in grants if grant["weight"] == "hole"}
    assert {"limits.memory", "limits.cpu"} == set(holes)
    assert all("there is no user manager" in detail for detail in holes.values())
    assert ["limits.tasks"] == [
        grant["origin"]["key"] or "limits.tasks" for grant in grants if grant["weight"] != "hole"
    ]

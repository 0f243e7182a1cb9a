"""Attack: between the compile and the start, put a symbolic link where a granted path was."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from escape.conftest import Boxed, rewrite_plans

from sandboxer.words import changed

SETTINGS = ['files.read=["~/shared/deep/work"]']


@pytest.fixture
def compiled(boxed: Boxed, session: dict[str, str], home: Path) -> list[str]:
    """The words that show what the granted directory holds, by a plan that is in the cache."""
    (home / "shared" / "deep" / "work").mkdir(parents=True)
    (home / "shared" / "deep" / "work" / "granted.txt").touch()
    words = boxed("ls", home / "shared" / "deep" / "work", settings=SETTINGS)
    assert run(words, session).stdout == "granted.txt\n"
    return words


def run(words: list[str], session: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, env=session, cwd="/", capture_output=True, text=True, check=False, timeout=30
    )


def swap(home: Path, name: str) -> None:
    """Put a link to ~/.ssh in the place of a directory on the way to the granted one, or of that one."""
    target = home / ".ssh"
    for directory in (target, target / "deep", target / "work", target / "deep" / "work"):
        directory.mkdir(exist_ok=True)
    (home / name).rename(home / "moved")
    (home / name).symlink_to(target)
    rest = "shared/deep/work"[len(name) :].strip("/")
    assert os.path.isdir(home / name / rest), "outside, the path leads into ~/.ssh now"


@pytest.mark.parametrize("name", ["shared", "shared/deep", "shared/deep/work"])
def test_a_component_that_became_a_link_stops_the_start(
    compiled: list[str], session: dict[str, str], home: Path, name: str
) -> None:
    """`--again` is what the compile ends with: this very plan, or none."""
    swap(home, name)
    done = run([compiled[0], "--again", *compiled[1:]], session)
    assert (done.returncode, done.stdout) == (125, "")


@pytest.mark.parametrize("name", ["shared", "shared/deep", "shared/deep/work"])
def test_a_link_that_comes_after_the_plan_was_found_fresh_stops_the_start(
    compiled: list[str], session: dict[str, str], home: Path, runtime_dir: Path, name: str
) -> None:
    """The launcher has looked at all stamps, and then comes the link: as if the plan had none."""
    rewrite_plans(runtime_dir, lambda plan: changed(plan, stamps=()))
    assert run([compiled[0], "--again", *compiled[1:]], session).stdout == "granted.txt\n"
    swap(home, name)
    done = run([compiled[0], "--again", *compiled[1:]], session)
    assert (done.returncode, done.stdout) == (125, "")
    assert "symbolic link" in done.stderr


def test_without_again_the_link_is_followed_to_what_the_user_means_now(
    compiled: list[str], session: dict[str, str], home: Path
) -> None:
    """The user's own link, in a directory that no box may write: a stale plan is made anew, and says where it leads."""
    (home / "elsewhere").mkdir()
    (home / "elsewhere" / "other.txt").touch()
    (home / "shared" / "deep" / "work").rename(home / "moved")
    (home / "shared" / "deep" / "work").symlink_to(home / "elsewhere")
    assert run(compiled, session).stdout == "other.txt\n"

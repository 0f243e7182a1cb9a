"""A second start of an application with one instance goes to the box in which it runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import run_to_end
from running import INSIDE, PYTHON, RunningBox, within

Start = Callable[..., RunningBox]


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch, session: dict[str, str]) -> None:
    """A policy for an application `single`: started again in its box, it leaves its words, and ends with 3."""
    home = Path(session["HOME"])
    told = "open('/tmp/told', 'a').write(repr(sys.argv[1:]) + '\\n')"
    script = f"import sys\nif os.path.exists('/tmp/first'):\n    {told}\n    print('handed over')\n    sys.exit(3)\n"
    place = Path(session["XDG_CONFIG_HOME"]) / "sandboxer" / "apps"
    place.mkdir(parents=True)
    (home / "programs").mkdir()
    source = f"import os\n{script}open('/tmp/first', 'w').close()\n{INSIDE}"
    (home / "programs" / "single.py").write_text(source)
    lines = ("second-instance = true", "[bus]", "private = false", "[files]", f'read = ["{home}/programs"]')
    command = (f'command = ["{PYTHON}"]', f'arguments = ["-I", "{home}/programs/single.py"]')
    (place / "single.toml").write_text("\n".join((*command, *lines)))


def again(box: RunningBox, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return run_to_end([box.sandbox, "single", *words], env=box.environment, cwd=box.directory)


def boxes_of(box: RunningBox) -> list[str]:
    ended = run_to_end([box.sandbox, "ps", "--json"], env=box.environment)
    return [one["box"] for one in json.loads(ended.stdout)["boxes"]]


def test_a_second_start_hands_its_words_to_the_first_and_has_its_status(
    running_box: Start, tmp_path: Path
) -> None:
    box = running_box(policy="single")
    (tmp_path / "a paper.txt").write_text("content")
    words = ("--new", "https://example.org/", "a paper.txt", (tmp_path / "a paper.txt").as_uri(), "not/there")
    ended = again(box, *words)
    assert (3, "handed over\n", "") == (ended.returncode, ended.stdout, ended.stderr)
    (told,) = [eval(line) for line in box.eval("text('/tmp/told')").splitlines()]
    place = told[2]
    uri = told[3].removeprefix("file://").replace("%20", " ")
    assert ["--new", "https://example.org/", place, told[3], "not/there"] == told
    assert ["content"] * 2 == [box.eval(f"text({one!r})") for one in (place, uri)]
    assert [f"single.{box.id}"] == boxes_of(box)


def test_two_second_starts_at_one_moment_both_arrive(running_box: Start) -> None:
    box = running_box(policy="single")
    begun = [
        subprocess.Popen([box.sandbox, "single", word], env=box.environment, stdout=subprocess.PIPE)
        for word in ("one", "two")
    ]
    assert [b"handed over\n"] * 2 == [process.communicate(timeout=20)[0] for process in begun]
    assert ["['one']", "['two']"] == sorted(box.eval("text('/tmp/told')").splitlines())


def test_a_box_that_ends_meanwhile_is_no_reason_not_to_start(running_box: Start) -> None:
    """It becomes a start of its own."""
    box = running_box(policy="single")
    process = subprocess.Popen(
        [box.sandbox, "single"], env=box.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    os.kill(box.process.pid, signal.SIGKILL)
    box.process.wait(10)
    assert process.stdout is not None
    assert b"ready\n" == process.stdout.readline()
    within(lambda: [f"single.{process.pid}"] == boxes_of(box), "a box of its own")
    process.communicate(b"", timeout=20)


def test_apart_is_apart(running_box: Start) -> None:
    box = running_box(policy="single")
    ended = run_to_end([box.sandbox, "--apart", "single"], env=box.environment)
    assert (0, "ready\n") == (ended.returncode, ended.stdout)

"""What crosses into a box by descriptor, by environment and by memory: what was handed over, and nothing else."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from boxes import PlannedBox, wait_for_end_of
from conftest import Box
from plans import bind
from stepping import landlock_flags

from sandboxer.plan.ops import PlanFlag

SECRET = "a-token-that-only-the-host-has"


def opened(path: Path | str, number: int) -> int:
    """A descriptor of that number, to be inherited."""
    fd = os.open(path, os.O_RDONLY)
    os.dup2(fd, number, inheritable=True)
    os.close(fd)
    return number


def test_inherited_descriptors_are_closed(
    planned_box: PlannedBox, native_program: Callable[..., Path], tmp_path: Path
) -> None:
    probe = native_program("probe")
    words = planned_box.plan("/probe", more=[bind("/probe", str(probe))])
    inherited = [opened("/", 77), opened("/dev/null", 78), opened("/dev/null", 500)]
    done = planned_box.run(words, pass_fds=inherited)
    for fd in inherited:
        os.close(fd)
    assert "fds=0,1,2 " in done.stdout


@pytest.mark.parametrize("kept", [(3,), (3, 4, 5), (3, 99), (1023,), (7, 9, 500)])
def test_kept_descriptors_reach_the_application_and_no_others(
    planned_box: PlannedBox, native_program: Callable[..., Path], kept: tuple[int, ...]
) -> None:
    words = planned_box.plan("/probe", keep_fds=kept, more=[bind("/probe", str(native_program("probe")))])
    redirections = " ".join(f"{fd}</dev/null" for fd in (3, 4, 5, 6, 7, 8, 9) if fd not in kept)
    script = f"""
import os, sys
for fd in {kept}:
    os.dup2(0, fd)
os.execv("/bin/sh", ["sh", "-c", sys.argv[1], "sh", *sys.argv[2:]])
"""
    done = planned_box.run(["python3", "-c", script, f'exec "$@" {redirections}', *words])
    assert f"fds=0,1,2,{','.join(map(str, kept))} " in done.stdout, done.stderr


def test_a_kept_descriptor_that_is_not_open_is_an_error(planned_box: PlannedBox) -> None:
    done = planned_box.run(planned_box.plan("/usr/bin/true", keep_fds=(42,)))
    assert 125 == done.returncode
    assert "isn't open" in done.stderr


def test_a_directory_as_a_kept_descriptor_is_refused(planned_box: PlannedBox) -> None:
    fd = opened("/etc", 40)
    done = planned_box.run(planned_box.plan("/usr/bin/true", keep_fds=(fd,)), pass_fds=[fd])
    os.close(fd)
    assert 125 == done.returncode
    assert "is a directory" in done.stderr


@pytest.mark.parametrize("stream", ["<", "2>&1 1<"])
def test_a_directory_as_a_standard_descriptor_is_refused(planned_box: PlannedBox, stream: str) -> None:
    done = planned_box.run(
        ["/bin/sh", "-c", f'exec "$@" {stream}/etc', "sh", *planned_box.plan("/usr/bin/true")]
    )
    assert 125 == done.returncode
    assert "is a directory" in done.stderr + done.stdout


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_are_open_inside(planned_box: PlannedBox, closed: str) -> None:
    script = "for fd in 0 1 2; do [ -e /proc/$$/fd/$fd ] || exit 9; done; cat <&0 && echo x >&1 && echo x >&2 && exit 7"
    words = planned_box.plan("/bin/sh", "-c", script)
    assert 7 == planned_box.run(["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *words]).returncode


@pytest.mark.parametrize("which", ["stdout", "kept"])
def test_a_reader_sees_the_end_when_the_application_closes_its_output(
    planned_box: PlannedBox, which: str
) -> None:
    ours, theirs = os.pipe()
    kept = os.dup2(theirs, 50, inheritable=True) if which == "kept" else -1
    words = planned_box.plan(
        "/bin/bash", "-c", "exec >&- 50>&-; exec sleep 60", keep_fds=(50,) if which == "kept" else ()
    )
    process = planned_box.start(
        words,
        stdin=subprocess.DEVNULL,
        stdout=theirs if which == "stdout" else subprocess.DEVNULL,
        pass_fds=(50,) if which == "kept" else (),
    )
    os.close(theirs)
    if kept >= 0:
        os.close(kept)
    try:
        assert b"" == wait_for_end_of(ours, 5)
    finally:
        os.close(ours)
    assert process.poll() is None


def test_a_writer_sees_the_end_when_the_application_closes_its_input(planned_box: PlannedBox) -> None:
    process = planned_box.start(
        planned_box.plan("/bin/sh", "-c", "exec <&-; exec sleep 60"), stdin=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None
    deadline = time.monotonic() + 5
    broken = False
    while not broken and time.monotonic() < deadline:
        time.sleep(0.01)
        try:
            process.stdin.write(b"x")
        except BrokenPipeError:
            broken = True
    assert broken
    assert process.poll() is None


@pytest.mark.parametrize("landlock", ["with Landlock", "without"])
def test_a_file_that_is_handed_over_for_reading_cannot_be_opened_for_writing(
    planned_box: PlannedBox, tmp_path: Path, landlock: str
) -> None:
    flags = landlock_flags() & PlanFlag.LANDLOCK_FILES
    if not flags:
        pytest.skip("this kernel's Landlock is too old: no plan asks for it here")
    handed = tmp_path / "handed"
    handed.write_text("as it was\n")
    script = "cat <&0; cat /proc/self/fd/0; echo changed >/proc/self/fd/0"
    words = planned_box.plan(
        "/bin/sh", "-c", script, flags=flags if landlock == "with Landlock" else PlanFlag(0)
    )
    with handed.open("rb") as stdin:
        done = planned_box.run(words, stdin=stdin)
    assert "as it was\n" * 2 == done.stdout
    assert ("as it was\n" if landlock == "with Landlock" else "changed\n") == handed.read_text()


def test_nothing_of_the_host_is_in_the_first_processs_memory_files(planned_box: PlannedBox) -> None:
    planned_box.environment["HOST_SECRET"] = SECRET
    script = """
        tr -d "\\000" </proc/1/cmdline | wc -c
        cat /proc/1/environ | tr -d "\\000" | wc -c
        for file in auxv maps mem environ; do head -c 1 /proc/1/$file >/dev/null 2>&1 && echo $file is readable; done
        ls -l /proc/1/exe /proc/1/root /proc/1/cwd /proc/1/fd/ 2>/dev/null
        cat /proc/1/comm
        env
    """
    done = planned_box.shell(script, SECRET)
    assert SECRET not in done.stdout
    assert planned_box.launcher not in done.stdout
    lines = done.stdout.splitlines()
    assert ["0", "0"] == lines[:2]
    assert not [line for line in lines if "readable" in line or "->" in line]


def test_the_environment_is_what_the_plan_names(planned_box: PlannedBox) -> None:
    planned_box.environment |= {
        "GITHUB_TOKEN": SECRET,
        "LC_TIME": "C.UTF-8",
        "LC_ALL": "C",
        "LCX": "no",
        "LD_PRELOAD": "",
        "PATH": "/host/path:/usr/bin:/bin",
    }
    done = planned_box.run(planned_box.plan("/usr/bin/env"))
    assert [
        "HOME=/home/t",
        "LC_ALL=C",
        "LC_TIME=C.UTF-8",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "TERM=xterm",
    ] == sorted(done.stdout.splitlines())


@pytest.mark.parametrize("mask", ["022", "077", "000"])
def test_the_callers_file_mask_holds_in_the_box(planned_box: PlannedBox, mask: str) -> None:
    words = planned_box.plan("/bin/sh", "-c", "umask; stat -c %a /tmp /var/tmp /dev/shm /run /home/t")
    done = planned_box.run(["/bin/sh", "-c", f'umask {mask}; exec "$@"', "sh", *words])
    assert [f"0{mask}", "1777", "1777", "1777", "755", "700"] == done.stdout.split()


def test_a_file_by_number_is_open_in_the_box_under_the_number_that_its_variable_tells(
    box: Box, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("from outside")
    (tmp_path / "log").write_text("")
    script = 'cat <&"$DATA"; echo to the outside >&"$LOG"; echo again >&"$DATA" || echo read-only; ls /proc/self/fd'
    done = box("sh", "-c", script, files=["DATA=data", f"LOG={tmp_path}/log:rw"])
    assert 0 == done.returncode, done.stderr
    assert done.stdout.startswith("from outside" + "read-only\n0\n1\n2\n3\n4\n5\n"), done.stdout
    assert "to the outside\n" == (tmp_path / "log").read_text()


def test_the_second_start_with_a_file_by_number_finds_its_plan(
    box: Box, session: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("one")
    assert "one" == box("sh", "-c", 'cat <&"$DATA"', files=["DATA=data"]).stdout
    plans = Path(session["XDG_RUNTIME_DIR"], "sandboxer", "plans")
    (before,) = ((plan, plan.stat().st_mtime_ns) for plan in plans.iterdir())
    (tmp_path / "data").write_text("two")
    assert "two" == box("sh", "-c", 'cat <&"$DATA"', files=["DATA=data"]).stdout
    assert [before] == [(plan, plan.stat().st_mtime_ns) for plan in plans.iterdir()]


def test_a_directory_by_number_is_refused(box: Box, tmp_path: Path) -> None:
    done = box("true", files=[f"A={tmp_path}"])
    assert 125 == done.returncode
    assert f"{tmp_path}: a directory" in done.stderr

"""What the shell gets: the application's own status, 128 and the signal, 126, 127, and 125 with a message for ours."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from boxes import PlannedBox
from plans import bind, op

from sandboxer.plan.ops import OpKind, PlanFlag, Stamp, StampKind


@pytest.mark.parametrize("status", [0, 1, 2, 99, 124, 125, 126, 127, 128, 255])
def test_the_applications_exit_status_is_ours(planned_box: PlannedBox, status: int) -> None:
    assert status == planned_box.shell(f"exit {status}").returncode


@pytest.mark.parametrize(
    "number", [signal.SIGHUP, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM]
)
def test_an_application_that_a_signal_ends_gives_128_and_its_number(
    planned_box: PlannedBox, number: int
) -> None:
    assert 128 + number == planned_box.shell(f"kill -{int(number)} $$").returncode


@pytest.mark.parametrize("command", ["no-such-program", "/usr/bin/no-such-program", "/etc/hostname/below"])
def test_a_program_that_is_not_in_the_box_gives_127(planned_box: PlannedBox, command: str) -> None:
    done = planned_box.run(planned_box.plan(command))
    assert 127 == done.returncode
    assert "sandboxer: t: no such program in the box" in done.stderr
    assert command in done.stderr


@pytest.mark.parametrize("command", ["/etc/hostname", "/usr", "/etc"])
def test_a_program_that_cannot_be_executed_gives_126(planned_box: PlannedBox, command: str) -> None:
    done = planned_box.run(planned_box.plan(command))
    assert 126 == done.returncode
    assert "cannot execute the program in the box" in done.stderr


def test_a_plan_without_a_command_needs_words(planned_box: PlannedBox) -> None:
    words = planned_box.plan()
    assert 3 == planned_box.run([*words, "/bin/sh", "-c", "exit 3"]).returncode
    done = planned_box.run(words)
    assert 125 == done.returncode
    assert "sandboxer: t: " in done.stderr


def test_the_users_words_follow_the_plans(planned_box: PlannedBox) -> None:
    done = planned_box.shell(
        'printf "<%s>" "$@"', "", "two words", "-x", "--", "ü\udcff", errors="surrogateescape"
    )
    assert "<><two words><-x><--><ü\udcff>" == done.stdout


def test_a_grant_that_is_gone_is_named_with_the_line_that_asked_for_it(
    planned_box: PlannedBox, tmp_path: Path
) -> None:
    granted = tmp_path / "granted"
    granted.mkdir()
    words = planned_box.plan("/usr/bin/true", more=[bind(str(granted))])
    granted.rmdir()
    done = planned_box.run(words)
    assert 125 == done.returncode
    assert [
        "sandboxer: t: cannot open what the policy grants",
        f"  {granted}: No such file or directory",
        "  asked for by tests/plans.py",
    ] == done.stderr.splitlines()


def test_a_link_that_was_put_in_a_grants_place_is_refused(planned_box: PlannedBox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    granted = tmp_path / "granted"
    granted.mkdir()
    words = planned_box.plan("/usr/bin/true", more=[bind(str(granted))])
    granted.rmdir()
    granted.symlink_to(secret)
    done = planned_box.run(words)
    assert 125 == done.returncode
    assert "symbolic link" in done.stderr


@pytest.mark.parametrize("becomes", ["a file", "a directory"])
def test_a_grant_that_has_changed_its_type_is_refused(
    planned_box: PlannedBox, tmp_path: Path, becomes: str
) -> None:
    granted = tmp_path / "granted"
    if becomes == "a file":
        granted.mkdir()
    else:
        granted.touch()
    words = planned_box.plan("/usr/bin/true", more=[bind(str(granted))])
    if becomes == "a file":
        granted.rmdir()
        granted.touch()
    else:
        granted.unlink()
        granted.mkdir()
    done = planned_box.run(words)
    assert 125 == done.returncode
    assert "of another type" in done.stderr


def test_a_stale_plan_is_never_run(planned_box: PlannedBox, tmp_path: Path) -> None:
    stamp = Stamp(kind=StampKind.ABSENT, name=str(tmp_path / "appears"))
    words = planned_box.plan("/usr/bin/true", stamps=(stamp,))
    assert 0 == planned_box.run(words).returncode
    (tmp_path / "appears").touch()
    done = planned_box.run(words)
    assert 125 == done.returncode
    assert str(tmp_path / "appears") in done.stderr


@pytest.mark.parametrize("what", ["directory", "file"])
def test_a_cache_that_others_can_change_is_refused(planned_box: PlannedBox, what: str) -> None:
    words = planned_box.plan("/usr/bin/true")
    changed = planned_box.plans if what == "directory" else next(planned_box.plans.iterdir())
    changed.chmod(changed.stat().st_mode | 0o020)
    done = planned_box.run(words)
    assert 125 == done.returncode
    assert "changed by, somebody else" in done.stderr


def test_a_plan_that_is_cut_short_is_not_run(planned_box: PlannedBox) -> None:
    words = planned_box.plan("/usr/bin/true")
    path = next(planned_box.plans.iterdir())
    path.write_bytes(path.read_bytes()[:-8])
    done = planned_box.run(words)
    assert 125 == done.returncode
    assert "" == done.stdout


def test_a_home_that_is_not_in_the_box_is_an_error(planned_box: PlannedBox) -> None:
    done = planned_box.run(planned_box.plan("/usr/bin/true", without=("/home/t",)))
    assert 125 == done.returncode
    assert "cannot enter the home directory in the box" in done.stderr


def test_a_notice_is_printed_before_the_application_starts(planned_box: PlannedBox) -> None:
    done = planned_box.run(
        planned_box.plan("/bin/sh", "-c", "echo application >&2", notice="sandboxer: t: a notice")
    )
    assert ["sandboxer: t: a notice", "application"] == done.stderr.splitlines()


def test_control_characters_in_a_message_are_made_harmless(planned_box: PlannedBox, tmp_path: Path) -> None:
    granted = tmp_path / "\x1b[2Jgranted"
    granted.mkdir()
    words = planned_box.plan("/usr/bin/true", more=[bind("/granted", str(granted))])
    granted.rmdir()
    done = planned_box.run(words)
    assert 125 == done.returncode
    assert "\x1b" not in done.stderr
    assert "?[2Jgranted" in done.stderr


def test_a_path_of_the_box_that_is_a_link_is_not_followed(planned_box: PlannedBox) -> None:
    done = planned_box.run(
        planned_box.plan(
            "/usr/bin/true", more=[op(OpKind.LINK, "/link", "usr"), op(OpKind.FILE, "/link/x", data=b"x")]
        )
    )
    assert 125 == done.returncode


def test_a_message_still_arrives_when_stdout_is_closed(planned_box: PlannedBox) -> None:
    words = planned_box.plan("no-such-program", flags=PlanFlag(0))
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@" >&-', "sh", *words],
        capture_output=True,
        env=planned_box.environment,
        check=False,
    )
    assert 127 == done.returncode
    assert b"no such program" in done.stderr

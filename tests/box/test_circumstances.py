"""
What goes wrong around a start: each time one clear message, exit status 125, and nothing half-started.

A message is judged by its parts: what failed, on what, what to do. The application is a program that would leave a
mark if it ran.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from conftest import Box, need, need_user_namespaces, run_to_end

MARK = "it ran"
GUI_WITHOUT_WINDOWS = ("display.x11=false", "display.wayland=false")


def refused(done: subprocess.CompletedProcess[str], *said: str, status: int = 125) -> None:
    """One message of at most four lines, with all of `said` in it; the application has not run."""
    assert (status, "") == (done.returncode, done.stdout), done.stderr
    lines = done.stderr.splitlines()
    assert lines, "it failed without a word"
    assert lines[0].startswith("sandboxer: ")
    assert all(line.startswith("  ") for line in lines[1:]), done.stderr
    assert len(lines) <= 4, done.stderr
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr


def start(
    sandbox: Path, *words: str | Path, env: Mapping[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return run_to_end([sandbox, *words], env=env, cwd=cwd)


def test_without_a_display_a_graphical_application_is_refused(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    need_user_namespaces()
    done = start(sandbox_program, "run", "--policy", "gui", "--", "echo", MARK, env=session)
    refused(done, "no display", "WAYLAND_DISPLAY", "display.x11", "try: ")


def test_a_display_that_is_named_but_not_there_is_named_in_the_message(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    need_user_namespaces()
    session["DISPLAY"] = ":4711"
    done = start(sandbox_program, "run", "--policy", "gui", "--", "echo", MARK, env=session)
    refused(done, "4711", "display.x11")


def test_an_application_that_is_not_installed_is_refused_before_any_box_is_made(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    done = start(sandbox_program, "no-such-application", env=session)
    refused(done, "no-such-application", "installed", "try: ")


def test_a_command_that_the_box_lacks_gives_127_as_a_shell_would(box: Box) -> None:
    done = box("no-such-command")
    assert 127 == done.returncode
    assert "no-such-command" in done.stderr


def test_a_home_that_does_not_exist_is_refused(sandbox_program: Path, session: dict[str, str]) -> None:
    session |= {"HOME": "/no/such/home"}
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        del session[name]
    done = start(sandbox_program, "run", "--", "echo", MARK, env=session)
    refused(done, "/no/such/home")


def test_a_missing_granted_path_names_the_line_that_grants_it(
    sandbox_program: Path, session: dict[str, str], tmp_path: Path
) -> None:
    policy = tmp_path / "mine.toml"
    policy.write_text('extends = ["strict"]\n[files]\nread = ["~/not-there"]\n')
    done = start(sandbox_program, "run", "--policy", policy, "--", "echo", MARK, env=session)
    refused(done, "not-there", f"{policy.name}:3", "files.read")


def within_small_disk(words: Sequence[str | Path], disk: Path) -> list[str | Path]:
    """Run with a tmpfs of 64 KiB, and that full, at `disk`: in a user and mount namespace of its own, as oneself."""
    script = (
        'mount -t tmpfs -o size=64k tmpfs "$1" && chmod 700 "$1" && head -c 60000 /dev/zero >"$1/filler"; '
        'head -c 60000 /dev/zero >>"$1/filler" 2>/dev/null; shift; exec setpriv --inh-caps=-all "$@"'
    )
    return [
        need("unshare"),
        "--user",
        "--map-current-user",
        "--keep-caps",
        "--mount",
        "sh",
        "-c",
        script,
        "-",
        disk,
        *words,
    ]


def test_a_full_disk_for_the_cache_is_refused_with_its_path(
    sandbox_program: Path, session: dict[str, str], tmp_path: Path
) -> None:
    need_user_namespaces()
    disk = tmp_path / "disk"
    disk.mkdir()
    session["XDG_CACHE_HOME"] = str(disk)
    del session["XDG_RUNTIME_DIR"]
    done = run_to_end(
        within_small_disk([sandbox_program, "run", "--", "echo", MARK], disk), env=session, timeout_s=60
    )
    refused(done, str(disk), "No space left on device", "try: ")
    assert not list(disk.glob("**/*.plan"))


def test_without_user_namespaces_the_message_names_the_setting(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    need_user_namespaces()
    words: list[str | Path] = [sandbox_program, "run", "--", "echo", MARK]
    script = 'echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all "$@"'
    forbidden: list[str | Path] = [
        need("unshare"),
        "--user",
        "--map-current-user",
        "--keep-caps",
        "sh",
        "-c",
        script,
        "-",
        *words,
    ]
    done = run_to_end(forbidden, env=session)
    refused(done, "namespaces", "max_user_namespaces")


def test_in_a_chroot_like_place_the_message_tells_of_it(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    need_user_namespaces()
    script = 'mount --rbind / /mnt && exec /usr/sbin/chroot /mnt setpriv --inh-caps=-all "$@"'
    words: list[str | Path] = [
        need("unshare"),
        "--user",
        "--map-current-user",
        "--keep-caps",
        "--mount",
        "sh",
        "-c",
        script,
        "-",
    ]
    done = run_to_end([*words, sandbox_program, "run", "--", "echo", MARK], env=session)
    refused(done, "namespaces", "chroot")


def test_root_is_refused(sandbox_program: Path, session: dict[str, str]) -> None:
    need_user_namespaces()
    as_root: list[str | Path] = [need("unshare"), "--user", "--map-root-user"]
    done = run_to_end([*as_root, sandbox_program, "run", "--", "echo", MARK], env=session)
    refused(done, "root", "ordinary user")


def test_a_cache_that_others_could_have_written_is_refused(box: Box, runtime_dir: Path) -> None:
    assert MARK == box("echo", MARK).stdout.strip()
    plans = runtime_dir / "sandboxer" / "plans"
    plans.chmod(0o777)
    refused(box("echo", MARK), str(plans))
    plans.chmod(0o700)
    (plan,) = plans.glob("*.plan")
    plan.chmod(0o666)
    refused(box("echo", MARK), plan.name)


def test_a_damaged_plan_is_compiled_anew(box: Box, runtime_dir: Path) -> None:
    assert MARK == box("echo", MARK).stdout.strip()
    (plan,) = (runtime_dir / "sandboxer" / "plans").glob("*.plan")
    whole = plan.read_bytes()
    for damaged in (b"", whole[:100], whole[:-1], whole + b"\0", b"\xff" * len(whole)):
        plan.write_bytes(damaged)
        assert MARK == box("echo", MARK).stdout.strip()
        assert whole[:8] == plan.read_bytes()[:8]


def test_a_warm_start_never_starts_python(
    box: Box, sandbox_program: Path, session: dict[str, str], tmp_path: Path
) -> None:
    settings = [word for key in GUI_WITHOUT_WINDOWS for word in ("--set", key)]
    words: list[str | Path] = [sandbox_program, "run", "--policy", "gui", *settings, "--", "echo", MARK]
    run_to_end(words, env=session)
    trace = tmp_path / "trace"
    run_to_end([need("strace"), "-f", "-e", "trace=execve", "-o", trace, *words], env=session)
    executed = [line for line in trace.read_text().splitlines() if "execve(" in line and "= 0" in line]
    assert 2 == len(executed), executed
    assert "python" not in "".join(executed)


def test_a_changed_policy_is_in_force_at_the_next_start(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    need_user_namespaces()
    applications = Path(session["XDG_CONFIG_HOME"]) / "sandboxer" / "apps"
    applications.mkdir(parents=True)
    shown = Path(session["HOME"]) / "shown"
    shown.write_text(MARK)
    command: list[str | Path] = [
        sandbox_program,
        "run",
        "--policy",
        "mine",
        "--",
        "sh",
        "-c",
        f"cat {shown}",
    ]
    (applications / "mine.toml").write_text('extends = ["strict"]\n[files]\nread = ["~/shown"]\n')
    assert MARK == run_to_end(command, env=session).stdout
    assert MARK == run_to_end(command, env=session).stdout
    (applications / "mine.toml").write_text('extends = ["strict"]\n')
    assert 1 == run_to_end(command, env=session).returncode


def test_without_python_a_warm_start_still_works_and_a_cold_one_says_why(
    sandbox_program: Path, session: dict[str, str], tmp_path: Path
) -> None:
    need_user_namespaces()
    alone = tmp_path / "bin" / "sandbox"
    alone.parent.mkdir()
    shutil.copy2(sandbox_program, alone)
    done = start(alone, "run", "--", "echo", MARK, env=session)
    refused(done, "Python", str(alone.parent), "install")

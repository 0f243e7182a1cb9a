"""What the parts of the examination say together, and small parts that are judged by files and texts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandboxer.desktop.wrappers import wrapper
from sandboxer.doctor import apparmor, examine, install, kernel_log, machine, windows
from sandboxer.doctor.child import Outcome
from sandboxer.doctor.compositor import SECURITY_CONTEXT
from sandboxer.doctor.finding import Check, Finding, State, Verdict, fine
from sandboxer.errors import LaunchError
from sandboxer.paths import data_file


def check(name: str, state: State, *needs: str) -> Check:
    verdict = fine("good") if state is State.FINE else Verdict(state=state, found="bad")
    return Check(name=name, title=name, work=lambda _: None, judge=lambda _: verdict, needs=needs)


def found(*states: State) -> list[Finding]:
    return [Finding(name="x", title="x", state=state, found="") for state in states]


def test_what_needs_something_that_failed_is_skipped_and_so_is_what_needs_that() -> None:
    checks = [
        check("a", State.UNUSABLE),
        check("b", State.FINE, "a"),
        check("c", State.FINE, "b"),
        check("d", State.NOTE),
        check("e", State.FINE, "d"),
    ]
    states = {finding.name: (finding.state, finding.found) for finding in examine.findings(checks)}
    assert {
        "a": (State.UNUSABLE, "bad"),
        "b": (State.SKIPPED, "needs a"),
        "c": (State.SKIPPED, "needs b"),
        "d": (State.NOTE, "bad"),
        "e": (State.FINE, "good"),
    } == states


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ((State.FINE, State.NOTE), 0),
        ((State.FINE, State.DEGRADED, State.SKIPPED), 1),
        ((State.DEGRADED, State.UNUSABLE), 2),
    ],
)
def test_the_exit_status_is_that_of_the_worst(states: tuple[State, ...], status: int) -> None:
    assert status == examine.status(found(*states))


def test_mounts_that_hide_parts_of_proc_are_found_and_the_kernels_own_are_none() -> None:
    mounts = (
        "22 1 0:21 / /proc rw,nosuid - proc proc rw\n"
        "23 22 0:5 /null /proc/kcore rw - devtmpfs devtmpfs rw\n"
        "24 22 0:30 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw\n"
    )
    assert ("/proc/kcore",) == machine.covered(mounts)


@pytest.mark.parametrize(
    ("label", "unconfined"),
    [
        ("", True),
        ("unconfined", True),
        ("unprivileged_userns (enforce)", True),
        ("sandboxer (unconfined)", False),
        ("docker-default (enforce)", False),
    ],
)
def test_a_profile_is_told_from_none_by_the_label(label: str, unconfined: bool) -> None:
    here = machine.Machine(kernel="6.8.0", sysctls={}, limits={}, label=label)
    assert unconfined == here.unconfined


def test_the_shipped_profile_allows_user_namespaces_and_nothing_else() -> None:
    text = Path(data_file("apparmor/sandboxer")).read_text()
    rules = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert [
        "abi <abi/4.0>,",
        "include <tunables/global>",
        "profile sandboxer /usr/bin/sandbox flags=(unconfined) {",
        "userns,",
        "include if exists <local/sandboxer>",
        "}",
    ] == rules


@pytest.mark.parametrize(
    ("launcher", "written"),
    [
        ("/usr/bin/sandbox", "/usr/bin/sandbox"),
        ("/home/Jane Doe/bin/sandbox", '"/home/Jane Doe/bin/sandbox"'),
        ("/opt/a*b[c]/sandbox", r"/opt/a\*b\[c\]/sandbox"),
        ('/opt/@{HOME}"/sandbox', r"/opt/\@\{HOME\}\"/sandbox"),
    ],
)
def test_a_profile_is_for_the_launchers_path_and_no_other(launcher: str, written: str) -> None:
    (head,) = re.findall(r"^profile .*$", apparmor.profile(launcher), re.MULTILINE)
    assert f"profile sandboxer {written} flags=(unconfined) {{" == head


def test_a_path_that_could_add_rules_is_refused() -> None:
    with pytest.raises(LaunchError):
        apparmor.profile("/opt/x\nprofile evil /** {}/sandbox")


def test_the_kernels_log_gives_the_lines_that_tell() -> None:
    log = (
        'audit: type=1400 apparmor="AUDIT" operation="userns_create" class="namespace" info="Userns create - '
        'transitioning profile" profile="unconfined" pid=7 comm="sandbox" target="unprivileged_userns"\n'
        'audit: type=1400 apparmor="STATUS" operation="profile_load" name="snap.x"\n'
        'audit: type=1400 apparmor="DENIED" operation="capable" profile="unprivileged_userns" capname="sys_admin"\n'
        'audit: type=1400 apparmor="DENIED" operation="open" profile="/usr/bin/man" name="/etc/x"\n'
    )
    lines = kernel_log.telling(log)
    assert ["userns_create", "capable"] == [
        match[1] for line in lines if (match := re.search(r'operation="(\w+)"', line))
    ]


def test_wrapped_entries_whose_launcher_is_gone_are_named(tmp_path: Path) -> None:
    here = tmp_path / "my sandbox"
    here.write_text("#!/bin/sh\n")
    here.chmod(0o755)
    entry = "[Desktop Entry]\nType=Application\nName=A\nExec={} --from-menu firefox %u\n"
    (tmp_path / "good.desktop").write_text(entry.format(f'"{here}"'))
    gone = entry.format(tmp_path / "gone/sandbox") + "X-Sandboxer-Policy=firefox\n"
    (tmp_path / "gone.desktop").write_text(gone)
    (tmp_path / "other.desktop").write_text("[Desktop Entry]\nName=A\nExec=/gone/other %u\n")
    (tmp_path / "odd.desktop").write_text("[Desktop Entry]\nExec='/gone --from-menu\n")
    stale = install.stale_wrappers(str(tmp_path))
    assert {"gone.desktop": (str(tmp_path / "gone/sandbox"), "firefox")} == stale
    assert "sandbox install firefox" == install._judge_wrappers(Outcome(value=stale)).remedy
    assert {} == install.stale_wrappers(str(tmp_path / "absent"))


def test_doctor_knows_wrapped_entries_by_what_the_wrapper_writes() -> None:
    assert (install.WRAPPED, install.POLICY) == (wrapper.FROM_MENU, wrapper.POLICY)


def test_a_launcher_with_another_users_rights_is_unusable(tmp_path: Path) -> None:
    for name in ("sandbox", "sandboxer", "sandbox-broker"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    (whole, *_) = install.checks(str(tmp_path / "sandbox"), {}, ())
    assert State.FINE is whole.judge(Outcome(value=whole.work(lambda _: None))).state
    (tmp_path / "sandbox").chmod(0o4755)
    verdict = whole.judge(Outcome(value=whole.work(lambda _: None)))
    assert (State.UNUSABLE, f"sudo chmod ug-s {tmp_path}/sandbox") == (verdict.state, verdict.remedy)
    (tmp_path / "sandboxer").unlink()
    assert State.UNUSABLE is whole.judge(Outcome(value=whole.work(lambda _: None))).state


def test_another_program_of_this_name_is_told(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "sandbox").write_text("")
    (other / "sandbox").chmod(0o755)
    launcher = str(tmp_path / "bin" / "sandbox")
    _, path, *_ = install.checks(launcher, {"PATH": str(other)}, ())
    verdict = path.judge(Outcome(value=path.work(lambda _: None)))
    assert State.DEGRADED is verdict.state
    assert str(other / "sandbox") in verdict.found
    assert f'export PATH={tmp_path}/bin:"$PATH"' == verdict.remedy


def test_a_compositor_without_security_contexts_is_worth_a_note() -> None:
    judge = windows._judge_context
    assert State.FINE is judge(Outcome(value=["wl_compositor", SECURITY_CONTEXT])).state
    assert State.NOTE is judge(Outcome(value=["wl_compositor"])).state

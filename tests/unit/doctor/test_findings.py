"""What the parts of the examination say together, and small parts that are judged by files and texts."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest

from sandboxer.desktop.wrappers import wrapper
from sandboxer.doctor import (
    apparmor,
    causes,
    confinement,
    devices,
    examine,
    install,
    kernel_log,
    machine,
    session,
    user_units,
    windows,
)
from sandboxer.doctor.child import Outcome
from sandboxer.doctor.compositor import SECURITY_CONTEXT
from sandboxer.doctor.finding import Check, Finding, State, Verdict, fine
from sandboxer.errors import LaunchError
from sandboxer.paths import data_file

PIPEWIRE = "pipewire-pulse.socket"


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
        "b": (State.SKIPPED, "follows from: a"),
        "c": (State.SKIPPED, "follows from: b"),
        "d": (State.NOTE, "bad"),
        "e": (State.FINE, "good"),
    } == states


def test_without_the_sessions_directory_nothing_is_said_of_what_is_in_it() -> None:
    here = machine.Machine(kernel="6.8.0", sysctls={}, limits={})
    found = {
        finding.name: finding for finding in examine.findings(session.checks({}, here, lambda _: ["nobody"]))
    }
    assert State.DEGRADED is found["runtime-directory"].state
    for name in ("user-manager", "session-bus"):
        assert (State.SKIPPED, "") == (found[name].state, found[name].remedy)
        assert f"follows from: {found['runtime-directory'].title}" == found[name].found


def test_a_bus_that_is_named_is_asked_without_the_sessions_directory() -> None:
    here = machine.Machine(kernel="6.8.0", sysctls={}, limits={})
    environment = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/x"}
    found = list(examine.findings(session.checks(environment, here, lambda address: [address])))
    assert [State.FINE] == [finding.state for finding in found if finding.name == "session-bus"]


def test_no_remedy_ends_a_manager_that_runs() -> None:
    here = machine.Machine(kernel="6.8.0", sysctls={}, limits={})
    remedy = session._manager(Outcome(text="Connection refused"), here).remedy
    assert f"sudo systemctl start user@{os.getuid()}.service" == remedy


@pytest.mark.parametrize(
    ("units", "remedy"),
    [
        ("loaded enabled inactive", f"systemctl --user start {PIPEWIRE}"),
        ("loaded enabled active", f"systemctl --user restart {PIPEWIRE}"),
        (
            "masked masked inactive",
            f"systemctl --user unmask {PIPEWIRE} && systemctl --user start {PIPEWIRE}",
        ),
        (
            "masked masked-runtime inactive",
            f"systemctl --user unmask --runtime {PIPEWIRE} && systemctl --user start {PIPEWIRE}",
        ),
        ("masked masked inactive, loaded disabled inactive", "systemctl --user start pulseaudio.socket"),
        ("not-found  inactive, loaded disabled inactive", "systemctl --user start pulseaudio.socket"),
        ("not-found  inactive, not-found  inactive", "apt install pulseaudio && pulseaudio --start"),
        ("", "apt install pulseaudio && pulseaudio --start"),
    ],
)
def test_sound_is_started_by_a_unit_that_can_be_started(units: str, remedy: str) -> None:
    keys = ("LoadState", "UnitFileState", "ActiveState")
    answer = "\n\n".join(
        "\n".join(
            [f"Id={name}", *(f"{key}={word}" for key, word in zip(keys, words.split(" "), strict=True))]
        )
        for name, words in zip(devices.SOUND_UNITS, units.split(", "), strict=False)
        if words
    )
    here = machine.Machine(kernel="6.8.0", sysctls={}, limits={}, installer="apt install")
    outcome = Outcome(value={"servers": [], "units": user_units.read(answer)})
    assert remedy == devices._judge_sound(outcome, here).remedy


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


def test_what_an_entry_says_of_its_policy_gets_into_no_command(tmp_path: Path) -> None:
    entry = "[Desktop Entry]\nExec=/gone/sandbox --from-menu x\nX-Sandboxer-Policy={}\n"
    for number, policy in enumerate(("x; touch /tmp/y #", "$(id)", "--undo", "-x", "", "../x", "a b")):
        (tmp_path / f"{number}.desktop").write_text(entry.format(policy))
    stale = install.stale_wrappers(str(tmp_path))
    assert 7 == len(stale)
    assert "sandbox install --all" == install._judge_wrappers(Outcome(value=stale)).remedy
    (tmp_path / "good.desktop").write_text(entry.format("org.example.Tool+2"))
    stale = install.stale_wrappers(str(tmp_path))
    assert "sandbox install org.example.Tool+2" == install._judge_wrappers(Outcome(value=stale)).remedy


def test_a_path_in_a_remedy_is_one_word_to_the_shell() -> None:
    here = machine.Machine(kernel="6.8.0", sysctls={}, limits={})
    value = {"directory": 1, "mode": 0o777, "owner": os.getuid()}
    verdict = session._runtime(Outcome(value=value), "/run/x; touch y", here)
    assert "chmod 700 '/run/x; touch y'" == verdict.remedy
    assert session._state(Outcome(text="no"), "/c/$(id)").remedy.endswith("ls -la '/c/$(id)'")


@pytest.mark.parametrize(
    ("facts", "remedy"),
    [
        (
            {"modules": ("lockdown", "yama"), "modules_listed": True, "grubby": True},
            "sudo grubby --update-kernel=ALL --args=lsm=landlock,lockdown,yama",
        ),
        ({"modules": ("apparmor",), "grubby": True}, "add landlock to lsm= "),
        (
            {"modules": ("yama",), "modules_listed": True, "container": "a Docker container", "grubby": True},
            "add landlock to lsm= ",
        ),
    ],
)
def test_a_list_of_security_modules_is_written_only_where_all_of_them_are_known(
    facts: dict[str, Any], remedy: str
) -> None:
    here = machine.Machine(kernel="6.8.0", sysctls={}, limits={}, **facts)
    verdict = confinement._landlocked(here)(Outcome(error=errno.EOPNOTSUPP))
    assert verdict.remedy.startswith(remedy)
    assert causes.NEXT_START in verdict.cause


@pytest.mark.parametrize(
    ("files", "modules"),
    [
        ({"/sys/kernel/security/lsm": "lockdown,yama,bpf\n"}, (("lockdown", "yama", "bpf"), True)),
        (
            {"/sys/module/apparmor/parameters/enabled": "Y\n", "/sys/fs/selinux/enforce": "1"},
            (("apparmor", "selinux"), False),
        ),
        ({}, ((), False)),
    ],
)
def test_a_list_of_modules_is_told_from_signs_of_some(
    files: dict[str, str], modules: tuple[tuple[str, ...], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_text", lambda path: files.get(path, ""))
    here = machine.look()
    assert modules == (here.modules, here.modules_listed)


def test_controllers_are_delegated_without_a_restart() -> None:
    here = machine.Machine(kernel="6.8.0", sysctls={}, limits={})
    verdict = session._groups(Outcome(value=["cpu"]), here)
    assert "delegate.conf" in verdict.remedy
    assert "reboot" not in verdict.remedy
    assert causes.NEXT_START in verdict.cause


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

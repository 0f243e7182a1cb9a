"""
doctor on damaged machines, and a start on the same: the right cause, the right remedy, the right exit status.

Each damage is done for real as far as an ordinary user can: limits of a user namespace of the test's own, mounts in one
over what is to be missing, system-call filters as containers have them, the kernel's own way to play Linux 2.6. Where
only strace can make the kernel refuse (AppArmor isn't there), it does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import BESIDE_PYTHON, PROGRAMS, need, need_user_namespaces, run_to_end

Words = list[str | Path]
UNUSABLE, DEGRADED = 2, 1
SMALL_DEV = """
for node in null zero full random urandom tty; do touch "$1/$node"; mount --bind "/dev/$node" "$1/$node"; done
mkdir "$1/pts" "$1/shm"; mount --rbind /dev/pts "$1/pts"; ln -s pts/ptmx "$1/ptmx"; ln -s /proc/self/fd "$1/fd"
mount --rbind "$1" /dev
"""


def in_namespace(script: str, *arguments: str | Path) -> Words:
    """What goes before a command: a user and a mount namespace of its own, in which `script` was run first."""
    need_user_namespaces()
    unshare: Words = [need("unshare"), "--user", "--map-current-user", "--keep-caps", "--mount"]
    count = len(arguments)
    run = f'set -e\n{script}\nshift {count}\nexec setpriv --inh-caps=-all "$@"'
    return [*unshare, "sh", "-c", run, "-", *arguments]


def filtered(*rules: str) -> Words:
    """What goes before a command: a filter that gives errors."""
    return [sys.executable, PROGRAMS / "filtered.py", *rules, "--"]


def failing_open(path: str, error: str) -> Words:
    """What goes before a command: opening this file fails."""
    calls = "open,openat"
    inject = f"inject={calls}:error={error}"
    return [need("strace"), "-f", "-o", "/dev/null", "-P", path, "-e", f"trace={calls}", "-e", inject]


def examined(
    sandbox: Path, env: Mapping[str, str], before: Sequence[str | Path] = ()
) -> tuple[int, dict[str, Any], dict[str, dict[str, Any]]]:
    """Exit status, the whole answer, and its findings by name."""
    done = run_to_end([*before, sandbox, "doctor", "--json"], env=env, timeout_s=60)
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    return done.returncode, answer, {finding["name"]: finding for finding in answer["findings"]}


def refused_start(sandbox: Path, env: Mapping[str, str], before: Sequence[str | Path]) -> str:
    """What a start says that fails."""
    done = run_to_end([*before, sandbox, "run", "--", "echo", "it ran"], env=env, timeout_s=60)
    assert (125, "") == (done.returncode, done.stdout), done.stderr
    return done.stderr


def first(answer: dict[str, Any]) -> tuple[str, str]:
    """Name and state of the most serious finding."""
    return answer["findings"][0]["name"], answer["findings"][0]["state"]


def limit_of(kind: str) -> Words:
    return in_namespace(f"echo 0 >/proc/sys/user/max_{kind}_namespaces")


def docker_filter() -> Words:
    """As the default profile of Docker has it for a process without capabilities."""
    return filtered("clone3=ENOSYS", "clone=EPERM:0x10000000", "unshare=EPERM", "mount=EPERM", "setns=EPERM")


def forbidding_filter() -> Words:
    return filtered("clone3=EPERM", "clone=EPERM:0x10000000", "unshare=EPERM")


def fake_sysctl(tmp_path: Path, name: str, value: int) -> Words:
    """In a namespace where /proc/sys/kernel has one file."""
    place = tmp_path / "sysctl"
    place.mkdir()
    (place / name).write_text(f"{value}\n")
    return in_namespace('mount --bind "$1" /proc/sys/kernel', place)


@pytest.mark.parametrize("kind", ["user", "net", "mnt", "pid", "ipc", "uts", "cgroup"])
def test_a_limit_of_no_namespaces_is_named_with_the_line_that_raises_it(
    kind: str, sandbox_program: Path, session: dict[str, str]
) -> None:
    names = {
        "user": "user-namespace",
        "mnt": "mounts",
        "net": "network",
        "pid": "processes",
        "uts": "host-name",
    }
    status, answer, found = examined(sandbox_program, session, limit_of(kind))
    sysctl = f"user.max_{kind}_namespaces"
    assert (UNUSABLE, "unusable") == (status, answer["status"])
    assert (names.get(kind, kind), "unusable") == first(answer)
    assert sysctl in answer["findings"][0]["cause"]
    assert f"{sysctl}=10000 | sudo tee" in answer["findings"][0]["remedy"]
    assert "skipped" == found["trial"]["state"]
    if kind in ("user", "net"):
        said = refused_start(sandbox_program, session, limit_of(kind))
        assert "sandbox doctor" in said
        assert "max_user_namespaces or its neighbours" in said


def test_a_filter_that_forbids_user_namespaces_is_found_to_be_one(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    status, answer, found = examined(sandbox_program, session, forbidding_filter())
    assert UNUSABLE == status
    assert ("user-namespace", "unusable") == first(answer)
    assert "clone3: Operation not permitted" == answer["findings"][0]["found"]
    assert "system-call filter" in answer["findings"][0]["cause"]
    assert "start " in answer["findings"][0]["remedy"]
    assert "skipped" == found["id-maps"]["state"] == found["mounts"]["state"] == found["network"]["state"]
    said = refused_start(sandbox_program, session, forbidding_filter())
    assert "sandbox doctor" in said
    assert "filter" in said


def test_dockers_filter_is_found_though_it_hides_clone3(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    status, answer, _ = examined(sandbox_program, session, docker_filter())
    assert UNUSABLE == status
    assert ("user-namespace", "unusable") == first(answer)
    assert "filter hides clone3" in answer["findings"][0]["cause"]
    said = refused_start(sandbox_program, session, docker_filter())
    assert "sandbox doctor" in said
    assert "clone3" in said


def test_ubuntus_way_is_told_from_a_machine_on_which_namespaces_work(
    sandbox_program: Path, session: dict[str, str], tmp_path: Path
) -> None:
    # The namespace is made; then it turns out that it comes without rights.
    ubuntu = [
        *fake_sysctl(tmp_path, "apparmor_restrict_unprivileged_userns", 1),
        *failing_open("/proc/self/setgroups", "EACCES"),
    ]
    status, answer, found = examined(sandbox_program, session, ubuntu)
    assert UNUSABLE == status
    assert "fine" == found["user-namespace"]["state"]
    assert ("id-maps", "unusable") == first(answer)
    assert "apparmor_restrict_unprivileged_userns" in answer["findings"][0]["cause"]
    assert (
        "sandbox doctor --apparmor-profile | sudo tee /etc/apparmor.d/sandboxer >/dev/null && "
        "sudo apparmor_parser -r /etc/apparmor.d/sandboxer"
    ) == answer["findings"][0]["remedy"]
    said = refused_start(sandbox_program, session, ubuntu)
    assert "apparmor_restrict_unprivileged_userns" in said
    assert "sandbox doctor" in said


def test_a_mount_that_is_refused_in_the_namespace_is_found_there(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    without_rights = filtered("fsopen=EPERM", "open_tree=EPERM", "move_mount=EPERM", "mount=EPERM")
    status, answer, found = examined(sandbox_program, session, without_rights)
    assert UNUSABLE == status
    assert ["fine", "fine", "fine"] == [
        found[name]["state"] for name in ("user-namespace", "id-maps", "mount-calls")
    ]
    assert ("mounts", "unusable") == first(answer)
    assert "filter" in answer["findings"][0]["cause"]
    assert "sandbox doctor" in refused_start(sandbox_program, session, without_rights)


def test_debians_sysctl_is_named_before_any_filter(
    sandbox_program: Path, session: dict[str, str], tmp_path: Path
) -> None:
    debian = [*fake_sysctl(tmp_path, "unprivileged_userns_clone", 0), *forbidding_filter()]
    status, answer, _ = examined(sandbox_program, session, debian)
    assert UNUSABLE == status
    assert ("user-namespace", "unusable") == first(answer)
    assert "kernel.unprivileged_userns_clone is 0" in answer["findings"][0]["cause"]
    assert "kernel.unprivileged_userns_clone=1 | sudo tee" in answer["findings"][0]["remedy"]
    assert "kernel.unprivileged_userns_clone" in refused_start(sandbox_program, session, debian)


def test_a_proc_with_covered_parts_is_named_with_them(sandbox_program: Path, session: dict[str, str]) -> None:
    masked = in_namespace("mount --bind /dev/null /proc/version")
    status, answer, found = examined(sandbox_program, session, masked)
    assert UNUSABLE == status
    assert "fine" == found["mounts"]["state"]
    assert ("processes", "unusable") == first(answer)
    assert "/proc/version" in answer["findings"][0]["cause"]
    remedy = answer["findings"][0]["remedy"]
    assert "umount /proc/version" in remedy or "start " in remedy  # where this machine is itself a container
    said = refused_start(sandbox_program, session, masked)
    assert "sandbox doctor" in said
    assert "/proc" in said


def test_a_chroot_is_found_by_there_being_nothing_else(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    chroot = in_namespace('mount --rbind / /mnt; exec /usr/sbin/chroot /mnt setpriv --inh-caps=-all "$@"')
    status, answer, _ = examined(sandbox_program, session, chroot)
    assert UNUSABLE == status
    assert ("user-namespace", "unusable") == first(answer)
    assert "chroot" in answer["findings"][0]["cause"]
    assert "start it outside the chroot" == answer["findings"][0]["remedy"]


def test_an_old_kernel_is_told_its_age_once(sandbox_program: Path, session: dict[str, str]) -> None:
    old: Words = [
        *filtered(
            "clone3=ENOSYS", "open_tree=ENOSYS", "mount_setattr=ENOSYS", "landlock_create_ruleset=ENOSYS"
        ),
        need("setarch"),
        "--uname-2.6",
    ]
    status, answer, _ = examined(sandbox_program, session, old)
    assert UNUSABLE == status
    assert ("kernel", "unusable") == first(answer)
    assert "2.6" in answer["findings"][0]["cause"]
    assert "5.14" in answer["findings"][0]["remedy"]
    assert ["kernel"] == [one["name"] for one in answer["findings"] if one["state"] == "unusable"]
    said = refused_start(sandbox_program, session, old)
    assert "5.14" in said
    assert "sandbox doctor" in said


def test_mount_calls_that_the_kernel_lacks_are_named(sandbox_program: Path, session: dict[str, str]) -> None:
    without = filtered("mount_setattr=ENOSYS")
    status, answer, found = examined(sandbox_program, session, without)
    assert UNUSABLE == status
    assert ("mount-calls", "unusable") == first(answer)
    assert "mount_setattr: Function not implemented" == answer["findings"][0]["found"]
    assert "mount_setattr" in answer["findings"][0]["cause"]
    assert "skipped" == found["mounts"]["state"]
    assert "sandbox doctor" in refused_start(sandbox_program, session, without)


@pytest.mark.parametrize(
    ("error", "cause", "remedy"),
    [
        ("EOPNOTSUPP", "left out of its list of security modules", "lsm="),
        ("ENOSYS", "filter hides landlock_create_ruleset", "start "),
    ],
)
def test_without_landlock_boxes_are_made_and_the_loss_is_told(
    error: str, cause: str, remedy: str, sandbox_program: Path, session: dict[str, str]
) -> None:
    status, _, found = examined(
        sandbox_program,
        session,
        filtered(f"landlock_create_ruleset={error}", f"landlock_restrict_self={error}"),
    )
    assert DEGRADED == status
    assert "degraded" == found["landlock"]["state"]
    assert cause in found["landlock"]["cause"]
    assert remedy in found["landlock"]["remedy"]
    assert "broker" in found["landlock"]["lost"]
    assert "fine" == found["trial"]["state"]


def test_without_dev_fuse_the_loss_is_told(
    sandbox_program: Path, session: dict[str, str], tmp_path: Path
) -> None:
    dev = tmp_path / "dev"
    dev.mkdir()
    without = in_namespace(f'mount -t tmpfs tmpfs "$1"{SMALL_DEV}', dev)
    status, _, found = examined(sandbox_program, session, without)
    assert DEGRADED == status
    assert ("degraded", "No such file or directory") == (found["fuse"]["state"], found["fuse"]["found"])
    assert "fuse" in found["fuse"]["remedy"]
    assert "portal" in found["fuse"]["lost"]
    assert "fine" == found["trial"]["state"]


def test_without_a_session_each_missing_service_is_told_and_boxes_are_made(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    status, answer, found = examined(sandbox_program, session)
    runtime = session["XDG_RUNTIME_DIR"]
    assert (DEGRADED, "degraded") == (status, answer["status"])
    assert f"unix:path={runtime}/bus: No such file or directory" == found["session-bus"]["found"]
    assert f"{runtime}/systemd/private: No such file or directory" == found["user-manager"]["found"]
    assert "neither WAYLAND_DISPLAY nor DISPLAY is set" == found["wayland"]["found"]
    for name in ("session-bus", "user-manager", "wayland", "sound"):
        assert "degraded" == found[name]["state"]
        assert found[name]["cause"]
        assert found[name]["remedy"]
        assert found[name]["lost"]
    for name in ("notifications", "portals", "control-groups"):
        assert "skipped" == found[name]["state"]
    assert "fine" == found["runtime-directory"]["state"] == found["trial"]["state"]


def test_a_bus_that_never_answers_is_given_up(
    sandbox_program: Path, session: dict[str, str], tmp_path: Path
) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        session["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={tmp_path}/silent"
        status, _, found = examined(sandbox_program, session)
    assert DEGRADED == status
    assert "degraded" == found["session-bus"]["state"]
    assert "doesn't answer" in found["session-bus"]["cause"]


@pytest.mark.parametrize(
    ("damage", "said", "remedy"),
    [
        ("unset", "XDG_RUNTIME_DIR isn't set", "XDG_RUNTIME_DIR="),
        ("absent", "isn't there", "XDG_RUNTIME_DIR="),
        ("open", "0700", "chmod 700 "),
        ("foreign", "another user's", "XDG_RUNTIME_DIR="),
    ],
)
def test_a_wrong_runtime_directory_is_told_and_boxes_are_made(
    damage: str, said: str, remedy: str, sandbox_program: Path, session: dict[str, str]
) -> None:
    runtime = Path(session["XDG_RUNTIME_DIR"])
    if damage == "unset":
        del session["XDG_RUNTIME_DIR"]
    elif damage == "absent":
        runtime.rmdir()
    elif damage == "open":
        runtime.chmod(0o755)
    else:
        session["XDG_RUNTIME_DIR"] = "/usr"
    status, _, found = examined(sandbox_program, session)
    assert DEGRADED == status
    assert "degraded" == found["runtime-directory"]["state"]
    assert said in found["runtime-directory"]["cause"]
    assert remedy in found["runtime-directory"]["remedy"]
    assert "fine" == found["trial"]["state"]
    for name in ("user-manager", "session-bus", "sound"):
        assert ("skipped", "") == (found[name]["state"], found[name]["remedy"])
        assert found["runtime-directory"]["title"] in found[name]["found"]


def test_a_place_for_plans_that_cannot_be_written_is_told(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    plans = Path(session["XDG_RUNTIME_DIR"]) / "sandboxer" / "plans"
    plans.mkdir(parents=True)
    plans.parent.chmod(0o700)
    plans.chmod(0o777)
    status, answer, _ = examined(sandbox_program, session)
    assert UNUSABLE == status
    assert ("state-directory", "unusable") == first(answer)
    assert str(plans) in answer["findings"][0]["found"]


def test_root_is_told_who_should_ask(sandbox_program: Path, session: dict[str, str]) -> None:
    need_user_namespaces()
    as_root: Words = [need("unshare"), "--user", "--map-root-user"]
    status, answer, _ = examined(sandbox_program, session, as_root)
    assert UNUSABLE == status
    assert ["user"] == [finding["name"] for finding in answer["findings"]]
    assert "root" in answer["findings"][0]["cause"]
    assert "XDG_RUNTIME_DIR=/run/user/$(id -u NAME) sandbox doctor" in answer["findings"][0]["remedy"]


def test_what_fails_only_in_a_whole_box_is_found_by_the_trial(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    status, answer, _ = examined(sandbox_program, session, filtered("keyctl=EPERM"))
    assert UNUSABLE == status
    assert ("trial", "unusable") == first(answer)
    assert "keyring" in "".join(answer["findings"][0]["evidence"])


def test_nothing_that_doctor_does_asks_for_more_rights(
    sandbox_program: Path, session: dict[str, str], tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    words: Words = [need("strace"), "-f", "-e", "trace=execve", "-o", trace, sandbox_program, "doctor"]
    run_to_end(words, env=session, timeout_s=60)
    executed = [line for line in trace.read_text().splitlines() if "execve(" in line]
    assert executed
    assert not [line for line in executed if "sudo" in line.split("[", 1)[0] or "pkexec" in line]


def test_where_apparmor_restricts_namespaces_doctor_asks_through_the_launcher_that_has_the_profile(
    sandbox_program: Path, session: dict[str, str], tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    traced: Words = [need("strace"), "-f", "-s", "200", "-e", "trace=execve", "-o", trace]
    restricted = fake_sysctl(tmp_path, "apparmor_restrict_unprivileged_userns", 1)
    run_to_end(
        [*restricted, *traced, BESIDE_PYTHON / "sandboxer", "doctor", "--json"], env=session, timeout_s=60
    )
    here = f'execve("{sandbox_program.resolve()}", ["sandbox", "doctor", "--here", "--json"]'
    assert 1 == trace.read_text().count(here)


def test_the_profile_is_printed_for_the_launcher_where_it_is_installed(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    done = run_to_end([sandbox_program, "doctor", "--apparmor-profile"], env=session)
    assert (0, "") == (done.returncode, done.stderr)
    assert (
        f"\nprofile sandboxer {sandbox_program.resolve()} flags=(unconfined) {{\n  userns,\n" in done.stdout
    )


def test_the_page_tells_cause_loss_and_remedy_and_the_rest_in_one_line(
    sandbox_program: Path, session: dict[str, str]
) -> None:
    done = run_to_end([*limit_of("user"), sandbox_program, "doctor"], env=session)
    lines = done.stdout.splitlines()
    assert "Boxes can't be made here." == lines[0]
    assert "Nothing can be started" == lines[2]
    assert lines[3].startswith("  user namespaces: clone3: No space left on device")
    assert lines[4].startswith("    sysctl user.max_user_namespaces is 0")
    assert "    lost: no box can be made: nothing starts" == lines[5]
    assert lines[6].startswith("    try: echo user.max_user_namespaces=10000 | sudo tee ")
    assert lines[-1].startswith("fine: ")


def test_a_healthy_session_has_nothing_that_keeps_boxes_from_being_made(desktop: Any, tmp_path: Path) -> None:
    done = desktop.run("sandbox", "doctor", "--json")
    answer = json.loads(done.stdout)
    found = {finding["name"]: finding for finding in answer["findings"]}
    for name in (
        "user-namespace",
        "mounts",
        "landlock",
        "runtime-directory",
        "user-manager",
        "session-bus",
        "x11",
    ):
        assert "fine" == found[name]["state"], found[name]
    assert "fine" == found["trial"]["state"] == found["install"]["state"] == found["path"]["state"]
    # Sound servers are masked in this session: only what is lifted can be started.
    assert found["sound"]["remedy"].startswith("systemctl --user unmask "), found["sound"]
    worst = {finding["state"] for finding in answer["findings"]}
    assert (DEGRADED if "degraded" in worst else 0) == done.returncode

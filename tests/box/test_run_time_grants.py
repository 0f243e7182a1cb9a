"""What `sandbox grant`, `revoke` and `grants` do to a box that runs."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import missing, run_to_end
from running import RunningBox, openable_device, within

Start = Callable[..., RunningBox]
PYTHON_HERE = sys.executable
NAMESPACES = ("advanced.nested=true", 'syscalls.allow=["@namespaces"]')
"""What lets a box make mount namespaces of its own."""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A directory of the user's, with a file and another directory in it."""
    place = tmp_path / "work"
    (place / "deeper").mkdir(parents=True)
    (place / "notes").write_text("first\n")
    (place / "deeper" / "leaf").write_text("leaf\n")
    return place


def test_nothing_of_ours_runs_beside_a_box_before_the_first_use(running_box: Start) -> None:
    box = running_box()
    assert ([], []) == (box.companions("steward"), box.companions("broker"))


def test_a_directory_appears_where_it_is_outside_and_disappears(running_box: Start, work: Path) -> None:
    box = running_box()
    assert not box.eval(f"os.path.exists({str(work)!r})")
    said = box.done("grant", work)
    assert f"can read {work} until it ends  [grant 1]\n" in said
    assert ["deeper", "notes"] == box.eval(f"sorted(os.listdir({str(work)!r}))")
    assert "leaf\n" == box.eval(f"text({str(work / 'deeper' / 'leaf')!r})")
    assert f"has lost {work}  [grant 1]\n" in box.done("revoke", work)
    assert not box.eval(f"os.path.exists({str(work)!r})")


def test_a_file_appears_alone_and_what_was_made_for_it_goes_with_it(running_box: Start, work: Path) -> None:
    box = running_box()
    box.done("grant", work / "deeper" / "leaf")
    assert ["deeper"] == box.eval(f"os.listdir({str(work)!r})")
    assert "leaf\n" == box.eval(f"text({str(work / 'deeper' / 'leaf')!r})")
    box.done("revoke", "1")
    assert not box.eval(f"os.path.exists({str(work)!r})")


def test_a_place_on_the_box_s_own_read_only_root_can_be_had(running_box: Start) -> None:
    """Nothing in the box can write there, before or after."""
    outside = Path("/var/lib/dpkg") if Path("/var/lib/dpkg").is_dir() else Path("/var/log")
    box = running_box()
    box.done("grant", outside)
    assert box.eval(f"os.path.isdir({str(outside)!r})")
    assert "EROFS" == box.eval(f"error(os.mkdir, {str(outside.parent / 'other')!r})")
    box.done("revoke", "--all")
    assert not box.eval(f"os.path.exists({str(outside.parent)!r})")


def test_read_only_is_read_only_and_rw_is_writable(running_box: Start, work: Path) -> None:
    box = running_box()
    box.done("grant", work)
    note = str(work / "notes")
    assert "EROFS" == box.eval(f"error(put, {note!r}, 'x')")
    assert "EROFS" == box.eval(f"error(os.remove, {note!r})")
    assert "EROFS" == box.eval(f"error(os.chmod, {note!r}, 0o777)")
    box.done("revoke", "1")
    box.done("grant", f"{work}:rw")
    assert 6 == box.eval(f"put({note!r}, 'second')")
    assert "second" == (work / "notes").read_text()
    assert "EPERM" == box.eval(
        f"error(os.mknod, {str(work / 'node')!r}, 0o600 | stat.S_IFCHR, os.makedev(1, 3))"
    )


def test_set_uid_programs_and_device_nodes_in_a_granted_directory_do_nothing(
    running_box: Start, work: Path
) -> None:
    box = running_box()
    box.done("grant", f"{work}:rw")
    flags = box.eval(f"os.statvfs({str(work)!r}).f_flag")
    assert flags & os.ST_NOSUID
    assert flags & 4  # ST_NODEV


def test_a_device_node_works_and_sounds_as_dangerous_as_it_is(running_box: Start) -> None:
    device = openable_device()
    if device is None:
        missing("a device node that an ordinary user can open")
    box = running_box()
    assert "read-only" in box.refused("grant", device)
    said = box.done("grant", f"{device}:rw")
    assert "and its driver, which is part of the kernel" in said
    assert box.eval(f"stat.S_ISCHR(os.stat({device!r}).st_mode)")
    assert "" == box.eval(f"error(os.open, {device!r}, os.O_RDONLY | os.O_NONBLOCK)")
    box.done("revoke", device)
    assert not box.eval(f"os.path.exists({device!r})")


def test_a_grant_that_the_box_has_already_is_refused(running_box: Start, work: Path) -> None:
    box = running_box(f'files.read=["{work}"]')
    assert "the box has it already" in box.refused("grant", work)
    assert "the box has it already" in box.refused("grant", work / "notes")
    assert "read and change" in box.done("grant", f"{work}:rw")
    assert 1 == box.eval(f"put({str(work / 'notes')!r}, 'x')")
    assert "granted already" in box.refused("grant", f"{work}:rw")
    box.done("revoke", work)
    assert "EROFS" == box.eval(f"error(put, {str(work / 'notes')!r}, 'x')")


def test_what_would_cover_the_policy_s_own_grants_goes_elsewhere(running_box: Start, work: Path) -> None:
    inner = work / "deeper"
    box = running_box(f'files.write=["{inner}"]')
    assert "/run/grants/1/work: " in box.done("grant", work)
    assert "first\n" == box.eval("text('/run/grants/1/work/notes')")
    assert 1 == box.eval(f"put({str(inner / 'new')!r}, 'x')")


def test_a_grant_within_a_grant_outlives_it(running_box: Start, work: Path) -> None:
    box = running_box()
    box.done("grant", work)
    box.done("grant", f"{work / 'deeper'}:rw")
    assert 1 == box.eval(f"put({str(work / 'deeper' / 'new')!r}, 'x')")
    box.done("revoke", "1")
    assert ["deeper"] == box.eval(f"os.listdir({str(work)!r})")
    assert 2 == box.eval(f"put({str(work / 'deeper' / 'new')!r}, 'xy')")
    box.done("revoke", "2")
    assert not box.eval(f"os.path.exists({str(work)!r})")


def test_a_symbolic_link_that_the_application_planted_on_the_way_is_not_followed(
    running_box: Start, work: Path, session: dict[str, str]
) -> None:
    box = running_box("files.home=private")
    granted = Path(session["HOME"]) / "Projects" / "site"
    granted.mkdir(parents=True)
    (granted / "page").write_text("content")
    assert None is box.eval("os.mkdir('/tmp/trap')")
    assert None is box.eval(f"os.symlink('/tmp/trap', {str(granted.parent)!r})")
    said = box.done("grant", granted)
    assert "in the box it is /run/grants/1/site: " in said
    assert "a symbolic link is in the way" in said
    assert "content" == box.eval("text('/run/grants/1/site/page')")
    assert [] == box.eval("os.listdir('/tmp/trap')")


def test_with_links_in_every_way_the_grant_fails(
    running_box: Start, work: Path, session: dict[str, str]
) -> None:
    box = running_box("files.home=private")
    granted = Path(session["HOME"]) / "Projects"
    granted.mkdir()
    assert None is box.eval("os.mkdir('/tmp/trap')")
    assert None is box.eval(f"os.symlink('/tmp/trap', {str(granted)!r})")
    assert None is box.eval("os.symlink('/tmp/trap', '/run/grants')")
    assert "never followed" in box.refused("grant", granted)
    assert [] == box.eval("os.listdir('/tmp/trap')")
    assert [] == json.loads(box.done("grants", "--json"))["grants"]


def test_a_link_outside_is_followed_unless_the_box_could_have_made_it(running_box: Start, work: Path) -> None:
    shared = work / "deeper"
    (work / "mine").symlink_to(work / "notes")
    (shared / "planted").symlink_to(work / "notes")
    box = running_box(f'files.write=["{shared}"]')
    assert "refuses to follow a link" in box.refused("grant", shared / "planted")
    assert f"can read {work / 'notes'} " in box.done("grant", work / "mine")
    other = work.parent / "other"
    other.mkdir()
    box.done("grant", f"{other}:rw")
    assert None is box.eval(f"os.symlink('/etc/passwd', {str(other / 'new')!r})")
    assert "refuses to follow a link" in box.refused("grant", other / "new")


def test_a_mount_that_the_application_moved_away_is_taken_all_the_same(
    running_box: Start, session: dict[str, str]
) -> None:
    box = running_box("files.home=private")
    home = Path(session["HOME"])
    granted = home / "a" / "b"
    granted.mkdir(parents=True)
    (granted / "page").write_text("content")
    box.done("grant", granted)
    assert None is box.eval(f"os.rename({str(home / 'a')!r}, {str(home / 'elsewhere')!r})")
    assert "content" == box.eval(f"text({str(home / 'elsewhere' / 'b' / 'page')!r})")
    box.done("revoke", granted)
    assert "ENOENT" == box.eval(f"error(text, {str(home / 'elsewhere' / 'b' / 'page')!r})")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/proc", "part of the kernel"),
        ("/sys/kernel", "part of the kernel"),
        ("/dev/shm", "part of the kernel"),
        ("/", "part of the kernel"),
        ("RUNTIME", "controlled by"),
        ("RUNTIME/sandboxer/plans", "controlled by"),
        ("STATE", "controlled by"),
        ("STATE/control", "only files, directories and device nodes"),
        ("HOME/.cache/sandboxer", "controlled by"),
        ("HOME/.bashrc:rw", "what runs outside"),
        ("HOME:rw", "what runs outside"),
        ("HOME/.config:rw", "what runs outside"),
        ("/dev/pts/ptmx:rw", "a terminal"),
        ("/dev/ptmx:rw", "a terminal"),
        ("/nonexistent", "No such file"),
    ],
)
def test_what_no_box_may_have_is_refused(
    running_box: Start, session: dict[str, str], path: str, reason: str
) -> None:
    box = running_box()
    home = Path(session["HOME"])
    (home / ".bashrc").touch()
    (home / ".config").mkdir(exist_ok=True)
    named = path.replace("RUNTIME", session["XDG_RUNTIME_DIR"]).replace("STATE", str(box.state))
    assert reason in box.refused("grant", named.replace("HOME", str(home)))
    assert not (box.state / "grants").exists()


def test_what_the_policy_hides_stays_hidden(running_box: Start, work: Path) -> None:
    (work / "secret").mkdir()
    (work / "secret" / "key").write_text("key")
    (work / "password").write_text("password")
    box = running_box(f'files.hide=["{work / "secret"}", "{work / "password"}"]')
    assert "refuses to grant what the policy hides" in box.refused("grant", work / "secret" / "key")
    assert "hold" in box.refused("grant", f"{work}:rw")
    box.done("grant", work)
    assert "first\n" == box.eval(f"text({str(work / 'notes')!r})")
    assert [] == box.eval(f"os.listdir({str(work / 'secret')!r})")
    assert "" == box.eval(f"text({str(work / 'password')!r})")
    box.done("revoke", work)


def test_the_home_is_granted_without_what_boxes_are_controlled_by(
    running_box: Start, session: dict[str, str]
) -> None:
    home = Path(session["HOME"])
    (home / "document").write_text("content")
    (home / ".cache" / "sandboxer" / "plans").mkdir(parents=True, exist_ok=True)
    box = running_box()
    said = box.done("grant", home)
    assert "/run/grants/1/home" in said
    assert "content" == box.eval("text('/run/grants/1/home/document')")
    assert [] == box.eval("os.listdir('/run/grants/1/home/.cache/sandboxer')")


def test_a_grant_ends_at_its_time(running_box: Start, work: Path) -> None:
    box = running_box()
    said = box.done("grant", work, "--for", "2s")
    began = time.monotonic()
    assert "for 2 seconds" in said
    assert box.eval(f"os.path.exists({str(work)!r})")
    within(lambda: not box.eval(f"os.path.exists({str(work)!r})"), "the grant has ended", 6)
    assert 1 < time.monotonic() - began < 3.5
    within(lambda: not box.companions(), "the steward has ended: nothing is left to do")


def test_a_steward_that_was_killed_is_followed_by_one_that_keeps_the_time(
    running_box: Start, work: Path
) -> None:
    box = running_box()
    box.done("grant", work, "--for", "4s")
    box.done("grant", f"{work / 'notes'}:rw")
    began = time.monotonic()
    first = box.steward()
    os.kill(first, signal.SIGKILL)
    within(lambda: box.companions() not in ([], [first]), "another steward has been started")
    assert time.monotonic() - began < 2.5
    assert box.eval(f"os.path.exists({str(work / 'deeper')!r})")
    within(lambda: not box.eval(f"os.path.exists({str(work / 'deeper')!r})"), "the grant has ended", 6)
    assert time.monotonic() - began < 5.5
    put = f"put({str(work / 'notes')!r}, 'x')"
    within(lambda: box.eval(put) == 1, "the grant within it has been made again")
    listed = json.loads(box.done("grants", "--json"))["grants"]
    assert [(2, str(work / "notes"), None)] == [
        (one["number"], one["path"], one["seconds-left"]) for one in listed
    ]


def test_a_grant_without_a_time_needs_no_steward_and_ends_with_the_box(
    running_box: Start, work: Path
) -> None:
    box = running_box()
    box.done("grant", work)
    within(lambda: not box.companions(), "the steward has ended")
    assert box.eval(f"os.path.exists({str(work)!r})")
    box.done("revoke", work)
    assert not box.eval(f"os.path.exists({str(work)!r})")


def test_what_is_still_held_after_a_revoke_is_told(running_box: Start, work: Path) -> None:
    box = running_box()
    box.done("grant", work)
    notes, deeper = str(work / "notes"), str(work / "deeper")
    box.eval(f"[keep({notes!r}), keep({deeper!r}), os.chdir({deeper!r})]")
    box.eval(
        f"kept.append(mmap.mmap(os.open({str(work / 'deeper' / 'leaf')!r}, os.O_RDONLY), 0, prot=mmap.PROT_READ))"
    )
    said = box.done("revoke", work)
    assert "What was open stays open" in said
    assert f"holds {notes}: open, and of use until it closes it" in said
    assert "leaf: in its memory" in said
    directory = "a directory: it can still see the names in it and connect to sockets in it, and open nothing"
    assert directory in said, "without Landlock of ABI 3 this machine can't hold it"
    inside = next(line for line in said.splitlines() if "python3 (" in line)
    pid = int(inside.partition("(")[2].partition(")")[0])
    assert "python3" in Path(f"/proc/{pid}/cmdline").read_text()
    assert b"first\n".decode() == box.eval("os.read(kept[0], 100).decode()")
    assert ["leaf"] == box.eval("os.listdir(kept[1])")
    assert "EACCES" == box.eval("error(os.open, 'leaf', os.O_RDONLY, dir_fd=kept[1])")
    assert "EACCES" == box.eval("error(os.open, 'leaf', os.O_RDONLY)")


def test_a_copy_in_namespaces_of_the_application_s_own_is_told(running_box: Start, work: Path) -> None:
    box = running_box(*NAMESPACES)
    # Where a place had to be made, its removal takes the mount away in every namespace: here the application makes it.
    assert None is box.eval(f"os.makedirs({str(work)!r})")
    box.done("grant", work)
    copy = "subprocess.Popen(['unshare', '--user', '--mount', '--propagation', 'unchanged', 'sleep', '60'])"
    assert None is box.eval(f"kept.append({copy})")
    unshared = (
        "os.stat(f'/proc/{kept[0].pid}/ns/mnt').st_ino != os.stat('/proc/self/ns/mnt').st_ino and 'sleep' in "
    )
    unshared += "text(f'/proc/{kept[0].pid}/comm')"
    within(lambda: box.eval(unshared) is True, "it has a mount namespace of its own")
    said = box.done("revoke", work)
    assert "sleep (" in said
    assert "a copy of the mount, in namespaces that it made for itself" in said


def test_a_copy_of_a_mount_whose_place_was_made_for_it_goes_too(running_box: Start, work: Path) -> None:
    box = running_box(*NAMESPACES)
    box.done("grant", work)
    copy = "subprocess.Popen(['unshare', '--user', '--mount', '--propagation', 'unchanged', 'sleep', '60'])"
    assert None is box.eval(f"kept.append({copy})")
    inside = "'sleep' in text(f'/proc/{kept[0].pid}/comm')"
    inside += f" and {str(work)!r} in text(f'/proc/{{kept[0].pid}}/mounts')"
    within(lambda: box.eval(inside) is True, "it has a mount namespace of its own, with the grant in it")
    assert "What was open" not in box.done("revoke", work)
    assert False is box.eval(inside)


def test_a_box_whose_processes_all_left_its_namespaces_can_still_be_changed(
    running_box: Start, work: Path, session: dict[str, str]
) -> None:
    box = running_box(*NAMESPACES)
    assert 0 == box.eval("ctypes.CDLL(None).unshare(0x10020000)")
    box.done("grant", work)
    assert [] == box.eval(f"os.listdir({str(work)!r})")
    box.done("revoke", work)
    assert not box.eval(f"os.path.exists({str(work)!r})")


def test_the_list_tells_what_the_policy_grants_and_what_was_granted_since(
    running_box: Start, work: Path
) -> None:
    box = running_box(f'files.read=["{work / "deeper"}"]')
    box.done("grant", work / "notes", "--for", "1h")
    listed = json.loads(box.done("grants", "--json"))
    assert ["strict", f"strict.{box.id}"] == [listed["application"], listed["box"]]
    (grant,) = listed["grants"]
    assert 3590 < grant.pop("seconds-left") <= 3600
    path = str(work / "notes")
    assert {
        "number": 1,
        "kind": "grant",
        "path": path,
        "source": path,
        "write": False,
        "device": False,
    } == grant
    (policy,) = listed["policy"]
    assert (str(work / "deeper"), False) == (policy["path"], policy["write"])
    assert policy["origin"].startswith("command line")
    page = box.done("grants")
    assert "in 59 minutes" in page or "in 1 hour" in page
    assert str(work / "deeper") in page


def test_a_box_is_found_by_its_pid_its_id_and_its_application(running_box: Start, work: Path) -> None:
    box = running_box()
    for name in (box.id, f"strict.{box.id}", "strict"):
        assert "While it runs" in run_to_end([box.sandbox, "grants", name], env=box.environment).stdout
    other = running_box()
    both = f"strict.{box.id}, strict.{other.id}"
    ended = run_to_end([box.sandbox, "grants", "strict"], env=box.environment)
    assert (125, True) == (ended.returncode, both in ended.stderr)
    ended = run_to_end([box.sandbox, "grants", f"strict.{other.id}"], env=box.environment)
    assert 0 == ended.returncode
    ended = run_to_end([box.sandbox, "grants", "nothing"], env=box.environment)
    assert "no such box runs" in ended.stderr


def test_a_process_in_a_user_namespace_of_its_own_is_not_answered(running_box: Start) -> None:
    """As one in a box would be that is shown the socket by mistake."""
    box = running_box()
    ask = (
        "import os, socket, sys; os.chdir(sys.argv[1]); s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
        "s.settimeout(10); s.connect('control'); s.send(b'{\"type\":\"look\"}'); print(s.recv(65536))"
    )
    words = [PYTHON_HERE, "-c", ask, str(box.state)]
    assert '"type":"looked"' in run_to_end(words, env=box.environment).stdout
    alone = run_to_end(["unshare", "--user", "--map-current-user", *words], env=box.environment)
    assert "looked" not in alone.stdout


def test_a_state_that_makes_no_sense_is_an_error_and_no_endless_complaint(
    running_box: Start, work: Path
) -> None:
    box = running_box()
    (box.state / "grants").write_text("[]")
    (box.state / "grants").chmod(0o600)
    assert "cannot tell what was granted to this box" in box.refused("grant", work)
    assert not box.eval(f"os.path.exists({str(work)!r})")
    within(lambda: not box.companions(), "the steward has ended")
    time.sleep(1.5)
    assert [] == box.companions()


def test_everything_of_a_box_is_gone_when_it_ends(running_box: Start, work: Path) -> None:
    box = running_box()
    box.done("grant", work, "--for", "1h")
    state, steward = box.state, box.steward()
    box.process.terminate()
    box.process.wait(10)
    within(lambda: not Path(f"/proc/{steward}").exists(), "the steward has ended with the box")
    assert not state.exists()

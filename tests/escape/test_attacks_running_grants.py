"""
Attack: from inside, while the user grants and revokes: in the way, in between, and against who comes in to do it.

What the commands do where nobody attacks is in tests/box/test_run_time_grants.py.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokered import AskingBox, status_of
from companions import is_gone
from conftest import Asking
from running import within

from sandboxer.steward import control
from sandboxer.steward.boxes import Box
from sandboxer.steward.control import Add, Added, Revoke, Revoked

MANY = 100
RACES = 25
KEY = ".ssh/id_ed25519"
OUTSIDE = 'list = ["~/shared"]'
WRITABLE = 'read = ["~/lib"]\nwrite = ["~/shared"]'


@pytest.fixture
def box(asking: Asking, home: Path) -> Iterator[AskingBox]:
    """It can write ~/shared, outside, and its own empty home and /tmp."""
    before = Path("/proc/self/mountinfo").read_text()
    started = asking(OUTSIDE, files=WRITABLE)
    started.has("grant_thief")
    yield started
    assert before == Path("/proc/self/mountinfo").read_text(), "nothing was mounted outside"


@pytest.fixture
def work(home: Path) -> Path:
    """A directory of the user's, which the box doesn't have."""
    place = home / "work"
    (place / "deep").mkdir(parents=True)
    (place / "notes").write_text("notes")
    (place / "deep" / "leaf").write_text("leaf")
    return place


def shared(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in (home / "shared").rglob("*"))


def test_links_in_the_way_never_lead_a_grant_elsewhere(box: AskingBox, home: Path, work: Path) -> None:
    """~/work, which is to be made, is now a directory of the box's own, now a link to a directory of the user's."""
    before = shared(home)
    box.eval(f"os.mkdir({str(work)!r})")
    box.eval(f"os.symlink({str(home / 'shared')!r}, {str(home / 'decoy')!r})")
    racer = box.eval(f"exchange_for(60, {str(work)!r}, {str(home / 'decoy')!r})")
    places: set[str] = set()
    for _ in range(RACES):
        ended = box.command("grant", work / "deep")
        assert ended.returncode in (0, 125), ended.stderr
        places.update(mount for mount in box.eval("mounts()") if "deep" in mount)
        assert 0 == box.command("revoke", "--all").returncode
    box.eval(f"os.kill({racer}, 9)")
    assert before == shared(home), "nothing was made in what is the user's"
    allowed = (str(work), str(home / "decoy"), "/run/grants")
    assert all(place.startswith(allowed) for place in places), places
    assert [] == [mount for mount in box.eval("mounts()") if "deep" in mount]


def test_a_way_that_becomes_a_link_to_the_system_covers_nothing_of_it(
    box: AskingBox, home: Path, work: Path
) -> None:
    """The application would have its own libraries or settings mounted over by what the user grants."""
    system = box.eval("mounts()")
    box.eval(f"os.mkdir({str(work)!r})")
    box.eval(f"os.symlink('/usr', {str(home / 'decoy')!r})")
    (work / "share").mkdir()
    racer = box.eval(f"exchange_for(60, {str(work)!r}, {str(home / 'decoy')!r})")
    for _ in range(RACES):
        ended = box.command("grant", work / "share")
        assert ended.returncode in (0, 125), ended.stderr
        found = [mount for mount in box.eval("mounts()") if mount not in system]
        assert not any(mount.startswith("/usr") for mount in found), found
        box.command("revoke", "--all")
    box.eval(f"os.kill({racer}, 9)")
    assert system == box.eval("mounts()")


def test_a_link_that_the_box_planted_is_not_granted(box: AskingBox, home: Path) -> None:
    box.eval(f"os.symlink('../.ssh', {str(home / 'shared' / 'keys')!r})")
    box.eval(f"os.symlink('../' + {KEY!r}, {str(home / 'shared' / 'key')!r})")
    for word in ("keys", "key", "keys/id_ed25519"):
        assert "refuses to follow a link" in box.refused("grant", home / "shared" / word)
    assert not box.eval(f"os.path.exists({str(home / KEY)!r})")


def test_a_link_that_it_planted_while_it_could_is_not_followed_after_the_revoke(
    box: AskingBox, home: Path, work: Path
) -> None:
    box.done("grant", f"{work}:rw")
    box.eval(f"os.symlink('../../.ssh', {str(work / 'deep' / 'keys')!r})")
    box.done("revoke", work)
    assert "refuses to follow a link" in box.refused("grant", work / "deep" / "keys" / "id_ed25519")
    for pid in box.companions("steward"):
        os.kill(pid, signal.SIGKILL)
    assert "refuses to follow a link" in box.refused("grant", work / "deep" / "keys" / "id_ed25519")
    assert not box.eval(f"os.path.exists({str(home / KEY)!r})")


def test_a_link_that_it_can_plant_by_its_broker_is_not_followed(
    asking: Asking, home: Path, work: Path
) -> None:
    """It can't make links there, but move one that lies there to where the user looks for something else."""
    box = asking(f'rename = ["{work}"]', files=WRITABLE)
    (work / "keys").symlink_to("../.ssh")
    assert "refuses to follow a link" in box.refused("grant", work / "keys")


def test_many_open_files_delay_no_grant_s_end(box: AskingBox, work: Path) -> None:
    """Who holds what is looked for when it is gone, and not for long."""
    box.done("grant", work, "--for", "2s")
    box.does(
        f"""
        resource = __import__("resource")
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        for _ in range(40):
            if os.fork() == 0:
                try:
                    while True:
                        os.open({str(work / 'notes')!r}, os.O_RDONLY)
                except OSError:
                    time.sleep(20)
                    os._exit(0)
        """
    )
    within(lambda: not box.eval(f"os.path.exists({str(work)!r})"), "it ends in time", 4)


def test_a_directory_that_is_held_after_a_revoke_can_t_be_changed(box: AskingBox, work: Path) -> None:
    box.done("grant", f"{work}:rw")
    box.does(f"here = os.open({str(work)!r}, os.O_RDONLY)")
    box.done("revoke", work)
    for call in ("os.mkdir('new', dir_fd=here)", "os.unlink('notes', dir_fd=here)", "os.fchmod(here, 0o700)"):
        assert box.eval(f"error(lambda: {call})") in ("EROFS", "EACCES"), call
    assert "EROFS" == box.eval("error(lambda: os.fchmod(here, 0o700))")


def test_a_directory_that_the_box_swaps_for_a_link_shows_nothing_else(box: AskingBox, home: Path) -> None:
    """What the user names lies in what the box can write: between the look at it and the mount it may change."""
    place, link = home / "shared" / "album", home / "shared" / "planted"
    place.mkdir()
    (place / "picture").write_text("picture")
    link.symlink_to("../.ssh")
    racer = box.eval(f"exchange_for(60, {str(place)!r}, {str(link)!r})")
    for _ in range(RACES):
        assert box.command("grant", f"{place}:rw").returncode in (0, 125)
        tops = ("/run/grants", str(home))
        seen = box.eval(f"[name for top in {tops!r} for _, _, names in os.walk(top) for name in names]")
        assert "id_ed25519" not in seen
        box.command("revoke", "--all")
    box.eval(f"os.kill({racer}, 9)")
    assert "an SSH key" == (home / KEY).read_text()


@pytest.mark.parametrize("place", ["/usr", "/etc", "/run", "/tmp", "home", "/"])
def test_a_grant_covers_nothing_that_the_box_uses(box: AskingBox, home: Path, place: str) -> None:
    """What would lie over the box's own goes elsewhere, or is refused."""
    path = str(home) if place == "home" else place
    before = box.eval("mounts()")
    ended = box.command("grant", path)
    new = [mount for mount in box.eval("mounts()") if mount not in before]
    assert all(mount.startswith("/run/grants/") for mount in new), (ended.stdout, ended.stderr, new)
    assert box.eval("os.path.exists('/usr/bin/python3') and os.access('/tmp', os.W_OK)")
    assert box.eval("client.hello()") > 0
    if ended.returncode == 0:
        box.done("revoke", "--all")
    assert before == box.eval("mounts()")


def test_a_read_only_grant_can_t_be_written_in_any_way(box: AskingBox, work: Path) -> None:
    box.done("grant", work)
    notes = str(work / "notes")
    for call in (
        f"open({notes!r}, 'w')",
        f"open({notes!r}, 'r+')",
        f"os.truncate({notes!r}, 0)",
        f"os.chmod({notes!r}, 0o777)",
        f"os.utime({notes!r})",
        f"os.rename({notes!r}, {notes + '2'!r})",
        f"os.link({notes!r}, {notes + '2'!r})",
        f"os.symlink('x', {notes + '2'!r})",
        f"os.setxattr({notes!r}, 'user.x', b'1')",
        f"os.remove({notes!r})",
        f"os.mkfifo({notes + '2'!r})",
        f"os.open('/proc/self/fd/' + str(keep({notes!r})), os.O_RDWR)",
        f"os.fchmod(keep({notes!r}), 0o777)",
        f"os.open('/proc/self/root' + {notes!r}, os.O_WRONLY)",
        f"os.open('/proc/1/root' + {notes!r}, os.O_WRONLY)",
    ):
        assert box.eval(f"error(lambda: {call})") in ("EROFS", "EACCES", "EPERM"), call
    assert "notes" == (work / "notes").read_text()


def test_devices_and_set_uid_programs_in_a_grant_do_nothing(box: AskingBox, work: Path) -> None:
    (work / "program").write_bytes(Path("/usr/bin/id").resolve().read_bytes())
    (work / "program").chmod(0o4755)
    box.done("grant", f"{work}:rw")
    flags = box.eval(f"os.statvfs({str(work)!r}).f_flag")
    assert (flags & os.ST_NOSUID, flags & 4) == (os.ST_NOSUID, 4)
    assert box.eval(f"error(os.mknod, {str(work / 'node')!r}, {stat.S_IFCHR | 0o666}, os.makedev(1, 1))") == "EPERM"
    box.does(f"status, out, _ = run({str(work / 'program')!r}, '-u')")
    assert str(os.getuid()) == box.eval("out").strip()


def test_grants_can_t_be_taken_away_moved_or_changed_from_inside(box: AskingBox, work: Path) -> None:
    box.done("grant", work)
    before = box.eval("mounts()")
    assert [] == box.eval(f"unmounting({str(work)!r})")
    assert before == box.eval("mounts()")
    assert box.eval(f"text({str(work / 'notes')!r})") == "notes"


def test_a_nested_application_can_t_take_them_away_either(asking: Asking, home: Path, work: Path) -> None:
    """One that may make user namespaces has all capabilities in them, and no mount of the box's is its own."""
    box = asking(OUTSIDE, files=WRITABLE, more="[advanced]\nnested = true")
    box.has("grant_thief")
    box.done("grant", work)
    box.does(
        f"""
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            first = call("unshare", 0x10000000)
            os.write(writer, repr((first, unmounting({str(work)!r}))).encode())
            os._exit(0)
        os.waitpid(process, 0)
        """
    )
    first, worked = box.eval("eval(os.read(reader, 4096))")
    assert (first, [way for way in worked if way != "unshare"]) == ("", [])
    assert box.eval(f"text({str(work / 'notes')!r})") == "notes"
    box.done("revoke", "--all")
    assert not box.eval(f"os.path.exists({str(work)!r})")


def test_revoking_closes_directories_and_tells_of_files(box: AskingBox, work: Path) -> None:
    box.done("grant", work)
    box.does(f"here = os.open({str(work)!r}, os.O_RDONLY); file = os.open({str(work / 'notes')!r}, os.O_RDONLY)")
    box.does(f"path = os.open({str(work)!r}, os.O_PATH); os.chdir({str(work / 'deep')!r})")
    said = box.done("revoke", work)
    assert (str(work / "notes") in said, "open, and of use" in said, "a directory" in said) == (True, True, True)
    assert box.eval("os.read(file, 99)") == b"notes", "what is open stays open"
    for call in (
        "os.open('notes', os.O_RDONLY, dir_fd=here)",
        "os.open('notes', os.O_RDONLY, dir_fd=path)",
        "os.open('leaf', os.O_RDONLY)",
        "os.open('../notes', os.O_RDONLY)",
        "os.open(f'/proc/self/fd/{here}/notes', os.O_RDONLY)",
        "os.open(f'/proc/self/cwd/leaf', os.O_RDONLY)",
        "os.open('deep/leaf', os.O_RDONLY, dir_fd=here)",
        "os.open(f'/proc/self/fd/{file}', os.O_RDONLY)",
        "os.open('new', os.O_WRONLY | os.O_CREAT, dir_fd=here)",
    ):
        assert box.eval(f"error(lambda: {call})") in ("EACCES", "EROFS", "ENOENT"), call
    assert ["deep", "notes"] == sorted(os.listdir(work))


def test_who_comes_in_is_never_seen_signalled_or_traced(box: AskingBox, work: Path) -> None:
    box.does("thread = threading.Thread(target=lambda: kept.append(watch_processes(6))); thread.start()")
    until = time.monotonic() + 5
    rounds = 0
    while time.monotonic() < until:
        box.done("grant", work)
        box.done("revoke", "--all")
        rounds += 1
    assert rounds > 3
    assert [] == box.eval_long("thread.join() or kept[-1]", 20)


def test_a_hundred_grants_and_revokes_leave_nothing_behind(box: AskingBox, home: Path, work: Path) -> None:
    for number in range(MANY):
        (work / f"{number:03}").mkdir()
    before, inside = box.eval("mounts()"), box.eval(f"sorted(os.listdir({str(home)!r}))")
    monitor = len(os.listdir(f"/proc/{box.id}/fd"))
    known = Box(id=box.state.name, app="asker", monitor=int(box.id), started=0, directory=str(box.state))
    for number in range(MANY):
        added = control.ask(known, Add(path=str(work / f"{number:03}"), write=False, seconds=None))
        assert isinstance(added, Added)
        assert number + 1 == added.grant.number
    assert MANY == len(box.eval("mounts()")) - len(before)
    assert MANY == len(os.listdir(work)) - 2
    assert int(status_of(box.steward())["FDSize"]) <= 256
    for number in range(0, MANY, 4):
        assert isinstance(control.ask(known, Revoke(word=str(number + 1))), Revoked)
    box.done("revoke", "--all")
    assert (before, inside) == (box.eval("mounts()"), box.eval(f"sorted(os.listdir({str(home)!r}))"))
    assert monitor + 2 >= len(os.listdir(f"/proc/{box.id}/fd"))


@pytest.mark.parametrize("moment_ms", [0, 20, 40, 60, 80, 120])
def test_a_box_that_ends_in_the_middle_of_a_grant_leaves_nothing(
    asking: Asking, home: Path, work: Path, moment_ms: int
) -> None:
    box = asking(OUTSIDE, files=WRITABLE)
    state, mounts = box.state, Path("/proc/self/mountinfo").read_text()
    words = [str(box.sandbox), "grant", box.id, str(work)]
    with subprocess.Popen(words, env=box.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        time.sleep(moment_ms / 1000)
        steward = box.companions("steward")
        if moment_ms % 40:
            box.process.send_signal(signal.SIGTERM)
        else:
            box.begin_end()
        _, said = command.communicate(timeout=20)
        assert command.returncode in (0, 125), said
    box.process.wait(10)
    within(lambda: not state.exists(), "the state directory is gone")
    within(lambda: all(map(is_gone, steward)), "the steward ends")
    assert mounts == Path("/proc/self/mountinfo").read_text()
    assert ["deep", "notes"] == sorted(os.listdir(work))


def test_a_steward_that_is_killed_in_the_middle_leaves_no_half_grant(box: AskingBox, work: Path) -> None:
    """Either it is there and in the list, or neither; the next command finds it so."""
    for delay_ms in (0, 5, 10, 20, 30, 50):
        words = [str(box.sandbox), "grant", box.id, str(work)]
        with subprocess.Popen(words, env=box.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
            within(lambda: box.companions("steward") or command.poll() is not None, "the steward starts")
            time.sleep(delay_ms / 1000)
            for pid in box.companions("steward"):
                os.kill(pid, signal.SIGKILL)
            command.communicate(timeout=20)
        within(lambda: box.command("grants").returncode == 0, "another steward serves")
        listed = str(work) in box.done("grants", "--json")
        shown = box.eval(f"os.path.exists({str(work / 'notes')!r})")
        assert listed == shown, delay_ms
        if listed:
            box.done("revoke", "--all")
        assert not box.eval(f"os.path.exists({str(work / 'notes')!r})")

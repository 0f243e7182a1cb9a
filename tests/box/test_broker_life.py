"""When a broker runs, how it is confined in a real box, and what it could still do once somebody had taken it over."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from brokered import AskingBox, status_of
from brokers import ALONE
from companions import is_gone, wait_until_gone
from conftest import PROGRAMS, Asking
from running import within

from sandboxer.plan.decode import decode

LINES = 'read = ["~/Documents"]\nwrite = ["~/Documents/drafts"]\nlist = ["~/Documents"]'
IDLE_S = 30
"""As the broker's: how long it stays without a client."""


@pytest.fixture
def home(session: dict[str, str]) -> Path:
    home = Path(session["HOME"])
    (home / "Documents" / "drafts").mkdir(parents=True)
    (home / "Documents" / "letter.txt").write_text("a letter")
    (home / "Documents" / "drafts" / "draft").write_text("draft")
    (home / "secret").write_text("secret")
    (home / "link").symlink_to("secret")
    return home


@pytest.fixture
def box(asking: Asking, home: Path) -> AskingBox:
    return asking(LINES)


@pytest.fixture
def letter(home: Path) -> str:
    return str(home / "Documents" / "letter.txt")


def test_there_is_no_broker_before_the_first_use(box: AskingBox, letter: str) -> None:
    time.sleep(0.3)
    assert ([], []) == (box.companions("broker"), box.companions("steward"))
    assert box.eval(f"read({letter!r})") == b"a letter"
    assert (1, []) == (len(box.companions("broker")), box.companions("steward"))


def test_a_box_without_rules_has_no_broker_and_no_socket(asking: Asking, home: Path) -> None:
    box = asking("")
    assert box.eval("'SANDBOXER_BROKER' in os.environ or os.path.exists('/run/sandboxer')") is False


@pytest.mark.timeout(120)
def test_it_goes_when_nobody_has_needed_it_for_a_while_and_comes_again(box: AskingBox, letter: str) -> None:
    assert box.eval(f"read({letter!r})") == b"a letter"
    first = box.broker()
    box.does("client._shared.close()")
    within(lambda: is_gone(first), "the broker ends without clients", IDLE_S + 5)
    assert [] == box.companions("broker")
    assert box.eval(f"read({letter!r})") == b"a letter"
    assert first != box.broker()
    assert None is box.process.poll()


def test_a_killed_broker_is_followed_by_another(box: AskingBox, letter: str) -> None:
    box.eval("client.hello()")
    for _ in range(3):
        first = box.broker()
        os.kill(first, signal.SIGKILL)
        wait_until_gone(first)
        assert box.eval(f"read({letter!r})") == b"a letter", "the client connects again by itself"
        assert first != box.broker()


def test_a_broker_that_is_killed_on_a_request_costs_an_error_and_nothing_else(
    box: AskingBox, letter: str, home: Path
) -> None:
    """A change isn't asked for twice; what was open stays open."""
    box.does(f"fd = client.open({letter!r}); made = connection()")
    os.kill(box.broker(), signal.SIGSTOP)
    box.does("made.send(message(0))")
    os.kill(box.broker(), signal.SIGKILL)
    assert box.eval("error(answer, made) or answer(made)") in ("ECONNRESET", (None, b"", []))
    assert box.eval("os.read(fd, 100)") == b"a letter"
    assert 0 == box.eval(f"ask('list', {str(home / 'Documents')!r})")[0]


def test_it_is_confined(box: AskingBox, letter: str) -> None:
    box.eval(f"read({letter!r})")
    status = status_of(box.broker())
    assert {"Seccomp": "2", "NoNewPrivs": "1", "CapEff": "0" * 16, "Threads": "1", "TracerPid": "0"} == {
        key: status[key] for key in ("Seccomp", "NoNewPrivs", "CapEff", "Threads", "TracerPid")
    }
    assert os.getsid(box.broker()) == box.broker(), "a session of its own, without the terminal"
    with pytest.raises(PermissionError):
        os.listdir(f"/proc/{box.broker()}/fd")
    with pytest.raises(PermissionError):
        Path(f"/proc/{box.broker()}/environ").read_bytes()


def test_it_ends_with_the_box(box: AskingBox, letter: str) -> None:
    box.eval(f"read({letter!r})")
    broker = box.broker()
    box.process.kill()
    box.process.wait(10)
    within(lambda: is_gone(broker), "the broker ends")


@pytest.fixture
def taken_over(box: AskingBox, runtime_dir: Path, tmp_path: Path) -> object:
    """`taken_over("read", path)`: how code in that box's broker would fare. `outside`: without confinement."""
    (plan,) = runtime_dir.glob("sandboxer/plans/*.plan")
    rules = tmp_path / "rules"
    rules.write_bytes(decode(plan.read_bytes()).broker)

    def attempt(*words: str | Path | int, outside: bool = False) -> str:
        done = subprocess.run(
            [*ALONE, sys.executable, "-P", PROGRAMS / "taken_over.py", rules, *map(str, words)],
            env=box.environment | ({"UNCONFINED": "1"} if outside else {}),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if done.returncode == -signal.SIGSYS:
            return "ended"
        lines = done.stdout.splitlines()
        assert lines, done.stderr
        return lines[-1].removeprefix("refused: ")

    return attempt


GRANTED = {
    ("read", "Documents/letter.txt"): "succeeded",
    ("read", "Documents/drafts/draft"): "succeeded",
    ("write", "Documents/drafts/draft"): "succeeded",
    ("listing", "Documents"): "succeeded",
}
REFUSED = {
    ("read", "secret"): "ENOENT",
    ("read", "../asker.toml"): "ENOENT",
    ("read", "/etc/passwd"): "ENOENT",
    ("read", "/proc/self/environ"): "ENOENT",
    ("read", "/proc/1/status"): "ENOENT",
    ("read", "/dev/zero"): "ENOENT",
    ("write", "Documents/letter.txt"): ("EACCES", "EROFS"),
    ("write", "Documents/drafts/new"): "EACCES",
    ("write", ".bashrc"): ("ENOENT", "EROFS", "EACCES"),
    ("listing", "."): "ENOENT",
    ("listing", "/"): "EACCES",
    ("listing", "/tmp"): "ENOENT",
    ("remove", "Documents/drafts/draft"): "EACCES",
    ("remove", "secret"): "ENOENT",
    ("move", "Documents/drafts/draft", "Documents/drafts/b"): ("EACCES", "EXDEV"),
    ("link", "secret", "Documents/drafts/b"): ("EPERM", "EACCES"),
    ("soft_link", "secret", "Documents/drafts/b"): ("EPERM", "EACCES"),
    ("mode", "Documents/letter.txt"): ("EPERM", "EROFS"),
    ("mode_by_descriptor", "Documents/letter.txt"): ("EPERM", "EROFS"),
    ("attribute_by_descriptor", "Documents/letter.txt"): ("EPERM", "EROFS"),
    ("times_by_descriptor", "Documents/letter.txt"): ("EPERM", "EROFS"),
    ("reopen_to_write", "Documents/letter.txt"): ("EACCES", "EROFS"),
    ("look", "secret"): "ENOENT",
    ("look", "/etc/passwd"): "ENOENT",
    ("look", "/proc/self/status"): "ENOENT",
    ("target", "link"): "ENOENT",
    ("watch", "secret"): "ENOENT",
    ("watch", "/etc"): "ENOENT",
    ("listing", ".local/state/sandboxer/broker"): "ENOENT",
    ("climb",): "ENOENT",
    ("datagram_pair",): "EPERM",
    ("owner", "8", "1"): "EPERM",  # F_SETOWN
    ("owner", "10", "9"): "EPERM",  # F_SETSIG
    ("owner", "15", "0"): "EPERM",  # F_SETOWN_EX
    ("owner", "1024", "1"): "EPERM",  # F_SETLEASE
    ("owner", "1026", "0"): "EPERM",  # F_NOTIFY
    ("asynchronous",): "EPERM",
    ("execute", "/bin/true"): "ended",
    ("fork",): "ended",
    ("thread",): "ended",
    ("inet",): "EPERM",
    ("datagram",): "EPERM",
    ("netlink",): "EPERM",
    ("executable_memory",): "EPERM",
    ("namespaces",): "ended",
    ("mount",): "ended",
    ("keys",): "ended",
    ("bpf",): "ended",
    ("ring",): "ended",
    ("handle",): "ended",
    ("dump",): "EPERM",
}
"""What an attempt gets: an errno, or the end of the process. Paths are from the home."""


def located(words: tuple[str, ...], home: Path) -> list[str]:
    return [words[0], *(word if word.isdecimal() else str(home / word) for word in words[1:])]


@pytest.mark.parametrize("words", GRANTED, ids=" ".join)
def test_taken_over_it_has_what_its_rules_give(taken_over: object, home: Path, words: tuple[str, ...]) -> None:
    assert callable(taken_over)
    assert taken_over(*located(words, home)).startswith("succeeded")


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_taken_over_it_can_t_do_more(taken_over: object, home: Path, words: tuple[str, ...]) -> None:
    assert callable(taken_over)
    expected = REFUSED[words]
    got = taken_over(*located(words, home))
    assert got in ((expected,) if isinstance(expected, str) else expected), got
    assert (home / "Documents" / "letter.txt").read_text() == "a letter"


UNHARMFUL = (
    ("read", "secret"), ("read", "/etc/passwd"), ("read", "/dev/zero"), ("listing", "."), ("write", "new"),
    ("fork",), ("thread",), ("inet",), ("datagram",), ("netlink",), ("executable_memory",), ("dump",),
    ("look", "secret"), ("look", "/etc/passwd"), ("target", "link"), ("watch", "secret"), ("watch", "/etc"), ("climb",),
    ("datagram_pair",), ("owner", "10", "9"), ("asynchronous",),
    ("mode_by_descriptor", "Documents/letter.txt"), ("times_by_descriptor", "Documents/letter.txt"),
    ("reopen_to_write", "Documents/letter.txt"), ("listing", ".local/state/sandboxer/broker"),
    ("mode", "Documents/letter.txt"), ("link", "secret", "b"), ("soft_link", "secret", "c"),
)  # fmt: skip


@pytest.mark.parametrize("words", UNHARMFUL, ids=" ".join)
def test_without_the_confinement_the_same_program_can(
    taken_over: object, home: Path, words: tuple[str, ...]
) -> None:
    """So that what is refused above is the confinement's doing."""
    assert callable(taken_over)
    assert taken_over(*located(words, home), outside=True).startswith("succeeded")


@pytest.mark.parametrize("attempt", ["trace", "memory", "environment", "kill", "pidfd", "limits"])
def test_taken_over_it_can_t_reach_other_processes(taken_over: object, attempt: str) -> None:
    assert callable(taken_over)
    with subprocess.Popen(["sleep", "60"]) as other:
        got = taken_over(attempt, other.pid)
        assert got in ("ended", "EPERM", "EACCES", "ENOENT"), got
        assert None is other.poll()
        other.kill()


def test_taken_over_it_can_t_reach_abstract_sockets(taken_over: object) -> None:
    assert callable(taken_over)
    name = f"sandboxer-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{name}")
        listening.listen()
        assert taken_over("abstract", name, outside=True).startswith("succeeded")
        assert taken_over("abstract", name) == "EPERM"


def test_taken_over_it_can_t_reach_sockets_by_their_names(
    taken_over: object, runtime_dir: Path, tmp_path: Path
) -> None:
    """What a session's bus listens on starts programs outside for whoever connects."""
    assert callable(taken_over)
    with socket.socket(socket.AF_UNIX) as stream, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        stream.bind(str(runtime_dir / "bus"))
        stream.listen()
        datagram.bind(str(runtime_dir / "notify"))
        for outside in (True, False):
            expected = "succeeded: None" if outside else "ENOENT"
            assert expected == taken_over("connect", runtime_dir / "bus", outside=outside)
        assert "succeeded: None" == taken_over("send_to", runtime_dir / "notify", outside=True)
        assert "EPERM" == taken_over("send_to", runtime_dir / "notify")
        assert "EPERM" == taken_over("send_from_a_pair", runtime_dir / "notify")
        assert b"taken over" == datagram.recv(100, socket.MSG_DONTWAIT)


def test_a_directory_that_it_hands_out_leads_nowhere_else(taken_over: object, home: Path) -> None:
    """An accomplice that listens in a directory that a rule is for gets the rule's directory, and no more."""
    assert callable(taken_over)
    address = "Documents/drafts/s"
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(home)
        try:
            listener.bind(address)
        finally:
            os.chdir(here)
        listener.listen()
        for outside in (True, False):
            assert "succeeded: None" == taken_over("hand_out", home / address, outside=outside)
            connection, _ = listener.accept()
            _, (fd,), _, _ = socket.recv_fds(connection, 10, 1)
            connection.close()
            assert outside == _reaches(fd, "../secret")
            assert outside == _reaches(fd, "../../../../../../../../etc/passwd")
            assert outside != _refuses_changes(fd)
            os.close(fd)


def _reaches(fd: int, path: str) -> bool:
    try:
        os.stat(path, dir_fd=fd)
    except FileNotFoundError:
        return False
    return True


def _refuses_changes(fd: int) -> bool:
    try:
        os.chmod("letter.txt", 0o644, dir_fd=fd)
    except OSError as error:
        return error.errno == errno.EROFS
    return False


def test_another_application_s_log_is_out_of_reach(taken_over: object, home: Path) -> None:
    assert callable(taken_over)
    logs = home / ".local/state/sandboxer/broker"
    (logs / "other").mkdir(parents=True)
    (logs / "other/other.log").write_text("of another")
    for attempt in ("read", "remove", "write"):
        assert "ENOENT" == taken_over(attempt, logs / "other/other.log")
    assert "of another" == (logs / "other/other.log").read_text()

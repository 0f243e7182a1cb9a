"""
Programs that the box's first process starts when the steward orders it: confined as the application is, and nothing
that an order or the application does can make it otherwise.
"""

from __future__ import annotations

import ast
import errno
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from boxes import read_until, wait_for_end_of
from companions import AccompaniedBox, Application, connected_to
from plans import bind
from stepping import KEYCTL, host_facts, landlock_flags, listener

from sandboxer.plan.ops import PlanFlag

ORDER_SIZE_MAX, WORDS_MAX = 16384, 256
OF_ITS_OWN = {"pid", "nspid", "processes", "fds"}
"""Facts of a process that are no part of its confinement."""

WHAT_I_AM = f"""
import ctypes, errno, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def attempt(call, *words):
    try:
        call(*words)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "succeeded"
kept = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Uid", "Gid",
        "Groups", "SigBlk", "SigIgn", "Umask")
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status"))
found = {{name: status[name].strip() for name in kept}}
found["namespaces"] = {{name: os.readlink("/proc/self/ns/" + name) for name in sorted(os.listdir("/proc/self/ns"))}}
found["keyring"] = libc.syscall({KEYCTL}, 0, -3, 0, 0, 0)
found["variables"] = dict(os.environ)
found["directory"] = os.getcwd()
found["limits"] = open("/proc/self/limits").read()
found["abstract"] = attempt(socket.socket(socket.AF_UNIX).connect, "\\0" + sys.argv[1])
found["signal"] = attempt(os.kill, 1, 0)
found["mounts"] = open("/proc/self/mountinfo").read()
found["filtered"] = (libc.vhangup(), ctypes.get_errno())
"""
SAY_SO = "print(repr(found) + ' END', file={stream}, flush=True)"


def facts(text: str) -> dict[str, str]:
    return dict(fact.split("=", 1) for fact in text.split(" ") if "=" in fact)


def said(application: Application, until: bytes) -> bytes:
    """What comes on standard error, where programs that are ordered can be heard."""
    assert application.process.stderr is not None
    return read_until(application.process.stderr.fileno(), until)


@pytest.mark.parametrize("network", [PlanFlag.PRIVATE_NETWORK, PlanFlag(0)], ids=["no network", "network"])
def test_what_is_ordered_is_confined_as_the_application_is(
    accompanied_box: AccompaniedBox,
    native_program: Callable[..., Path],
    tmp_path: Path,
    network: PlanFlag,
) -> None:
    """By the same program's report that the fault injection judges boxes by."""
    marker = tmp_path / "marker"
    marker.touch()
    command = " ".join(["exec", "/probe", *host_facts(marker)])
    application = accompanied_box.application(
        flags=network | landlock_flags(), more=[bind("/probe", str(native_program("probe")))]
    )
    application.does(f"os.system({command + ' >&2'!r})")
    of_application = facts(said(application, b"complete=yes\n").decode())
    assert 0 < accompanied_box.order(application.process, "/bin/sh", "-c", command + " >&2")
    ordered = facts(said(application, b"complete=yes\n").decode())
    assert {name: value for name, value in of_application.items() if name not in OF_ITS_OWN | {"parent"}} == {
        name: value for name, value in ordered.items() if name not in OF_ITS_OWN | {"parent"}
    }
    assert ("1", "0,1,2") == (ordered["parent"], ordered["fds"])
    assert ("2", "1", "77", "own") == tuple(ordered[name] for name in ("seccomp", "nnp", "filter", "keyring"))


@pytest.mark.parametrize("network", [PlanFlag.PRIVATE_NETWORK, PlanFlag(0)], ids=["no network", "network"])
def test_what_is_ordered_shares_all_with_the_application(
    accompanied_box: AccompaniedBox, network: PlanFlag
) -> None:
    """Down to the session keyring's number, the file mask, the signal mask and the limits."""
    outside = listener().getsockname()[1:].decode()
    script = WHAT_I_AM + SAY_SO.format(stream="sys.stdout") + "\nsys.stdin.read()"
    words = accompanied_box.plan(
        "/usr/bin/python3", "-IS", "-c", script, outside, flags=network | landlock_flags()
    )
    process = accompanied_box.start(
        ["/bin/sh", "-c", 'umask 037; ulimit -n 333; exec "$@"', "sh", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/usr/lib",
    )
    assert process.stdout is not None
    assert process.stderr is not None
    of_application = ast.literal_eval(read_until(process.stdout.fileno(), b" END\n").decode()[:-5])
    script = WHAT_I_AM + SAY_SO.format(stream="sys.stderr")
    accompanied_box.order(process, "python3", "-IS", "-c", script, outside)
    ordered = ast.literal_eval(read_until(process.stderr.fileno(), b" END\n").decode()[:-5])
    assert of_application == ordered
    assert "0037" == ordered["Umask"]
    assert "/usr/lib" == ordered["directory"]
    assert {"0" * 16} == {ordered[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    if network or PlanFlag.LANDLOCK_SCOPE in landlock_flags():
        assert "succeeded" != ordered["abstract"]


def test_what_is_ordered_has_no_input_and_a_session_of_its_own(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application()
    script = (
        "import os, sys; a = [os.readlink(f'/proc/self/fd/{n}') for n in (0, 1)];"
        "print(a, sys.stdin.read() == '', os.getsid(0) == os.getpid(), file=sys.stderr, flush=True)"
    )
    accompanied_box.order(application.process, "python3", "-IS", "-c", script)
    assert b"['/dev/null', '/dev/null'] True True\n" == said(application, b"\n")


def test_an_order_is_answered_with_the_pid_in_the_box(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application()
    pid = accompanied_box.order(application.process, "sleep", "60")
    deadline = time.monotonic() + 10
    while "sleep\n" != application.does(f"open('/proc/{pid}/comm').read()"):
        assert time.monotonic() < deadline


def test_the_ends_of_what_is_ordered_are_reaped(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application()
    for status in (0, 1, 125):
        accompanied_box.order(application.process, "/bin/sh", "-c", f"exit {status}")
    accompanied_box.order(application.process, "/bin/sh", "-c", "kill -KILL $$")
    deadline = time.monotonic() + 10
    while [1, 2] != application.does("sorted(int(n) for n in os.listdir('/proc') if n.isdigit())"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert 6 == application.ends(6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("/nonexistent", "word"), b"no such program in the box\n  /nonexistent"),
        (("no-such-command",), b"no such program in the box\n  no-such-command"),
        (("/etc/hostname",), b"cannot execute the program in the box\n  /etc/hostname"),
    ],
)
def test_what_cannot_be_started_says_so_and_ends_nothing(
    accompanied_box: AccompaniedBox, words: tuple[str, ...], message: bytes
) -> None:
    application = accompanied_box.application()
    assert 0 < accompanied_box.order(application.process, *words)
    assert message in said(application, b"try: ")
    assert 7 == application.ends(7)


@pytest.mark.parametrize(
    "message",
    [
        b"X",
        b"X\0",
        b"X\0\0",
        b"X\0word\0",
        b"Xsh",
        b"Xsh\0-c",
        b"Ysh\0",
        b"xsh\0",
        b"\0\0\0",
        b"sh\0",
        b"X" + b"sh\0" * (WORDS_MAX + 1),
        b"X" + b"sh\0" * 300,
        b"X" + b"a" * (ORDER_SIZE_MAX - 1) + b"\0",
        b"Xsh\0" + b"a\0" * (10 * 1024),
        b"X/bin/touch\0/tmp/mark\0" + b"\0" * ORDER_SIZE_MAX,
        b"X/bin/touch\0/tmp/mark\0" + b"a" * (ORDER_SIZE_MAX - 23) + b"\0" + b"a" * 4096 + b"\0",
        bytes(range(1, 256)) * 81,
    ],
    ids=lambda message: f"{message[:6]!r} of {len(message)}",
)
def test_a_malformed_order_is_refused_and_harms_nothing(
    accompanied_box: AccompaniedBox, message: bytes
) -> None:
    application = accompanied_box.application()
    assert -errno.EINVAL == accompanied_box.order(application.process, message=message)
    assert 0 < accompanied_box.order(application.process, "true")
    assert [] == application.does("os.listdir('/tmp')")
    assert 7 == application.ends(7)


def test_an_order_that_is_as_long_as_can_be_is_carried_out(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application()
    begin = b"X/bin/sh\0-c\0echo $# ${#1} >&2\0"
    word = b"a" * (ORDER_SIZE_MAX - len(begin) - 4)
    whole = begin + b"s\0" + word + b"\0" + b"\0"
    assert ORDER_SIZE_MAX == len(whole)
    assert 0 < accompanied_box.order(application.process, message=whole)
    assert f"2 {len(word)}\n".encode() == said(application, b"\n")
    words = ["/bin/sh", "-c", "echo $# >&2", "sh", *["w"] * (WORDS_MAX - 4)]
    assert 0 < accompanied_box.order(application.process, *words)
    assert f"{WORDS_MAX - 4}\n".encode() == said(application, b"\n")


def test_hundreds_of_orders_are_carried_out_each_once(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application()
    for number in range(300):
        assert 0 < accompanied_box.order(application.process, "/bin/sh", "-c", f"echo {number} >>/tmp/done")
    deadline = time.monotonic() + 20
    while len(found := application.does("open('/tmp/done').read().split()")) < 300:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert sorted(map(str, range(300))) == sorted(found)


def test_signals_from_inside_are_not_taken_for_orders(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application()
    siginfo = "struct.pack('=iii4xii', signal.SIGIO, 0, -1, 0, os.getuid()).ljust(128, b'\\0')"
    application.does("exec('import ctypes, signal, struct')")
    application.does("[os.kill(1, signal.SIGIO) for _ in range(2000)] and None")
    application.does(
        "[signal.signal(signal.SIGIO, signal.SIG_IGN), None][1]"
    )  # it comes back, as from the monitor
    forged = f"[ctypes.CDLL(None).syscall({RT_SIGQUEUEINFO}, 1, signal.SIGIO, {siginfo}) for _ in range(100)]"
    assert [0] * 100 == application.does(forged)
    assert 0 < accompanied_box.order(application.process, "true")
    assert application.does("2 + 2") == 4
    assert 7 == application.ends(7)


RT_SIGQUEUEINFO = {"x86_64": 129, "aarch64": 138}[os.uname().machine]


def test_orders_are_carried_out_while_the_application_sends_signals_without_end(
    accompanied_box: AccompaniedBox,
) -> None:
    application = accompanied_box.application()
    storm = "import os\nwhile True:\n    for n in (29, 17, 10, 15): os.kill(1, n)"
    application.does(f"exec('import subprocess') or subprocess.Popen(['python3', '-c', {storm!r}]) and None")
    for _ in range(50):
        assert 0 < accompanied_box.order(application.process, "true")
    assert 7 == application.ends(7)


def test_what_is_ordered_ends_with_the_application(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application()
    accompanied_box.order(application.process, "sleep", "60")
    accompanied_box.order(application.process, "/bin/sh", "-c", "trap '' TERM HUP; sleep 60; true")
    started = time.monotonic()
    assert 9 == application.ends(9)
    assert application.process.stderr is not None
    wait_for_end_of(application.process.stderr.fileno())
    assert time.monotonic() - started < 5


def test_what_is_ordered_keeps_a_box_that_lingers(accompanied_box: AccompaniedBox) -> None:
    application = accompanied_box.application(flags=PlanFlag.PRIVATE_NETWORK | PlanFlag.LINGER)
    accompanied_box.order(application.process, "/bin/sh", "-c", "sleep 0.6; exit 3")
    application.begin("os._exit(9)")
    time.sleep(0.3)
    assert 0 < accompanied_box.order(application.process, "/bin/sh", "-c", "sleep 0.6; exit 4")
    with pytest.raises(subprocess.TimeoutExpired):
        application.process.wait(0.4)
    assert 9 == application.process.wait(10)


def test_the_order_of_the_last_moment_is_answered_or_ends_with_the_box(
    accompanied_box: AccompaniedBox,
) -> None:
    """No order revives a box, or changes the application's status."""
    for pause in range(10):
        application = accompanied_box.application()
        accompanied_box.control(application.process)
        with connected_to(accompanied_box.state(application.process) / "control") as client:
            application.begin("os._exit(9)")
            time.sleep(pause * 0.001)
            try:
                client.send(b"order X/bin/sh\0-c\0exit 5\0")
                client.recv(100)
            except OSError:
                pass
        assert 9 == application.process.wait(10)
        assert application.process.stderr is not None
        wait_for_end_of(application.process.stderr.fileno())


def test_the_application_cannot_reach_the_orders(accompanied_box: AccompaniedBox) -> None:
    """Not among its own descriptors, and not by those of the box's first process."""
    application = accompanied_box.application()
    accompanied_box.control(application.process)
    assert [0, 1, 2] == sorted(application.does("opened()"))
    assert f"error {errno.EACCES}" == application.does("os.listdir('/proc/1/fd')")
    for fd in range(16):
        assert f"error {errno.EACCES}" == application.does(f"os.open('/proc/1/fd/{fd}', os.O_RDWR)")

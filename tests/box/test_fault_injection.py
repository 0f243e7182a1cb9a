"""
Every system call of the launcher's processes is made to fail, one at a time, and each run is judged.

What may never happen: the application starts with less confinement than in an undisturbed run; exit status 0 without
the application having reported; a process that is left; a hang. What must happen when the application doesn't start:
exit status 125.

tests/programs/stepper.c injects the faults, tests/programs/probe.c is the application. A fault counts as the launcher's
when it hits a call before the application's execve has succeeded, or any call of the launcher's two processes: the
stepper numbers the calls per process and never touches the application's own program.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

import pytest
from boxes import HOME, PlannedBox
from companions import BROKER, AccompaniedBox
from plans import bind, connect, listen
from stepping import (
    APPLICATION,
    COMPANION,
    MONITOR,
    NAMESPACES,
    Call,
    Run,
    Stepper,
    host_facts,
    landlock_flags,
)

from sandboxer.plan.ops import LimitKind, PlanFlag

ERRORS = (errno.EPERM, errno.ENOMEM, errno.ENOSYS)
LOADER_STATUSES = (127, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS)
"""What the dynamic loader, and the C library before main(), end with when a call of theirs fails."""

SCOPE = b'{"app":"t"}'
LIMITS = tuple((kind, 10_000) for kind in LimitKind if kind is not LimitKind.DATA)
HOLDING = ("connect", "sendmsg", "recvfrom", "sendto")
"""Calls of which no single one may fail where a box is to have a scope. (The limits are among the reported facts.)"""

NAMED_BY_THE_USER = ("/dev/console:", "/run/documents/")


class Fault(NamedTuple):
    call: Call
    error: int

    def __str__(self) -> str:
        return f"process {self.call.process}, call {self.call.place}, {self.call.name}: {errno.errorcode[self.error]}"


def facts(report: str) -> dict[str, str]:
    return dict(fact.split("=", 1) for fact in report.split(" ") if "=" in fact)


def differences(report: str, undisturbed: str) -> Iterator[str]:
    """
    Facts of one report that are otherwise in the other.

    A box may lack what the user's own words and terminal grant, and may start at home: then it has less, never more.
    """
    has, had = facts(report), facts(undisturbed)
    for name in sorted(has.keys() | had.keys()):
        before, after = had.get(name, ""), has.get(name, "")
        if before == after or (name == "cwd" and after == HOME):
            continue
        old, new = set(re.split("[,;]", before)), set(re.split("[,;]", after))
        if new < old and all(lost == "console" or lost.startswith(NAMED_BY_THE_USER) for lost in old - new):
            continue
        yield f"{name}: was {before}, is {after}"


def complaints(fault: Fault, run: Run, undisturbed: Run) -> Iterator[str]:
    """What is wrong with a run, in words."""
    if run.hung:
        yield "it hangs"
        return
    if not run.hit and fault.call.before_start:  # later ones depend on how the processes take turns
        yield "the call was not reached: the run differs before the fault"
    if run.output:
        yield from differences(run.output, undisturbed.output)
    if run.status == 0 and not run.output:
        yield "exit status 0, and the application reported nothing"
    if not run.started:
        allowed: tuple[int, ...] = (125,)
        if fault.call.before_main:
            allowed += LOADER_STATUSES
        if fault.call.process == APPLICATION and fault.call.name == "execve":
            allowed = (126,)
        if run.status not in allowed:
            yield f"exit status {run.status} where the application didn't start"
    if not run.started and run.output:
        yield "a report from an application that didn't start"


def inject(
    stepper: Stepper, calls: list[Call], workers: int, errors: Sequence[int] = ERRORS
) -> tuple[Counter[str], list[str]]:
    """Try each error at each call. Returns how often what happened, and the complaints."""
    undisturbed = stepper.list_calls()
    happened: Counter[str] = Counter()
    found: list[str] = []

    def judge(fault: Fault) -> tuple[Fault, Run]:
        return fault, stepper.fault(fault.call, fault.error)

    with ThreadPoolExecutor(workers) as pool:
        faults = [Fault(call, error) for call in calls for error in errors]
        for fault, run in pool.map(judge, faults):
            what = (
                "refused to start"
                if not run.started
                else "ran as if nothing was"
                if run.status == 0
                else "ended"
            )
            happened[what] += 1
            if run.started and run.status == 0 and fault.call.before_start:
                happened[f"tolerated: {fault.call.name}"] += 1
            found += [f"{fault}: {complaint}" for complaint in complaints(fault, run, undisturbed)]
    return happened, found


@contextmanager
def terminal() -> Iterator[int]:
    """A terminal for standard input, so that the phase that hands it in has something to do."""
    ours, theirs = pty.openpty()
    try:
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)


@contextmanager
def server(path: Path) -> Iterator[None]:
    """A socket of the host's, on which every connection is taken and closed."""
    directory = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)
        listening.listen(64)
        taking = threading.Thread(target=take_all, args=(listening,))
        taking.start()
        yield
        listening.shutdown(socket.SHUT_RDWR)
        taking.join()


def take_all(listening: socket.socket) -> None:
    with suppress(OSError):  # shut down
        while True:
            listening.accept()[0].close()


class ServiceManager:
    """What holds boxes and hears notices: it says yes to every scope."""

    def __init__(self, directory: Path) -> None:
        here = os.open(directory, os.O_PATH)
        self._scopes = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._scopes.bind(f"/proc/self/fd/{here}/scopes")
        self._scopes.listen(64)
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = f"@{directory.parent.name}.{os.getpid()}"
        self._notices.bind(self.address.replace("@", "\0"))
        os.close(here)
        self._saying = threading.Thread(target=self._say_yes)

    def __enter__(self) -> Self:
        self._saying.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._scopes.shutdown(socket.SHUT_RDWR)
        self._saying.join()
        self._scopes.close()
        self._notices.close()

    def _say_yes(self) -> None:
        with suppress(OSError):  # shut down
            while True:
                client, _ = self._scopes.accept()
                client.settimeout(10)
                with client, suppress(OSError):
                    content, fds, _, _ = socket.recv_fds(client, 4096, 4)
                    for fd in fds:
                        os.close(fd)
                    if content == SCOPE and len(fds) == 1:
                        client.send(b"K")


def assert_nothing_looks_alive(boxes: Path) -> int:
    """What launchers that gave up have left is known to be stale. Returns how many directories there are."""
    left = list(boxes.iterdir())
    for directory in left:
        with suppress(FileNotFoundError, PermissionError), (directory / "box").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # not there yet, or made while umask() failed
    return len(left)


@pytest.fixture
def probe_words(native_program: Callable[..., Path], tmp_path: Path) -> tuple[list[str], Path]:
    marker = tmp_path / "marker"
    marker.touch()
    return ["/probe", *host_facts(marker)], native_program("probe")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "network",
    [
        "none",
        "host",
        "none, and output on the terminal only",
        "none, and a broker and a connection",
        "none, and limits, a scope and notices",
    ],
)
def test_no_system_call_of_the_set_up_can_fail_and_leave_a_weaker_box(
    planned_box: PlannedBox,
    probe_words: tuple[list[str], Path],
    native_program: Callable[..., Path],
    tmp_path: Path,
    network: str,
    record_property: Callable[[str, object], None],
    pytestconfig: pytest.Config,
) -> None:
    command, probe = probe_words
    document = tmp_path / "a document.txt"
    document.write_text("words")
    flags = PlanFlag.DOCUMENTS_READ | PlanFlag.DIE_WITH_PARENT | landlock_flags()
    if network != "host":
        flags |= PlanFlag.PRIVATE_NETWORK
    if "output" in network:
        flags |= PlanFlag.TERMINAL_OUTPUT
    more, rules = [bind("/probe", str(probe))], b""
    if "broker" in network:
        more += [listen("broker"), listen("ssh-agent", stream=True), connect(str(tmp_path / "server"))]
        rules, flags = b"rules", flags | PlanFlag.BROKER_DESCRIPTOR
    manager = ServiceManager(planned_box.plans.parent)
    parts = {}
    if "limits" in network:
        parts = {"limits": LIMITS, "scope": SCOPE}
        planned_box.environment["NOTIFY_SOCKET"] = manager.address
    words = planned_box.plan(*command, flags=flags, more=more, broker=rules, parts=parts)
    with terminal() as stdin, server(tmp_path / "server"), manager:
        stepper = Stepper(
            [str(native_program("stepper"))],
            [*words, str(document)],
            stdin=stdin,
            directory=tmp_path,
            environment=planned_box.environment,
        )
        undisturbed = stepper.list_calls()
        assert 0 == undisturbed.status
        assert "complete=yes" in undisturbed.output
        calls = [call for call in undisturbed.calls if call.can_fail]
        if network == "host":  # all else is as without network
            calls = [call for call in calls if call.process != MONITOR and "landlock" in call.name]
        happened, found = inject(stepper, calls, os.cpu_count() or 1)
    happened["left a directory"] = assert_nothing_looks_alive(planned_box.boxes)
    injected = len(calls) * len(ERRORS)
    print(f"\n{injected} faults injected into {len(calls)} calls: {dict(happened)}")
    record_property("faults", injected)
    if (figures := getattr(pytestconfig, "cache", None)) is not None:
        figures.set(f"sandboxer/faults-{network}", {"injected": injected, **happened})
    assert not found, "\n".join(found)
    assert network == "host" or len(calls) > 300
    if parts:
        assert [] == [name for name in HOLDING if happened[f"tolerated: {name}"]]


@pytest.mark.timeout(600)
def test_no_system_call_of_a_companions_start_can_fail_and_end_the_application(
    accompanied_box: AccompaniedBox,
    probe_words: tuple[list[str], Path],
    native_program: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """What fails is tried again a second later. Only a monitor that can't wait for the box any more gives up."""
    command, probe = probe_words
    words = accompanied_box.plan(*command, f"broker={BROKER}", more=[bind("/probe", str(probe))])
    stepper = Stepper(
        [str(native_program("stepper"))],
        words,
        stdin=subprocess.DEVNULL,
        directory=tmp_path,
        environment=accompanied_box.environment,
    )
    undisturbed = stepper.list_calls()
    assert "broker=yes" in undisturbed.output, undisturbed
    calls = [
        call
        for call in undisturbed.calls
        if call.can_fail
        and (call.process == COMPANION or (call.process == MONITOR and not call.before_start))
    ]
    assert {"memfd_create", "clone3"} < {call.name for call in calls if call.process == MONITOR}
    assert {"execve", "setsid", "prctl"} < {call.name for call in calls if call.process == COMPANION}
    happened, found = inject(stepper, calls, os.cpu_count() or 1, [errno.ENOMEM])
    print(f"\n{len(calls)} faults injected: {dict(happened)}")
    assert not found, "\n".join(found)
    assert happened["ran as if nothing was"] > len(calls) * 0.8
    assert_nothing_looks_alive(accompanied_box.boxes)


def test_the_probe_tells_a_box_from_the_world_outside(
    planned_box: PlannedBox, probe_words: tuple[list[str], Path]
) -> None:
    command, probe = probe_words
    words = planned_box.plan(*command, more=[bind("/probe", str(probe))])
    inside = facts(planned_box.run(words).stdout)
    done = subprocess.run([str(probe), *command[1:]], capture_output=True, text=True, check=True)
    outside = facts(done.stdout)
    for name in NAMESPACES:
        assert ("own", "shared") == (inside[f"{name}-ns"], outside[f"{name}-ns"]), name
    assert ("0" * 16,) * 5 == tuple(inside[name] for name in ("inh", "prm", "eff", "bnd", "amb"))
    assert ("1", "2", "1", "77", "0") == tuple(
        inside[name] for name in ("nnp", "seccomp", "filters", "filter", "max-user-namespaces")
    )
    assert ("2", "1", "1,2") == (inside["pid"], inside["parent"], inside["processes"])
    assert ("ENOENT", "yes") == (inside["marker"], outside["marker"])
    assert ("EROFS", "own", "box") == (inside["root-writable"], inside["keyring"], inside["hostname"])
    assert "0,1,2" == inside["fds"]
    assert "shared" == outside["keyring"] or outside["keyring"].startswith("E")
    assert not any("propagates" in mount for mount in inside["mounts"].split(";"))


@pytest.mark.parametrize("weakening", ["an unsealed /proc/sys", "a writable /usr", "no network of its own"])
def test_the_judge_sees_a_weaker_box(
    planned_box: PlannedBox, probe_words: tuple[list[str], Path], weakening: str
) -> None:
    command, probe = probe_words
    more = [bind("/probe", str(probe))]
    whole = planned_box.run(planned_box.plan(*command, more=more)).stdout
    again = planned_box.run(planned_box.plan(*command, more=more)).stdout
    assert [] == list(differences(again, whole))
    match weakening:
        case "an unsealed /proc/sys":
            words = planned_box.plan(*command, more=more, without=("/proc/sys",))
        case "a writable /usr":
            words = planned_box.plan(*command, more=[bind("/usr", write=True), *more], without=("/usr",))
        case _:
            words = planned_box.plan(*command, more=more, flags=PlanFlag(0))
    assert [] != list(differences(planned_box.run(words).stdout, whole))

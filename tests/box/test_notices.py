"""
sd_notify(3) through a box: what a service may say of itself reaches the manager from the launcher's own pid, and
nothing else does.
"""

from __future__ import annotations

import array
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from boxes import PlannedBox, read_until

SAY = """
import os, socket, sys
one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for word in sys.argv[1:]:
    one.sendto(word.encode(), os.environ["NOTIFY_SOCKET"])
print("said", flush=True)
"""
VARIABLES = """
import os
print({n: v for n, v in os.environ.items() if n.startswith(("NOTIFY", "WATCHDOG"))})
"""


class Manager:
    """The manager's end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(address)
        self._socket.settimeout(10)

    def close(self) -> None:
        self._socket.close()

    def hears(self) -> tuple[str, int, int]:
        """The next notice, who sent it, and how many descriptors came with it."""
        content, control, _, _ = self._socket.recvmsg(65536, 4096)
        pid, descriptors = 0, 0
        for _, kind, data in control:
            if kind == socket.SCM_CREDENTIALS:
                pid = struct.unpack("3i", data)[0]
            else:
                numbers = array.array("i", data)
                descriptors += len(numbers)
                for number in numbers:
                    os.close(number)
        return content.decode(), pid, descriptors

    def hears_nothing(self) -> bool:
        self._socket.settimeout(0.3)
        try:
            self._socket.recv(1)
        except TimeoutError:
            return True
        return False


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, planned_box: PlannedBox, tmp_path: Path) -> Iterator[Manager]:
    name = f"@{tmp_path.name}.{os.getpid()}" if request.param == "abstract" else str(tmp_path / "n")
    planned_box.environment["NOTIFY_SOCKET"] = name
    opened = Manager(name.replace("@", "\0"))
    yield opened
    opened.close()


def start(box: PlannedBox, *words: str) -> subprocess.Popen[bytes]:
    return box.start(box.plan("/usr/bin/python3", "-IS", "-c", SAY, *words), stdout=subprocess.PIPE)


def test_what_a_service_says_comes_from_the_launcher(planned_box: PlannedBox, manager: Manager) -> None:
    process = start(planned_box, "READY=1", "STATUS=up\nWATCHDOG=1", "RELOADING=1\nMONOTONIC_USEC=5")
    for said in ("READY=1\n", "STATUS=up\nWATCHDOG=1\n", "RELOADING=1\nMONOTONIC_USEC=5\n"):
        assert (said, process.pid, 0) == manager.hears()
    assert 0 == process.wait(10)


@pytest.mark.parametrize(
    "said",
    [
        "MAINPID=1",
        "FDSTORE=1\nFDNAME=x",
        "NOTIFYACCESS=all",
        "BARRIER=1",
        "FDSTOREREMOVE=1",
        "X-READY=1",
        "READY",
        "ready=1",
        "\n\n",
        "",
        "RESTART_RESET=1",
        "WATCHDOG=trigger",
    ],
)
def test_what_it_may_not_say_is_kept_back(planned_box: PlannedBox, manager: Manager, said: str) -> None:
    process = start(planned_box, said, "READY=1")
    assert ("READY=1\n", process.pid, 0) == manager.hears()


def test_of_several_lines_those_that_may_pass_do(planned_box: PlannedBox, manager: Manager) -> None:
    process = start(planned_box, "MAINPID=1\nREADY=1\nFDSTORE=1\nSTATUS=a=b\n\nMAINPID=2", "STOPPING=1")
    assert ("READY=1\nSTATUS=a=b\n", process.pid, 0) == manager.hears()
    assert ("STOPPING=1\n", process.pid, 0) == manager.hears()


def test_what_a_terminal_would_obey_is_made_printable(planned_box: PlannedBox, manager: Manager) -> None:
    """`systemctl status` shows it as it came."""
    process = start(planned_box, "STATUS=\x1b]0;owned\x07\x7f\x9bm \u00e9\t")
    assert ("STATUS=?]0;owned????m \u00e9?\n", process.pid, 0) == manager.hears()


def test_descriptors_stay_in_the_box(planned_box: PlannedBox, manager: Manager) -> None:
    script = """
import os, socket
one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
one.connect(os.environ["NOTIFY_SOCKET"])
ours, theirs = os.pipe()
socket.send_fds(one, [b"READY=1"], [theirs, 0, 1])
os.close(theirs)
print("closed" if os.read(ours, 1) == b"" else "kept")
"""
    process = planned_box.start(
        planned_box.plan("/usr/bin/python3", "-IS", "-c", script), stdout=subprocess.PIPE
    )
    assert ("READY=1\n", process.pid, 0) == manager.hears()
    assert process.stdout is not None
    assert b"closed\n" == read_until(process.stdout.fileno(), b"\n")


def test_a_notice_that_is_too_long_is_dropped(planned_box: PlannedBox, manager: Manager) -> None:
    process = start(planned_box, "STATUS=" + "x" * 4090, "STATUS=" + "x" * 4089, "READY=1")
    assert ("STATUS=" + "x" * 4089 + "\n", process.pid, 0) == manager.hears()
    assert ("READY=1\n", process.pid, 0) == manager.hears()


def test_thousands_of_notices_end_with_the_application(planned_box: PlannedBox, manager: Manager) -> None:
    """However much it says, and whether anybody listens: its end is noticed."""
    script = """
import os, socket
one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for number in range(5000):
    one.sendto(b"STATUS=%d" % number, os.environ["NOTIFY_SOCKET"])
"""
    done = planned_box.run(planned_box.plan("/usr/bin/python3", "-IS", "-c", script))
    assert (0, "") == (done.returncode, done.stderr)
    assert manager.hears()[0].startswith("STATUS=0")


def test_the_variables_lead_to_the_box_s_own_socket(planned_box: PlannedBox, manager: Manager) -> None:
    planned_box.environment |= {"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "4711"}
    done = planned_box.run(planned_box.plan("/usr/bin/python3", "-IS", "-c", VARIABLES))
    expected = {"NOTIFY_SOCKET": "/run/sandboxer/notify", "WATCHDOG_USEC": "5000000"}
    assert (0, f"{expected}\n") == (done.returncode, done.stdout)
    assert manager.hears_nothing()


def test_without_a_manager_there_is_no_socket(planned_box: PlannedBox) -> None:
    planned_box.environment["WATCHDOG_USEC"] = "5000000"
    script = VARIABLES + "print(os.path.lexists('/run/sandboxer/notify'))"
    done = planned_box.run(planned_box.plan("/usr/bin/python3", "-IS", "-c", script))
    assert (0, "{}\nFalse\n") == (done.returncode, done.stdout)


@pytest.mark.parametrize("address", ["relative", "@", "/", "/" + "n" * 107, "vsock:2:1"])
def test_an_address_that_makes_no_sense_is_refused(planned_box: PlannedBox, address: str) -> None:
    planned_box.environment["NOTIFY_SOCKET"] = address
    done = planned_box.run(planned_box.plan("/bin/echo", "ran"))
    assert (125, "") == (done.returncode, done.stdout)
    assert "cannot pass on what the application tells the service manager" in done.stderr


def test_a_manager_that_is_gone_hinders_nobody(planned_box: PlannedBox, tmp_path: Path) -> None:
    planned_box.environment["NOTIFY_SOCKET"] = str(tmp_path / "gone")
    done = planned_box.run(planned_box.plan("/usr/bin/python3", "-IS", "-c", SAY, "READY=1"))
    assert (0, "said\n", "") == (done.returncode, done.stdout, done.stderr)


KILLS_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIG{})"
AS_SERVICE = 'export SYSTEMD_EXEC_PID=$$; exec "$@"'


@pytest.mark.parametrize("name", ["KILL", "SEGV", "TERM", "ABRT", "USR1"])
def test_in_a_service_the_launcher_ends_by_the_application_s_signal(
    planned_box: PlannedBox, name: str
) -> None:
    words = planned_box.plan("/usr/bin/python3", "-IS", "-c", KILLS_ITSELF.format(name))
    number = getattr(signal, f"SIG{name}")
    assert -number == planned_box.run(["/bin/sh", "-c", AS_SERVICE, "sh", *words]).returncode
    assert 128 + number == planned_box.run(words).returncode


def test_in_a_service_a_status_that_looks_like_a_signal_s_stays_one(planned_box: PlannedBox) -> None:
    words = planned_box.plan("/bin/sh", "-c", "exit 137")
    assert 137 == planned_box.run(["/bin/sh", "-c", AS_SERVICE, "sh", *words]).returncode


def test_a_variable_that_was_meant_for_another_process_changes_nothing(planned_box: PlannedBox) -> None:
    planned_box.environment["SYSTEMD_EXEC_PID"] = str(os.getpid())
    words = planned_box.plan("/usr/bin/python3", "-IS", "-c", KILLS_ITSELF.format("TERM"))
    assert 128 + signal.SIGTERM == planned_box.run(words).returncode

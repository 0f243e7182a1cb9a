"""
What a box is like, told by a program inside it: `sandbox run … -- python -m sandboxer.report`.

What comes in: what the world outside looks like (`--outside` a namespace's link, `--home` a name in the home there,
`--place` what is there and no box's business). What goes out: plain words on stdout; exit status 1 when something is
less contained than the strict default promises.
It asks the kernel, never the plan or the policy, and what it tries does no harm where it succeeds.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from sandboxer import process_state

NAMESPACES = {
    "user": "users and capabilities",
    "mnt": "files",
    "pid": "processes",
    "net": "network",
    "ipc": "shared memory and message queues",
    "uts": "host name",
    "cgroup": "resource groups",
}
CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
NUMBERS = {
    "x86_64": {"keyctl": 250, "perf_event_open": 298, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425},
    "aarch64": {"keyctl": 219, "perf_event_open": 241, "bpf": 280, "userfaultfd": 282, "io_uring_setup": 425},
}
"""System calls that libc has no function for. Source: the kernel's syscall tables."""
CLONE_NEWUSER = 0x10000000
MS_NOSUID = 2
PTRACE_SEIZE = 0x4206
TIOCSTI = 0x5412
DIED = 255
KEYCTL_GET_KEYRING_ID = 0
USER_KEYRING = -4
OWN_PROCESSES = 2
COVERS = "/.cover"
"""Where the launcher puts them. Source: launchers/root.c."""
SECCOMP_FILTER = "2"
"""What /proc/PID/status says in filter mode. Source: proc_pid_status(5)."""


class Page:
    """The report as it is printed; remembers whether anything was amiss."""

    def __init__(self) -> None:
        self.amiss = 0

    def heading(self, text: str) -> None:
        print(f"\n{text}")

    def line(self, text: str) -> None:
        print(f"  {text}")

    def verdict(self, contained: bool, good: str, bad: str = "") -> None:
        """One finding: as promised, or marked as amiss (`bad` where `good` wouldn't be true then)."""
        print(f"  ok  {good}" if contained else f"  NOT CONTAINED  {bad or good}")
        self.amiss += not contained


def status_fields() -> dict[str, str]:
    """/proc/self/status by field name. Source: proc_pid_status(5)."""
    with open("/proc/self/status", encoding="utf-8") as file:
        pairs = (line.partition(":") for line in file)
        return {name: value.strip() for name, _, value in pairs}


def listed(names: Iterable[str], *, most: int = 12) -> str:
    """Names in a row, cut where it gets long."""
    names = list(names)
    tail = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + tail if names else "nothing"


def namespaces(page: Page, outside: Sequence[str]) -> None:
    """`outside` holds links as in /proc/self/ns ("mnt:[4026531841]")."""
    page.heading("Namespaces (each is a world of its own where its number differs from the one outside)")
    numbers = dict(link.split(":", 1) for link in outside)
    for name, words in NAMESPACES.items():
        inside = os.readlink(f"/proc/self/ns/{name}").split(":", 1)[1]
        there = numbers.get(name)
        if there is None:
            page.line(f"{words}: {inside}")
        else:
            same = "the same as outside" if inside == there else f"outside {there}"
            page.verdict(inside != there, f"{words}: {inside}, {same}")


def files(page: Page, home_outside: Sequence[str], places: Sequence[str]) -> None:
    """`home_outside` are names in the home directory outside, `places` are paths that exist outside."""
    page.heading("Files")
    home = os.path.expanduser("~")
    page.line(f"in /: {listed(sorted(os.listdir('/')))}")
    if os.path.isdir(COVERS):
        page.line(f"{COVERS} is an empty directory and file that hidden things are covered with")
    here = set(os.listdir(home)) if os.path.isdir(home) else set()
    page.line(f"in {home}: {listed(sorted(here))}")
    if home_outside:
        shared = sorted(here.intersection(home_outside))
        gone = sorted(set(home_outside) - here)
        page.line(f"of the home outside, not here: {listed(gone)}")
        page.line(f"of the home outside, also here (granted, or on the way to what is): {listed(shared)}")
    for secret in places:
        closed = "is closed" if os.path.lexists(secret) else "is not here"
        page.verdict(not os.access(secret, os.R_OK), f"{secret} {closed}", f"{secret} can be read")
    for place in ("/", "/usr", "/etc"):
        writable = os.access(place, os.W_OK)
        page.verdict(not writable, f"{place} can't be written to", f"{place} can be written to")


def processes(page: Page) -> None:
    """Those that /proc shows."""
    page.heading("Processes")
    seen = []
    for entry in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        with open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as file:
            seen.append(f"{entry} {file.read().strip()}")
    page.line(f"all that can be seen: {listed(seen)}")
    page.verdict(len(seen) == OWN_PROCESSES, "the box's init and this report, no other", "there are others")
    try:
        with open("/proc/1/environ", "rb") as environ:
            leaked = environ.read().strip(b"\0").split(b"\0")
    except PermissionError:
        leaked = [b""]
    page.verdict(
        leaked == [b""],
        "nothing of the environment outside can be read from the init",
        "the environment outside can be read from the init",
    )


def network(page: Page) -> None:
    """Interfaces, and a connection to a public address, which is not waited for long."""
    page.heading("Network")
    interfaces = [name for _, name in socket.if_nameindex()]
    page.verdict(interfaces == ["lo"], f"interfaces: {listed(interfaces)}")
    with socket.socket() as attempt:
        attempt.settimeout(1.0)
        answer = attempt.connect_ex(("192.0.2.1", 80))  # TEST-NET-1: nobody is there (RFC 5737)
    page.verdict(answer == errno.ENETUNREACH, f"connecting to the Internet: {os.strerror(answer)}")


def privileges(page: Page) -> None:
    """Identity, capabilities, no_new_privs, the filter."""
    status = status_fields()
    page.heading("Privileges")
    user = os.getuid()
    page.verdict(user == os.geteuid() != 0, f"running as user {user}, not as root", "running as root")
    for name in CAPABILITY_SETS:
        page.verdict(int(status[name], 16) == 0, f"capabilities, {name}: {status[name]}")
    bounding = process_state.gainable_capabilities()
    page.verdict(not bounding, "no program can gain one", f"a program can gain {listed(bounding)}")
    page.verdict(
        process_state.has_no_new_privs(),
        "no_new_privs is set: set-uid programs give no more than this",
        "no_new_privs is not set",
    )
    page.verdict(
        status["Seccomp"] == SECCOMP_FILTER,
        f"system calls are filtered (filters: {status['Seccomp_filters']})",
        "system calls are not filtered",
    )
    with open("/proc/sys/user/max_user_namespaces", encoding="utf-8") as file:
        limit = file.read().strip()
    page.verdict(limit == "0", f"user namespaces that may be made in here: {limit}")


def attempt(call: Callable[[], int]) -> int:
    """Make a system call in a child, so that success changes nothing here. 0, the errno, or DIED."""
    child = os.fork()
    if child == 0:
        _tell(call)
    _, result = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(result) & DIED


def _tell(call: Callable[[], int]) -> NoReturn:
    ctypes.set_errno(0)
    failed = call() < 0
    os._exit((ctypes.get_errno() or DIED) if failed else 0)


def system_calls(page: Page) -> None:
    """What an attacker would try first."""
    page.heading("System calls, tried just now")
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = NUMBERS.get(os.uname().machine, {})
    parent = os.getpid()
    attempts: dict[str, Callable[[], int]] = {
        "mount a file system": lambda: libc.mount(b"none", b"/tmp", b"tmpfs", MS_NOSUID, None),
        "make a user namespace": lambda: libc.unshare(CLONE_NEWUSER),
        # PTRACE_SEIZE doesn't stop the process that it takes, so it harms nobody where it works
        "trace another process": lambda: libc.ptrace(PTRACE_SEIZE, parent, None, None),
        "change the root directory": lambda: libc.chroot(b"/tmp"),
        # descriptor -1: without a filter this is EBADF, and no terminal gets the character
        "type into the terminal (TIOCSTI)": lambda: libc.ioctl(-1, TIOCSTI, b" "),
        "load a program into the kernel (bpf)": lambda: libc.syscall(numbers["bpf"], 0, None, 0),
        "watch the processor (perf_event_open)": lambda: libc.syscall(
            numbers["perf_event_open"], None, 0, -1, -1, 0
        ),
        "handle its own page faults (userfaultfd)": lambda: libc.syscall(numbers["userfaultfd"], 0),
        "use io_uring": lambda: libc.syscall(numbers["io_uring_setup"], 1, None),
        "look into the user's keyring": lambda: libc.syscall(
            numbers["keyctl"], KEYCTL_GET_KEYRING_ID, USER_KEYRING, 0
        ),
    }
    refusals = {errno.EPERM, errno.ENOSYS, errno.EACCES}
    for words, call in attempts.items():
        if not numbers and "syscall" in call.__code__.co_names:
            continue
        answer = attempt(call)
        said = "IT WORKED" if answer == 0 else errno.errorcode.get(answer, f"error {answer}")
        page.verdict(answer in refusals, f"{words}: {said}")


def main(arguments: Sequence[str]) -> int:
    """Prints the report. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sandboxer.report")
    parser.add_argument("--outside", action="append", default=[], metavar="LINK")
    parser.add_argument("--home", action="append", default=[], metavar="NAME")
    parser.add_argument("--place", action="append", default=[], metavar="PATH")
    options = parser.parse_args(arguments)
    page = Page()
    print("This is a program inside the box. It asked the kernel what it can see and do:")
    namespaces(page, options.outside)
    files(page, options.home, options.place)
    processes(page)
    network(page)
    privileges(page)
    system_calls(page)
    if page.amiss:
        print(f"\n{page.amiss} of these are not as they should be: see the lines marked NOT CONTAINED.")
        return 1
    print("\nAll as it should be.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

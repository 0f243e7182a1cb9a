"""
The first process of a virtual machine: see tests/machine_with_limits.py, which boots it.

The machine's root is the one outside, read-only; what has to be written lies in memory. It mounts what a system mounts
at boot, sets the sysctls asked for, gives the user a cgroup with all controllers as a system's manager does, starts the
user's manager in it, runs the user's program in a cgroup beside it, and powers off. The words of the program go to the
files `out` and `err` of the directory that is shared, its status to `status`.

Words: the path of the shared directory, with `task.json` in it.
"""

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys

NOSUID, NODEV, NOEXEC = 2, 4, 8
POWER_OFF = 0x4321FEDC
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40
CONTROLLERS = "+cpu +io +memory +pids"
MANAGERS = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
libc = ctypes.CDLL(None, use_errno=True)


def mount(kind: str, target: str, data: str = "", flags: int = NOSUID | NODEV) -> None:
    if libc.mount(kind.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"mount {kind} {target}")


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def make_system(user: int, group: int) -> None:
    """What a system does at boot: kernel file systems, memory for what is written, loopback."""
    mount("proc", "/proc")
    mount("sysfs", "/sys")
    if not os.path.exists("/dev/null"):
        mount("devtmpfs", "/dev", flags=NOSUID)
    for directory in ("/dev/pts", "/dev/shm"):
        os.makedirs(directory, exist_ok=True)
    mount("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666", NOSUID | NOEXEC)
    for name, target in (
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
    ):
        if not os.path.lexists(f"/dev/{name}"):
            os.symlink(target, f"/dev/{name}")
    for directory in ("/dev/shm", "/run", "/tmp", "/var/tmp"):
        mount("tmpfs", directory, "mode=755" if directory == "/run" else "mode=1777")
    for directory in ("/run/systemd/system", "/run/lock", "/run/shared", f"/run/user/{user}"):
        os.makedirs(directory)
    os.chmod(f"/run/user/{user}", 0o700)
    os.chown(f"/run/user/{user}", user, group)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP | IFF_RUNNING))


def make_cgroups(user: int, group: int) -> str:
    """/user.slice/user-N.slice/user@N.service with every controller, the last of them the user's. Returns its path."""
    mount("cgroup2", "/sys/fs/cgroup", "nsdelegate,memory_recursiveprot", NOSUID | NODEV | NOEXEC)
    place = "/sys/fs/cgroup"
    for name in ("user.slice", f"user-{user}.slice", f"user@{user}.service"):
        write(f"{place}/cgroup.subtree_control", CONTROLLERS)
        place += f"/{name}"
        os.mkdir(place)
    for directory in (place, f"{place}/terminal"):
        os.makedirs(directory, exist_ok=True)
        for name in ("", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
            os.chown(f"{directory}/{name}", user, group)
    return place


def start(words: list[str], cgroup: str, task: dict, **more: object) -> subprocess.Popen:
    """A program of the user's, in a cgroup."""

    def become_the_user() -> None:
        write(f"{cgroup}/cgroup.procs", "0")
        os.setgroups([])
        os.setresgid(task["group"], task["group"], task["group"])
        os.setresuid(task["user"], task["user"], task["user"])

    return subprocess.Popen(
        words,
        preexec_fn=become_the_user,  # noqa: PLW1509  # there is one thread
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        **more,
    )


def run(shared: str) -> None:
    with open(f"{shared}/task.json") as file:
        task = json.load(file)
    make_system(task["user"], task["group"])
    # the root is read-only; this is the one directory outside that the machine writes into
    if libc.mount(b"none", b"/run/shared", b"hostfs", NOSUID | NODEV, shared.encode()) != 0:
        raise OSError(ctypes.get_errno(), "mount hostfs")
    for name, value in task["sysctls"].items():
        write(f"/proc/sys/{name.replace('.', '/')}", value)
    environment = task["environment"]
    os.makedirs(environment["HOME"], mode=0o700)
    os.chown(environment["HOME"], task["user"], task["group"])
    cgroup = make_cgroups(task["user"], task["group"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, open("/run/shared/manager", "wb") as said:
        ready.bind("/run/ready")
        os.chmod("/run/ready", 0o777)
        ready.settimeout(30)
        program = next(path for path in MANAGERS if os.path.exists(path))
        start(
            [program, "--user", "--log-target=console"],
            cgroup,
            task,
            env=environment | {"NOTIFY_SOCKET": "/run/ready"},
            stdout=said,
            stderr=said,
        )
        while b"READY=1" not in ready.recv(4096).splitlines():
            pass
    with open("/run/shared/out", "wb") as out, open("/run/shared/err", "wb") as err:
        program = start(
            task["words"],
            f"{cgroup}/terminal",
            task,
            env=environment,
            stdout=out,
            stderr=err,
            cwd=environment["HOME"],
        )
        while (ended := os.wait())[0] != program.pid:
            pass
    write("/run/shared/status", str(os.waitstatus_to_exitcode(ended[1])))


try:
    run(sys.argv[1])
except BaseException as error:  # noqa: BLE001  # nobody else could say what it was
    print(f"the machine's first process: {type(error).__name__}: {error}", flush=True)
finally:
    os.kill(-1, signal.SIGKILL)
    os.sync()
    libc.reboot(POWER_OFF)

"""
A desktop session's first process, in namespaces of its own: see tests/sessions.py, which starts it in a cgroup that is
the user's.

It has its own user, mount, process, cgroup and host-name namespaces; in them /proc, an empty /run with the runtime
directory, the cgroup as the root of a cgroup2 tree, and a real `systemd --user` as its child. The environment that it
is given is the session's. Standard output gets one line when the manager says that it is ready: the process id of the
namespaces' pid 1, as seen from outside. It ends with its parent, and everything in the namespaces with it.

Words: the path of the cgroup outside; where the manager's words go.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys

NEW_NS, NEW_CGROUP, NEW_UTS, NEW_USER, NEW_PID = 0x20000, 0x2000000, 0x4000000, 0x10000000, 0x20000000
NOSUID, NODEV, NOEXEC, REC, PRIVATE = 2, 4, 8, 0x4000, 1 << 18
PR_SET_PDEATHSIG = 1
MANAGERS = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
UNWANTED = ("pulseaudio", "pipewire", "pipewire-pulse", "wireplumber", "filter-chain")
"""What packages put into every session and no test here wants; they may fail without hardware."""
libc = ctypes.CDLL(None, use_errno=True)


def call(what: str, *words: object) -> None:
    if getattr(libc, what)(*words) != 0:
        number = ctypes.get_errno()
        sys.exit(f"{what} {words}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    call("mount", source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def make_namespaces(cgroup: str) -> None:
    """The cgroup that we are in becomes the root; then we leave it, as processes sit in leaves only."""
    user, group = os.getuid(), os.getgid()
    call("unshare", NEW_USER | NEW_NS | NEW_CGROUP | NEW_UTS | NEW_PID)
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{user} {user} 1")
    write("/proc/self/gid_map", f"{group} {group} 1")
    write(f"{cgroup}/first/cgroup.procs", "0")


def make_places(runtime: str) -> None:
    call("mount", None, b"/", None, ctypes.c_ulong(REC | PRIVATE), None)
    mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC)
    mount("tmpfs", "/run", "tmpfs", NOSUID | NODEV, "mode=755")
    for directory in ("/run/systemd/system", "/run/lock", f"{runtime}/systemd/user"):
        os.makedirs(directory)
    os.chmod(runtime, 0o700)
    for unit in UNWANTED:
        for kind in ("service", "socket"):
            os.symlink("/dev/null", f"{runtime}/systemd/user/{unit}.{kind}")
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", NOSUID | NODEV | NOEXEC)


def start_manager(log: str) -> int:
    """Start it and wait until it has reached its default target. Returns its process id."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, open(log, "ab") as out:
        ready.bind("/run/ready")
        ready.settimeout(20)
        manager = subprocess.Popen(
            [next(path for path in MANAGERS if os.path.exists(path)), "--user", "--log-target=console"],
            env=os.environ | {"NOTIFY_SOCKET": "/run/ready"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            preexec_fn=lambda: write("/sys/fs/cgroup/manager/cgroup.procs", "0"),  # noqa: PLW1509  # one thread
        )
        while b"READY=1" not in ready.recv(4096).splitlines():
            pass
    return manager.pid


def main() -> None:
    cgroup, log = sys.argv[1:]
    make_namespaces(cgroup)
    reader, writer = os.pipe()
    first = os.fork()
    if first == 0:
        call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.close(reader)
        make_places(os.environ["XDG_RUNTIME_DIR"])
        manager = start_manager(log)
        os.write(writer, b"1")
        os.close(writer)
        os.closerange(0, 3)
        while os.wait()[0] != manager:  # pid 1 gets everybody's orphans
            pass
        os._exit(0)
    os.close(writer)
    if os.read(reader, 1):
        os.write(1, f"{first}\n".encode())
    os.waitpid(first, 0)


main()

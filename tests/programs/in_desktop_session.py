"""
Runs a program in the session that desktop_session.py has made, as a terminal in it would.

Words: the process id of the session's first process; the session's cgroup outside; the directory to start in; the
program's words. The environment is the program's. Signals that ask to end are passed on; the status is the program's,
128 + N for a signal.
"""

import ctypes
import os
import signal
import sys

NEW_NS, NEW_CGROUP, NEW_UTS, NEW_USER, NEW_PID = 0x20000, 0x2000000, 0x4000000, 0x10000000, 0x20000000
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    first, cgroup, directory, *words = sys.argv[1:]
    with open(f"{cgroup}/terminal/cgroup.procs", "w") as file:
        file.write("0")
    session = os.pidfd_open(int(first))
    if libc.setns(session, NEW_USER | NEW_NS | NEW_CGROUP | NEW_UTS | NEW_PID) != 0:
        sys.exit(f"the session can't be entered: {os.strerror(ctypes.get_errno())}")
    os.close(session)
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
            signal.signal(number, signal.SIG_DFL)
        try:
            os.chdir(directory)
            os.execvp(words[0], words)
        except OSError as error:
            os.write(2, f"{words[0]}: {error.strerror}\n".encode())
            os._exit(127)
    for number in PASSED_ON:
        signal.signal(number, lambda which, _: os.kill(child, which))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


sys.exit(main())

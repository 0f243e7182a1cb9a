"""
The system calls that a broker may make: data for its own seccomp filter.

What goes out: names, by what becomes of a call. `plan.broker_filter` makes the program when a policy is compiled, so
that a broker needs no libseccomp. Unless it is listed here a call gets EPERM: what a newer interpreter or libc tries
first fails softly. Calls that only a taken-over broker would make end it.

Abuse: code that an attacker had made run in the broker could open what Landlock permits, write to the log, and answer
clients; it could start no program, make no socket but a stream of AF_UNIX, send nothing to an address, have no process
sent a signal (F_SETOWN, F_SETSIG, F_NOTIFY, F_SETLEASE), map nothing executable, and touch no other process.
"""

from __future__ import annotations

ALLOWED = """
    accept4 brk clock_gettime close connect epoll_create1 epoll_ctl epoll_pwait epoll_wait exit exit_group faccessat
    faccessat2 fstat fstatfs futex getdents64 getpid getrandom getsockopt getsockname inotify_add_watch
    inotify_init1 lseek madvise mkdirat mremap munmap newfstatat openat openat2 pread64 read readlinkat recvfrom recvmsg
    renameat renameat2 restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn sendmsg shutdown sigaltstack
    unlinkat write
""".split()
"""Whatever their arguments."""

OLD = "access mkdir open readlink rename rmdir stat lstat unlink".split()
"""Calls of x86_64 that newer processors have only with `at`; libc still makes them there."""

_FULL, _EXECUTABLE, _SEND_BUFFER = 0xFFFFFFFF, 4, 7
_ADDRESS = 0xFFFFFFFFFFFFFFFF
_STREAM = ((0, _FULL, 1), (1, 0xF, 1))
"""AF_UNIX, SOCK_STREAM."""
_GET_FLAGS, _SET_FLAGS, _GET_STATUS, _SET_STATUS, _DUPLICATE = 1, 2, 3, 4, 1030
"""F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC."""
_ASYNC = 0x2000

TESTED = (
    ("fcntl", ((1, _FULL, _GET_FLAGS),)),
    ("fcntl", ((1, _FULL, _SET_FLAGS),)),
    ("fcntl", ((1, _FULL, _GET_STATUS),)),
    ("fcntl", ((1, _FULL, _SET_STATUS), (2, _ASYNC, 0))),
    ("fcntl", ((1, _FULL, _DUPLICATE),)),
    ("mmap", ((2, _EXECUTABLE, 0),)),
    ("mprotect", ((2, _EXECUTABLE, 0),)),
    ("sendto", ((4, _ADDRESS, 0),)),
    ("setsockopt", ((2, _FULL, _SEND_BUFFER),)),
    ("socket", _STREAM),
    ("socketpair", _STREAM),
)
"""Name, tests of an argument (from 0), a mask and a value: allowed when each of them, masked, is its value."""

ENDING = """
    add_key bpf chroot clone clone3 delete_module execve execveat finit_module fork init_module io_uring_setup kcmp
    keyctl kexec_load mount open_by_handle_at perf_event_open personality pidfd_getfd pivot_root process_vm_readv
    process_vm_writev ptrace request_key setns umount2 unshare userfaultfd vfork
""".split()
"""No broker makes them; one that tries is ended."""

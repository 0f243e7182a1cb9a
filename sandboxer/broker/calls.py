"""
The system calls that a broker may make: data for its own seccomp filter.

What goes out: names, by what becomes of a call. `plan.broker_filter` makes the program when a policy is compiled, so
that a broker needs no libseccomp. Unless it is listed here a call gets EPERM: what a newer interpreter or libc tries
first fails softly. Calls that only a taken-over broker would make end it.

Abuse: code that an attacker had made run in the broker could open what Landlock permits, write to the log, and answer
clients; it could start no program, make no socket but of AF_UNIX, map nothing executable, and touch no other process.
"""

from __future__ import annotations

ALLOWED = """
    accept4 brk clock_gettime close connect epoll_create1 epoll_ctl epoll_pwait epoll_wait exit exit_group faccessat
    faccessat2 fcntl fstat fstatfs futex getdents64 getpid getrandom getsockopt getsockname inotify_add_watch
    inotify_init1 lseek madvise mkdirat mremap munmap newfstatat openat openat2 pread64 read readlinkat recvfrom recvmsg
    renameat renameat2 restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn sendmsg sendto shutdown sigaltstack
    unlinkat write
""".split()
"""Whatever their arguments."""

OLD = "access mkdir open readlink rename rmdir stat lstat unlink".split()
"""Calls of x86_64 that newer processors have only with `at`; libc still makes them there."""

_FULL, _EXECUTABLE, _UNIX, _SEND_BUFFER = 0xFFFFFFFF, 4, 1, 7

TESTED = (
    ("setsockopt", 2, _FULL, _SEND_BUFFER),
    ("mmap", 2, _EXECUTABLE, 0),
    ("mprotect", 2, _EXECUTABLE, 0),
    ("socket", 0, _FULL, _UNIX),
    ("socketpair", 0, _FULL, _UNIX),
)
"""Name, argument (from 0), mask, value: allowed when the argument, masked, is the value."""

ENDING = """
    add_key bpf chroot clone clone3 delete_module execve execveat finit_module fork init_module io_uring_setup kcmp
    keyctl kexec_load mount open_by_handle_at perf_event_open personality pidfd_getfd pivot_root process_vm_readv
    process_vm_writev ptrace request_key setns umount2 unshare userfaultfd vfork
""".split()
"""No broker makes them; one that tries is ended."""

"""
What other sandboxes refuse by default, as they stood in summer 2026; names that no ABI of ours has are left out.

flatpak: common/flatpak-run.c, without --devel and --allow. docker: moby's default profile for a container without
added capabilities, read as everything that it doesn't list; x86_64 and i386. firejail: @default-nodebuggers of 0.9.72.
"""

from __future__ import annotations

FLATPAK = frozenset(
    """
    syslog uselib acct quotactl add_key keyctl request_key move_pages mbind get_mempolicy set_mempolicy migrate_pages
    unshare setns mount umount umount2 pivot_root chroot clone ioctl clone3 open_tree move_mount fsopen fsconfig fsmount
    fspick mount_setattr modify_ldt perf_event_open personality ptrace socket
    """.split()
)

DOCKER = frozenset(
    """
    _sysctl acct add_key afs_syscall bdflush bpf break chroot clock_settime clock_settime64 clone clone3 create_module
    delete_module fanotify_init file_getattr file_setattr finit_module fsconfig fsmount fsopen fspick ftime
    get_kernel_syms get_mempolicy getpmsg gtty idle init_module io_uring_enter io_uring_register io_uring_setup ioperm
    iopl kcmp kexec_file_load kexec_load keyctl listns lock lookup_dcookie lsm_get_self_attr lsm_list_modules
    lsm_set_self_attr mbind migrate_pages mount mount_setattr move_mount move_pages mpx nfsservctl nice oldfstat
    oldlstat oldolduname oldstat olduname open_by_handle_at open_tree open_tree_attr perf_event_open personality
    pidfd_getfd pivot_root process_madvise prof profil putpmsg query_module quotactl quotactl_fd readdir reboot
    request_key rseq_slice_yield security set_mempolicy set_mempolicy_home_node setdomainname sethostname setns
    settimeofday sgetmask sigaction signal sigpending sigsuspend socket socketcall ssetmask stime stty swapoff swapon
    sysfs syslog tuxcall ulimit umount umount2 unshare uprobe uselib userfaultfd ustat vhangup vm86 vm86old vserver
    """.split()
)

FIREJAIL = frozenset(
    """
    _sysctl acct add_key adjtimex afs_syscall bdflush bpf break chroot clock_adjtime clock_adjtime64
    clock_settime clock_settime64 create_module delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick
    ftime get_kernel_syms getpmsg gtty idle
    init_module io_cancel io_destroy io_getevents io_setup io_submit ioperm iopl ioprio_set kexec_file_load kexec_load
    keyctl lock lookup_dcookie mbind migrate_pages modify_ldt mount move_mount move_pages mpx name_to_handle_at
    nfsservctl open_by_handle_at open_tree perf_event_open personality pidfd_getfd pivot_root process_vm_readv
    process_vm_writev prof profil ptrace putpmsg query_module reboot remap_file_pages request_key security
    set_mempolicy setdomainname sethostname settimeofday sgetmask ssetmask stime stty swapoff swapon sysfs syslog
    tuxcall ulimit umount umount2 uselib userfaultfd ustat vhangup vm86 vm86old vmsplice vserver
    """.split()
)

ALL = {"flatpak": FLATPAK, "docker": DOCKER, "firejail": FIREJAIL}

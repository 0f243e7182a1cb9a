/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * System calls as this program uses them: thin, checked by the compiler (a result can't be dropped), and independent
 * of the age of the C library. Nothing here decides anything. All return -1 with errno on failure.
 */
#ifndef SANDBOXER_SYS_H
#define SANDBOXER_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHECKED __attribute__((warn_unused_result))

/* A descriptor that is closed when its variable goes out of scope. */
#define CLEANUP_FD __attribute__((cleanup(sys_cleanup_fd)))

static inline void sys_cleanup_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

/* Some headers older than the kernel that we ask for lack these. */
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif

CHECKED static inline int sys_openat2(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};

    return (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
}

CHECKED static inline int sys_open_tree(int dir, const char *path, unsigned flags)
{
    return (int)syscall(SYS_open_tree, dir, path, flags | OPEN_TREE_CLOEXEC);
}

CHECKED static inline int sys_mount_setattr(int dir, unsigned flags, struct mount_attr attributes)
{
    return (int)syscall(SYS_mount_setattr, dir, "", flags | AT_EMPTY_PATH, &attributes, sizeof attributes);
}

/* Attach the detached mount `tree` on `name` in the directory `parent`, or on `parent` itself when it is "".
 * A symbolic link at `name` is not followed. */
CHECKED static inline int sys_move_mount(int tree, int parent, const char *name)
{
    return (int)syscall(SYS_move_mount, tree, "", parent, name,
                        MOVE_MOUNT_F_EMPTY_PATH | (name[0] ? 0 : MOVE_MOUNT_T_EMPTY_PATH));
}

CHECKED static inline int sys_fsopen(const char *type)
{
    return (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
}

CHECKED static inline int sys_fsconfig(int fs, unsigned command, const char *key, const char *value)
{
    return (int)syscall(SYS_fsconfig, fs, command, key, value, 0);
}

CHECKED static inline int sys_fsmount(int fs, unsigned attributes)
{
    return (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes);
}

CHECKED static inline int sys_pivot_root(const char *new_root, const char *put_old)
{
    return (int)syscall(SYS_pivot_root, new_root, put_old);
}

CHECKED static inline int sys_umount(const char *path, int flags)
{
    return (int)syscall(SYS_umount2, path, flags);
}

CHECKED static inline pid_t sys_clone3(struct clone_args arguments)
{
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

/* fork() as the kernel has it. The C library's changes the signal mask meanwhile and doesn't notice when it can't: pid 1
 * would then wait for signals that are no longer blocked. */
CHECKED static inline pid_t sys_fork(void)
{
    return (pid_t)syscall(SYS_clone, (unsigned long)SIGCHLD, 0UL, 0UL, 0UL, 0UL);
}

CHECKED static inline int sys_close_range(unsigned first, unsigned last)
{
    return (int)syscall(SYS_close_range, first, last, 0);
}

/* Make `fd`, which stays open for the application, what `source` is. */
CHECKED static inline int sys_replace(int source, int fd)
{
    return (int)syscall(SYS_dup3, source, fd, 0);
}

CHECKED static inline int sys_queue_signal(pid_t pid, int signal, siginfo_t *info)
{
    return (int)syscall(SYS_rt_sigqueueinfo, pid, signal, info);
}

#endif

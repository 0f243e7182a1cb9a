/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * System calls for the Python half that its standard library has no function for: sandboxer._kernel, through cffi.
 *
 * Used by the broker, which confines itself and opens beneath directories, by the steward, which mounts into a running
 * box, and by doctor, which tries what a start does. Nothing here decides anything. Every function returns 0 or what the call gives, and -errno on failure;
 * descriptors are close-on-exec.
 */
#ifndef SANDBOXER_KERNEL_H
#define SANDBOXER_KERNEL_H

#include <stddef.h>
#include <stdint.h>

/* Opening. `resolve` is openat2(2)'s. */

int kernel_openat2(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);

/* Open a regular file and nothing else, or make one: no FIFO, device or socket is ever opened, only looked at.
 * `flags` are open(2)'s; O_CREAT makes the file with `mode` (less the umask), never through a link at its name.
 * The file must be `inode` on `device`, unless `inode` is 0 (then `device` is unused); one that is made always is.
 * EISDIR: a directory. ELOOP: a symbolic link that `resolve` forbids or that leads nowhere. ENXIO: a FIFO, a device or
 * a socket. EACCES: a file of a procfs. ESTALE: another inode. Else what openat2 says. */
int kernel_open_regular(int dir, const char *path, int flags, unsigned mode, uint64_t resolve, uint64_t device,
                        uint64_t inode);

/* Open again, with `flags`, what the O_PATH descriptor `fd` is for. */
int kernel_reopen(int fd, int flags);

/* 1 when `fd` lies in a procfs, else 0. */
int kernel_in_procfs(int fd);

int kernel_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);

int kernel_inotify_init(void); /* non-blocking */
/* Watch what the descriptor `fd` is for, O_PATH or not. Returns the watch's number. */
int kernel_inotify_add_watch(int inotify, int fd, uint32_t mask);

/* Connections, and messages over SOCK_SEQPACKET. */

/* `listener` should be non-blocking. Returns a descriptor. */
int kernel_accept(int listener);
/* Neither of these waits. */
/* Returns the message's size, 0 at the end. EPROTO: it was longer than `size`, or descriptors came with it, which the
 * kernel has closed. */
long kernel_receive(int socket, void *buffer, size_t size);
/* With `descriptor` unless that is negative. Returns 0. */
int kernel_send(int socket, const void *message, size_t size, int descriptor);

/* Confining this process: see landlock(7) and seccomp(2). no_new_privs has to be set. */

int kernel_landlock_abi(void);
/* `scoped` and `net` must be 0 where the ABI has none. Returns a ruleset's descriptor. */
int kernel_landlock_create(uint64_t fs, uint64_t net, uint64_t scoped);
/* Allow `access` on the file, or beneath the directory, that `fd` is for. */
int kernel_landlock_allow(int ruleset, int fd, uint64_t access);
int kernel_landlock_restrict(int ruleset);
/* `program`: an array of struct sock_filter, `size` bytes. */
int kernel_load_filter(const void *program, size_t size);
/* The same with SECCOMP_FILTER_FLAG_NEW_LISTENER: a descriptor for seccomp_unotify(2). */
int kernel_load_notifier(const void *program, size_t size);

/* Namespaces and mounts. Paths of "" stand for the directory's descriptor itself. */

int kernel_setns(int fd, int type);
int kernel_unshare(int flags);
/* Whether clone3 makes a process in new namespaces of these kinds, as the launcher starts one. It ends at once. */
int kernel_try_clone(uint64_t flags);
int kernel_open_tree(int dir, const char *path, unsigned flags);
/* Of `fd` itself, and with `recursive` of all beneath. */
int kernel_mount_setattr(int fd, int recursive, uint64_t set, uint64_t clear, uint64_t propagation);
/* Attach the detached mount `tree` at `path`, following no link at its last component. */
int kernel_move_mount(int tree, int dir, const char *path);
int kernel_umount2(const char *path, int flags);
/* A new, empty tmpfs, attached nowhere yet. */
int kernel_new_tmpfs(void);
/* A new procfs, of this process's pid namespace. */
int kernel_new_procfs(void);
/* A new overlay of directories, for a mounter without privileges outside (the option userxattr). */
int kernel_new_overlay(const char *lower, const char *upper, const char *work);
/* Make the root of the attached mount `root` this process's root and working directory, and detach all that was there
 * before. For a process that is alone in its mount namespace. */
int kernel_enter_root(int root);
/* Give up all capabilities, ambient ones too, and check it. The bounding set is emptied as well where that is permitted
 * (CAP_SETPCAP); to a process with no_new_privs it is of no use. */
int kernel_drop_capabilities(void);
/* The mount that `fd` was opened through, as /proc/PID/mountinfo numbers it. */
long kernel_mount_id(int fd);
/* ioctl_ns(2)'s requests that take no argument (NS_GET_USERNS, NS_GET_PARENT): a descriptor. */
int kernel_namespace(int fd, unsigned request);
/* NS_GET_OWNER_UID: the owner of the user namespace `fd`. */
long kernel_namespace_owner(int fd);

#endif

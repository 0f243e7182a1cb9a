/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * See kernel.h. Compiled into sandboxer._kernel only; `sandbox` has no use for it.
 */
#include "kernel.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "sys.h"

/* From linux/landlock.h, as of ABI 6; installed headers may be older than the kernel. */
struct landlock_attributes {
    uint64_t handled_access_fs, handled_access_net, scoped;
};
struct landlock_beneath {
    uint64_t allowed_access;
    int32_t parent_fd;
} __attribute__((packed));
enum {
    LANDLOCK_VERSION = 1,
    LANDLOCK_BENEATH = 1,
    CREATE_TRIES = 8,
    DIGITS_MAX = 10,
};

static int result_of(long answer)
{
    return answer < 0 ? -errno : (int)answer;
}

/* "/proc/self/fd/N": the one magic link that is ever followed, to a descriptor of our own. */
struct own_name {
    char text[sizeof "/proc/self/fd/" + DIGITS_MAX];
};

static struct own_name name_of(int fd)
{
    struct own_name name = {"/proc/self/fd/"};
    char digits[DIGITS_MAX];
    size_t count = 0, length = strlen(name.text);

    do {
        digits[count++] = (char)('0' + fd % 10);
        fd /= 10;
    } while (fd > 0);
    while (count > 0)
        name.text[length++] = digits[--count];
    return name;
}

int kernel_openat2(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
    return result_of(sys_openat2(dir, path, flags, mode, resolve));
}

int kernel_reopen(int fd, int flags)
{
    if (fd < 0)
        return -EBADF;
    return result_of(open(name_of(fd).text, flags | O_CLOEXEC | O_NOCTTY));
}

int kernel_in_procfs(int fd)
{
    struct statfs status;

    if (fstatfs(fd, &status) != 0)
        return -errno;
    return status.f_type == PROC_SUPER_MAGIC;
}

/* The error for what is no regular file that may be handed out; 0 for one that may. */
static int refusal(int fd, uint64_t device, uint64_t inode)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return -errno;
    if (S_ISDIR(status.st_mode))
        return -EISDIR;
    if (S_ISLNK(status.st_mode))
        return -ELOOP;
    if (!S_ISREG(status.st_mode))
        return -ENXIO;
    int in_procfs = kernel_in_procfs(fd);
    if (in_procfs != 0)
        return in_procfs < 0 ? in_procfs : -EACCES;
    if (inode != 0 && (status.st_ino != inode || status.st_dev != device))
        return -ESTALE;
    return 0;
}

static int open_existing(int dir, const char *path, int flags, uint64_t resolve, uint64_t device, uint64_t inode)
{
    CLEANUP_FD int found = sys_openat2(dir, path, O_PATH, 0, resolve);

    if (found < 0)
        return -errno;
    int refused = refusal(found, device, inode);
    if (refused)
        return refused;
    /* A lease that somebody holds on the file would be waited for; such a file gives EAGAIN instead. */
    int fd = kernel_reopen(found, flags | O_NONBLOCK);
    if (fd >= 0 && !(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags & O_APPEND) != 0) {
        refused = -errno;
        (void)close(fd);
        return refused;
    }
    return fd;
}

int kernel_open_regular(int dir, const char *path, int flags, unsigned mode, uint64_t resolve, uint64_t device,
                        uint64_t inode)
{
    int plain = flags & ~(O_CREAT | O_EXCL);
    uint64_t make = (uint64_t)(unsigned)(plain | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY);

    /* Between the two calls somebody else may make or remove the file. */
    for (int tries = 0; tries < CREATE_TRIES; tries++) {
        int fd = (flags & O_EXCL) ? -ENOENT : open_existing(dir, path, plain, resolve, device, inode);
        if (fd != -ENOENT || !(flags & O_CREAT))
            return fd;
        fd = kernel_openat2(dir, path, make, mode, resolve);
        if (fd != -EEXIST || (flags & O_EXCL))
            return fd;
    }
    return -ELOOP;
}

int kernel_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return result_of(syscall(SYS_renameat2, from_dir, from, to_dir, to, flags));
}

int kernel_inotify_init(void)
{
    return result_of(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
}

int kernel_inotify_add_watch(int inotify, int fd, uint32_t mask)
{
    if (fd < 0)
        return -EBADF;
    return result_of(inotify_add_watch(inotify, name_of(fd).text, mask));
}

int kernel_accept(int listener)
{
    return result_of(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
}

long kernel_receive(int socket, void *buffer, size_t size)
{
    struct iovec piece = {.iov_base = buffer, .iov_len = size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (got < 0)
        return -errno;
    return (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ? -EPROTO : got;
}

int kernel_send(int socket, const void *message, size_t size, int descriptor)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec piece = {.iov_base = (void *)(uintptr_t)message, .iov_len = size};
    struct msghdr whole = {.msg_iov = &piece, .msg_iovlen = 1};

    if (descriptor >= 0) {
        memcpy(CMSG_DATA(&control.header), &descriptor, sizeof descriptor);
        whole.msg_control = &control;
        whole.msg_controllen = sizeof control;
    }
    return sendmsg(socket, &whole, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int kernel_landlock_abi(void)
{
    return result_of(syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION));
}

int kernel_landlock_create(uint64_t fs, uint64_t net, uint64_t scoped)
{
    struct landlock_attributes attributes = {.handled_access_fs = fs, .handled_access_net = net, .scoped = scoped};

    /* A kernel takes a longer structure than it knows, as long as the rest is zero. */
    return result_of(syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0));
}

int kernel_landlock_allow(int ruleset, int fd, uint64_t access)
{
    struct landlock_beneath rule = {.allowed_access = access, .parent_fd = fd};

    return result_of(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_BENEATH, &rule, 0));
}

int kernel_landlock_restrict(int ruleset)
{
    return result_of(syscall(SYS_landlock_restrict_self, ruleset, 0));
}

static int load_filter(const void *program, size_t size, unsigned flags)
{
    if (size == 0 || size % sizeof(struct sock_filter) != 0 || size / sizeof(struct sock_filter) > BPF_MAXINSNS)
        return -EINVAL;
    struct sock_fprog filter = {.len = (unsigned short)(size / sizeof(struct sock_filter)),
                                .filter = (struct sock_filter *)(uintptr_t)program};
    return result_of(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter));
}

int kernel_load_filter(const void *program, size_t size)
{
    return load_filter(program, size, 0);
}

int kernel_load_notifier(const void *program, size_t size)
{
    return load_filter(program, size, SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

int kernel_setns(int fd, int type)
{
    return result_of(setns(fd, type));
}

int kernel_unshare(int flags)
{
    return result_of(unshare(flags));
}

int kernel_try_clone(uint64_t flags)
{
    pid_t child = sys_clone3((struct clone_args){.flags = flags, .exit_signal = SIGCHLD});

    if (child < 0)
        return -errno;
    if (child == 0)
        _exit(0);
    while (waitpid(child, NULL, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

int kernel_open_tree(int dir, const char *path, unsigned flags)
{
    return result_of(sys_open_tree(dir, path, path[0] ? flags : flags | AT_EMPTY_PATH));
}

int kernel_mount_setattr(int fd, int recursive, uint64_t set, uint64_t clear, uint64_t propagation)
{
    struct mount_attr attributes = {.attr_set = set, .attr_clr = clear, .propagation = propagation};

    return result_of(sys_mount_setattr(fd, recursive ? AT_RECURSIVE : 0, attributes));
}

int kernel_move_mount(int tree, int dir, const char *path)
{
    return result_of(sys_move_mount(tree, dir, path));
}

int kernel_umount2(const char *path, int flags)
{
    return result_of(sys_umount(path, flags));
}

static int new_mount(const char *type, unsigned attributes)
{
    CLEANUP_FD int fs = sys_fsopen(type);

    if (fs < 0 || sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) != 0)
        return -errno;
    return result_of(sys_fsmount(fs, attributes));
}

int kernel_new_tmpfs(void)
{
    return new_mount("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
}

int kernel_new_procfs(void)
{
    return new_mount("proc", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

int kernel_new_overlay(const char *lower, const char *upper, const char *work)
{
    CLEANUP_FD int fs = sys_fsopen("overlay");

    if (fs < 0 || sys_fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir", lower) != 0 ||
        sys_fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", upper) != 0 ||
        sys_fsconfig(fs, FSCONFIG_SET_STRING, "workdir", work) != 0 ||
        sys_fsconfig(fs, FSCONFIG_SET_FLAG, "userxattr", NULL) != 0 ||
        sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) != 0)
        return -errno;
    return result_of(sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV));
}

int kernel_enter_root(int root)
{
    if (fchdir(root) != 0 || sys_pivot_root(".", ".") != 0 || sys_umount(".", MNT_DETACH) != 0 || chdir("/") != 0)
        return -errno;
    return 0;
}

int kernel_drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0}};

    for (unsigned long number = 0; prctl(PR_CAPBSET_READ, number, 0UL, 0UL, 0UL) >= 0; number++)
        if (prctl(PR_CAPBSET_DROP, number, 0UL, 0UL, 0UL) != 0 && errno != EPERM)
            return -errno;
    if (prctl(PR_CAP_AMBIENT, (unsigned long)PR_CAP_AMBIENT_CLEAR_ALL, 0UL, 0UL, 0UL) != 0 ||
        syscall(SYS_capset, &header, sets) != 0 || syscall(SYS_capget, &header, sets) != 0)
        return -errno;
    for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        if (sets[i].effective || sets[i].permitted || sets[i].inheritable)
            return -EPERM;
    return 0;
}

long kernel_mount_id(int fd)
{
    struct statx status;

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &status) != 0)
        return -errno;
    return (status.stx_mask & STATX_MNT_ID) ? (long)status.stx_mnt_id : -ENOSYS;
}

int kernel_namespace(int fd, unsigned request)
{
    if (request != NS_GET_USERNS && request != NS_GET_PARENT)
        return -EINVAL;
    return result_of(ioctl(fd, request));
}

long kernel_namespace_owner(int fd)
{
    uid_t owner = 0;

    return ioctl(fd, NS_GET_OWNER_UID, &owner) < 0 ? -errno : (long)owner;
}

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Giving up everything, in an order in which each step is still permitted.
 *
 * Before: all capabilities in the box's user namespace, no filter. After: none, for ever, in this process and in all
 * that it starts; no program can gain any by being executed; the session keyring is new; the filter is on.
 */
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <time.h>

#include "box.h"
#include "fail.h"
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
    KEYRING_TRIES = 500,
    LANDLOCK_BENEATH = 1,
    LANDLOCK_READ_FILE = 1 << 2,
    LANDLOCK_WRITE_FILE = 1 << 1 | 1 << 14 /* truncate */,
    LANDLOCK_FILES = 0x7fff, /* all rights of ABI 3 */
    LANDLOCK_SCOPES = 1 << 0 /* abstract unix sockets */ | 1 << 1 /* signals */,
};

static void require(long result, const char *what)
{
    if (result < 0)
        fail((struct failure){.what = what,
                              .error = errno,
                              .hint = errno == ENOSYS || errno == EOPNOTSUPP || errno == EINVAL
                                          ? "sandbox doctor, which tells what this kernel lacks"
                                          : NULL});
}

static void drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    int capability = 0;

    /* The kernel says EINVAL for the first capability that it doesn't know. */
    while (capability < 64 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0)
        capability++;
    require(errno == EINVAL && capability > CAP_AUDIT_READ ? 0 : -1, "cannot empty the capability bounding set");
    require(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "cannot clear the ambient capabilities");
    require(syscall(SYS_capset, &header, none), "cannot drop the capabilities");
}

static long permit(int ruleset, int fd, uint64_t access)
{
    struct landlock_beneath rule = {.allowed_access = access, .parent_fd = fd};

    return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_BENEATH, &rule, 0);
}

/* A descriptor that was handed over may be opened again by its /proc name (/dev/stdout), in the way in which it is
 * open, and in no other. Pipes and sockets (EBADFD) lie outside Landlock's rules. */
static void permit_descriptor(int ruleset, int fd)
{
    int mode = fcntl(fd, F_GETFL);

    require(mode, "cannot look at a descriptor that is handed over");
    uint64_t access = ((mode & O_ACCMODE) != O_WRONLY ? LANDLOCK_READ_FILE : 0) |
                      ((mode & O_ACCMODE) != O_RDONLY ? LANDLOCK_WRITE_FILE : 0);
    if (permit(ruleset, fd, access) != 0 && errno != EBADFD)
        require(-1, "cannot permit a descriptor that is handed over");
}

/* What isn't mounted in the box can't be opened or changed; abstract sockets and signals don't reach out of it. */
static void enter_landlock(const struct call *call)
{
    const struct plan_header *header = call->plan->header;
    struct landlock_attributes attributes = {
        .handled_access_fs = (header->flags & SBX_PLAN_LANDLOCK_FILES) ? LANDLOCK_FILES : 0,
        .scoped = (header->flags & SBX_PLAN_LANDLOCK_SCOPE) ? LANDLOCK_SCOPES : 0,
    };
    CLEANUP_FD int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);

    require(ruleset, "cannot make a Landlock ruleset");
    if (attributes.handled_access_fs) {
        CLEANUP_FD int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        require(root, "cannot open the box's root");
        require(permit(ruleset, root, LANDLOCK_FILES), "cannot permit the files in the box");
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
            permit_descriptor(ruleset, fd);
        for (size_t i = 0; i < call->handed_count; i++)
            permit_descriptor(ruleset, call->handed[i]);
    }
    require(syscall(SYS_landlock_restrict_self, ruleset, 0), "cannot enter the Landlock domain");
}

/* A keyring of its own counts against the user's quota, and the kernel frees those of ended boxes with a delay: when
 * hundreds of boxes are started in a row, wait for it. */
static void join_keyring(void)
{
    static const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};

    for (int tries = 0; tries < KEYRING_TRIES; tries++) {
        if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL, 0, 0, 0) >= 0)
            return;
        if (errno != EDQUOT || nanosleep(&pause, NULL) != 0)
            break;
    }
    fail((struct failure){.what = "cannot make the box's session keyring",
                          .error = errno,
                          .hint = errno == EDQUOT ? "raise sysctl kernel.keys.maxkeys, or end other boxes" : NULL});
}

void confine(const struct call *call)
{
    const struct plan *plan = call->plan;
    struct sock_fprog program = {.len = (unsigned short)plan->header->program.count,
                                 .filter = (struct sock_filter *)(uintptr_t)plan->program};

    join_keyring();
    drop_capabilities();
    require(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "cannot set no_new_privs");
    if (plan->header->flags & (SBX_PLAN_LANDLOCK_SCOPE | SBX_PLAN_LANDLOCK_FILES))
        enter_landlock(call);
    /* This process outlives the application's start and knows the plan: keep the box from reading it. */
    require(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "cannot make the box's first process undumpable");
    require(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "cannot load the system-call filter");
}

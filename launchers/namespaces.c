/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The phases right after clone3: identity, the limit on further user namespaces, host name, loopback.
 * Before: the caller's uid is unmapped. After: it is itself, and no other id exists.
 */
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "box.h"
#include "fail.h"
#include "sys.h"

static const char restricted_hint[] =
    "sandbox doctor, which says how to let AppArmor allow this program user namespaces "
    "(kernel.apparmor_restrict_unprivileged_userns)";

static void write_proc(const char *path, const char *text, const char *what, const char *hint)
{
    CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        fail((struct failure){.what = what, .subject = path, .error = errno, .hint = hint});
}

/* "ID ID 1\n" without stdio's buffers or locale. */
static const char *map_line(uint32_t id, char line[32])
{
    char digits[11];
    size_t n = 0, at = 0;

    do
        digits[n++] = (char)('0' + id % 10);
    while ((id /= 10) != 0);
    for (int copy = 0; copy < 2; copy++) {
        for (size_t i = n; i > 0; i--)
            line[at++] = digits[i - 1];
        line[at++] = ' ';
    }
    line[at++] = '1';
    line[at] = '\0';
    return line;
}

void map_ids(const struct plan *plan)
{
    char line[32];

    write_proc("/proc/self/setgroups", "deny", "cannot fix the box's groups", restricted_hint);
    write_proc("/proc/self/uid_map", map_line(plan->header->uid, line), "cannot map the user into the box",
               restricted_hint);
    write_proc("/proc/self/gid_map", map_line(plan->header->gid, line), "cannot map the group into the box",
               restricted_hint);
}

/* The sysctl belongs to the new user namespace: only CAP_SYS_RESOURCE in it, which confine() gives up, can raise it. */
void limit_nested_namespaces(const struct plan *plan)
{
    if (!(plan->header->flags & SBX_PLAN_NESTED_NAMESPACES))
        write_proc("/proc/sys/user/max_user_namespaces", "0", "cannot forbid further user namespaces",
                   "sandbox doctor; a container that makes /proc/sys read-only is a cause");
}

void name_host(const struct plan *plan)
{
    const char *name = plan_string(plan, plan->header->hostname);

    if (sethostname(name, strlen(name)) != 0)
        fail((struct failure){.what = "cannot set the box's host name",
                              .subject = name,
                              .error = errno,
                              .hint = errno == EPERM ? restricted_hint : NULL});
}

/* What holds the box from outside is being made: the application can't start before. Its cgroup is the root of those that
 * the box sees. */
void enter_scope(const struct plan *plan, int orders)
{
    struct pollfd permission = {.fd = orders, .events = POLLIN};
    char said = 0;

    if (plan->header->scope.count == 0)
        return;
    while (poll(&permission, 1, -1) < 0 && errno == EINTR)
        ;
    if (recv(orders, &said, sizeof said, MSG_DONTWAIT) != sizeof said || said != PERMISSION)
        fail((struct failure){.what = "the launcher didn't let the application start", .error = errno});
    if (unshare(CLONE_NEWCGROUP) != 0)
        fail((struct failure){.what = "cannot hide the cgroups outside", .error = errno, .hint = "sandbox doctor"});
}

void raise_loopback(const struct plan *plan)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};

    if (!(plan->header->flags & SBX_PLAN_PRIVATE_NETWORK))
        return;
    CLEANUP_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0)
        fail((struct failure){.what = "cannot bring up the box's loopback network",
                              .error = errno,
                              .hint = errno == EPERM ? restricted_hint : "sandbox doctor"});
}

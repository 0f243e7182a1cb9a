/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The sockets between the two sides. They are made before the box, so that each side has its ends from birth and
 * nothing has to be sent across; each closes the other's ends first of all.
 */
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <stdio.h>

#include "box.h"
#include "fail.h"
#include "sys.h"

static const struct timeval patience = {.tv_sec = 5};

static void make_pair(int ends[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        fail((struct failure){.what = "cannot make a pair of sockets", .error = errno});
}

_Noreturn static void fail_to_connect(const char *path, const char *origin)
{
    fail((struct failure){.what = "cannot connect to the socket that the policy grants",
                          .subject = path,
                          .error = errno,
                          .origin = origin,
                          .hint = "see whether the program that listens there still runs"});
}

/* Hand over a descriptor that isn't another's. */
static void hand_over(struct call *call, int fd, int number)
{
    for (size_t i = 0; i < call->handed_count; i++)
        if (call->handed[i] == number)
            fail((struct failure){.what = "two descriptors would have the same number",
                                  .hint = "numbers 99 to 103 belong to the policy: keep others with --keep-fd"});
    if (sys_replace(fd, number) != number || close(fd) != 0)
        fail((struct failure){.what = "cannot give a descriptor its number", .error = errno});
    call->handed[call->handed_count++] = number;
}

/* A connection in place of a socket file: the application has this one, and can't make others. */
static void connect_to(struct call *call, const struct plan_op *op)
{
    static const struct timeval none;
    const char *path = plan_string(call->plan, op->source), *origin = plan_string(call->plan, op->origin);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    CLEANUP_FD int place = sys_openat2(AT_FDCWD, path, O_PATH, 0, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (place < 0 || fd < 0)
        fail_to_connect(path, origin);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d", place);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none) != 0)
        fail_to_connect(path, origin);
    hand_over(call, fd, (int)op->mode);
}

void make_sockets(struct sockets *sockets, struct call *call)
{
    const struct plan *plan = call->plan;

    *sockets = (struct sockets){.descriptor = -1, .pair = {-1, -1}, .notices = make_notice_socket(call)};
    make_pair(sockets->orders);
    for (uint32_t i = 0; i < plan->header->ops.count; i++) {
        const struct plan_op *op = &plan->ops[i];

        if (op->kind == SBX_OP_CONNECT)
            connect_to(call, op);
        if (op->kind != SBX_OP_LISTEN)
            continue;
        int fd = socket(AF_UNIX,
                        ((op->flags & SBX_OPF_STREAM) ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            fail((struct failure){.what = "cannot make a socket for the broker", .error = errno});
        sockets->names[sockets->listener_count] = plan_string(plan, op->source);
        sockets->listeners[sockets->listener_count++] = fd;
    }
    if (sockets->listener_count > 0)
        make_pair(sockets->pair);
    if (plan->header->flags & SBX_PLAN_BROKER_DESCRIPTOR) {
        int ends[2];

        make_pair(ends);
        sockets->descriptor = ends[0];
        hand_over(call, ends[1], SBX_BROKER_DESCRIPTOR);
    }
}

static void let_go(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fds[i] >= 0 && close(fds[i]) != 0)
            fail((struct failure){.what = "cannot let go of a socket", .error = errno});
}

void keep_ends_of_box(const struct sockets *sockets)
{
    let_go(&sockets->orders[MONITORS_END], 1);
    let_go(sockets->pair, 2);
    let_go(&sockets->descriptor, 1);
}

void leave_listeners(const struct sockets *sockets)
{
    let_go(sockets->listeners, sockets->listener_count);
    let_go(&sockets->notices, 1);
}

void keep_ends_of_monitor(const struct sockets *sockets, const struct call *call)
{
    let_go(&sockets->orders[BOXS_END], 1);
    let_go(call->handed, call->handed_count);
}

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * sd_notify(3) through the monitor: the application writes to a socket in its box, and what a service may say of itself
 * is passed on from this process, which the service manager started and believes. The manager's own socket isn't in the
 * box: on it one could name another main process, or leave descriptors with the manager.
 *
 * What is passed on is chosen by the name of each line; its value is the application's, for the manager to judge.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "box.h"
#include "environment.h"
#include "fail.h"
#include "sys.h"

enum { NOTICE_SIZE_MAX = 4096, NOTICES_AT_ONCE = 16 };

static const char variable[] = "NOTIFY_SOCKET";

/* The manager's socket: a path, or an abstract name after '@'. Returns the address's size, 0 for none, -1 for a bad one. */
static int address_of(char *const *environment, struct sockaddr_un *address)
{
    const char *name = environment_value(environment, variable);

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (!name || !*name)
        return 0;
    size_t length = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || length < 2 || length >= sizeof address->sun_path)
        return -1;
    memcpy(address->sun_path, name, length);
    if (name[0] == '@')
        address->sun_path[0] = '\0';
    return (int)(offsetof(struct sockaddr_un, sun_path) + length + (name[0] == '/'));
}

int make_notice_socket(const struct call *call)
{
    struct sockaddr_un address;
    int size = address_of(call->caller_environment, &address);

    if (size == 0)
        return -1;
    int notices = size < 0 ? -1 : socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (notices < 0)
        fail((struct failure){.what = "cannot pass on what the application tells the service manager",
                              .subject = environment_value(call->caller_environment, variable),
                              .error = size < 0 ? EINVAL : errno,
                              .hint = "NOTIFY_SOCKET is an absolute path, or @ and an abstract name; unset it"});
    return notices;
}

int pass_notice_variables(const struct call *call, struct arena *arena, char **out, size_t out_max)
{
    const char *name = environment_value(call->caller_environment, variable);
    const char *watchdog = environment_value(call->caller_environment, "WATCHDOG_USEC");
    size_t count = 0;

    if (!name || !*name)
        return 0;
    while (out[count])
        count++;
    if (count + 3 > out_max || !(out[count++] = arena_copy(arena, variable, NOTICES_PATH)) ||
        /* Without WATCHDOG_PID it is meant for whoever has it. */
        (watchdog && !(out[count++] = arena_copy(arena, "WATCHDOG_USEC", watchdog))))
        return -1;
    out[count] = NULL;
    return 0;
}

/* By its name; and a service may say that it is alive (1), but not have itself killed (trigger), since it may be another's
 * that this process only helps. */
static int may_pass(const char *line, size_t length)
{
    static const char *const names[] = {"READY=",    "RELOADING=",           "STOPPING=",       "STATUS=",
                                        "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=", "MONOTONIC_USEC=", "WATCHDOG_USEC=",
                                        "ERRNO="};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (length >= strlen(names[i]) && memcmp(line, names[i], strlen(names[i])) == 0)
            return 1;
    return 0;
}

/* A terminal on which the manager shows it would obey what isn't to be printed: C0, and C1 as UTF-8 has it. */
static void make_printable(char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char now = (unsigned char)text[i], next = i + 1 < size ? (unsigned char)text[i + 1] : 0;

        if (now < 0x20 || now == 0x7f)
            text[i] = '?';
        else if (now == 0xc2 && next >= 0x80 && next < 0xa0)
            text[i] = text[i + 1] = '?';
    }
}

/* Of what came, the lines that may pass, in place. */
static size_t sift(char *notice, size_t size)
{
    size_t kept = 0;

    for (size_t start = 0, length; start < size; start += length + 1) {
        const char *end = memchr(notice + start, '\n', size - start);

        length = end ? (size_t)(end - notice) - start : size - start;
        if (!may_pass(notice + start, length))
            continue;
        memmove(notice + kept, notice + start, length);
        make_printable(notice + kept, length);
        kept += length;
        notice[kept++] = '\n'; /* at most where the line's own was, or one behind the last */
    }
    return kept;
}

/* Returns 0 when there may be more. */
static int pass_on(int notices, const struct sockaddr_un *address, socklen_t size)
{
    static char notice[NOTICE_SIZE_MAX + 1];
    ssize_t got = recv(notices, notice, NOTICE_SIZE_MAX, MSG_DONTWAIT | MSG_TRUNC);

    if (got < 0)
        return -1;
    if (got > NOTICE_SIZE_MAX)
        return 0; /* the manager reads no longer ones either */
    size_t kept = sift(notice, (size_t)got);
    CLEANUP_FD int sender = kept > 0 ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    /* A manager that is gone, or full, doesn't hear it; the application would not be told, either. */
    if (sender >= 0 && sendto(sender, notice, kept, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)address, size) < 0)
        return -1;
    return 0;
}

void pass_on_notices(int notices, char *const *environment)
{
    struct sockaddr_un address;
    int size = notices < 0 ? 0 : address_of(environment, &address);

    for (int taken = 0; size > 0 && taken < NOTICES_AT_ONCE; taken++)
        if (pass_on(notices, &address, (socklen_t)size) != 0)
            return;
}

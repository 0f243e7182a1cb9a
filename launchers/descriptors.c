/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Which of the caller's descriptors the application gets: the standard ones, those that --keep-fd names, and those of a
 * service manager's socket activation. None is a directory, and all others are closed.
 */
#include "descriptors.h"

#include <stdlib.h>
#include <string.h>

#include "environment.h"
#include "fail.h"
#include "sys.h"

enum { ACTIVATION_FIRST = STDERR_FILENO + 1 };

static const char application_pid[] = "2"; /* in the box: pid 1 forks it before anything else */

/* A directory would let the application walk out of its box with openat(). */
static void refuse_directory(int fd, const char *name)
{
    struct stat found;

    if (fstat(fd, &found) != 0)
        fail((struct failure){.what = "a descriptor to hand over isn't open", .subject = name, .error = errno});
    if (S_ISDIR(found.st_mode))
        fail((struct failure){.what = "a descriptor to hand over is a directory",
                              .subject = name,
                              .hint = "the application could leave its box through it; redirect from a file"});
}

/* Descriptors 0 to 2 exist, and are nothing that can't be handed over. */
void settle_standard_descriptors(void)
{
    static const char *const names[] = {"standard input", "standard output", "standard error"};

    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            fail((struct failure){.what = "cannot open /dev/null for a closed descriptor", .error = errno});
        refuse_directory(fd, names[fd]);
    }
}

void mute_terminal(int fd)
{
    static const char *const names[] = {"/dev/null", "/proc/self/fd/1", "/proc/self/fd/2"};

    if (!isatty(fd))
        return;
    int mute = open(names[fd], (fd == STDIN_FILENO ? O_RDONLY : O_WRONLY) | O_NOCTTY | O_CLOEXEC);
    if (mute < 0) /* somebody else's terminal, after su: without it, then */
        mute = open(names[STDIN_FILENO], O_WRONLY | O_CLOEXEC);
    if (mute < 0 || sys_replace(mute, fd) != fd || close(mute) != 0)
        fail((struct failure){.what = "cannot close the terminal's input", .error = errno});
}

/* How many descriptors a service manager passed, as sd_listen_fds(3) has it: 0 when they are meant for another process. */
static unsigned activation_count(char *const *environment)
{
    const char *pid = environment_value(environment, "LISTEN_PID"), *count = environment_value(environment, "LISTEN_FDS");
    char *end;

    if (!pid || !count || strtoul(pid, &end, 10) != (unsigned long)getpid() || *end)
        return 0;
    unsigned long number = strtoul(count, &end, 10);
    if (*end || number > ACTIVATION_MAX)
        fail((struct failure){.what = "cannot hand over the sockets of the service manager",
                              .subject = count,
                              .hint = "LISTEN_FDS is a number up to 32"});
    return (unsigned)number;
}

int pass_activation(const struct call *call, char *const *environment, struct arena *arena, char **out, size_t out_max)
{
    static const char *const passed[] = {"LISTEN_FDS", "LISTEN_FDNAMES"};
    size_t count = 0;

    if (!call->is_activated)
        return 0;
    while (out[count])
        count++;
    if (count + 4 > out_max || !(out[count++] = arena_copy(arena, "LISTEN_PID", application_pid)))
        return -1;
    for (size_t i = 0; i < sizeof passed / sizeof passed[0]; i++) {
        const char *value = environment_value(environment, passed[i]);
        if (value && !(out[count++] = arena_copy(arena, passed[i], value)))
            return -1;
    }
    out[count] = NULL;
    return 0;
}

void settle_descriptors(struct call *call, char *const *environment)
{
    const struct plan_header *header = call->plan->header;
    unsigned activated = activation_count(environment), first = ACTIVATION_FIRST;

    call->is_activated = activated > 0;
    for (unsigned fd = first; fd < first + activated; fd++)
        call->handed[call->handed_count++] = (int)fd;
    for (uint32_t i = 0; i < header->keep_fd_count; i++)
        if (header->keep_fds[i] >= first + activated) /* both ascend, and the service manager's come first */
            call->handed[call->handed_count++] = (int)header->keep_fds[i];
    for (size_t i = 0; i <= call->handed_count; i++) {
        unsigned next = i < call->handed_count ? (unsigned)call->handed[i] : ~0U;
        if (next > first && sys_close_range(first, next - (next != ~0U)) != 0)
            fail((struct failure){.what = "cannot close inherited descriptors", .error = errno});
        first = next + 1;
    }
    for (size_t i = 0; i < call->handed_count; i++) {
        refuse_directory(call->handed[i], "--keep-fd, or socket activation");
        if (fcntl(call->handed[i], F_SETFD, 0) != 0)
            fail((struct failure){.what = "cannot hand over a descriptor", .error = errno});
    }
    if (header->flags & SBX_PLAN_TERMINAL_OUTPUT)
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
            mute_terminal(fd);
}

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The verbs that are given a descriptor: open, connect and watch. They copy, relay, or leave it to a program as 3.
 */
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>

#include "client.h"

enum {
    HANDED = 3,
    PIECE = 4096, /* a pipe that can be written to takes so much without blocking: PIPE_BUF */
    CHANGES = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVE | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF,
};

static char buffer[65536];

/* Become CMD, with `fd` as its descriptor 3. Returns the status when that can't be. */
static int run_command(int fd, char **command, char *const *environment)
{
    if ((fd == HANDED ? fcntl(fd, F_SETFD, 0) : dup2(fd, HANDED)) < 0) {
        tell(command[0], "descriptor 3", errno);
        return STATUS_FAILED;
    }
    (void)execvpe(command[0], command, environment);
    tell("run", command[0], errno);
    return errno == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_RUN;
}

/* Copy to the end. 0, or -1 with errno. */
static int copy(int from, int to)
{
    for (;;) {
        ssize_t got = read(from, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return (int)got;
        if (put(to, buffer, (size_t)got) != 0)
            return -1;
    }
}

int run_open(const struct options *options, char *const *environment)
{
    static struct answer answer;
    const char *path = options->words[0];
    char **command = options->words[1] ? options->words + 2 : NULL;
    int writes = has_option(options, 'w'), appends = has_option(options, 'a'), updates = has_option(options, 'u');
    uint32_t flags = updates   ? SBX_BROKER_FLAG_READ | SBX_BROKER_FLAG_WRITE
                     : appends ? SBX_BROKER_FLAG_APPEND
                     : writes  ? SBX_BROKER_FLAG_WRITE | SBX_BROKER_FLAG_TRUNCATE
                               : SBX_BROKER_FLAG_READ;

    if (writes + appends + updates > 1 || (updates && !command) ||
        (has_option(options, 'c') && flags == SBX_BROKER_FLAG_READ) ||
        (has_option(options, 'm') && !has_option(options, 'c'))) {
        complain("these options don't go together: open", NULL);
        return STATUS_USAGE;
    }
    if (has_option(options, 'c'))
        flags |= SBX_BROKER_FLAG_CREATE;
    int status = ask_about(
        "open", (struct question){.command = SBX_BROKER_OPEN, .flags = flags, .argument = options->mode, .second = ""},
        path, NULL, &answer);
    if (status != STATUS_OK)
        return status;
    if (command)
        return run_command(answer.fd, command, environment);
    if ((writes || appends ? copy(STDIN_FILENO, answer.fd) : copy(answer.fd, STDOUT_FILENO)) != 0) {
        tell("open", path, errno);
        return STATUS_FAILED;
    }
    return STATUS_OK;
}

/* One direction of a relay. */
struct pump {
    int from, to, to_is_socket, ended;
    size_t at, used;
    char bytes[PIECE];
};

/* Take in or give out, whichever is due; `ready` is poll's. 0, or -1 with errno. */
static int work(struct pump *pump, short ready)
{
    ssize_t done;

    if (!ready || pump->ended)
        return 0;
    if (pump->at < pump->used) {
        done = pump->to_is_socket ? send(pump->to, pump->bytes + pump->at, pump->used - pump->at, MSG_DONTWAIT | MSG_NOSIGNAL)
                                  : write(pump->to, pump->bytes + pump->at, pump->used - pump->at);
        if (done > 0)
            pump->at += (size_t)done;
    } else {
        done = read(pump->from, pump->bytes, sizeof pump->bytes);
        pump->at = 0;
        pump->used = done > 0 ? (size_t)done : 0;
        if (done == 0) {
            pump->ended = 1;
            if (pump->to_is_socket && shutdown(pump->to, SHUT_WR) != 0 && errno != ENOTCONN)
                return -1;
        }
    }
    return done < 0 && errno != EAGAIN && errno != EINTR ? -1 : 0;
}

/* Until the service has said all that it has to say. 0, or -1 with errno. */
static int relay(int service)
{
    static struct pump out = {.from = STDIN_FILENO, .to_is_socket = 1}, in = {.to = STDOUT_FILENO};

    out.to = in.from = service;
    while (!in.ended) {
        struct pump *const pumps[] = {&out, &in};
        struct pollfd waits[2];
        for (int i = 0; i < 2; i++) {
            int gives = pumps[i]->at < pumps[i]->used;
            waits[i] = (struct pollfd){.fd = pumps[i]->ended ? -1 : gives ? pumps[i]->to : pumps[i]->from,
                                       .events = gives ? POLLOUT : POLLIN};
        }
        if (poll(waits, 2, -1) < 0 && errno != EINTR)
            return -1;
        if (work(&out, waits[0].revents) != 0) {
            if (errno != EPIPE && errno != ECONNRESET)
                return -1;
            out.ended = 1; /* it doesn't listen any more, and may still speak */
        }
        if (work(&in, waits[1].revents) != 0)
            return -1;
    }
    return 0;
}

int run_connect(const struct options *options, char *const *environment)
{
    static struct answer answer;
    const char *service = options->words[0];
    int status, error;

    error = ask((struct question){.command = SBX_BROKER_CONNECT, .first = service, .second = ""}, &answer, &status);
    if (error != 0) {
        tell_refusal("connect", service, error, status);
        return status;
    }
    if (options->words[1])
        return run_command(answer.fd, options->words + 2, environment);
    if (relay(answer.fd) != 0) {
        tell("connect", service, errno);
        return STATUS_FAILED;
    }
    return STATUS_OK;
}

/* Print one event: its names, comma between them, then the name in the directory. 0, or -1. */
static int print_event(const struct inotify_event *event, char after)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } names[] = {{IN_MODIFY, "modify"},         {IN_ATTRIB, "attrib"},   {IN_CLOSE_WRITE, "close_write"},
                 {IN_MOVED_FROM, "moved_from"}, {IN_MOVED_TO, "moved_to"}, {IN_CREATE, "create"},
                 {IN_DELETE, "delete"},         {IN_DELETE_SELF, "delete_self"}, {IN_MOVE_SELF, "move_self"},
                 {IN_Q_OVERFLOW, "overflow"},   {IN_UNMOUNT, "unmount"}};
    char text[NAME_MAX + 256] = "";
    size_t used = 0;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!(event->mask & names[i].bit))
            continue;
        if (used > 0)
            text[used++] = ',';
        memcpy(text + used, names[i].name, strlen(names[i].name));
        used += strlen(names[i].name);
    }
    if (event->len > 0) {
        size_t length = strnlen(event->name, event->len);
        text[used++] = ' ';
        memcpy(text + used, event->name, length > NAME_MAX ? NAME_MAX : length);
        used += length > NAME_MAX ? NAME_MAX : length;
    }
    text[used++] = after;
    return put(STDOUT_FILENO, text, used);
}

/* Print what one read gave. 1: it was the last; 0; or -1 with errno. */
static int print_events(const char *bytes, size_t size, char after)
{
    for (size_t at = 0; at < size;) {
        struct inotify_event event;
        static _Alignas(struct inotify_event) char whole[sizeof event + NAME_MAX + 1];
        memcpy(&event, bytes + at, sizeof event);
        memcpy(whole, bytes + at, sizeof event + (event.len > NAME_MAX + 1 ? NAME_MAX + 1 : event.len));
        at += sizeof event + event.len;
        if (event.mask & IN_IGNORED) /* what was watched is gone */
            return 1;
        if (print_event((const struct inotify_event *)(const void *)whole, after) != 0)
            return -1;
    }
    return 0;
}

int run_watch(const struct options *options)
{
    static struct answer answer;
    char after = has_option(options, '0') ? '\0' : '\n';
    struct question question = {.command = SBX_BROKER_WATCH, .argument = CHANGES, .second = ""};
    int status = ask_about("watch", question, options->words[0], NULL, &answer), last = 0;

    while (status == STATUS_OK && last == 0) {
        struct pollfd wait = {.fd = answer.fd, .events = POLLIN};
        ssize_t got = poll(&wait, 1, -1) < 0 ? -1 : read(answer.fd, buffer, sizeof buffer);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        last = got <= 0 ? -1 : print_events(buffer, (size_t)got, after);
        if (last >= 0 && has_option(options, '1'))
            break;
        if (last < 0) {
            tell("watch", options->words[0], got == 0 ? EPROTO : errno);
            status = STATUS_FAILED;
        }
    }
    return status;
}

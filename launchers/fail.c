/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Messages, laid out in a fixed buffer. See fail.h.
 */
#include "fail.h"

#include <string.h>
#include <unistd.h>

static const char *app_name = "";
static struct {
    int fd; /* -1 for none */
    pid_t owner;
    void (*end)(int status);
} copy = {.fd = -1};

static struct {
    char text[6144]; /* longer parts are cut */
    size_t used;
} message;

static void append_bytes(const char *bytes, size_t length)
{
    size_t room = sizeof message.text - 1 - message.used;

    if (length > room)
        length = room;
    memcpy(message.text + message.used, bytes, length);
    message.used += length;
}

static void append(const char *text)
{
    append_bytes(text, strlen(text));
}

/* A path may hold control characters, which a terminal would obey: C0, and C1 as UTF-8 has it (C2 80 to C2 9F). */
static int is_control(const unsigned char *at)
{
    return at[0] < 0x20 || at[0] == 0x7f || (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0);
}

static void append_quoted(const char *text)
{
    for (; *text; text++)
        append_bytes(is_control((const unsigned char *)text) ? "?" : text, 1);
}

void fail_for(const char *app)
{
    app_name = app;
}

void fail_to(int fd, void (*end)(int status))
{
    copy.fd = fd;
    copy.owner = getpid();
    copy.end = end;
}

/* Write out what was appended, and a newline, in one write. */
static void flush(void)
{
    message.text[message.used++] = '\n';
    if (write(STDERR_FILENO, message.text, message.used) < 0)
        return; /* nobody is listening; the exit status still tells */
}

void say(const char *line)
{
    message.used = 0;
    append_quoted(line);
    flush();
}

/* flush(), and the same for whoever is shown it later. */
static void flush_failure(void)
{
    flush();
    if (copy.fd >= 0 && write(copy.fd, message.text, message.used) < 0)
        return; /* as above */
}

void report(struct failure failure)
{
    message.used = 0;
    append("sandboxer: ");
    if (app_name[0]) {
        append_quoted(app_name);
        append(": ");
    }
    append(failure.what);
    if ((failure.subject && failure.subject[0]) || failure.error) {
        append("\n  ");
        if (failure.subject)
            append_quoted(failure.subject);
        if (failure.subject && failure.subject[0] && failure.error)
            append(": ");
        if (failure.error)
            append(strerror(failure.error));
    }
    if (failure.origin && failure.origin[0]) {
        append("\n  asked for by ");
        append_quoted(failure.origin);
    }
    if (failure.hint) {
        append("\n  try: ");
        append(failure.hint);
    }
    flush_failure();
}

_Noreturn void fail(struct failure failure)
{
    void (*end)(int status) = copy.fd >= 0 && copy.owner == getpid() ? copy.end : NULL;

    report(failure);
    copy.fd = -1; /* whatever fails from here on has nobody else to tell */
    if (end)
        end(EXIT_SANDBOX);
    _exit(EXIT_SANDBOX);
}

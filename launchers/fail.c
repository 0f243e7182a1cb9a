/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Messages, laid out in a fixed buffer. See fail.h.
 */
#include "fail.h"

#include <string.h>
#include <unistd.h>

static const char *app_name = "";

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
    flush();
}

_Noreturn void fail(struct failure failure)
{
    report(failure);
    _exit(EXIT_SANDBOX);
}

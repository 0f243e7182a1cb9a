/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * One line for each thing that went wrong, in one write: `sandbox-broker: VERB SUBJECT: what the errno means (ENAME)`.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "client.h"

static struct {
    char text[SBX_BROKER_PATH_SIZE_MAX + 512]; /* longer parts are cut */
    size_t used;
} line;

/* A path may hold control characters, which a terminal would obey: C0, and C1 as UTF-8 has it (C2 80 to C2 9F). */
static void append(const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at && line.used < sizeof line.text - 1; at++) {
        int control = at[0] < 0x20 || at[0] == 0x7f || (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0);
        line.text[line.used++] = control ? '?' : (char)at[0];
    }
}

static void flush(void)
{
    line.text[line.used++] = '\n';
    if (put(STDERR_FILENO, line.text, line.used) != 0)
        return; /* nobody is listening; the exit status still tells */
}

static void begin(void)
{
    line.used = 0;
    append("sandbox-broker: ");
}

/* The C library knows the meanings, but not every one the names. These are what a broker and the file system say. */
static const char *name_of(int error)
{
    static const struct {
        int error;
        const char *name;
    } names[] = {
        {EACCES, "EACCES"},       {EAGAIN, "EAGAIN"},         {EBADF, "EBADF"},
        {EBUSY, "EBUSY"},         {ECONNREFUSED, "ECONNREFUSED"}, {ECONNRESET, "ECONNRESET"},
        {EDQUOT, "EDQUOT"},       {EEXIST, "EEXIST"},         {EFBIG, "EFBIG"},
        {EINVAL, "EINVAL"},       {EIO, "EIO"},               {EISDIR, "EISDIR"},
        {ELOOP, "ELOOP"},         {EMFILE, "EMFILE"},         {EMLINK, "EMLINK"},
        {ENAMETOOLONG, "ENAMETOOLONG"}, {ENFILE, "ENFILE"},   {ENODEV, "ENODEV"},
        {ENOENT, "ENOENT"},       {ENOMEM, "ENOMEM"},         {ENOSPC, "ENOSPC"},
        {ENOSYS, "ENOSYS"},       {ENOTDIR, "ENOTDIR"},       {ENOTEMPTY, "ENOTEMPTY"},
        {ENXIO, "ENXIO"},         {EOPNOTSUPP, "EOPNOTSUPP"}, {EOVERFLOW, "EOVERFLOW"},
        {EPERM, "EPERM"},         {EPIPE, "EPIPE"},           {EPROTO, "EPROTO"},
        {EPROTONOSUPPORT, "EPROTONOSUPPORT"}, {EPROTOTYPE, "EPROTOTYPE"}, {EROFS, "EROFS"},
        {ESTALE, "ESTALE"},       {ETIMEDOUT, "ETIMEDOUT"},   {ETXTBSY, "ETXTBSY"},
        {EXDEV, "EXDEV"},
    };
    static char number[32];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].error == error)
            return names[i].name;
    (void)snprintf(number, sizeof number, "errno %d", error);
    return number;
}

void tell(const char *verb, const char *subject, int error)
{
    begin();
    append(verb);
    if (subject[0])
        append(" ");
    append(subject);
    append(": ");
    append(strerror(error));
    append(" (");
    append(name_of(error));
    append(")");
    flush();
}

void complain(const char *what, const char *word)
{
    begin();
    append(what);
    if (word)
        append(word);
    append("; sandbox-broker --help");
    flush();
}

int put(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, bytes, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        bytes += written;
        size -= (size_t)written;
    }
    return 0;
}

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What the user's words name: paths and file: URIs, and the way from a name to the file.
 *
 * Symbolic links on the way are followed, but for those in a directory that the box may write to: the application
 * could have put such a link there, to a file that the user never meant. Those words are left alone.
 */
#include "names.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "sys.h"

enum { LINKS_MAX = 40 }; /* as the kernel */

static const char uri_start[] = "file://", here_name[] = "localhost";

/* "/proc/self/fd/N", which resolves in the host's procfs while that is still reachable. */
ssize_t path_of(int fd, char path[SBX_PATH_SIZE_MAX])
{
    char link[32];

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, SBX_PATH_SIZE_MAX - 1);
    path[length > 0 ? length : 0] = '\0';
    return length;
}

/* Does the directory lie in what the plan lets the application change? */
static int box_may_write(const struct plan *plan, int directory)
{
    char path[SBX_PATH_SIZE_MAX];

    if (path_of(directory, path) <= 0)
        return 1;
    for (uint32_t i = 0; i < plan->header->ops.count; i++) {
        const struct plan_op *op = &plan->ops[i];

        if (op->kind == SBX_OP_BIND && (op->flags & SBX_OPF_WRITE) && path_is_within(path, plan_string(plan, op->source)))
            return 1;
    }
    return 0;
}

int open_named(const struct plan *plan, const char *word)
{
    char rest[SBX_PATH_SIZE_MAX], target[SBX_PATH_SIZE_MAX], name[NAME_MAX + 1];
    int here = open(word[0] == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC), links = 0;

    if (strlen(word) >= sizeof rest) {
        sys_cleanup_fd(&here);
        return -1;
    }
    memcpy(rest, word, strlen(word) + 1);
    while (here >= 0 && rest[strspn(rest, "/")] != '\0') {
        const char *part = rest + strspn(rest, "/");
        size_t length = strcspn(part, "/");
        struct stat found;
        int next = -1;

        if (length <= NAME_MAX) {
            memcpy(name, part, length);
            name[length] = '\0';
            memmove(rest, part + length, strlen(part + length) + 1);
            next = openat(here, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        }
        if (next >= 0 && fstat(next, &found) == 0 && S_ISLNK(found.st_mode)) {
            ssize_t size = readlinkat(next, "", target, sizeof target);
            sys_cleanup_fd(&next);
            next = -1;
            if (size > 0 && ++links <= LINKS_MAX && (size_t)size + strlen(rest) < sizeof rest &&
                !box_may_write(plan, here)) {
                memmove(rest + size, rest, strlen(rest) + 1);
                memcpy(rest, target, (size_t)size);
                next = target[0] == '/' ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)
                                        : fcntl(here, F_DUPFD_CLOEXEC, 0);
            }
        }
        sys_cleanup_fd(&here);
        here = next;
    }
    return here;
}

/* The value of a hexadecimal digit, or -1. */
static int digit_of(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)((at - digits) % 16) : -1;
}

const char *path_of_uri(const char *word, char path[SBX_PATH_SIZE_MAX])
{
    size_t length = 0;

    if (strncmp(word, uri_start, sizeof uri_start - 1) != 0)
        return NULL;
    word += sizeof uri_start - 1;
    if (strncmp(word, here_name, sizeof here_name - 1) == 0)
        word += sizeof here_name - 1;
    if (*word != '/')
        return NULL;
    for (; *word && *word != '?' && *word != '#'; word++) {
        int byte = (unsigned char)*word;

        if (*word == '%') {
            int high = digit_of(word[1]), low = high < 0 ? -1 : digit_of(word[2]);
            if (low < 0 || (byte = high * 16 + low) == 0)
                return NULL;
            word += 2;
        }
        if (length + 1 >= SBX_PATH_SIZE_MAX)
            return NULL;
        path[length++] = (char)byte;
    }
    path[length] = '\0';
    return word;
}

int uri_of_path(const char *path, const char *rest, char uri[SBX_PATH_SIZE_MAX])
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-._~", digits[] = "0123456789ABCDEF";
    size_t length = sizeof uri_start - 1, rest_length = strlen(rest);

    memcpy(uri, uri_start, length);
    for (; *path; path++) {
        if (length + 3 + rest_length >= SBX_PATH_SIZE_MAX)
            return -1;
        if (strchr(plain, *path)) {
            uri[length++] = *path;
            continue;
        }
        uri[length++] = '%';
        uri[length++] = digits[(unsigned char)*path >> 4];
        uri[length++] = digits[(unsigned char)*path & 15];
    }
    memcpy(uri + length, rest, rest_length + 1);
    return 0;
}

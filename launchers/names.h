/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Names of files as the user writes them.
 */
#ifndef SANDBOXER_NAMES_H
#define SANDBOXER_NAMES_H

#include <string.h>
#include <sys/types.h>

#include "plan.h"

static inline int path_is_within(const char *path, const char *directory)
{
    size_t length = strlen(directory);

    return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* The path of an open file, as the kernel has it; its length, or -1. Needs the host's /proc. */
ssize_t path_of(int fd, char path[SBX_PATH_SIZE_MAX]);

/* An O_PATH descriptor of what a word names, -1 for nothing. Goes one component at a time, so that each link can be
 * judged before it is followed. */
int open_named(const struct plan *plan, const char *word);

/* The path that a file: URI of this machine names. Returns what follows the path (a query, a fragment, or the end), or
 * NULL when it is no such URI. */
const char *path_of_uri(const char *word, char path[SBX_PATH_SIZE_MAX]);

/* The other way. Returns 0, or -1 when there is no room. */
int uri_of_path(const char *path, const char *rest, char uri[SBX_PATH_SIZE_MAX]);

#endif

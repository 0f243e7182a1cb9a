/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A path as people type it → as the broker takes it. Nothing is looked up but the working directory's name.
 */
#include <string.h>

#include "client.h"

/* Put "/" and a component at the end. 0, or -1 when there is no room for it. */
static int append(char out[SBX_BROKER_PATH_SIZE_MAX + 1], size_t *used, const char *part, size_t length)
{
    if (*used + 1 + length > SBX_BROKER_PATH_SIZE_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    out[(*used)++] = '/';
    memcpy(out + *used, part, length);
    *used += length;
    return 0;
}

int absolute_path(const char *path, char out[SBX_BROKER_PATH_SIZE_MAX + 1])
{
    size_t used = 0, length;
    int may_go_up = path[0] != '/'; /* the working directory's own name has no links in it */

    if (!path[0]) {
        errno = ENOENT;
        return -1;
    }
    if (path[0] != '/') {
        if (!getcwd(out, SBX_BROKER_PATH_SIZE_MAX + 1))
            return -1;
        used = out[1] ? strlen(out) : 0;
    }
    for (; *path; path += length) {
        path += strspn(path, "/");
        length = strcspn(path, "/");
        if (length == 0 || (length == 1 && path[0] == '.'))
            continue;
        if (may_go_up && length == 2 && path[0] == '.' && path[1] == '.') {
            while (used > 0 && out[--used] != '/')
                ;
            continue;
        }
        may_go_up = 0;
        if (append(out, &used, path, length) != 0)
            return -1;
    }
    if (used == 0)
        out[used++] = '/';
    out[used] = '\0';
    return 0;
}

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Resource limits. Soft and hard are the same, and nobody in the box has the capability to raise them again. The number
 * of processes is counted by the kernel for the box's user namespace, so that it is a limit of the whole box.
 */
#include <sys/resource.h>

#include "box.h"
#include "fail.h"
#include "sys.h"

void set_limits(const struct plan *plan)
{
    static const struct {
        int resource;
        const char *name;
    } kinds[] = {
        [SBX_LIMIT_PROCESSES] = {RLIMIT_NPROC, "processes"},
        [SBX_LIMIT_OPEN_FILES] = {RLIMIT_NOFILE, "open files"},
        [SBX_LIMIT_FILE_SIZE] = {RLIMIT_FSIZE, "file size"},
        [SBX_LIMIT_DATA] = {RLIMIT_DATA, "memory of a process"},
    };

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct rlimit limit;

        if (!(plan->header->limits_set >> i & 1))
            continue;
        int result = getrlimit(kinds[i].resource, &limit);
        if (result == 0 && plan->header->limits[i] < limit.rlim_max)
            limit.rlim_max = plan->header->limits[i];
        limit.rlim_cur = limit.rlim_max;
        if (result != 0 || setrlimit(kinds[i].resource, &limit) != 0)
            fail((struct failure){.what = "cannot limit the box", .subject = kinds[i].name, .error = errno});
    }
}

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Finding the cached plan that answers a request, and telling whether it still holds.
 */
#ifndef SANDBOXER_LOOKUP_H
#define SANDBOXER_LOOKUP_H

#include <stddef.h>

#include "plan.h"

/* What the user asked for: the words that choose the policy, not those that go to the application. */
struct request {
    const char *const *words;
    size_t count;
    char *const *environment;
    const char *directory; /* the caller's, "" when it has no name */
};

enum lookup {
    PLAN_FRESH,
    PLAN_MISSING, /* none, for another request, or of another version */
    PLAN_STALE,   /* a stamp no longer holds */
};

/* Read the plan for `request` into `image` (SBX_PLAN_SIZE_MAX bytes, 8-aligned) and check it.
 * *why names what is missing or stale. A cache that others could have written to ends the process with a message. */
enum lookup lookup_plan(const struct request *request, unsigned char *image, struct plan *plan, const char **why);

/* Where the session keeps `name` ("plans", "boxes"): in XDG_RUNTIME_DIR, else in the cache. The directory may not exist.
 * Returns 0, or -1 when there is no such place. */
int session_directory(char *const *environment, const char *name, char path[SBX_PATH_SIZE_MAX]);

#endif

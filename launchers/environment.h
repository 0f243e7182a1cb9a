/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The environment as data: nothing here calls getenv(), so that what is read is what was passed in.
 */
#ifndef SANDBOXER_ENVIRONMENT_H
#define SANDBOXER_ENVIRONMENT_H

#include <stddef.h>

#include "plan.h"

/* A region that only grows: memory for the box's argv and environment, static, no heap. */
struct arena {
    char *memory;
    size_t size, used;
};

/* The value of a variable, or NULL. */
const char *environment_value(char *const *environment, const char *name);

/* Copy a string (or NAME=VALUE, when value isn't NULL) into the arena. NULL when it is full. */
char *arena_copy(struct arena *arena, const char *text, const char *value);

/* Lay out the box's environment: only what the plan names. Returns 0, or -1 when there is no room for it. */
int build_environment(const struct plan *plan, char *const *caller, struct arena *arena, char **out, size_t out_max);

#endif

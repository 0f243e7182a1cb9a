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

/* What is passed into the box is taken from here: the caller's variables, and over them the values of
 * SANDBOXER_INSIDE_NAME, which are for the box alone (--env-file). Returns static memory, or `environment` itself. */
char *const *inside_environment(char *const *environment);

/* What programs outside are started with: nothing that would have them load code, since a unit's variables, or a shell's,
 * may name what a box can write to. Python, which comes back to this program, gets such variables under the names for
 * the box; others don't get them. Returns static memory, or `environment` itself; NULL when there are too many. */
enum outside { COMES_BACK, STAYS };
char *const *outside_environment(char *const *environment, enum outside who);

/* Lay out the box's environment: only what the plan names. Returns 0, or -1 when there is no room for it. */
int build_environment(const struct plan *plan, char *const *caller, struct arena *arena, char **out, size_t out_max);

#endif

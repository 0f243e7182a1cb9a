/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "environment.h"

#include <string.h>

const char *environment_value(char *const *environment, const char *name)
{
    size_t length = strlen(name);

    for (; *environment; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

char *arena_copy(struct arena *arena, const char *text, const char *value)
{
    size_t length = strlen(text), value_length = value ? strlen(value) + 1 : 0;
    char *place = arena->memory + arena->used;

    if (length + value_length + 1 > arena->size - arena->used)
        return NULL;
    memcpy(place, text, length);
    if (value) {
        place[length] = '=';
        memcpy(place + length + 1, value, value_length - 1);
    }
    place[length + value_length] = '\0';
    arena->used += length + value_length + 1;
    return place;
}

/* The caller's variables that this entry lets pass, from *at on; *at is moved past the one returned. */
static const char *next_passed(const char *name, int is_prefix, char *const **at)
{
    size_t length = strlen(name);

    while (**at) {
        const char *variable = *(*at)++;
        if (strncmp(variable, name, length) == 0 && (is_prefix ? strchr(variable, '=') != NULL : variable[length] == '='))
            return variable;
    }
    return NULL;
}

int build_environment(const struct plan *plan, char *const *caller, struct arena *arena, char **out, size_t out_max)
{
    size_t count = 0;

    for (uint32_t i = 0; i < plan->header->environment.count; i++) {
        const struct plan_env *entry = &plan->environment[i];
        const char *name = plan_string(plan, entry->name), *variable;
        char *const *at = caller;

        if (entry->kind == SBX_ENV_SET) {
            if (count + 1 >= out_max || !(out[count++] = arena_copy(arena, name, plan_string(plan, entry->value))))
                return -1;
            continue;
        }
        while ((variable = next_passed(name, entry->kind == SBX_ENV_PASS_PREFIX, &at)))
            if (count + 1 >= out_max || !(out[count++] = arena_copy(arena, variable, NULL)))
                return -1;
    }
    out[count] = NULL;
    return 0;
}

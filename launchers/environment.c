/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "environment.h"

#include <string.h>
#include <strings.h>

enum { VARIABLES_MAX = 65536, RENAMED_MAX = 128 * 1024 };

#define INSIDE "SANDBOXER_INSIDE_"

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

/* Two texts as one. NULL when the arena is full. */
static char *arena_join(struct arena *arena, const char *start, const char *rest)
{
    size_t length = strlen(start), rest_size = strlen(rest) + 1;
    char *place = arena->memory + arena->used;

    if (length + rest_size > arena->size - arena->used)
        return NULL;
    memcpy(place, start, length);
    memcpy(place + length, rest, rest_size);
    arena->used += length + rest_size;
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

/* Has the name (up to "=") this part, in capitals or not? */
static int has_part(const char *name, size_t length, const char *part)
{
    size_t part_length = strlen(part);

    for (size_t i = 0; i + part_length <= length; i++)
        if (strncasecmp(name + i, part, part_length) == 0)
            return 1;
    return 0;
}

/* Of what a prefix matches, this stays out: what has a value already, and what the plan keeps out. */
static int is_kept_out(const struct plan *plan, const char *variable, char *const *out, size_t count)
{
    size_t length = strcspn(variable, "=");

    for (size_t i = 0; i < count; i++)
        if (strncmp(out[i], variable, length + 1) == 0)
            return 1;
    for (uint32_t i = 0; i < plan->header->environment.count; i++)
        if (plan->environment[i].kind == SBX_ENV_KEEP_OUT &&
            has_part(variable, length, plan_string(plan, plan->environment[i].name)))
            return 1;
    return 0;
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
        if (entry->kind == SBX_ENV_KEEP_OUT)
            continue;
        while ((variable = next_passed(name, entry->kind == SBX_ENV_PASS_PREFIX, &at))) {
            if (entry->kind == SBX_ENV_PASS_PREFIX && is_kept_out(plan, variable, out, count))
                continue;
            if (count + 1 >= out_max || !(out[count++] = arena_copy(arena, variable, NULL)))
                return -1;
        }
    }
    out[count] = NULL;
    return 0;
}

/* The value, in "SANDBOXER_INSIDE_NAME=value" the part from NAME on; NULL for all others. */
static const char *for_box_alone(const char *variable)
{
    return strncmp(variable, INSIDE, sizeof INSIDE - 1) == 0 ? variable + sizeof INSIDE - 1 : NULL;
}

/* Whether there is a value of the same name for the box alone. */
static int is_covered(char *const *environment, const char *variable)
{
    size_t length = strcspn(variable, "=") + 1;

    for (; *environment; environment++) {
        const char *other = for_box_alone(*environment);
        if (other && strncmp(other, variable, length) == 0)
            return 1;
    }
    return 0;
}

char *const *inside_environment(char *const *environment)
{
    static char *found[VARIABLES_MAX];
    size_t count = 0, ours = 0;

    for (char *const *at = environment; *at; at++)
        ours += for_box_alone(*at) != NULL;
    if (ours == 0)
        return environment;
    for (char *const *at = environment; *at && count + 1 < VARIABLES_MAX; at++) {
        const char *value = for_box_alone(*at);

        if (value || !is_covered(environment, *at))
            found[count++] = value ? (char *)(uintptr_t)value : *at;
    }
    found[count] = NULL;
    return found;
}

/* Whether the loader, the C library, OpenSSL or Python would take code, or what decides about code, from it. */
static int loads_code(const char *variable)
{
    static const char *const starts[] = {"LD_",     "GCONV_PATH=", "GLIBC_TUNABLES=", "LOCPATH=",
                                         "NLSPATH=", "MALLOC_",     "OPENSSL_",        "PYTHON"};

    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        if (strncmp(variable, starts[i], strlen(starts[i])) == 0)
            return 1;
    return 0;
}

char *const *outside_environment(char *const *environment, enum outside who)
{
    static char *found[VARIABLES_MAX], memory[RENAMED_MAX];
    struct arena arena = {.memory = memory, .size = sizeof memory};
    size_t count = 0, others = 0;

    for (char *const *at = environment; *at; at++)
        others += loads_code(*at) || for_box_alone(*at);
    if (others == 0)
        return environment;
    for (char *const *at = environment; *at; at++) {
        char *variable = *at;

        if (who == STAYS && for_box_alone(variable))
            continue;
        if (loads_code(variable)) {
            if (who == STAYS || is_covered(environment, variable))
                continue;
            if (!(variable = arena_join(&arena, INSIDE, variable)))
                return NULL;
        }
        if (count + 1 == VARIABLES_MAX)
            return NULL;
        found[count++] = variable;
    }
    found[count] = NULL;
    return found;
}

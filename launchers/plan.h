/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The plan as it lies in memory, and its one decoder.
 *
 * The launcher and, through cffi, the Python package read plans with this code alone. plan_check() proves every
 * offset, string and enumerator once; whoever holds a checked `struct plan` never checks again.
 */
#ifndef SANDBOXER_PLAN_H
#define SANDBOXER_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "ops.h"

struct plan_section {
    uint32_t offset; /* from byte 0 of the image, a multiple of 8 (strings and data: any) */
    uint32_t count;  /* records; bytes for strings and data */
};

struct plan_header {
    char magic[8];
    uint32_t size; /* of the whole image, bytes */
    uint32_t flags;
    uint32_t uid;
    uint32_t gid;
    uint32_t keep_fd_count;
    uint32_t keep_fds[SBX_KEEP_FDS_MAX];
    struct plan_section ops;
    struct plan_section environment;
    struct plan_section stamps;
    struct plan_section command;
    struct plan_section request;
    struct plan_section program;
    struct plan_section strings;
    struct plan_section data;
    uint32_t app; /* these four are references into strings */
    uint32_t hostname;
    uint32_t notice;
    uint32_t home;
    struct plan_section broker; /* the broker's rules: bytes of data, counted from its start; none: 0, 0 */
    struct plan_section scope;  /* what the scope service is told: the same */
    uint32_t facts;             /* a string: lines for the state file */
    uint32_t limits_set;        /* bit N: limits[N] holds */
    uint32_t zero[3];
    uint64_t limits[4]; /* by sbx_limit_kind */
};

struct plan_op {
    uint16_t kind;
    uint16_t flags;
    uint32_t mode;
    uint32_t box_path;
    uint32_t source;
    uint32_t data_offset;
    uint32_t data_size;
    uint32_t origin;
    uint32_t zero;
};

struct plan_env {
    uint32_t kind;
    uint32_t name;
    uint32_t value;
    uint32_t zero;
};

struct plan_stamp {
    uint32_t kind;
    uint32_t name;
    uint32_t value;
    uint32_t mode;
    uint64_t device;
    uint64_t inode;
    uint64_t size;
    uint64_t mtime_ns;
    uint64_t ctime_ns;
    uint64_t zero;
};

/* A checked image. The pointers lie in the caller's buffer, which must not change while they are used. */
struct plan {
    const struct plan_header *header;
    const struct plan_op *ops;
    const struct plan_env *environment;
    const struct plan_stamp *stamps;
    const uint32_t *command;
    const uint32_t *request;
    const uint64_t *program; /* struct sock_filter, eight bytes each */
    const char *strings;
    const unsigned char *data;
};

/* Check `size` bytes at `image` (8-aligned) and point `plan` into them.
 * Returns 0, or -1 with *why set to what is wrong (a constant, lower case). Touches nothing else. */
int plan_check(const void *image, size_t size, struct plan *plan, const char **why);

/* The string that a reference names. Source: a checked plan. */
static inline const char *plan_string(const struct plan *plan, uint32_t reference)
{
    return plan->strings + reference;
}

#endif

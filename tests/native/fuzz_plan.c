/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * libFuzzer target: the decoder of plans, with address and undefined-behaviour sanitizers.
 *
 *   clang -g -O1 -D_GNU_SOURCE -Ilaunchers -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
 *         tests/native/fuzz_plan.c launchers/plan.c -o fuzz_plan && ./fuzz_plan -max_len=16384 CORPUS
 *
 * The image lies in a heap block of exactly its size, so that one byte too far is seen. What is accepted is read as the
 * launcher would read it: each record, each string to its NUL, each path in a buffer of PATH_MAX, each byte of data.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink; /* keeps the reads below from being optimised away */

static void read_bytes(const void *bytes, size_t size)
{
    const unsigned char *byte = bytes;

    for (size_t i = 0; i < size; i++)
        sink += byte[i];
}

static void read_string(const struct plan *plan, uint32_t reference)
{
    const char *string = plan_string(plan, reference);
    size_t length = strlen(string);

    read_bytes(string, length + 1);
    if (string + length >= plan->strings + plan->header->strings.count)
        abort(); /* the NUL lies outside of the section */
}

/* The launcher copies these into buffers of SBX_PATH_SIZE_MAX, or takes them apart at a slash that must exist. */
static void read_path(const struct plan *plan, uint32_t reference)
{
    const char *path = plan_string(plan, reference);

    read_string(plan, reference);
    if (path[0] != '/' || !path[1] || strlen(path) >= SBX_PATH_SIZE_MAX || strstr(path, "//") || strstr(path, "/../"))
        abort();
}

static void read_op(const struct plan *plan, const struct plan_op *op)
{
    read_path(plan, op->box_path);
    read_string(plan, op->source);
    read_string(plan, op->origin);
    if (op->kind == SBX_OP_BIND || op->kind == SBX_OP_CONNECT)
        read_path(plan, op->source);
    if (op->kind == SBX_OP_FILE)
        read_bytes(plan->data + op->data_offset, op->data_size);
    if (op->kind < SBX_OP_DIR || op->kind > SBX_OP_CONNECT)
        abort();
}

/* The launcher keeps them in arrays of these sizes, and joins a name and a number in a small buffer. */
static void read_sockets(const struct plan *plan)
{
    const struct plan_header *header = plan->header;
    uint32_t listeners = 0, connections = 0;

    for (uint32_t i = 0; i < header->ops.count; i++) {
        const struct plan_op *op = &plan->ops[i];
        const char *name = plan_string(plan, op->source);

        if (op->kind == SBX_OP_LISTEN && (++listeners > SBX_LISTEN_MAX || !name[0] || strlen(name) > 32 || strchr(name, '=')))
            abort();
        if (op->kind == SBX_OP_CONNECT && (connections >= SBX_CONNECT_MAX || op->mode != SBX_CONNECT_FIRST + connections++))
            abort();
    }
    read_bytes(plan->data + header->broker.offset, header->broker.count);
    if ((listeners > 0) != (header->broker.count > 0) || header->broker.count > header->data.count)
        abort();
    if ((header->flags & SBX_PLAN_BROKER_DESCRIPTOR) && listeners == 0)
        abort();
}

static void read_plan(const struct plan *plan)
{
    const struct plan_header *header = plan->header;

    for (uint32_t i = 0; i < header->ops.count; i++)
        read_op(plan, &plan->ops[i]);
    read_sockets(plan);
    for (uint32_t i = 0; i < header->environment.count; i++) {
        read_string(plan, plan->environment[i].name);
        read_string(plan, plan->environment[i].value);
    }
    for (uint32_t i = 0; i < header->stamps.count; i++) {
        read_string(plan, plan->stamps[i].name);
        read_string(plan, plan->stamps[i].value);
        read_bytes(&plan->stamps[i], sizeof plan->stamps[i]);
    }
    for (uint32_t i = 0; i < header->command.count; i++)
        read_string(plan, plan->command[i]);
    for (uint32_t i = 0; i < header->request.count; i++)
        read_string(plan, plan->request[i]);
    read_bytes(plan->program, header->program.count * sizeof *plan->program);
    read_string(plan, header->app);
    read_string(plan, header->hostname);
    read_string(plan, header->notice);
    read_path(plan, header->home);
    for (uint32_t i = 0; i < header->keep_fd_count; i++)
        if (header->keep_fds[i] < 3)
            abort();
    if (header->program.count == 0 || header->uid == 0 || header->gid == 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan plan;
    const char *why = NULL;
    uint8_t *image = malloc(size ? size : 1);

    if (!image)
        abort();
    if (size)
        memcpy(image, data, size);
    if (plan_check(image, size, &plan, &why) == 0)
        read_plan(&plan);
    else if (!why || !why[0])
        abort(); /* refused without a reason */
    free(image);
    return 0;
}

/* Most blind changes end at the table of sections; so in three of four cases that is put right again, to get past it, and
 * with it where the broker's rules are. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const uint64_t record_sizes[] = {
        sizeof(struct plan_op), sizeof(struct plan_env), sizeof(struct plan_stamp), 4, 4, 8, 1, 1};
    struct plan_header header;
    struct plan_section *section = &header.ops;
    uint64_t end = sizeof header;

    size = LLVMFuzzerMutate(data, size, max_size);
    if (seed % 4 == 0 || size < sizeof header)
        return size;
    memcpy(&header, data, sizeof header);
    memcpy(header.magic, SBX_PLAN_MAGIC, sizeof header.magic);
    header.size = (uint32_t)size;
    for (size_t i = 0; i < sizeof record_sizes / sizeof record_sizes[0]; i++) {
        uint64_t start = (end + 7) & ~UINT64_C(7), room = start < size ? size - start : 0;
        if (start > size)
            return size;
        memset(data + end, 0, start - end);
        section[i].offset = (uint32_t)start;
        if (section[i].count * record_sizes[i] > room || i == 7)
            section[i].count = (uint32_t)(room / record_sizes[i]);
        end = start + section[i].count * record_sizes[i];
    }
    if (header.broker.offset > header.data.count)
        header.broker.offset = 0;
    if (header.broker.count > header.data.count - header.broker.offset)
        header.broker.count = header.data.count - header.broker.offset;
    memcpy(data, &header, sizeof header);
    return size;
}

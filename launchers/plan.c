/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The decoder of plans: pure functions over one buffer, no system call, no allocation.
 * Every refusal is one REQUIRE line; reading those lines is reading the format.
 */
#include "plan.h"

#include <limits.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "plans are little-endian images that are read in place"
#endif

_Static_assert(sizeof(struct plan_header) == 240, "header layout");
_Static_assert(sizeof(struct plan_op) == 32, "op layout");
_Static_assert(sizeof(struct plan_env) == 16, "environment layout");
_Static_assert(sizeof(struct plan_stamp) == 64, "stamp layout");

#define REQUIRE(condition, text)                                                                                       \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            *why = (text);                                                                                             \
            return -1;                                                                                                 \
        }                                                                                                              \
    } while (0)

enum {
    KNOWN_FLAGS = SBX_PLAN_PRIVATE_NETWORK | SBX_PLAN_NESTED_NAMESPACES | SBX_PLAN_LANDLOCK_SCOPE |
                  SBX_PLAN_DIE_WITH_PARENT | SBX_PLAN_DOCUMENTS_READ | SBX_PLAN_DOCUMENTS_WRITE |
                  SBX_PLAN_BY_DIRECTORY | SBX_PLAN_LINGER | SBX_PLAN_LANDLOCK_FILES |
                  SBX_PLAN_TERMINAL_OUTPUT | SBX_PLAN_BROKER_DESCRIPTOR | SBX_PLAN_DOCUMENTS_SIBLINGS |
                  SBX_PLAN_JOINS,
    KNOWN_OP_FLAGS = SBX_OPF_WRITE | SBX_OPF_DEVICE | SBX_OPF_NOEXEC | SBX_OPF_DIRECTORY,
    HOSTNAME_MAX = 64,
    APP_NAME_MAX = 128,
    DESCRIPTOR_MAX = 1023,
    LISTENER_NAME_MAX = 32,
    LIMITS = sizeof((struct plan_header *)0)->limits / sizeof(uint64_t),
};

_Static_assert(LIMITS == SBX_LIMIT_DATA + 1, "a place for each limit");

/* Absolute, at most PATH_MAX with its NUL, no empty, "." or ".." component, no slash at the end. */
static int path_is_normal(const char *path)
{
    size_t length = strnlen(path, SBX_PATH_SIZE_MAX);

    if (path[0] != '/' || length < 2 || length >= SBX_PATH_SIZE_MAX)
        return 0;
    for (const char *slash = path; *slash;) {
        const char *name = slash + 1;
        size_t name_length = strcspn(name, "/");

        if (name_length == 0 || name_length > NAME_MAX || (name_length == 1 && name[0] == '.') ||
            (name_length == 2 && name[0] == '.' && name[1] == '.'))
            return 0;
        slash = name + name_length;
    }
    return 1;
}

/* A section begins where the one before ended, rounded up to 8, with zero bytes between. */
static int section_follows(const unsigned char *image, uint64_t size, uint64_t *end, const struct plan_section *section,
                           uint64_t record_size, uint32_t count_max)
{
    uint64_t start = (*end + 7) & ~UINT64_C(7);

    if (section->offset != start || section->count > count_max || start + section->count * record_size > size)
        return 0;
    for (uint64_t gap = *end; gap < start; gap++)
        if (image[gap] != 0)
            return 0;
    *end = start + section->count * record_size;
    return 1;
}

/* A reference is the start of a string: byte 0, or a byte after a NUL. The section ends with a NUL. */
static int is_string(const struct plan *plan, uint32_t reference)
{
    return reference < plan->header->strings.count && (reference == 0 || plan->strings[reference - 1] == '\0');
}

static int is_text(const struct plan *plan, uint32_t reference)
{
    return is_string(plan, reference) && plan->strings[reference] != '\0';
}

static int check_sections(const unsigned char *image, uint64_t size, struct plan *plan, const char **why)
{
    const struct plan_header *h = plan->header;
    uint64_t end = sizeof *h;

    REQUIRE(section_follows(image, size, &end, &h->ops, sizeof *plan->ops, SBX_OPS_MAX), "section ops is out of place");
    REQUIRE(section_follows(image, size, &end, &h->environment, sizeof *plan->environment, SBX_ENV_MAX),
            "section environment is out of place");
    REQUIRE(section_follows(image, size, &end, &h->stamps, sizeof *plan->stamps, SBX_STAMPS_MAX),
            "section stamps is out of place");
    REQUIRE(section_follows(image, size, &end, &h->command, sizeof *plan->command, SBX_ARGV_MAX),
            "section command is out of place");
    REQUIRE(section_follows(image, size, &end, &h->request, sizeof *plan->request, SBX_ARGV_MAX),
            "section request is out of place");
    REQUIRE(section_follows(image, size, &end, &h->program, sizeof *plan->program, SBX_BPF_MAX),
            "section program is out of place");
    REQUIRE(section_follows(image, size, &end, &h->strings, 1, SBX_PLAN_SIZE_MAX), "section strings is out of place");
    REQUIRE(section_follows(image, size, &end, &h->data, 1, SBX_PLAN_SIZE_MAX), "section data is out of place");
    REQUIRE(end == size, "bytes after the last section");

    plan->ops = (const void *)(image + h->ops.offset);
    plan->environment = (const void *)(image + h->environment.offset);
    plan->stamps = (const void *)(image + h->stamps.offset);
    plan->command = (const void *)(image + h->command.offset);
    plan->request = (const void *)(image + h->request.offset);
    plan->program = (const void *)(image + h->program.offset);
    plan->strings = (const void *)(image + h->strings.offset);
    plan->data = image + h->data.offset;
    REQUIRE(h->strings.count > 0 && plan->strings[0] == '\0' && plan->strings[h->strings.count - 1] == '\0',
            "strings aren't closed by NUL");
    return 0;
}

/* Letters that mean nothing where names and numbers are joined: what the broker is told of its sockets. */
static int is_listener_name(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return length > 0 && length <= LISTENER_NAME_MAX && name[length] == '\0';
}

/* "/dev/fd/N" for three digits. */
static int is_descriptor_path(const char *path, uint32_t number)
{
    static const char before[] = "/dev/fd/";
    const char *digits = path + sizeof before - 1;

    return strncmp(path, before, sizeof before - 1) == 0 && strlen(digits) == 3 &&
           digits[0] == (char)('0' + number / 100) && digits[1] == (char)('0' + number / 10 % 10) &&
           digits[2] == (char)('0' + number % 10);
}

/* Bytes of the data that the header names; none: 0, 0. */
static int is_part(const struct plan *plan, const struct plan_section *part)
{
    return (uint64_t)part->offset + part->count <= plan->header->data.count && (part->count || !part->offset);
}

/* The sockets: each is numbered by the order in which they come. */
static int check_sockets(const struct plan *plan, const char **why)
{
    const struct plan_header *h = plan->header;
    uint32_t listeners = 0, connections = 0;

    for (uint32_t i = 0; i < h->ops.count; i++) {
        const struct plan_op *op = &plan->ops[i];

        if (op->kind == SBX_OP_LISTEN)
            REQUIRE(++listeners <= SBX_LISTEN_MAX, "too many sockets to listen on");
        if (op->kind == SBX_OP_CONNECT) {
            uint32_t number = SBX_CONNECT_FIRST + connections++;
            REQUIRE(connections <= SBX_CONNECT_MAX, "too many sockets to connect");
            REQUIRE(op->mode == number && is_descriptor_path(plan_string(plan, op->box_path), number),
                    "a connected descriptor has the wrong number");
        }
    }
    REQUIRE(is_part(plan, &h->broker), "the broker's rules are out of bounds");
    REQUIRE((h->broker.count > 0) == (listeners > 0), "a broker without a socket, or a socket without a broker");
    REQUIRE(!(h->flags & SBX_PLAN_BROKER_DESCRIPTOR) || h->broker.count, "a descriptor for a broker that isn't there");
    return 0;
}

static int check_op(const struct plan *plan, const struct plan_op *op, const char **why)
{
    REQUIRE(is_string(plan, op->box_path) && is_string(plan, op->source) && is_string(plan, op->origin) &&
                op->zero == 0,
            "an operation's string is out of bounds");
    REQUIRE(path_is_normal(plan_string(plan, op->box_path)), "a box path isn't absolute and normal");
    REQUIRE(op->mode <= 07777, "a mode has unknown bits");
    REQUIRE((op->flags & ~(op->kind == SBX_OP_BIND     ? KNOWN_OP_FLAGS
                           : op->kind == SBX_OP_LISTEN ? SBX_OPF_STREAM
                                                       : 0)) == 0,
            "an operation has unknown flags");
    REQUIRE(op->kind == SBX_OP_FILE ? (uint64_t)op->data_offset + op->data_size <= plan->header->data.count
                                    : op->data_offset == 0 && op->data_size == 0,
            "an operation's data is out of bounds");
    switch (op->kind) {
    case SBX_OP_BIND:
        REQUIRE(path_is_normal(plan_string(plan, op->source)), "a source isn't absolute and normal");
        return 0;
    case SBX_OP_CONNECT:
        REQUIRE(path_is_normal(plan_string(plan, op->source)), "a socket's path isn't absolute and normal");
        return 0;
    case SBX_OP_LISTEN:
        REQUIRE(is_listener_name(plan_string(plan, op->source)), "a listening socket has no proper name");
        REQUIRE(op->mode <= 0777, "a socket's mode has unknown bits");
        return 0;
    case SBX_OP_LINK:
        REQUIRE(is_text(plan, op->source), "a link is empty");
        return 0;
    case SBX_OP_DIR:
    case SBX_OP_FILE:
    case SBX_OP_OWN:
    case SBX_OP_PROC:
    case SBX_OP_PTS:
    case SBX_OP_SEAL:
    case SBX_OP_HIDE:
        REQUIRE(op->source == 0, "an operation has a source that it can't use");
        return 0;
    default:
        *why = "an operation is of unknown kind";
        return -1;
    }
}

static int check_env(const struct plan *plan, const struct plan_env *entry, const char **why)
{
    REQUIRE(is_string(plan, entry->name) && is_string(plan, entry->value) && entry->zero == 0,
            "a variable's string is out of bounds");
    REQUIRE(is_text(plan, entry->name) && strchr(plan_string(plan, entry->name), '=') == NULL, "a variable's name is malformed");
    REQUIRE(entry->kind == SBX_ENV_SET ||
                ((entry->kind == SBX_ENV_PASS || entry->kind == SBX_ENV_PASS_PREFIX ||
                  entry->kind == SBX_ENV_KEEP_OUT) && entry->value == 0),
            "a variable is of unknown kind");
    return 0;
}

static int check_stamp(const struct plan *plan, const struct plan_stamp *stamp, const char **why)
{
    REQUIRE(is_text(plan, stamp->name) && is_string(plan, stamp->value) && stamp->zero == 0,
            "a stamp's string is out of bounds");
    REQUIRE(stamp->kind >= SBX_STAMP_ENV && stamp->kind <= SBX_STAMP_DIRECTORY, "a stamp is of unknown kind");
    return 0;
}

static int check_header(const struct plan *plan, const char **why)
{
    const struct plan_header *h = plan->header;

    REQUIRE((h->flags & ~(uint32_t)KNOWN_FLAGS) == 0, "unknown flags");
    REQUIRE(!(h->flags & SBX_PLAN_DOCUMENTS_WRITE) || (h->flags & SBX_PLAN_DOCUMENTS_READ),
            "documents are writable but not readable");
    REQUIRE(h->uid != 0 && h->gid != 0, "the plan is for root");
    REQUIRE(h->keep_fd_count <= SBX_KEEP_FDS_MAX, "too many descriptors");
    for (uint32_t i = 0; i < SBX_KEEP_FDS_MAX; i++)
        REQUIRE(i >= h->keep_fd_count ? h->keep_fds[i] == 0
                                      : h->keep_fds[i] > (i ? h->keep_fds[i - 1] : 2) && h->keep_fds[i] <= DESCRIPTOR_MAX,
                "descriptors aren't ascending from 3");
    for (size_t i = 0; i < sizeof h->zero / sizeof h->zero[0]; i++)
        REQUIRE(h->zero[i] == 0, "the header's padding isn't zero");
    REQUIRE(is_string(plan, h->app) && is_string(plan, h->hostname) && is_string(plan, h->notice) &&
                is_string(plan, h->home),
            "a header string is out of bounds");
    REQUIRE(is_text(plan, h->app) && strlen(plan_string(plan, h->app)) <= APP_NAME_MAX, "the application has no proper name");
    REQUIRE(is_text(plan, h->hostname) && strlen(plan_string(plan, h->hostname)) <= HOSTNAME_MAX,
            "the host name is empty or too long");
    REQUIRE(path_is_normal(plan_string(plan, h->home)), "home isn't absolute and normal");
    REQUIRE(h->program.count > 0, "there is no system-call filter");
    REQUIRE(h->request.count > 0, "there is no request");
    REQUIRE(is_part(plan, &h->scope) && h->scope.count <= SBX_SCOPE_MAX, "what the scope service is told is out of bounds");
    REQUIRE(is_string(plan, h->facts), "the facts are out of bounds");
    size_t length = strnlen(plan_string(plan, h->facts), SBX_FACTS_MAX);
    REQUIRE(length < SBX_FACTS_MAX && (length == 0 || plan_string(plan, h->facts)[length - 1] == '\n'),
            "the facts are too long, or no lines");
    REQUIRE(h->limits_set >> LIMITS == 0, "a limit is of unknown kind");
    for (uint32_t i = 0; i < LIMITS; i++)
        REQUIRE(h->limits[i] == 0 || (h->limits_set >> i & 1), "a limit has a value that doesn't hold");
    return 0;
}

int plan_check(const void *image, size_t size, struct plan *plan, const char **why)
{
    REQUIRE(((uintptr_t)image & 7) == 0, "the image isn't aligned");
    REQUIRE(size >= sizeof *plan->header && size <= SBX_PLAN_SIZE_MAX, "the image's size is impossible");
    plan->header = image;
    REQUIRE(memcmp(plan->header->magic, SBX_PLAN_MAGIC, sizeof plan->header->magic) == 0,
            "not a plan of this version");
    REQUIRE(plan->header->size == size, "the image is cut short or padded");
    if (check_sections(image, size, plan, why) || check_header(plan, why))
        return -1;
    for (uint32_t i = 0; i < plan->header->ops.count; i++)
        if (check_op(plan, &plan->ops[i], why))
            return -1;
    if (check_sockets(plan, why))
        return -1;
    for (uint32_t i = 0; i < plan->header->environment.count; i++)
        if (check_env(plan, &plan->environment[i], why))
            return -1;
    for (uint32_t i = 0; i < plan->header->stamps.count; i++)
        if (check_stamp(plan, &plan->stamps[i], why))
            return -1;
    for (uint32_t i = 0; i < plan->header->command.count; i++)
        REQUIRE(is_string(plan, plan->command[i]), "a command word is out of bounds");
    for (uint32_t i = 0; i < plan->header->request.count; i++)
        REQUIRE(is_string(plan, plan->request[i]), "a request word is out of bounds");
    return 0;
}

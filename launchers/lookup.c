/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The cache, as sandboxer/plan/cache.py lays it out: $XDG_RUNTIME_DIR/sandboxer/plans, else the user's cache
 * directory; a file's name is the FNV-1a hash of the request's words. A hash is only a name: the request is stored in
 * the plan and compared word by word.
 */
#include "lookup.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "environment.h"
#include "fail.h"
#include "sys.h"

static uint64_t hash_word(uint64_t hash, const char *word)
{
    do
        hash = (hash ^ (unsigned char)*word) * UINT64_C(0x100000001b3);
    while (*word++);
    return hash;
}

static int is_private_directory(const char *path)
{
    struct stat found;
    CLEANUP_FD int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    return fd >= 0 && fstat(fd, &found) == 0 && found.st_uid == getuid() && (found.st_mode & 077) == 0;
}

int session_directory(char *const *environment, const char *name, char path[SBX_PATH_SIZE_MAX])
{
    const char *runtime = environment_value(environment, "XDG_RUNTIME_DIR");
    const char *cache = environment_value(environment, "XDG_CACHE_HOME");
    const char *home = environment_value(environment, "HOME");
    int length;

    if (runtime && runtime[0] == '/' && is_private_directory(runtime))
        length = snprintf(path, SBX_PATH_SIZE_MAX, "%s/sandboxer/%s", runtime, name);
    else if (cache && cache[0] == '/')
        length = snprintf(path, SBX_PATH_SIZE_MAX, "%s/sandboxer/%s", cache, name);
    else if (home && home[0] == '/')
        length = snprintf(path, SBX_PATH_SIZE_MAX, "%s/.cache/sandboxer/%s", home, name);
    else
        return -1;
    return length > 0 && length < SBX_PATH_SIZE_MAX ? 0 : -1;
}

static void refuse_cache(const char *path, const char *what)
{
    fail((struct failure){.what = what, .subject = path, .hint = "look at who changed it, then remove it"});
}

/* Read one plan file. Returns its size, or -1 when there is none that could be a plan. */
static ssize_t read_plan(int directory, const char *name, unsigned char *image)
{
    struct stat found;
    CLEANUP_FD int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    size_t size = 0;

    if (fd < 0 || fstat(fd, &found) != 0)
        return -1;
    if (!S_ISREG(found.st_mode) || found.st_uid != getuid() || (found.st_mode & 077) != 0)
        refuse_cache(name, "a cached plan belongs to, or can be changed by, somebody else");
    if (found.st_size > SBX_PLAN_SIZE_MAX)
        return -1;
    for (ssize_t got; size < (size_t)found.st_size; size += (size_t)got)
        if ((got = read(fd, image + size, (size_t)found.st_size - size)) <= 0)
            return -1;
    return (ssize_t)size;
}

static int answers(const struct plan *plan, const struct request *request)
{
    if (plan->header->request.count != request->count || plan->header->uid != getuid() ||
        plan->header->gid != getgid())
        return 0;
    for (size_t i = 0; i < request->count; i++)
        if (strcmp(plan_string(plan, plan->request[i]), request->words[i]) != 0)
            return 0;
    return 1;
}

static int same_file(const struct plan_stamp *stamp, const struct stat *found)
{
    return stamp->device == found->st_dev && stamp->inode == found->st_ino && stamp->size == (uint64_t)found->st_size &&
           stamp->mode == found->st_mode &&
           stamp->mtime_ns == (uint64_t)found->st_mtim.tv_sec * 1000000000 + (uint64_t)found->st_mtim.tv_nsec &&
           stamp->ctime_ns == (uint64_t)found->st_ctim.tv_sec * 1000000000 + (uint64_t)found->st_ctim.tv_nsec;
}

static int stamp_holds(const struct plan_stamp *stamp, const struct plan *plan, const struct request *request)
{
    const char *name = plan_string(plan, stamp->name), *value;
    struct stat found;
    struct utsname kernel;

    switch ((enum sbx_stamp_kind)stamp->kind) {
    case SBX_STAMP_ENV:
        value = environment_value(request->environment, name);
        return value && strcmp(value, plan_string(plan, stamp->value)) == 0;
    case SBX_STAMP_ENV_ABSENT:
        value = environment_value(request->environment, name);
        return !value || !*value;
    case SBX_STAMP_FILE:
        return lstat(name, &found) == 0 && same_file(stamp, &found);
    case SBX_STAMP_TYPE:
        return lstat(name, &found) == 0 && (found.st_mode & S_IFMT) == (stamp->mode & S_IFMT);
    case SBX_STAMP_ABSENT:
        return lstat(name, &found) != 0 && (errno == ENOENT || errno == ENOTDIR);
    case SBX_STAMP_KERNEL:
        return uname(&kernel) == 0 && strcmp(kernel.release, name) == 0;
    case SBX_STAMP_DIRECTORY:
        return strcmp(request->directory, name) == 0;
    }
    return 0;
}

/* One file of the cache. */
static enum lookup look_at(int directory, const char *name, const struct request *request, unsigned char *image,
                           struct plan *plan, const char **why)
{
    ssize_t size = read_plan(directory, name, image);

    if (size < 0 || plan_check(image, (size_t)size, plan, why) != 0 || !answers(plan, request))
        return PLAN_MISSING;
    for (uint32_t i = 0; i < plan->header->stamps.count; i++)
        if (!stamp_holds(&plan->stamps[i], plan, request)) {
            *why = plan_string(plan, plan->stamps[i].name);
            return PLAN_STALE;
        }
    return PLAN_FRESH;
}

enum lookup lookup_plan(const struct request *request, unsigned char *image, struct plan *plan, const char **why)
{
    char path[SBX_PATH_SIZE_MAX], name[32];
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    struct stat found;

    *why = "there is no plan";
    if (session_directory(request->environment, "plans", path) != 0)
        return PLAN_MISSING;
    CLEANUP_FD int directory = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0 || fstat(directory, &found) != 0)
        return PLAN_MISSING;
    if (found.st_uid != getuid() || (found.st_mode & 077) != 0)
        refuse_cache(path, "the directory of plans belongs to, or can be changed by, somebody else");

    for (size_t i = 0; i < request->count; i++)
        hash = hash_word(hash, request->words[i]);
    (void)snprintf(name, sizeof name, "%016llx.plan", (unsigned long long)hash);
    enum lookup result = look_at(directory, name, request, image, plan, why);
    if (result != PLAN_MISSING)
        return result;
    (void)snprintf(name, sizeof name, "%016llx.d.plan", (unsigned long long)hash_word(hash, request->directory));
    return look_at(directory, name, request, image, plan, why);
}

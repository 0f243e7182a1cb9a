/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What the rest of the session may know of a running box: a directory beside the plans, named APP.PID, with a file that
 * is locked as long as this process lives, and a socket on which it can be spoken to. Nothing in it is shown to a box.
 *
 * A directory whose lock is free was left by a launcher that was killed; whoever looks for boxes removes it.
 */
#include "state.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "fail.h"
#include "plan.h"
#include "sys.h"

enum { BACKLOG = 8 };

static const char lock_name[] = "box", control_name[] = "control", grants_name[] = "grants", draft_name[] = ".grants";

_Noreturn static void fail_on(const char *what, const char *path)
{
    fail((struct failure){.what = what,
                          .subject = path,
                          .error = errno,
                          .hint = "the directory of running boxes has to be writable, and yours alone"});
}

/* The directory that holds those of all boxes. */
static int open_boxes(const char *path)
{
    struct stat found;

    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        fail_on("cannot make the directory of running boxes", path);
    int boxes = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (boxes < 0 || fstat(boxes, &found) != 0)
        fail_on("cannot open the directory of running boxes", path);
    if (found.st_uid != getuid() || (found.st_mode & 077) != 0) {
        errno = EPERM;
        fail_on("the directory of running boxes belongs to, or can be changed by, somebody else", path);
    }
    return boxes;
}

/* One with our number can only have been left behind, by a launcher that had it before us; unless it counts in another
 * pid namespace, and lives. */
static void remove_left(int boxes, const char *name, const char *path)
{
    int directory = openat(boxes, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP_FD int lock = openat(directory, lock_name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) != 0)
        fail_on("another box has this number", path);
    remove_state(&(struct state){.boxes = boxes, .directory = directory, .name = name});
    sys_cleanup_fd(&directory);
}

static void write_lock(const struct state *state, const char *app, const char *facts)
{
    char text[SBX_PATH_SIZE_MAX + SBX_FACTS_MAX];
    int length = snprintf(text, sizeof text, "app=%s\nmonitor=%d\nstarted=%lld\n%s", app, (int)getpid(),
                          (long long)time(NULL), facts);

    /* Whoever looks for boxes just now may hold it for a moment. */
    if (flock(state->lock, LOCK_EX) != 0 || length >= (int)sizeof text ||
        write(state->lock, text, (size_t)length) != length)
        fail_on("cannot say that the box runs", state->path);
}

int bind_at(int socket, int directory, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    /* The path itself may be longer than an address can be. */
    if (snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", directory, name) >=
        (int)sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return bind(socket, (struct sockaddr *)&address, sizeof address);
}

void make_state(struct state *state, const char *boxes_path, const char *app, const char *facts)
{
    static char path[SBX_PATH_SIZE_MAX];
    size_t length = strlen(boxes_path);

    if (snprintf(path, sizeof path, "%s/%s.%d", boxes_path, app, (int)getpid()) >= (int)sizeof path ||
        strpbrk(app, "/\n")) {
        errno = EINVAL;
        fail_on("cannot make a name for the box", boxes_path);
    }
    state->path = path;
    state->name = path + length + 1;
    state->boxes = open_boxes(boxes_path);
    if (mkdirat(state->boxes, state->name, 0700) != 0) {
        if (errno == EEXIST)
            remove_left(state->boxes, state->name, path);
        if (mkdirat(state->boxes, state->name, 0700) != 0)
            fail_on("cannot make the box's directory", path);
    }
    state->directory = openat(state->boxes, state->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    state->lock = openat(state->directory, lock_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (state->directory < 0 || state->lock < 0)
        fail_on("cannot make the box's directory", path);
    write_lock(state, app, facts);
    state->control = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (state->control < 0 || bind_at(state->control, state->directory, control_name) != 0 ||
        listen(state->control, BACKLOG) != 0)
        fail_on("cannot make the box's control socket", path);
}

/* Whether the directory is that of a box that runs: its monitor holds the lock. */
static int is_locked(int boxes, const char *name)
{
    CLEANUP_FD int directory = openat(boxes, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP_FD int lock = directory < 0 ? -1 : openat(directory, lock_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    return lock >= 0 && flock(lock, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

int app_runs(const char *boxes_path, const char *app)
{
    static _Alignas(struct dirent64) char entries[16384];
    size_t length = strlen(app);
    CLEANUP_FD int boxes = open(boxes_path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    for (ssize_t got; boxes >= 0 && (got = syscall(SYS_getdents64, boxes, entries, sizeof entries)) > 0;)
        for (ssize_t at = 0; at < got;) {
            const struct dirent64 *entry = (const void *)(entries + at);
            const char *pid = entry->d_name + length + 1;

            at += entry->d_reclen;
            if (strncmp(entry->d_name, app, length) == 0 && entry->d_name[length] == '.' &&
                strspn(pid, "0123456789") == strlen(pid) && is_locked(boxes, entry->d_name))
                return 1;
        }
    return 0;
}

int lock_starts(const char *boxes_path, const char *app)
{
    char name[SBX_PATH_SIZE_MAX];
    CLEANUP_FD int boxes = open_boxes(boxes_path);

    if (snprintf(name, sizeof name, ".%s.starts", app) >= (int)sizeof name || strchr(app, '/')) {
        errno = EINVAL;
        fail_on("cannot make a name for the box", boxes_path);
    }
    int lock = openat(boxes, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) != 0)
        fail_on("cannot wait for another start of the same application", name);
    return lock;
}

/* In the box: the lock is the monitor's alone. */
void leave_state(const struct state *state)
{
    if (close(state->control) != 0 || close(state->lock) != 0 || close(state->directory) != 0 ||
        close(state->boxes) != 0)
        fail((struct failure){.what = "cannot let go of the box's directory", .error = errno});
}

/* What can't be removed is left: the lock is free in a moment, and then it is known to be stale. */
void remove_state(const struct state *state)
{
    static const char *const names[] = {control_name, grants_name, draft_name, lock_name};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        (void)unlinkat(state->directory, names[i], 0);
    (void)unlinkat(state->boxes, state->name, AT_REMOVEDIR);
}

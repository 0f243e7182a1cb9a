/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What the user's own words and terminal grant: files that are named on the command line, the terminal device, and the
 * directory to start in. Naming a file grants that file and nothing beside it.
 *
 * A word is a document when it doesn't begin with "-" and names a regular file outside. When the box shows that very
 * file (same device and inode) at the same path, the word is left alone; when it shows it at its real path, the word
 * becomes that path; else the file is bound at /run/documents/N/NAME and the word becomes that.
 *
 * Symbolic links on the way are followed, but for those in a directory that the box may write to: the application
 * could have put such a link there, to a file that the user never meant. Those words are left alone.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "box.h"
#include "fail.h"
#include "sys.h"

static const char origin[] = "command line";

enum { LINKS_MAX = 40 }; /* as the kernel */

/* Places for words that are rewritten; used only where a word changes. */
static char rewritten[DOCUMENTS_MAX][SBX_PATH_SIZE_MAX];

static int same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Does the box show the file at this absolute path? Links are followed inside the box's root only. */
static int shown_at(const struct root *root, const char *path, const struct stat *file)
{
    struct stat found;
    CLEANUP_FD int fd = sys_openat2(root->bases[0].mount, path, O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);

    return fd >= 0 && fstat(fd, &found) == 0 && same_file(&found, file);
}

/* "/proc/self/fd/N", which resolves in the host's procfs while that is still reachable. */
static ssize_t path_of(int fd, char path[SBX_PATH_SIZE_MAX])
{
    char link[32];

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, SBX_PATH_SIZE_MAX - 1);
    path[length > 0 ? length : 0] = '\0';
    return length;
}

static int join(char out[SBX_PATH_SIZE_MAX], const char *directory, const char *name)
{
    int length = snprintf(out, SBX_PATH_SIZE_MAX, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, name);

    return length > 0 && length < SBX_PATH_SIZE_MAX ? 0 : -1;
}

/* Does the directory lie in what the plan lets the application change? */
static int box_may_write(const struct plan *plan, int directory)
{
    char path[SBX_PATH_SIZE_MAX];

    if (path_of(directory, path) <= 0)
        return 1;
    for (uint32_t i = 0; i < plan->header->ops.count; i++) {
        const char *source = plan_string(plan, plan->ops[i].source);
        size_t length = strlen(source);

        if (plan->ops[i].kind == SBX_OP_BIND && (plan->ops[i].flags & SBX_OPF_WRITE) &&
            strncmp(path, source, length) == 0 && (path[length] == '/' || path[length] == '\0'))
            return 1;
    }
    return 0;
}

/* Open what a word names, one component at a time, so that each link can be judged before it is followed. */
static int open_named(const struct plan *plan, const char *word)
{
    char rest[SBX_PATH_SIZE_MAX], target[SBX_PATH_SIZE_MAX], name[NAME_MAX + 1];
    int here = open(word[0] == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC), links = 0;

    if (strlen(word) >= sizeof rest) {
        sys_cleanup_fd(&here);
        return -1;
    }
    memcpy(rest, word, strlen(word) + 1);
    while (here >= 0 && rest[strspn(rest, "/")] != '\0') {
        const char *part = rest + strspn(rest, "/");
        size_t length = strcspn(part, "/");
        struct stat found;
        int next = -1;

        if (length <= NAME_MAX) {
            memcpy(name, part, length);
            name[length] = '\0';
            memmove(rest, part + length, strlen(part + length) + 1);
            next = openat(here, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        }
        if (next >= 0 && fstat(next, &found) == 0 && S_ISLNK(found.st_mode)) {
            ssize_t size = readlinkat(next, "", target, sizeof target);
            sys_cleanup_fd(&next);
            next = -1;
            if (size > 0 && ++links <= LINKS_MAX && (size_t)size + strlen(rest) < sizeof rest &&
                !box_may_write(plan, here)) {
                memmove(rest + size, rest, strlen(rest) + 1);
                memcpy(rest, target, (size_t)size);
                next = target[0] == '/' ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)
                                        : fcntl(here, F_DUPFD_CLOEXEC, 0);
            }
        }
        sys_cleanup_fd(&here);
        here = next;
    }
    return here;
}

static char *bind_document(struct root *root, const struct call *call, int file, const char *word, unsigned index)
{
    char *path = rewritten[index];
    const char *name = strrchr(word, '/');
    unsigned writable = (call->plan->header->flags & SBX_PLAN_DOCUMENTS_WRITE) ? SBX_OPF_WRITE : 0;

    if (snprintf(path, SBX_PATH_SIZE_MAX, "/run/documents/%u/%s", index + 1, name ? name + 1 : word) >=
        SBX_PATH_SIZE_MAX)
        fail((struct failure){.what = "cannot hand in a document", .subject = word, .error = ENAMETOOLONG});
    bind_descriptor(root, file, path, writable, origin);
    return path;
}

/* What the word must be inside for the application to find the file, binding it where it isn't shown. */
static char *document_word(struct root *root, const struct call *call, char *word, int file, unsigned *used)
{
    static char path[SBX_PATH_SIZE_MAX];
    struct stat meant;

    if (fstat(file, &meant) != 0 || !S_ISREG(meant.st_mode))
        return word;
    if (word[0] != '/' && call->directory[0] && shown_at(root, call->directory, &call->directory_stat) &&
        join(path, call->directory, word) == 0 && shown_at(root, path, &meant))
        return word;
    if (*used == DOCUMENTS_MAX)
        fail((struct failure){.what = "cannot hand in so many documents at once",
                              .subject = word,
                              .origin = origin,
                              .hint = "name at most 256 files, or grant their directory"});
    if (path_of(file, path) > 0 && path[0] == '/' && shown_at(root, path, &meant))
        return memcpy(rewritten[(*used)++], path, strlen(path) + 1);
    return bind_document(root, call, file, word, (*used)++);
}

void bind_documents(struct root *root, struct call *call)
{
    unsigned used = 0;

    if (!(call->plan->header->flags & SBX_PLAN_DOCUMENTS_READ))
        return;
    for (char **word = call->argv; *word; word++) {
        size_t length = strlen(*word);
        struct stat found;

        /* The plan's own words are not the user's; a command without a slash is looked up in the box's PATH. */
        if ((size_t)(word - call->argv) < call->plan->header->command.count || length == 0 || **word == '-' ||
            (*word)[length - 1] == '/' || (word == call->argv && !strchr(*word, '/')))
            continue;
        if (**word == '/' && stat(*word, &found) == 0 && shown_at(root, *word, &found))
            continue;
        CLEANUP_FD int file = open_named(call->plan, *word);
        if (file >= 0)
            *word = document_word(root, call, *word, file, &used);
    }
}

/* ttyname() inside finds the terminal at /dev/console: the box's /dev/pts is another instance. */
void bind_terminal(struct root *root, const struct plan *plan)
{
    if (plan->header->flags & SBX_PLAN_TERMINAL_OUTPUT)
        return;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        char path[SBX_PATH_SIZE_MAX];
        struct stat open_terminal, named;

        if (!isatty(fd) || fstat(fd, &open_terminal) != 0 || path_of(fd, path) <= 0 || path[0] != '/')
            continue;
        CLEANUP_FD int terminal = sys_openat2(root->host, path + 1, O_PATH, 0, RESOLVE_NO_SYMLINKS);
        if (terminal < 0 || fstat(terminal, &named) != 0 || !same_file(&open_terminal, &named))
            continue; /* of another devpts instance: it has no name here */
        bind_descriptor(root, terminal, "/dev/console", SBX_OPF_DEVICE | SBX_OPF_WRITE, origin);
        return;
    }
}

/* After leave_host(): go to where the caller stood, if the box shows that very directory, else home. */
void enter_directory(const struct call *call)
{
    const char *home = plan_string(call->plan, call->plan->header->home);
    struct stat here;

    if (call->directory[0] && chdir(call->directory) == 0 && stat(".", &here) == 0 &&
        same_file(&here, &call->directory_stat))
        return;
    if (chdir(home) != 0)
        fail((struct failure){.what = "cannot enter the home directory in the box",
                              .subject = home,
                              .error = errno,
                              .hint = "grant the application a home with files.home"});
}

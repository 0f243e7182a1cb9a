/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What the user's own words and terminal grant: files that are named on the command line, the terminal device, and the
 * directory to start in. Naming a file grants that file and nothing beside it.
 *
 * A word is a document when it doesn't begin with "-" and names a regular file outside. When the box shows that very
 * file (same device and inode) at the same path, the word is left alone; when it shows it at its real path, the word
 * becomes that path; else the file is bound at /run/documents/N/NAME and the word becomes that.
 */
#include <stdio.h>
#include <string.h>

#include "box.h"
#include "fail.h"
#include "sys.h"

static const char origin[] = "command line";

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
    CLEANUP_FD int fd = sys_openat2(root->box, path, O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);

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

static char *bind_document(const struct root *root, const struct call *call, int file, const char *word, unsigned index)
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
static char *document_word(const struct root *root, const struct call *call, char *word, int file,
                           const struct stat *meant, unsigned index)
{
    static char path[SBX_PATH_SIZE_MAX];
    int stays = call->directory[0] && shown_at(root, call->directory, &call->directory_stat);

    if (word[0] == '/' && shown_at(root, word, meant))
        return word;
    if (word[0] != '/' && stays && join(path, call->directory, word) == 0 && shown_at(root, path, meant))
        return word;
    if (path_of(file, path) > 0 && path[0] == '/' && shown_at(root, path, meant)) {
        memcpy(rewritten[index], path, strlen(path) + 1);
        return rewritten[index];
    }
    return bind_document(root, call, file, word, index);
}

void bind_documents(const struct root *root, struct call *call)
{
    unsigned used = 0;

    if (!(call->plan->header->flags & SBX_PLAN_DOCUMENTS_READ))
        return;
    for (char **word = call->argv; *word; word++) {
        struct stat found;

        /* The plan's own words are not the user's; a command without a slash is looked up in the box's PATH. */
        if ((size_t)(word - call->argv) < call->plan->header->command.count || **word == '-' || **word == '\0' ||
            (word == call->argv && !strchr(*word, '/')))
            continue;
        CLEANUP_FD int file = open(*word, O_PATH | O_CLOEXEC);
        if (file < 0 || fstat(file, &found) != 0 || !S_ISREG(found.st_mode))
            continue;
        if (used == DOCUMENTS_MAX)
            fail((struct failure){.what = "cannot hand in so many documents at once",
                                  .subject = *word,
                                  .origin = origin,
                                  .hint = "name at most 256 files, or grant their directory"});
        *word = document_word(root, call, *word, file, &found, used++);
    }
}

/* ttyname() inside finds the terminal at /dev/console: the box's /dev/pts is another instance. */
void bind_terminal(const struct root *root)
{
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

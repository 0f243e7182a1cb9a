/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What the user's own words and terminal grant: files that are named on the command line, the terminal device, and the
 * directory to start in. Naming a file grants that file and nothing beside it.
 *
 * A word is a document when it doesn't begin with "-" and names a regular file outside, by its path or by a file: URI.
 * When the box shows that very file (same device and inode) at the same path, the word is left alone; when it shows it
 * at its real path, the word becomes that path; else the file is bound at /run/documents/N/NAME and the word becomes
 * that.
 */
#include <stdio.h>
#include <string.h>

#include "box.h"
#include "environment.h"
#include "fail.h"
#include "names.h"
#include "sys.h"

static const char origin[] = "command line";

/* Places for words that are rewritten; used only where a word changes. */
static char rewritten[DOCUMENTS_MAX][SBX_PATH_SIZE_MAX];

/* "/run/documents/N", for those documents whose directory comes with them. */
static char directories[DOCUMENTS_MAX][32];

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

static int join(char out[SBX_PATH_SIZE_MAX], const char *directory, const char *name)
{
    int length = snprintf(out, SBX_PATH_SIZE_MAX, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, name);

    return length > 0 && length < SBX_PATH_SIZE_MAX ? 0 : -1;
}

/* A path in the box for the document with this number. */
static void place_of(unsigned number, const char *name, char place[SBX_PATH_SIZE_MAX])
{
    if (snprintf(place, SBX_PATH_SIZE_MAX, "/run/documents/%u/%s", number, name) >= SBX_PATH_SIZE_MAX)
        fail((struct failure){.what = "cannot hand in a document", .subject = name, .error = ENAMETOOLONG});
}

/* The kernel's own, and sockets of the session, wherever that keeps them. */
static int is_no_place_for_documents(const struct call *call, const char *directory)
{
    static const char *const closed[] = {"/dev", "/proc", "/run", "/sys"};
    const char *runtime = environment_value(call->caller_environment, "XDG_RUNTIME_DIR");
    char runtime_path[SBX_PATH_SIZE_MAX];
    CLEANUP_FD int fd = runtime ? open(runtime, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

    for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++)
        if (path_is_within(directory, closed[i]))
            return 1;
    return path_is_within(call->boxes, directory) ||
           (fd >= 0 && path_of(fd, runtime_path) > 0 &&
            (path_is_within(directory, runtime_path) || path_is_within(runtime_path, directory)));
}

/* What lies beside the document comes with it, read-only, unless that would be the home, all that it lies in, a directory
 * in / itself, something hidden, or more than files. */
static void bind_siblings(struct root *root, const struct call *call, const char *path, unsigned number)
{
    char parent[SBX_PATH_SIZE_MAX], home_path[SBX_PATH_SIZE_MAX], *box_parent = directories[number - 1];
    size_t length = (size_t)(strrchr(path, '/') - path);
    CLEANUP_FD int home = open(plan_string(call->plan, call->plan->header->home), O_PATH | O_DIRECTORY | O_CLOEXEC);

    memcpy(parent, path, length);
    parent[length] = '\0';
    if (length == 0 || strchr(parent + 1, '/') == NULL || strstr(parent, "/.") ||
        is_no_place_for_documents(call, parent) || home < 0 || path_of(home, home_path) <= 0 ||
        path_is_within(home_path, parent))
        return;
    CLEANUP_FD int directory =
        sys_openat2(root->host, parent + 1, O_PATH | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
    if (directory < 0)
        fail((struct failure){.what = "cannot hand in what lies beside a document", .subject = parent, .error = errno});
    (void)snprintf(box_parent, sizeof directories[0], "/run/documents/%u", number);
    bind_descriptor(root, directory, box_parent, SBX_OPF_DIRECTORY, origin);
}

/* Bind a document; `place` becomes its path in the box. */
static void bind_document(struct root *root, const struct call *call, int file, const char *path, const char *name,
                          unsigned number, char place[SBX_PATH_SIZE_MAX])
{
    uint32_t flags = call->plan->header->flags;

    place_of(number, name, place);
    if ((flags & SBX_PLAN_DOCUMENTS_SIBLINGS) && path[0] == '/' && strcmp(strrchr(path, '/') + 1, name) == 0)
        bind_siblings(root, call, path, number);
    bind_descriptor(root, file, place, (flags & SBX_PLAN_DOCUMENTS_WRITE) ? SBX_OPF_WRITE : 0, origin);
}

/* Where the application finds what a word names, in `place`; binds it where it isn't shown. Returns 0 when the word can
 * stay as it is. */
static int hand_in(struct root *root, const struct call *call, const char *word, int file, unsigned number,
                   char place[SBX_PATH_SIZE_MAX])
{
    char path[SBX_PATH_SIZE_MAX];
    const char *slash = strrchr(word, '/');
    struct stat meant;

    if (fstat(file, &meant) != 0 || !S_ISREG(meant.st_mode))
        return 0;
    if (word[0] != '/' && call->directory[0] && shown_at(root, call->directory, &call->directory_stat) &&
        join(path, call->directory, word) == 0 && shown_at(root, path, &meant))
        return 0;
    if (number > DOCUMENTS_MAX)
        fail((struct failure){.what = "cannot hand in so many documents at once",
                              .subject = word,
                              .origin = origin,
                              .hint = "name at most 256 files, or grant their directory"});
    if (path_of(file, path) > 0 && path[0] == '/' && shown_at(root, path, &meant))
        memcpy(place, path, strlen(path) + 1);
    else
        bind_document(root, call, file, path, slash ? slash + 1 : word, number, place);
    return 1;
}

/* One word of the user's. Returns what it has to be inside: itself, or a text in `changed`. */
static char *document_word(struct root *root, const struct call *call, char *word, unsigned number,
                           char changed[SBX_PATH_SIZE_MAX])
{
    char decoded[SBX_PATH_SIZE_MAX], place[SBX_PATH_SIZE_MAX];
    const char *rest = path_of_uri(word, decoded), *name = rest ? decoded : word;
    size_t length = strlen(name);
    struct stat found;

    if (length == 0 || name[0] == '-' || name[length - 1] == '/')
        return word;
    if (name[0] == '/' && stat(name, &found) == 0 && shown_at(root, name, &found))
        return word;
    CLEANUP_FD int file = open_named(call->plan, name);
    if (file < 0 || !hand_in(root, call, name, file, number, place))
        return word;
    if (!rest)
        return memcpy(changed, place, strlen(place) + 1);
    if (uri_of_path(place, rest, changed) != 0)
        fail((struct failure){.what = "cannot hand in a document", .subject = word, .error = ENAMETOOLONG});
    return changed;
}

/* Of `sandbox run`, the first of the user's words. */
static int names_program(const struct plan *plan, ptrdiff_t index)
{
    return index == (ptrdiff_t)plan->header->command.count && strcmp(plan_string(plan, plan->request[0]), "run") == 0;
}

void bind_documents(struct root *root, struct call *call)
{
    static char overflow[SBX_PATH_SIZE_MAX]; /* one document too many is refused before it is used */
    unsigned used = 0;

    if (!(call->plan->header->flags & SBX_PLAN_DOCUMENTS_READ))
        return;
    for (char **word = call->argv; *word; word++) {
        char *changed = used < DOCUMENTS_MAX ? rewritten[used] : overflow;

        /* The plan's own words are not the user's; a command without a slash is looked up in the box's PATH. */
        if ((size_t)(word - call->argv) < call->plan->header->command.count ||
            (names_program(call->plan, word - call->argv) && !strchr(*word, '/')))
            continue;
        char *inside = document_word(root, call, *word, used + 1, changed);
        if (inside != *word) {
            *word = inside;
            used++;
        }
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

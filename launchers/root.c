/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The box's root file system.
 *
 * Before: this process sees a copy of the host's mounts, in a mount namespace of its own, with CAP_SYS_ADMIN in the
 * new user namespace only. After leave_host(): it sees what the plan's operations made; nothing else is reachable.
 *
 * Two rules hold for every path. Sources are resolved from the host's root and targets from the box's, both by
 * openat2() without following any symbolic link: the plan holds resolved paths, so a link that is met was put there
 * since, perhaps by an application, and the start fails. And a mount is made complete (read-only, nosuid, nodev,
 * private) while it is still detached, so that there is no moment at which it is weaker.
 */
#include <string.h>
#include <sys/socket.h>

#include "box.h"
#include "fail.h"
#include "names.h"
#include "state.h"
#include "sys.h"

enum { BACKLOG = 128 };

/* One empty directory and one empty file, to cover with and to mount on. From the box's root. */
#define COVERS ".cover"
#define COVER_DIRECTORY COVERS "/directory"
#define COVER_FILE COVERS "/file"

static const char *hint_for(int error)
{
    switch (error) {
    case ELOOP:
        return "a symbolic link was put in the way since the policy was read; look at it and remove it";
    case EROFS:
        return "make it outside the box first: there is nothing here to mount it on";
    case EINVAL:
    case ENOTDIR:
        return "what is at this place is of another type, or a symbolic link that an application put there";
    case ENOSPC:
        return "there are too many mounts; see /proc/sys/fs/mount-max";
    default:
        return NULL;
    }
}

_Noreturn static void fail_at(const char *what, const char *path, const char *origin)
{
    fail((struct failure){.what = what, .subject = path, .error = errno, .origin = origin, .hint = hint_for(errno)});
}

/* What a start fails with on a machine on which no box could be made. */
_Noreturn static void fail_to_mount(const char *what, const char *subject, const char *origin)
{
    int error = errno;
    const char *hint = error == EPERM && strcmp(subject, "proc") == 0
                           ? "sandbox doctor: a container that hides parts of its /proc forbids a new one; start it outside, "
                             "or with an unmasked /proc"
                       : error == EPERM || error == EACCES
                           ? "sandbox doctor, which tells whether this system lets an ordinary user mount in a namespace"
                       : error == ENOSYS
                           ? "sandbox doctor: this needs Linux 5.14 or newer, and no container's filter that hides its mount calls"
                           : hint_for(error);

    fail((struct failure){.what = what, .subject = subject, .error = error, .origin = origin, .hint = hint});
}

/* An O_PATH descriptor of what lies beneath `root`; a link anywhere on the way, the last component included, is ELOOP.
 * The path has no ".." (plan_check() or this file saw to it), so that RESOLVE_BENEATH would only cost time. */
static int open_beneath(int root, const char *path, uint64_t flags)
{
    while (*path == '/')
        path++;
    return sys_openat2(root, *path ? path : ".", flags | O_PATH, 0, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

/* The deepest mounted directory that holds box_path. Those that don't hold it are left behind. */
static struct base base_of(struct root *root, const char *box_path)
{
    while (root->depth > 1 && !path_is_within(box_path, root->bases[root->depth - 1].path))
        sys_cleanup_fd(&root->bases[--root->depth].mount);
    return root->bases[root->depth - 1];
}

/* Descend from a base to `path` in the box (which is cut and mended on the way), making what is missing. */
static int make_directories(struct base base, char *path, const char *origin)
{
    int here = open_beneath(base.mount, "/", O_DIRECTORY);

    for (char *part = path + strlen(base.path), *end; here >= 0 && *part; part = end) {
        part += strspn(part, "/");
        end = part + strcspn(part, "/");
        char after = *end;
        *end = '\0';
        if (mkdirat(here, part, 0755) != 0 && errno != EEXIST)
            fail_at("cannot make a directory in the box", path, origin);
        int next = open_beneath(here, part, O_DIRECTORY);
        if (next < 0)
            fail_at("cannot open a directory in the box", path, origin);
        (void)close(here);
        here = next;
        if (after)
            *end++ = after;
    }
    return here;
}

static const char *last_component(const char *box_path)
{
    return strrchr(box_path, '/') + 1;
}

/* The directory that is to hold box_path, made when it is missing.
 * The descriptor is the root's to keep: most operations have the parent of the one before. */
static int open_parent(struct root *root, const char *box_path, const char *origin)
{
    char path[SBX_PATH_SIZE_MAX];
    size_t length = (size_t)(last_component(box_path) - 1 - box_path);

    if (root->parent >= 0 && strncmp(root->parent_path, box_path, length) == 0 && root->parent_path[length] == '\0')
        return root->parent;
    memcpy(path, box_path, length);
    path[length] = '\0';
    struct base base = base_of(root, path);
    int parent = open_beneath(base.mount, path + strlen(base.path), O_DIRECTORY);
    if (parent < 0 && errno == ENOENT)
        parent = make_directories(base, path, origin);
    if (parent < 0)
        fail_at("cannot open a directory in the box", path, origin);
    sys_cleanup_fd(&root->parent);
    root->parent = parent;
    memcpy(root->parent_path, path, length + 1);
    return parent;
}

/* Make the directory at box_path, unless something is there. */
static void make_directory(struct root *root, const char *box_path, mode_t mode, const char *origin)
{
    if (mkdirat(open_parent(root, box_path, origin), last_component(box_path), mode) != 0 && errno != EEXIST)
        fail_at("cannot make a directory in the box", box_path, origin);
}

/* Make an empty file at box_path to mount on, unless something is there. On the box's own tmpfs a link to the one
 * empty file does, at half the time of a new file. */
static void make_mount_point(struct root *root, const char *box_path, const char *origin)
{
    int parent = open_parent(root, box_path, origin);
    const char *name = last_component(box_path);

    if (linkat(root->bases[0].mount, COVER_FILE, parent, name, 0) == 0 || errno == EEXIST)
        return;
    if (errno != EXDEV || (mknodat(parent, name, S_IFREG | 0444, 0) != 0 && errno != EEXIST))
        fail_at("cannot make a file in the box", box_path, origin);
}

/* What is already at box_path. */
static int open_place(struct root *root, const char *box_path, const char *origin)
{
    int parent = open_parent(root, box_path, origin);
    int place = open_beneath(parent, last_component(box_path), 0);

    if (place < 0)
        fail_at("cannot open a place in the box", box_path, origin);
    return place;
}

/* Mount the detached `tree` at box_path; a link there is not followed, and can't hold a directory. */
static void attach(struct root *root, int tree, const char *box_path, const char *origin)
{
    int parent = open_parent(root, box_path, origin);

    if (sys_move_mount(tree, parent, last_component(box_path)) != 0)
        fail_at("cannot mount in the box", box_path, origin);
    if (path_is_within(root->parent_path, box_path)) { /* what was opened before, here or beneath, is now covered */
        sys_cleanup_fd(&root->parent);
        root->parent = -1;
    }
}

/* The same for a directory in which more is to be mounted: keeps `tree`, which the caller gives away. */
static void attach_base(struct root *root, int tree, const char *box_path, const char *origin)
{
    attach(root, tree, box_path, origin);
    (void)base_of(root, box_path);
    if (root->depth == BASES_MAX) {
        errno = EMLINK;
        fail_at("cannot nest so many mounts in the box", box_path, origin);
    }
    root->bases[root->depth++] = (struct base){.mount = tree, .path = box_path};
}

/* A detached copy of the mount at `source`, with `attributes` set on all of it, cut off from mount propagation. */
static int clone_mount(int source, unsigned recursive, uint64_t attributes, const char *box_path, const char *origin)
{
    int tree = sys_open_tree(source, "", OPEN_TREE_CLONE | AT_EMPTY_PATH | recursive);

    if (tree < 0 || sys_mount_setattr(tree, recursive,
                                      (struct mount_attr){.attr_set = attributes, .propagation = MS_PRIVATE}) != 0)
        fail_to_mount("cannot copy a mount for the box", box_path, origin);
    return tree;
}

void bind_descriptor(struct root *root, int source, const char *box_path, unsigned flags, const char *origin)
{
    uint64_t attributes = MOUNT_ATTR_NOSUID | ((flags & SBX_OPF_DEVICE) ? 0 : MOUNT_ATTR_NODEV) |
                          ((flags & SBX_OPF_WRITE) ? 0 : MOUNT_ATTR_RDONLY) |
                          ((flags & SBX_OPF_NOEXEC) ? MOUNT_ATTR_NOEXEC : 0);
    int tree = clone_mount(source, AT_RECURSIVE, attributes, box_path, origin);

    if (flags & SBX_OPF_DIRECTORY) {
        make_directory(root, box_path, 0755, origin);
        attach_base(root, tree, box_path, origin);
    } else {
        make_mount_point(root, box_path, origin);
        attach(root, tree, box_path, origin);
        sys_cleanup_fd(&tree);
    }
}

static void bind_host_path(struct root *root, const char *path, const char *box_path, unsigned flags,
                           const char *origin)
{
    CLEANUP_FD int source = open_beneath(root->host, path, (flags & SBX_OPF_DIRECTORY) ? O_DIRECTORY : 0);

    if (source < 0)
        fail_at("cannot open what the policy grants", path, origin);
    bind_descriptor(root, source, box_path, flags, origin);
}

static void make_link(struct root *root, const char *content, const char *box_path, const char *origin)
{
    int parent = open_parent(root, box_path, origin);

    if (symlinkat(content, parent, last_component(box_path)) != 0)
        fail_at("cannot make a symbolic link in the box", box_path, origin);
}

static void make_file(struct root *root, const unsigned char *data, uint32_t size, mode_t mode, const char *box_path,
                      const char *origin)
{
    int parent = open_parent(root, box_path, origin);
    CLEANUP_FD int file = sys_openat2(parent, last_component(box_path), O_CREAT | O_EXCL | O_WRONLY, mode,
                                      RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);

    if (file < 0)
        fail_at("cannot make a file in the box", box_path, origin);
    for (uint32_t done = 0; done < size;) {
        ssize_t written = write(file, data + done, size - done);
        if (written <= 0)
            fail_at("cannot write a file in the box", box_path, origin);
        done += (uint32_t)written;
    }
}

static void own_directory(struct root *root, mode_t mode, const char *box_path, const char *origin)
{
    make_directory(root, box_path, mode, origin);
    CLEANUP_FD int place = open_place(root, box_path, origin);
    int tree = clone_mount(place, 0, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, box_path, origin);

    attach_base(root, tree, box_path, origin);
}

static void seal(struct root *root, const char *box_path, const char *origin)
{
    CLEANUP_FD int place = open_place(root, box_path, origin);
    CLEANUP_FD int tree = clone_mount(place, AT_RECURSIVE, MOUNT_ATTR_RDONLY, box_path, origin);

    attach(root, tree, box_path, origin);
}

/* An empty, read-only thing of the type that `covered` has. */
static int open_cover(const struct root *root, int covered, const char *box_path, const char *origin)
{
    struct stat found;

    if (fstat(covered, &found) != 0)
        fail_at("cannot look at a place in the box", box_path, origin);
    int cover = open_beneath(root->bases[0].mount, S_ISDIR(found.st_mode) ? COVER_DIRECTORY : COVER_FILE, 0);
    if (cover < 0)
        fail_at("cannot open an empty cover", box_path, origin);
    return cover;
}

static void hide(struct root *root, const char *box_path, const char *origin)
{
    CLEANUP_FD int place = open_place(root, box_path, origin);
    CLEANUP_FD int cover = open_cover(root, place, box_path, origin);
    CLEANUP_FD int tree =
        clone_mount(cover, 0, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, box_path, origin);

    attach(root, tree, box_path, origin);
}

/* A socket that the monitor listens on: only its name is in the box. */
static void listen_at(struct root *root, mode_t mode, const char *box_path, const char *origin)
{
    int listener = *root->listeners++, parent = open_parent(root, box_path, origin);
    const char *name = last_component(box_path);

    if (bind_at(listener, parent, name) != 0 || fchmodat(parent, name, mode, 0) != 0 || listen(listener, BACKLOG) != 0)
        fail_at("cannot make a socket in the box", box_path, origin);
}

/* The socket for what the application tells the service manager. */
static void bind_notices(struct root *root)
{
    int parent = open_parent(root, NOTICES_PATH, NULL);

    if (bind_at(root->notices, parent, last_component(NOTICES_PATH)) != 0 ||
        fchmodat(parent, last_component(NOTICES_PATH), 0600, 0) != 0)
        fail_at("cannot make a socket in the box", NOTICES_PATH, NULL);
}

struct option {
    const char *key, *value;
};

/* A new, detached file system. */
static int new_mount(const char *type, const struct option *options, unsigned attributes, const char *origin)
{
    CLEANUP_FD int fs = sys_fsopen(type);

    if (fs < 0)
        fail_to_mount("cannot open a new file system", type, origin);
    for (; options && options->key; options++)
        if (sys_fsconfig(fs, FSCONFIG_SET_STRING, options->key, options->value) != 0)
            fail_at("cannot configure a new file system", type, origin);
    if (sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) != 0)
        fail_to_mount("cannot create a new file system", type, origin);
    int mount = sys_fsmount(fs, attributes);
    if (mount < 0)
        fail_to_mount("cannot mount a new file system", type, origin);
    return mount;
}

static void mount_new(struct root *root, const char *type, const struct option *options, unsigned attributes,
                      const char *box_path, const char *origin)
{
    int tree = new_mount(type, options, attributes, origin);

    make_directory(root, box_path, 0755, origin);
    attach_base(root, tree, box_path, origin);
}

void make_root(struct root *root, const struct sockets *sockets)
{
    static const struct option options[] = {{"mode", "0755"}, {NULL, NULL}};
    int box = new_mount("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, NULL);

    root->parent = -1;
    root->listeners = sockets->listeners;
    root->notices = sockets->notices;
    root->bases[0] = (struct base){.mount = box, .path = ""};
    root->depth = 1;
    root->host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root->host < 0)
        fail_at("cannot open the host's root", "/", NULL);
    /* A mount must be attached before others can be mounted on it. It covers /, where this process already stands
     * beneath, so that lookups from root->host still meet the host's files. */
    if (sys_move_mount(box, root->host, "") != 0)
        fail_to_mount("cannot attach the box's root", "/", NULL);
}

static void make_covers(const struct root *root)
{
    int box = root->bases[0].mount;

    if (mkdirat(box, COVERS, 0755) != 0 || mkdirat(box, COVER_DIRECTORY, 0555) != 0 ||
        mknodat(box, COVER_FILE, S_IFREG | 0444, 0) != 0)
        fail_at("cannot make the empty covers", COVERS, NULL);
}

static void run_mount_op(struct root *root, const struct plan *plan, const struct plan_op *op)
{
    static const struct option pts_options[] = {{"ptmxmode", "0666"}, {"mode", "0620"}, {NULL, NULL}};
    const char *box_path = plan_string(plan, op->box_path), *origin = plan_string(plan, op->origin);
    const char *source = plan_string(plan, op->source);

    switch ((enum sbx_op_kind)op->kind) {
    case SBX_OP_DIR:
        make_directory(root, box_path, op->mode, origin);
        return;
    case SBX_OP_LINK:
        make_link(root, source, box_path, origin);
        return;
    case SBX_OP_FILE:
        make_file(root, plan->data + op->data_offset, op->data_size, op->mode, box_path, origin);
        return;
    case SBX_OP_BIND:
        bind_host_path(root, source, box_path, op->flags, origin);
        return;
    case SBX_OP_OWN:
        own_directory(root, op->mode, box_path, origin);
        return;
    case SBX_OP_PROC:
        mount_new(root, "proc", NULL, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, box_path, origin);
        return;
    case SBX_OP_PTS:
        mount_new(root, "devpts", pts_options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, box_path, origin);
        return;
    case SBX_OP_SEAL:
        seal(root, box_path, origin);
        return;
    case SBX_OP_HIDE:
        hide(root, box_path, origin);
        return;
    case SBX_OP_LISTEN:
        listen_at(root, op->mode, box_path, origin);
        return;
    case SBX_OP_CONNECT: /* was done before the box */
        return;
    }
}

void run_mount_ops(struct root *root, const struct plan *plan)
{
    make_covers(root);
    for (uint32_t i = 0; i < plan->header->ops.count; i++)
        run_mount_op(root, plan, &plan->ops[i]);
    if (root->notices >= 0)
        bind_notices(root);
}

void leave_host(struct root *root)
{
    int box = root->bases[0].mount;

    if (sys_mount_setattr(box, 0, (struct mount_attr){.attr_set = MOUNT_ATTR_RDONLY}) != 0)
        fail_at("cannot make the box's root read-only", "/", NULL);
    /* The host's root is stacked on the box's by pivot_root, then taken off. */
    if (fchdir(box) != 0 || sys_pivot_root(".", ".") != 0)
        fail_to_mount("cannot change to the box's root", "/", NULL);
    if (fchdir(root->host) != 0 || sys_umount(".", MNT_DETACH) != 0)
        fail_at("cannot leave the host's root", "/", NULL);
    if (chdir("/") != 0)
        fail_at("cannot enter the box's root", "/", NULL);
    if (close(root->host) != 0 || (root->parent >= 0 && close(root->parent) != 0))
        fail_at("cannot let go of the host's root", "/", NULL);
    while (root->depth > 0)
        if (close(root->bases[--root->depth].mount) != 0)
            fail_at("cannot let go of the box's mounts", "/", NULL);
}

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The box: what runs between a checked plan and the application. Each function below is one phase; each ends this
 * process with a message and EXIT_SANDBOX when any system call of it fails, so that a phase which returns is complete.
 */
#ifndef SANDBOXER_BOX_H
#define SANDBOXER_BOX_H

#include <signal.h>
#include <stdint.h>
#include <sys/stat.h>

#include "environment.h"
#include "plan.h"

enum {
    ARENA_SIZE = 2 * 1024 * 1024 + 64 * 1024, /* the kernel's own limit for arguments and environment, and some */
    WORDS_MAX = 65536,
    DOCUMENTS_MAX = 256,
    BASES_MAX = 32,
    ACTIVATION_MAX = 32,
    HANDED_MAX = SBX_KEEP_FDS_MAX + ACTIVATION_MAX + SBX_CONNECT_MAX + 1,
};

/* What the box's first process tells the monitor, through a pipe; a monitor that hears nothing knows that it died. */
enum { PERMISSION = 'G' }; /* from the monitor: the application may start */
enum { NEWS_READY = 'R', NEWS_STOPPED = 'S', NEWS_ENDED = 'E' };
struct news {
    unsigned char kind;
    unsigned char status; /* of NEWS_ENDED: the application's, as a shell has it */
    unsigned char signal; /* ... and what killed it, 0 for nothing */
};

/* What the caller of the launcher handed over, copied out of its own memory so that that can be wiped. */
struct call {
    const struct plan *plan;
    char **argv;        /* the command in the box, NULL-terminated; argv[0] is looked up in the box's PATH */
    char **environment; /* the box's, complete */
    const char *search; /* its PATH */
    char *caller_memory; /* the caller's argv and environ strings, to be wiped in the box's first process */
    size_t caller_memory_size;
    char directory[SBX_PATH_SIZE_MAX]; /* where the caller stood; "" when that has no name */
    struct stat directory_stat;
    mode_t umask;
    pid_t caller; /* our parent, as it was when we started */
    char *const *caller_environment;
    char boxes[SBX_PATH_SIZE_MAX]; /* the directory in which running boxes are known */
    /* Descriptors above 2 that the application gets: --keep-fd, socket activation, what the policy connects. */
    int handed[HANDED_MAX];
    size_t handed_count;
    int start_lock;   /* -1, or held until the box is known: a start at the same moment joins it */
    int is_activated; /* a service manager's sockets are among them */
    int ended_by;     /* once it has run: the signal that killed the application, 0 for none */
};

/* sockets.c: what the two sides of a box speak through. */
enum { MONITORS_END, BOXS_END };
struct sockets {
    int listeners[SBX_LISTEN_MAX]; /* bound in the box, held by the monitor for the broker */
    const char *names[SBX_LISTEN_MAX];
    size_t listener_count;
    int descriptor; /* the broker's end of the application's own connection, -1 for none */
    int pair[2];    /* the broker's end and the steward's, -1 for none */
    int orders[2];  /* the steward's end and pid 1's */
    int notices;    /* bound in the box: what the application tells the service manager; -1 for none */
};
void make_sockets(struct sockets *sockets, struct call *call);
void keep_ends_of_box(const struct sockets *sockets);
void leave_listeners(const struct sockets *sockets);
void keep_ends_of_monitor(const struct sockets *sockets, const struct call *call);

/* notices.c: sd_notify(3), through the monitor. */
#define NOTICES_PATH "/run/sandboxer/notify"
int make_notice_socket(const struct call *call);
int pass_notice_variables(const struct call *call, struct arena *arena, char **out, size_t out_max);
void pass_on_notices(int notices, char *const *environment);

/* run.c: start the box, wait for it, and return the exit status for the shell. */
int run_box(struct call *call);

/* namespaces.c: after clone3. Maps the user to himself; all capabilities exist in the new user namespace only. */
void map_ids(const struct plan *plan);
void limit_nested_namespaces(const struct plan *plan);
void name_host(const struct plan *plan);
void raise_loopback(const struct plan *plan);
void enter_scope(const struct plan *plan, int orders);

/* root.c: build the box's root file system on an empty tmpfs, then make it the only one there is. */
struct base {
    int mount; /* the root of a mount in the box */
    const char *path;
};
struct root {
    int host; /* O_PATH: the host's /, still reachable until leave_host() */
    /* The box's root and the directories mounted on the way to where the last operation was, the deepest last. Places
     * are looked for from the deepest, so that nobody who can rename what lies between can lead a lookup elsewhere. */
    struct base bases[BASES_MAX];
    size_t depth;
    const int *listeners; /* sockets that the next LISTEN operations bind */
    int notices;
    int parent; /* O_PATH: the directory that was used last, -1 for none: operations come sorted */
    char parent_path[SBX_PATH_SIZE_MAX];
};
void make_root(struct root *root, const struct sockets *sockets);
void run_mount_ops(struct root *root, const struct plan *plan);
void leave_host(struct root *root);

/* root.c, for documents.c: bind an O_PATH descriptor at box_path; flags are OpFlags. */
void bind_descriptor(struct root *root, int source, const char *box_path, unsigned flags, const char *origin);

/* documents.c: hand in the files that the user named, and the terminal; rewrites words of argv in place. */
void bind_documents(struct root *root, struct call *call);
void bind_terminal(struct root *root, const struct plan *plan);
void enter_directory(const struct call *call);

/* limits.c: the resource limits of all that runs in the box. */
void set_limits(const struct plan *plan);

/* confine.c: give up everything. After it, nothing but the filter's permitted calls is possible. */
void confine(const struct call *call);

/* orders.c: let pid 1 be told of orders, which the filter will forbid to set up; carry out what has come; and tell
 * whoever waits for a program how it ended (a wait status). */
void heed_orders(int orders);
void obey(const struct call *call, int orders, const sigset_t *caller_mask);
void tell_of_end(pid_t pid, int ended);
int is_frozen(void); /* by an order: no stop is the application's own, and no SIGCONT is for it */

/* init.c, for orders.c: an exit status as a shell has it, from a wait status; and the last step of a program's start. */
int status_of(int ended);
_Noreturn void start_application(const struct call *call, char *const *argv, const sigset_t *caller_mask);

/* init.c: a signal from the terminal (Ctrl-C and the like) that waits for this process, perhaps in place of the
 * application; 0 for none. Both halves look at the points where only they could have received it. */
int terminal_signal(void);

/* init.c: the box's first process, which starts the application, reaps, forwards, and never returns. */
_Noreturn void run_init(const struct call *call, int reports, int orders, const sigset_t *caller_mask);

#endif

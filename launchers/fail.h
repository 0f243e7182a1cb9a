/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The one way in which this program gives up: a message of four parts, and the exit status.
 */
#ifndef SANDBOXER_FAIL_H
#define SANDBOXER_FAIL_H

enum exit_status {
    EXIT_SANDBOX = 125,        /* the box could not be made (the application has not run), or was lost */
    EXIT_NOT_EXECUTABLE = 126, /* found in the box, but can't be executed */
    EXIT_NOT_FOUND = 127,      /* not found in the box */
    EXIT_SIGNAL_BASE = 128,    /* plus the signal that ended the application */
};

/* A failure. Empty parts are left out. `error` is an errno, 0 for none. */
struct failure {
    const char *what;    /* "cannot bind" */
    const char *subject; /* "/home/u/Downloads" */
    int error;
    const char *origin; /* "apps/firefox.toml:12 files.write" */
    const char *hint;   /* "unmount it, or ..." */
};

/* The application's name, for the first line of each message. It must outlive all calls. */
void fail_for(const char *app);

/* Messages are also written to `copy`, and fail() in this process, not in its children, ends by `end`, which doesn't
 * return: for a start from a menu, where nobody reads stderr. */
void fail_to(int copy, void (*end)(int status));

/* Write the message to stderr, in one write. Async-signal-safe. */
void report(struct failure failure);

/* Write one line to stderr. */
void say(const char *line);

/* report(), then end this process with EXIT_SANDBOX, running no handlers. */
_Noreturn void fail(struct failure failure);

#endif

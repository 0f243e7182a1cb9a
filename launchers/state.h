/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The directory by which the session knows a running box.
 */
#ifndef SANDBOXER_STATE_H
#define SANDBOXER_STATE_H

struct state {
    int boxes;     /* O_PATH: the directory of all boxes' directories */
    int directory; /* O_PATH: this box's */
    int lock;      /* the locked file */
    int control;   /* the listening control socket, which the steward serves */
    const char *name; /* APP.PID */
    const char *path;
};

/* Make it, before the box: `boxes_path` is the directory of all, which is made when it isn't there. `facts` are lines that
 * others may read. */
void make_state(struct state *state, const char *boxes_path, const char *app, const char *facts);

/* Whether a box of `app` runs. */
int app_runs(const char *boxes_path, const char *app);

/* Until the descriptor that is returned is closed, nobody else who asks for it starts this application. */
int lock_starts(const char *boxes_path, const char *app);

/* Close it, in the box. */
void leave_state(const struct state *state);

/* Remove it, at the end. */
void remove_state(const struct state *state);

/* Bind a unix socket at a name in a directory (O_PATH), however long the directory's path is. Needs /proc. */
int bind_at(int socket, int directory, const char *name);

#endif

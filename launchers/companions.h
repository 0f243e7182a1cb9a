/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The broker and the steward, as the monitor knows them.
 */
#ifndef SANDBOXER_COMPANIONS_H
#define SANDBOXER_COMPANIONS_H

#include <poll.h>
#include <signal.h>
#include <stdint.h>

#include "box.h"

enum { COMPANIONS = 2, SOCKETS_MAX = SBX_LISTEN_MAX + 2, COMPANION_SOURCES_MAX = COMPANIONS * SOCKETS_MAX };

enum wakes {
    WAKES_NOT, /* it is only handed over */
    WAKES,     /* when it can be read, the companion is started */
    WAKES_ONE, /* the same, but it is a connection, and ends with the first companion */
};

struct companion_socket {
    const char *name;
    int fd;
    enum wakes wakes;
};

struct companion {
    const char *word;           /* its name, and what it is told to be */
    const unsigned char *input; /* what it finds on its standard input */
    size_t input_size;
    struct companion_socket sockets[SOCKETS_MAX];
    size_t socket_count;
    pid_t pid;
    int pidfd; /* -1 while it doesn't run */
    int has_own_root; /* it gets namespaces of its own */
    int is_trusted_with_time, is_wanted;
    int64_t started_ms, not_before_ms; /* CLOCK_MONOTONIC */
};

/* What a companion is started with. */
struct surroundings {
    const struct plan *plan;
    const char *state_path;
    char *const *environment; /* the caller's: the steward starts programs outside */
    const sigset_t *mask;
};

void make_companions(struct companion companions[COMPANIONS], const struct plan *plan, const struct sockets *sockets,
                     int control);

/* Put what has to be waited for into `sources` (COMPANION_SOURCES_MAX); returns how many. */
size_t watch_companions(const struct companion companions[COMPANIONS], struct pollfd *sources, int *timeout_ms);

/* After the wait: start who is needed, note who has ended. */
void serve_companions(struct companion companions[COMPANIONS], const struct pollfd *sources, size_t count,
                      const struct surroundings *around);

/* Before what they use is taken away: none runs any more. */
void end_companions(const struct companion companions[COMPANIONS]);

#endif

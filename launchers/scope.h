/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What a user manager holds the box to.
 */
#ifndef SANDBOXER_SCOPE_H
#define SANDBOXER_SCOPE_H

#include "box.h"

enum { NO_SCOPE = -1, SCOPE_FAILED = -2 };

/* Ask for the box's scope. Returns the connection on which the answer comes, NO_SCOPE when the plan wants none, or
 * SCOPE_FAILED after a message. */
int ask_for_scope(const struct call *call, int init_pidfd, const sigset_t *caller_mask);

/* Wait for the answer. Returns 0 when the application may start; or -1 when it may not: after a message, or when the box
 * has ended (`reports` is its pipe), or with *signal set when the terminal cancelled the start. */
int await_scope(int connection, int reports, int *signal);

#endif

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The descriptors that the caller passed, and what becomes of them.
 */
#ifndef SANDBOXER_DESCRIPTORS_H
#define SANDBOXER_DESCRIPTORS_H

#include "box.h"
#include "environment.h"

/* First of all: 0 to 2 are open, and none is a directory. */
void settle_standard_descriptors(void);

/* Leave of a terminal on a standard descriptor only what can be written to: whoever holds it for reading, and has left
 * the terminal's session, gets what the user types at the shell. */
void mute_terminal(int fd);

/* Close what the application doesn't get, and note in the call what it does. */
void settle_descriptors(struct call *call, char *const *environment);

/* Add what tells of socket activation to the box's environment. Returns 0, or -1 when there is no room. */
int pass_activation(const struct call *call, char *const *environment, struct arena *arena, char **out, size_t out_max);

#endif

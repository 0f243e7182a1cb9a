/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * `sandbox-broker`, the broker's client for shells, and `xdg-open` in the box: what its files share.
 *
 * It runs inside the box, with the rights of whoever calls it and no others; it decides nothing. It shares no code with
 * `sandbox`, which confines.
 */
#ifndef SANDBOXER_CLIENT_H
#define SANDBOXER_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "../sys.h"
#include "broker_protocol.h"

enum status {
    STATUS_OK = 0,
    STATUS_FAILED = 1,     /* refused, or gone wrong; one line on stderr names the errno */
    STATUS_USAGE = 2,      /* the command line can't be understood */
    STATUS_NO_BROKER = 3,  /* nobody listens: the box has no broker */
    STATUS_NOT_RUN = 126,  /* `-- CMD` can't be executed */
    STATUS_NOT_FOUND = 127 /* `-- CMD` isn't there */
};

/* A request. Paths as the broker wants them (absolute_path), or a service or a text; "" for none. */
struct question {
    uint16_t command;
    uint32_t flags, argument;
    const char *first, *second;
};

struct answer {
    int fd; /* that came with it, close-on-exec; else -1 */
    uint64_t value;
    size_t size; /* of data */
    char data[SBX_BROKER_REPLY_SIZE_MAX];
};

/* The command line's options, each by its letter. */
struct options {
    uint64_t given; /* a bit for each letter of OPTION_LETTERS */
    uint32_t mode;  /* of -m */
    char **words;   /* what follows them */
};

/* ask.c: the environment's words on where the broker is. */
void find_broker(char *const *environment);

/* ask.c: ask, and wait for the answer. Returns 0, or the errno of the broker's refusal or of the failure to ask;
 * *status is then what this program ends with. */
CHECKED int ask(struct question question, struct answer *answer, int *status);

/* ask.c: say on stderr what ask() gave; where there is no broker, it is about the socket. */
void tell_refusal(const char *verb, const char *subject, int error, int status);

/* path.c: `path` as the broker takes it: absolute, no empty and "." components, ".." only where the broker is to refuse
 * it. Returns 0, or -1 with errno. */
CHECKED int absolute_path(const char *path, char out[SBX_BROKER_PATH_SIZE_MAX + 1]);

/* tell.c: messages, one line each on stderr, and output. */
void tell(const char *verb, const char *subject, int error);
void complain(const char *what, const char *word);
CHECKED int put(int fd, const char *bytes, size_t size); /* write all of it; 0, or -1 with errno */

/* ask.c: ask about one path, or two, and say on stderr what went wrong. Returns the status to end with. */
CHECKED int ask_about(const char *verb, struct question question, const char *first, const char *second,
                      struct answer *answer);

/* The verbs. Each returns the status to end with. */
int run_open(const struct options *options, char *const *environment);
int run_watch(const struct options *options);
int run_connect(const struct options *options, char *const *environment);
int run_present(const char *text);

/* present.c: this program under the name xdg-open; its statuses are those of xdg-open(1). */
int run_as_xdg_open(char **words);

/* main.c: was the option with this letter given? */
int has_option(const struct options *options, char letter);

#endif

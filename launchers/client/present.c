/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Links and files that are opened outside: the verb `present`, and this program under the name xdg-open.
 *
 * One word goes to the broker, which decides by its rules; no option is handed on, and nothing is executed here.
 */
#include <string.h>

#include "client.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

enum xdg_status { /* xdg-open(1) */
    XDG_OK = 0,
    XDG_SYNTAX = 1,
    XDG_NO_FILE = 2,
    XDG_NO_TOOL = 3,
    XDG_FAILED = 4,
};

static const char help[] = "xdg-open {FILE | URL}\n"
                           "xdg-open {--help | --manual | --version}\n"
                           "\n"
                           "Opens a file or a link outside the box, with the user's own program for it, where the\n"
                           "box's policy permits that. See sandbox-broker --help, present.\n"
                           "Exit status: 0 done, 1 wrong usage, 2 no such file, 3 no broker, 4 refused or failed.\n";

/* Does it begin with a scheme and a colon? Source: RFC 3986, 3.1. */
static int is_link(const char *text)
{
    return strspn(text, LETTERS) > 0 && text[strspn(text, LETTERS "0123456789+-.")] == ':';
}

/* A link with every byte percent-encoded that can't stand in one (RFC 3986, 2; the broker takes no apostrophe). 0, or
 * -1 with errno. */
static int encode(const char *text, char out[SBX_BROKER_PATH_SIZE_MAX + 1])
{
    static const char kept[] = LETTERS "0123456789-._~:/?#[]@!$&()*+,;=%", digits[] = "0123456789ABCDEF";
    size_t used = 0;

    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        int keeps = strchr(kept, *at) != NULL;
        if (used + (keeps ? 1 : 3) > SBX_BROKER_PATH_SIZE_MAX) {
            errno = ENAMETOOLONG;
            return -1;
        }
        out[used++] = keeps ? (char)*at : '%';
        if (!keeps) {
            out[used++] = digits[*at >> 4];
            out[used++] = digits[*at & 15];
        }
    }
    out[used] = '\0';
    return 0;
}

/* Ask the broker, and say what went wrong. Returns its errno or 0; *status as ask() sets it. */
static int present(const char *text, int *status)
{
    static char place[SBX_BROKER_PATH_SIZE_MAX + 1];
    static struct answer answer;
    int error = 0;

    *status = STATUS_FAILED;
    if ((is_link(text) ? encode(text, place) : absolute_path(text, place)) != 0)
        error = errno;
    if (error == 0)
        error = ask((struct question){.command = SBX_BROKER_PRESENT, .first = place, .second = ""}, &answer, status);
    if (error != 0)
        tell_refusal("present", text, error, *status);
    return error;
}

int run_present(const char *text)
{
    int status;

    return present(text, &status) == 0 ? STATUS_OK : status;
}

int run_as_xdg_open(char **words)
{
    int status;

    if (words[0] && (strcmp(words[0], "--help") == 0 || strcmp(words[0], "--manual") == 0))
        return put(STDOUT_FILENO, help, sizeof help - 1) == 0 ? XDG_OK : XDG_FAILED;
    if (words[0] && strcmp(words[0], "--version") == 0)
        return put(STDOUT_FILENO, "xdg-open of sandboxer\n", 22) == 0 ? XDG_OK : XDG_FAILED;
    if (!words[0] || words[1] || words[0][0] == '-' || words[0][0] == '\0') {
        complain("xdg-open takes one file or link", NULL);
        return XDG_SYNTAX;
    }
    int error = present(words[0], &status);
    return error == 0                     ? XDG_OK
           : status == STATUS_NO_BROKER   ? XDG_NO_TOOL
           : error == ENOENT              ? XDG_NO_FILE
                                          : XDG_FAILED;
}

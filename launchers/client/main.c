/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * `sandbox-broker VERB …`: the command line, and the verbs that are about names. Under the name xdg-open: present.c.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "client.h"

enum { WORDS_MAX = 2, MODE_MAX = 0755 };

static const char help[] =
    "sandbox-broker VERB [OPTION...] [PATH...]: ask the box's broker for what lies outside the box\n"
    "\n"
    "  open [-w|-a|-u] [-c] [-m MODE] PATH [-- CMD...]\n"
    "                      copy the file to standard output, or with -w, -a standard input to the file;\n"
    "                      with CMD: run it with the file as its descriptor 3\n"
    "      -w, --write         for writing; the file is emptied first\n"
    "      -a, --append        for writing at its end\n"
    "      -u, --update        for reading and writing, with CMD alone\n"
    "      -c, --create        make the file when it isn't there, with -m, --mode MODE (0600)\n"
    "  stat [-P] PATH      print what it is, as NAME=VALUE; -P, --no-follow: of a symbolic link itself\n"
    "  access [-r] [-w] PATH\n"
    "                      would the broker open it: for reading, for writing\n"
    "  readlink PATH       print where a symbolic link points\n"
    "  list [-t] [-0] PATH print the names in a directory; -t, --types: f, d, l or o before each\n"
    "  mkdir [-m MODE] PATH\n"
    "                      make a directory (0700)\n"
    "  rename [-n] OLD NEW rename; -n, --no-replace: fail when NEW is there\n"
    "  unlink PATH         remove a file or a symbolic link\n"
    "  rmdir PATH          remove an empty directory\n"
    "  watch [-1] [-0] PATH\n"
    "                      print what changes, EVENT[,EVENT] NAME; -1, --once: the first time only\n"
    "  connect SERVICE [-- CMD...]\n"
    "                      relay standard input and output to a service, or run CMD with it as descriptor 3\n"
    "  present TEXT        open a link or a file outside, with the user's own program for it\n"
    "  hello               is the broker there\n"
    "\n"
    "-0, --null: end each with a NUL, not a newline. MODE is octal, within 0755. --version prints the protocol's.\n"
    "The broker is found by $SANDBOXER_BROKER, or $SANDBOXER_BROKER_FD.\n"
    "Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no broker; of CMD its own, 126 can't be executed,\n"
    "127 not found.\n";

/* In the order of their bits in options.given. */
static const struct {
    char letter;
    const char *word;
} names[] = {{'0', "--null"},   {'1', "--once"},      {'P', "--no-follow"}, {'a', "--append"},
             {'c', "--create"}, {'m', "--mode"},      {'n', "--no-replace"}, {'r', "--read"},
             {'t', "--types"},  {'u', "--update"},    {'w', "--write"}};

int has_option(const struct options *options, char letter)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].letter == letter)
            return (options->given >> i & 1) != 0;
    return 0;
}

static int is_mode(const char *word, uint32_t *mode)
{
    *mode = 0;
    if (!word || !word[0] || strlen(word) > 5)
        return 0;
    for (; *word >= '0' && *word <= '7'; word++)
        *mode = *mode * 8 + (uint32_t)(*word - '0');
    return *word == '\0' && (*mode & ~(uint32_t)MODE_MAX) == 0;
}

/* Read the options before the first other word; `allowed` holds the letters that the verb takes. 0, or -1: said why. */
static int read_options(char **words, const char *allowed, struct options *options)
{
    for (; words[0] && words[0][0] == '-' && words[0][1]; words++) {
        size_t i = 0, count = sizeof names / sizeof names[0];
        if (strcmp(words[0], "--") == 0) {
            words++;
            break;
        }
        while (i < count && strcmp(words[0], names[i].word) != 0 &&
               !(words[0][1] == names[i].letter && !words[0][2]))
            i++;
        if (i == count || !strchr(allowed, names[i].letter)) {
            complain("no such option: ", words[0]);
            return -1;
        }
        options->given |= UINT64_C(1) << i;
        if (names[i].letter == 'm' && !is_mode(*++words, &options->mode)) {
            complain("-m takes an octal mode within 0755", NULL);
            return -1;
        }
    }
    options->words = words;
    return 0;
}

static int run_stat(const struct options *options)
{
    static struct answer answer;
    struct sbx_broker_stat found;
    char text[512];
    struct question question = {.command = SBX_BROKER_STAT,
                                .flags = has_option(options, 'P') ? SBX_BROKER_FLAG_NO_FOLLOW : 0,
                                .second = ""};
    int status = ask_about("stat", question, options->words[0], NULL, &answer);

    if (status != STATUS_OK)
        return status;
    if (answer.size != sizeof found) {
        tell("stat", options->words[0], EPROTO);
        return STATUS_FAILED;
    }
    memcpy(&found, answer.data, sizeof found);
    const char *type = S_ISREG(found.mode)   ? "file"
                       : S_ISDIR(found.mode) ? "directory"
                       : S_ISLNK(found.mode) ? "link"
                                             : "other";
    int length = snprintf(text, sizeof text,
                          "type=%s mode=%04o links=%u uid=%u gid=%u size=%llu device=%llu inode=%llu mtime_ns=%lld "
                          "ctime_ns=%lld atime_ns=%lld\n",
                          type, found.mode & 07777, found.links, found.uid, found.gid, (unsigned long long)found.size,
                          (unsigned long long)found.device, (unsigned long long)found.inode, (long long)found.mtime_ns,
                          (long long)found.ctime_ns, (long long)found.atime_ns);
    return put(STDOUT_FILENO, text, (size_t)length) == 0 ? STATUS_OK : STATUS_FAILED;
}

static int run_readlink(const struct options *options)
{
    static struct answer answer;
    int status = ask_about("readlink", (struct question){.command = SBX_BROKER_READLINK, .second = ""},
                           options->words[0], NULL, &answer);

    if (status != STATUS_OK)
        return status;
    if (put(STDOUT_FILENO, answer.data, answer.size) != 0 || put(STDOUT_FILENO, "\n", 1) != 0)
        return STATUS_FAILED;
    return STATUS_OK;
}

/* Print the entries of one answer, and note the last name. 0, an errno, or -1: that of writing them. */
static int print_entries(const struct answer *answer, const struct options *options, char last[NAME_MAX + 1])
{
    const char *entry = answer->data, *end = answer->data + answer->size;
    char after = has_option(options, '0') ? '\0' : '\n';

    while (entry < end) {
        size_t length = strnlen(entry, (size_t)(end - entry));
        if (entry + length == end || length < 2 || length - 1 > NAME_MAX || !strchr("fdlo", entry[0]) ||
            strcmp(entry + 1, last) <= 0 || strchr(entry + 1, '/'))
            return EPROTO;
        memcpy(last, entry + 1, length);
        if (has_option(options, 't') && (put(STDOUT_FILENO, entry, 1) != 0 || put(STDOUT_FILENO, " ", 1) != 0))
            return -1;
        if (put(STDOUT_FILENO, entry + 1, length - 1) != 0 || put(STDOUT_FILENO, &after, 1) != 0)
            return -1;
        entry += length + 1;
    }
    return answer->value > 1 || (answer->value == 1 && answer->size == 0) ? EPROTO : 0;
}

static int run_list(const struct options *options)
{
    static struct answer answer;
    char last[NAME_MAX + 1] = "";

    do {
        struct question question = {.command = SBX_BROKER_LIST, .second = last};
        int status = ask_about("list", question, options->words[0], NULL, &answer);
        if (status != STATUS_OK)
            return status;
        int error = print_entries(&answer, options, last);
        if (error > 0)
            tell("list", options->words[0], error);
        if (error != 0)
            return STATUS_FAILED;
    } while (answer.value == 1);
    return STATUS_OK;
}

/* The verbs whose whole answer is yes or no. */
static int run_plain(const char *verb, struct question question, const struct options *options)
{
    static struct answer answer;

    question.second = "";
    return ask_about(verb, question, options->words[0], options->words[1], &answer);
}

static int run_access(const struct options *options)
{
    uint32_t argument = (has_option(options, 'r') ? R_OK : 0U) | (has_option(options, 'w') ? W_OK : 0U);

    return run_plain("access", (struct question){.command = SBX_BROKER_ACCESS, .argument = argument}, options);
}

static int run_hello(void)
{
    static struct answer answer;
    int status, error = ask((struct question){.command = SBX_BROKER_HELLO, .first = "", .second = ""}, &answer, &status);

    if (error != 0)
        tell_refusal("hello", "", error, status);
    return error == 0 ? STATUS_OK : status;
}

/* What each verb takes: letters of options, and how many words; CMD after "--" where it takes one. */
static const struct verb {
    const char *name, *options;
    int words, takes_command;
} verbs[] = {
    {"open", "wuacm", 1, 1},  {"stat", "P", 1, 0},   {"access", "rw", 1, 0}, {"readlink", "", 1, 0},
    {"list", "t0", 1, 0},     {"mkdir", "m", 1, 0},  {"rename", "n", 2, 0},  {"unlink", "", 1, 0},
    {"rmdir", "", 1, 0},      {"watch", "10", 1, 0}, {"connect", "", 1, 1},  {"present", "", 1, 0},
    {"hello", "", 0, 0},
};

static int run(const char *verb, const struct options *options, char *const *environment)
{
    switch (verb[0]) {
    case 'o':
        return run_open(options, environment);
    case 's':
        return run_stat(options);
    case 'a':
        return run_access(options);
    case 'l':
        return run_list(options);
    case 'm':
        return run_plain(verb, (struct question){.command = SBX_BROKER_MKDIR, .argument = options->mode}, options);
    case 'u':
        return run_plain(verb, (struct question){.command = SBX_BROKER_UNLINK}, options);
    case 'w':
        return run_watch(options);
    case 'c':
        return run_connect(options, environment);
    case 'p':
        return run_present(options->words[0]);
    case 'h':
        return run_hello();
    default:
        break;
    }
    if (strcmp(verb, "readlink") == 0)
        return run_readlink(options);
    if (strcmp(verb, "rmdir") == 0)
        return run_plain(verb, (struct question){.command = SBX_BROKER_UNLINK, .flags = SBX_BROKER_FLAG_DIRECTORY},
                         options);
    return run_plain(verb,
                     (struct question){.command = SBX_BROKER_RENAME,
                                       .flags = has_option(options, 'n') ? SBX_BROKER_FLAG_NO_REPLACE : 0},
                     options);
}

/* The words that the verb takes are there, and no others but "-- CMD". */
static int has_words(const struct verb *verb, char *const *words)
{
    int count = 0;

    while (words[count] && count < verb->words && strcmp(words[count], "--") != 0)
        count++;
    if (count < verb->words)
        return 0;
    return !words[count] || (verb->takes_command && strcmp(words[count], "--") == 0 && words[count + 1]);
}

int main(int argc, char **argv, char **environment)
{
    struct options options = {0};
    const char *called = argc > 0 && strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argc > 0 ? argv[0] : "";

    find_broker(environment);
    if (strcmp(called, "xdg-open") == 0)
        return run_as_xdg_open(argv + 1);
    if (argc < 2) {
        complain("no verb", NULL);
        return STATUS_USAGE;
    }
    for (int i = 1; i < 3 && i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || (i == 1 && strcmp(argv[i], "-h") == 0))
            return put(STDOUT_FILENO, help, sizeof help - 1) == 0 ? STATUS_OK : STATUS_FAILED;
    if (strcmp(argv[1], "--version") == 0) {
        char text[64];
        int length = snprintf(text, sizeof text, "sandbox-broker, protocol %d\n", SBX_BROKER_VERSION);
        return put(STDOUT_FILENO, text, (size_t)length) == 0 ? STATUS_OK : STATUS_FAILED;
    }
    for (const struct verb *verb = verbs; verb < verbs + sizeof verbs / sizeof verbs[0]; verb++) {
        if (strcmp(verb->name, argv[1]) != 0)
            continue;
        if (read_options(argv + 2, verb->options, &options) != 0)
            return STATUS_USAGE;
        if (has_words(verb, options.words))
            return run(verb->name, &options, environment);
        complain("not the words that it takes: ", verb->name);
        return STATUS_USAGE;
    }
    complain("no such verb: ", argv[1]);
    return STATUS_USAGE;
}

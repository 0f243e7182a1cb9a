/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * `sandbox`: find the plan that answers the command line and run it; else let Python compile one and come back.
 *
 * Decides nothing about permissions. What it can't answer from a fresh plan (other verbs, a missing or stale plan,
 * a malformed command line) it hands to the Python half, with the very words that it was given.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "box.h"
#include "descriptors.h"
#include "environment.h"
#include "fail.h"
#include "lookup.h"
#include "python.h"
#include "state.h"
#include "sys.h"

enum { REQUEST_WORDS_MAX = SBX_ARGV_MAX };

static _Alignas(8) unsigned char plan_image[SBX_PLAN_SIZE_MAX];
static char arena_memory[ARENA_SIZE];
static char *box_argv[WORDS_MAX], *box_environment[WORDS_MAX];

/* What comes before the words of the user's. */
static struct {
    int is_again;     /* --again: from Python, which has just stored the plan; don't go back to it */
    int is_apart;     /* --apart: from Python, which has found no box to join */
    int is_from_menu; /* --from-menu: nobody reads stderr */
} manner;

/* Where messages of a start from a menu are kept, and for whom. */
static int kept_messages = -1;
static const char *menu_app = "";
static char *const *menu_environment;

/* Verbs of the Python half; every other first word names an application. */
static int is_verb(const char *word)
{
    static const char *const verbs[] = {"explain", "check", "list",   "help", "open", "grant",   "revoke",  "grants", "install",
                                        "unit",    "ps",    "exec",   "kill", "freeze", "thaw", "logs",    "inspect", "doctor"};

    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(word, verbs[i]) == 0)
            return 1;
    return 0;
}

/* Take away what is said before the user's own words. */
static char **take_manner(char **words)
{
    for (; *words; words++)
        if (strcmp(*words, "--again") == 0)
            manner.is_again = 1;
        else if (strcmp(*words, "--apart") == 0)
            manner.is_apart = 1;
        else if (strcmp(*words, "--from-menu") == 0)
            manner.is_from_menu = 1;
        else
            break;
    return words;
}

/* To Python: `verb` is NULL, or what it is to do with the words. */
_Noreturn static void hand_to_python(const char *verb, char **words, char **environment)
{
    const char *first[4];
    size_t count = 0;

    if (manner.is_from_menu)
        first[count++] = "--from-menu";
    if (manner.is_apart)
        first[count++] = "--apart";
    if (verb)
        first[count++] = verb;
    first[count] = NULL;
    exec_python(first, words, environment);
}

/* A start from a menu has failed: Python shows what stderr was told. */
static void show_failure(int status)
{
    char number[] = {(char)('0' + status / 100 % 10), (char)('0' + status / 10 % 10), (char)('0' + status % 10), '\0'};
    const char *first[] = {"--failed", number, menu_app, NULL};
    char *none[] = {NULL};
    int messages = kept_messages;

    kept_messages = -1;
    if (lseek(messages, 0, SEEK_SET) == 0 && sys_replace(messages, STDIN_FILENO) == STDIN_FILENO)
        exec_python(first, none, menu_environment);
}

/* What a start is named for: the application, or the policy that `run` is given. */
static const char *name_of_start(char *const *words)
{
    if (strcmp(words[0], "run") == 0)
        for (size_t i = 1; words[i] && words[i + 1] && strcmp(words[i], "--") != 0; i++)
            if (strcmp(words[i], "--policy") == 0)
                return words[i + 1];
    return words[0];
}

static void keep_messages(const char *app, char **environment)
{
    menu_app = app;
    menu_environment = environment;
    kept_messages = memfd_create("messages", MFD_CLOEXEC);
    if (kept_messages < 0)
        fail((struct failure){.what = "cannot keep messages for a notification", .error = errno});
    fail_to(kept_messages, show_failure);
}

/* The application was killed: so is this process, by the same signal, where a service manager takes it for the service
 * itself. Shells learn the same from the exit status. */
static void end_like(const struct call *call)
{
    static const struct rlimit none;
    const char *pid = environment_value(call->caller_environment, "SYSTEMD_EXEC_PID");
    char *end;
    sigset_t signals;

    if (call->ended_by == 0 || !pid || strtoul(pid, &end, 10) != (unsigned long)getpid() || *end)
        return;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, call->ended_by);
    /* Without a core: this process knows the plan, and nothing went wrong in it. */
    if (setrlimit(RLIMIT_CORE, &none) == 0 &&
        (call->ended_by == SIGKILL || signal(call->ended_by, SIG_DFL) != SIG_ERR) &&
        sigprocmask(SIG_UNBLOCK, &signals, NULL) == 0)
        (void)raise(call->ended_by);
}

/* Split the words into those that choose the plan and those for the application.
 * Returns the first of the latter, or NULL when Python has to read the command line. */
static char **split_words(char **words, const char *request_words[REQUEST_WORDS_MAX], size_t *request_count)
{
    *request_count = 0;
    if (!words[0] || words[0][0] == '-' || words[0][0] == '\0' || strchr(words[0], '/') || is_verb(words[0]))
        return NULL;
    if (strcmp(words[0], "run") != 0) {
        request_words[(*request_count)++] = "app";
        request_words[(*request_count)++] = words[0];
        return words + 1;
    }
    for (; *words && *request_count < REQUEST_WORDS_MAX; words++) {
        if (strcmp(*words, "--") == 0)
            return words[1] ? words + 1 : NULL;
        request_words[(*request_count)++] = *words;
    }
    return NULL;
}

static void note_directory(struct call *call)
{
    if (!getcwd(call->directory, sizeof call->directory) || call->directory[0] != '/' ||
        stat(".", &call->directory_stat) != 0)
        call->directory[0] = '\0';
}

/* Copy everything out of the memory that /proc/PID/cmdline and environ show, so that it can be wiped. */
static void settle_memory(struct call *call, char **argv, char **words, char **environment)
{
    const struct plan *plan = call->plan;
    struct arena arena = {.memory = arena_memory, .size = sizeof arena_memory};
    size_t count = 0, planned = plan->header->command.count;
    char *end = argv[0];

    for (; count < planned || *words; count++) {
        const char *word = count < planned ? plan_string(plan, plan->command[count]) : *words++;
        if (count + 1 == WORDS_MAX || !(box_argv[count] = arena_copy(&arena, word, NULL)))
            fail((struct failure){.what = "the command line is too long for a box"});
    }
    if (count == 0)
        fail((struct failure){.what = "there is nothing to start"});
    if (build_environment(plan, inside_environment(environment), &arena, box_environment, WORDS_MAX) != 0 ||
        pass_activation(call, environment, &arena, box_environment, WORDS_MAX) != 0 ||
        pass_notice_variables(call, &arena, box_environment, WORDS_MAX) != 0)
        fail((struct failure){.what = "the environment is too long for a box"});
    call->argv = box_argv;
    call->environment = box_environment;
    call->search = environment_value(box_environment, "PATH");

    /* The kernel lays out both as one run of strings. */
    for (char **string = argv; *string; string++)
        if (*string == end)
            end = *string + strlen(*string) + 1;
    for (char **string = environment; *string; string++)
        if (*string == end)
            end = *string + strlen(*string) + 1;
    call->caller_memory = argv[0];
    call->caller_memory_size = (size_t)(end - argv[0]);
}

int main(int argc, char **argv, char **environment)
{
    const char *request_words[REQUEST_WORDS_MAX], *why = "";
    static struct call call;
    struct plan plan;
    struct request request = {.words = request_words, .environment = environment, .directory = call.directory};

    if (argc < 1 || getuid() != geteuid() || getgid() != getegid())
        fail((struct failure){.what = "refusing to run set-uid or set-gid"});
    settle_standard_descriptors();
    call.caller = getppid();
    char **users = take_manner(argv + 1), **words = split_words(users, request_words, &request.count);
    if (!words)
        hand_to_python(NULL, users, environment);
    if (manner.is_from_menu)
        keep_messages(name_of_start(users), environment);
    if (getuid() == 0)
        fail((struct failure){.what = "refusing to run as root",
                              .hint = "start it as the ordinary user who is to own the application's files"});
    note_directory(&call);
    enum lookup found = lookup_plan(&request, plan_image, &plan, &why);
    if (found != PLAN_FRESH && !manner.is_again)
        hand_to_python(NULL, users, environment);
    if (found != PLAN_FRESH)
        fail((struct failure){.what = "the plan that was just compiled doesn't hold",
                              .subject = why,
                              .hint = "something changed in that moment; start it again"});
    fail_for(plan_string(&plan, plan.header->app));
    call.plan = &plan;
    if (session_directory(environment, "boxes", call.boxes) != 0)
        fail((struct failure){.what = "there is no place where running boxes could be known",
                              .hint = "set HOME, or XDG_RUNTIME_DIR, to a directory of yours"});
    int joins = (plan.header->flags & SBX_PLAN_JOINS) && !manner.is_apart;
    const char *app = plan_string(&plan, plan.header->app);
    if (joins && app_runs(call.boxes, app))
        hand_to_python("--join", users, environment);
    settle_descriptors(&call, environment);
    if (manner.is_from_menu)
        keep_messages(name_of_start(users), environment); /* what was kept them before has just been closed */
    if (plan.header->notice)
        say(plan_string(&plan, plan.header->notice));
    call.caller_environment = environment;
    settle_memory(&call, argv, words, environment);
    call.umask = umask(0);
    (void)umask(call.umask);
    /* Once more, while no other start can come between: two clicks at once. */
    call.start_lock = joins ? lock_starts(call.boxes, app) : -1;
    if (joins && app_runs(call.boxes, app))
        hand_to_python("--join", users, environment);
    int status = run_box(&call);
    if (kept_messages >= 0 && status >= EXIT_SANDBOX && status <= EXIT_NOT_FOUND && lseek(kept_messages, 0, SEEK_END) > 0)
        show_failure(status);
    end_like(&call);
    return status;
}

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The box's first process. It is confined like the application before it starts it, so that taking it over gains
 * nothing; it reaps what is orphaned, hands on the signals that the monitor sends, and ends the box by ending.
 */
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "box.h"
#include "fail.h"
#include "sys.h"

int status_of(int status)
{
    return WIFSIGNALED(status) ? EXIT_SIGNAL_BASE + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Execute argv[0], looked for in the box's PATH as execvp() would. Returns when it can't be. */
static void execute(const struct call *call, char *const *argv)
{
    char path[SBX_PATH_SIZE_MAX];
    const char *name = argv[0];
    int error = ENOENT;

    if (strchr(name, '/')) {
        (void)execve(name, argv, call->environment);
        return;
    }
    for (const char *part = call->search, *end; part; part = *end ? end + 1 : NULL) {
        size_t length = strcspn(part, ":"), name_length = strlen(name);

        end = part + length;
        if (length == 0 || length + name_length + 2 > sizeof path)
            continue;
        memcpy(path, part, length);
        path[length] = '/';
        memcpy(path + length + 1, name, name_length + 1);
        (void)execve(path, argv, call->environment);
        if (errno != ENOENT && errno != ENOTDIR)
            error = errno;
        if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
            break;
    }
    errno = error;
}

_Noreturn void start_application(const struct call *call, char *const *argv, const sigset_t *caller_mask)
{
    int result = sigprocmask(SIG_SETMASK, caller_mask, NULL);

    if (result != 0)
        fail((struct failure){.what = "cannot restore the signal mask", .error = errno});
    (void)umask(call->umask);
    execute(call, argv);
    int missing = errno == ENOENT || errno == ENOTDIR;
    report((struct failure){.what = missing ? "no such program in the box" : "cannot execute the program in the box",
                            .subject = argv[0],
                            .error = errno,
                            .hint = "sandbox explain shows which files the box has"});
    _exit(missing ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

static int tell(int reports, struct news news)
{
    return write(reports, &news, sizeof news) == sizeof news ? 0 : -1;
}

/* Reap everything that has ended. Sets *ended when the application is among it, and tells the monitor when the
 * application has stopped; -1 with ECHILD when no process is left. */
static int reap(pid_t application, int *ended, int reports)
{
    for (;;) {
        int changed_status;
        pid_t changed = waitpid(-1, &changed_status, WNOHANG | WUNTRACED);

        if (changed == 0)
            return 0;
        if (changed < 0)
            return -1;
        if (!WIFSTOPPED(changed_status))
            tell_of_end(changed, changed_status);
        if (changed != application)
            continue;
        if (!WIFSTOPPED(changed_status))
            *ended = changed_status;
        else if (!is_frozen() && tell(reports, (struct news){.kind = NEWS_STOPPED}) != 0)
            return -1;
    }
}

/* What the monitor hands on. Others in the box can make a signal look so; they could send it to the application anyway. */
static int from_monitor(const siginfo_t *info)
{
    return info->si_code == SI_QUEUE && info->si_pid == 0;
}

/* End the box: nothing else runs in it any more when the monitor learns the application's status. */
_Noreturn static void finish(int status, int signal, int reports)
{
    struct news news = {.kind = NEWS_ENDED, .status = (unsigned char)status, .signal = (unsigned char)signal};

    if (kill(-1, SIGKILL) != 0 && errno != ESRCH)
        fail((struct failure){.what = "cannot end the box", .error = errno});
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
    _exit(tell(reports, news) == 0 ? status : EXIT_SANDBOX);
}

_Noreturn static void serve(const struct call *call, pid_t application, int reports, int orders,
                            const sigset_t *caller_mask)
{
    int lingers = (call->plan->header->flags & SBX_PLAN_LINGER) != 0;
    sigset_t all;
    int ended = -1;

    (void)sigfillset(&all);
    obey(call, orders, caller_mask); /* what came before it was announced */
    for (;;) {
        siginfo_t info;
        int is_empty = reap(application, &ended, reports) != 0;

        if (is_empty && (errno != ECHILD || ended < 0))
            fail((struct failure){.what = "lost track of the application", .error = errno});
        if (ended >= 0 && (is_empty || !lingers))
            finish(status_of(ended), WIFSIGNALED(ended) ? WTERMSIG(ended) : 0, reports);
        int signal = sigwaitinfo(&all, &info);
        if (signal < 0 && errno != EINTR)
            fail((struct failure){.what = "cannot wait for signals", .error = errno});
        if (signal == SIGIO)
            obey(call, orders, caller_mask);
        /* Of a program that lingers, all that is left is meant. */
        if (signal > 0 && signal != SIGCHLD && !(signal == SIGCONT && is_frozen()) && from_monitor(&info) && kill(ended < 0 ? application : -1, signal) != 0 &&
            errno != ESRCH)
            fail((struct failure){.what = "cannot hand on a signal", .error = errno});
    }
}

int terminal_signal(void)
{
    static const struct timespec now = {0, 0};
    static const int signals[] = {SIGINT, SIGQUIT, SIGHUP};
    struct sigaction action;
    sigset_t terminal;

    (void)sigemptyset(&terminal);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (sigaction(signals[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN) /* nohup, trap '' INT */
            (void)sigaddset(&terminal, signals[i]);
    int signal = sigtimedwait(&terminal, NULL, &now);
    if (signal < 0 && errno != EAGAIN && errno != EINTR)
        fail((struct failure){.what = "cannot look for signals", .error = errno});
    return signal > 0 ? signal : 0; /* whoever sent it: it is taken off the queue, and would be lost */
}

_Noreturn void run_init(const struct call *call, int reports, int orders, const sigset_t *caller_mask)
{
    /* From here the monitor takes this process's word for the application's status. */
    if (tell(reports, (struct news){.kind = NEWS_READY}) != 0)
        fail((struct failure){.what = "the launcher is gone", .error = errno});
    int signal = terminal_signal();
    if (signal != 0)
        finish(EXIT_SIGNAL_BASE + signal, 0, reports);
    /* Not vfork(): a stop from the terminal before the application is executed would stop this process, too, for ever. */
    pid_t application = sys_fork();
    if (application < 0)
        fail((struct failure){.what = "cannot start a process in the box",
                              .error = errno,
                              .hint = errno == EAGAIN ? "allow it more of limits.tasks, or end other programs" : NULL});
    if (application == 0)
        start_application(call, call->argv, caller_mask);
    /* What came since may have come before there was an application to receive it. */
    signal = terminal_signal();
    if (signal != 0 && kill(application, signal) != 0 && errno != ESRCH)
        fail((struct failure){.what = "cannot hand on a signal", .error = errno});
    /* The application alone decides when its input and output are closed. */
    (void)close(STDIN_FILENO);
    (void)close(STDOUT_FILENO);
    for (size_t i = 0; i < call->handed_count; i++)
        (void)close(call->handed[i]);
    serve(call, application, reports, orders, caller_mask);
}

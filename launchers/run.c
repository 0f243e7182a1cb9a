/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The recipe. run_in_box() is to be read from top to bottom: it is the order of confinement, and it has no branches
 * that a plan could take around a phase.
 *
 * Two processes of ours exist while an application runs: the monitor, outside, which the shell waits for and which
 * hands on signals and the exit status; and the box's first process (init.c). Each ends when the other does.
 */
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "box.h"
#include "fail.h"
#include "sys.h"

static const char *clone_hint(int error)
{
    switch (error) {
    case EPERM:
        return "user namespaces are forbidden here: by the container this runs in, a chroot, or "
               "sysctl kernel.unprivileged_userns_clone";
    case ENOSPC:
        return "sysctl user.max_user_namespaces (0 forbids user namespaces), or too many are nested";
    case EINVAL:
    case ENOSYS:
        return "a kernel of version 5.14 or newer, with user namespaces, that isn't hidden by a container's filter";
    case EUSERS:
        return "start it from fewer nested containers";
    default:
        return NULL;
    }
}

/* End with the monitor. The second look covers a monitor that had ended before the first line took effect. */
static void end_with_monitor(int ready)
{
    struct pollfd pipe = {.fd = ready, .events = 0};

    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        fail((struct failure){.what = "cannot tie the box to the launcher", .error = errno});
    if (poll(&pipe, 1, 0) < 0 || (pipe.revents & (POLLERR | POLLHUP | POLLNVAL)))
        fail((struct failure){.what = "the launcher is gone"});
}

static void end_with_caller(pid_t caller)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        fail((struct failure){.what = "cannot tie the box to the caller", .error = errno});
    if (getppid() != caller)
        fail((struct failure){.what = "the caller is gone"});
}

_Noreturn static void run_in_box(struct call *call, int ready, const sigset_t *caller_mask)
{
    const struct plan *plan = call->plan;

    end_with_monitor(ready);       /* before: all capabilities, but only in the new user namespace     */
    map_ids(plan);                 /* after: the user is himself; no other id exists                   */
    limit_nested_namespaces(plan); /* after: no further user namespaces, unless the policy says so     */
    name_host(plan);
    raise_loopback(plan);
    (void)umask(0);
    struct root root = make_root(); /* after: an empty tmpfs is attached; host mounts are a private copy */
    run_mount_ops(&root, plan);    /* a list, checked: what the policy grants                          */
    bind_documents(&root, call);   /* what the user named                                              */
    bind_terminal(&root);
    leave_host(&root);             /* after: the host's tree is unreachable, and no descriptor leads there */
    enter_directory(call);
    memset(call->caller_memory, 0, call->caller_memory_size); /* /proc/1/cmdline and environ are empty   */
    confine(plan);                 /* after: no capabilities, no new privileges, filter on             */
    run_init(call, ready, caller_mask);
}

/* Ours are signals that somebody sent to the monitor alone; what the terminal sends reaches the application itself. */
static int is_for_application(const siginfo_t *info)
{
    return info->si_signo != SIGCHLD && info->si_code <= 0;
}

static void hand_on(pid_t init, const siginfo_t *received)
{
    siginfo_t info = {.si_signo = received->si_signo, .si_code = SI_QUEUE};

    if (sys_queue_signal(init, received->si_signo, &info) != 0 && errno != ESRCH)
        fail((struct failure){.what = "cannot hand on a signal", .error = errno});
}

/* Wait for the end of the box, handing on signals. Returns wait status. */
static int wait_for_end(pid_t init, const sigset_t *handled)
{
    for (;;) {
        siginfo_t info;
        int status;
        pid_t ended = waitpid(init, &status, WNOHANG);

        if (ended == init)
            return status;
        if (ended < 0)
            fail((struct failure){.what = "lost track of the box", .error = errno});
        int number = sigwaitinfo(handled, &info);
        if (number < 0 && errno != EINTR)
            fail((struct failure){.what = "cannot wait for signals", .error = errno});
        if (number > 0 && is_for_application(&info))
            hand_on(init, &info);
    }
}

/* Returns 1 once the box is complete, 0 when its first process ended before. */
static int wait_until_ready(int ready)
{
    char byte;
    ssize_t got;

    do
        got = read(ready, &byte, 1);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        fail((struct failure){.what = "cannot hear from the box", .error = errno});
    return got == 1 && byte == 'R';
}

static int exit_status(int status, int was_ready)
{
    if (was_ready)
        return WIFSIGNALED(status) ? EXIT_SIGNAL_BASE + WTERMSIG(status) : WEXITSTATUS(status);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SANDBOX)
        report((struct failure){.what = "the box's first process ended while the box was being made"});
    return EXIT_SANDBOX;
}

/* The signals that end, or speak to, an application. Stops are left to the terminal, which reaches both. */
static void handled_signals(sigset_t *set)
{
    static const int signals[] = {SIGCHLD, SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
                                  SIGUSR2, SIGALRM, SIGPIPE, SIGCONT, SIGWINCH};

    (void)sigemptyset(set);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        (void)sigaddset(set, signals[i]);
}

int run_box(struct call *call)
{
    uint32_t flags = call->plan->header->flags;
    int pipe_ends[2];
    sigset_t handled, caller_mask;

    if (flags & SBX_PLAN_DIE_WITH_PARENT)
        end_with_caller(call->caller);
    handled_signals(&handled);
    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR) /* a caller that ignores it would make our children unwaitable */
        fail((struct failure){.what = "cannot set a signal's disposition", .error = errno});
    if (sigprocmask(SIG_BLOCK, &handled, &caller_mask) != 0)
        fail((struct failure){.what = "cannot block signals", .error = errno});
    if (pipe2(pipe_ends, O_CLOEXEC) != 0)
        fail((struct failure){.what = "cannot make a pipe", .error = errno});

    pid_t init = sys_clone3((struct clone_args){
        .flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP |
                 ((flags & SBX_PLAN_PRIVATE_NETWORK) ? CLONE_NEWNET : 0),
        .exit_signal = SIGCHLD,
    });
    if (init < 0)
        fail((struct failure){.what = "cannot make the box's namespaces", .error = errno, .hint = clone_hint(errno)});
    if (init == 0) {
        (void)close(pipe_ends[0]);
        run_in_box(call, pipe_ends[1], &caller_mask);
    }
    (void)close(pipe_ends[1]);
    for (uint32_t i = 0; i < call->plan->header->keep_fd_count; i++)
        (void)close((int)call->plan->header->keep_fds[i]);
    int was_ready = wait_until_ready(pipe_ends[0]);
    (void)close(pipe_ends[0]);
    /* The application alone decides when its input and output are closed. */
    (void)close(STDIN_FILENO);
    (void)close(STDOUT_FILENO);
    return exit_status(wait_for_end(init, &handled), was_ready);
}

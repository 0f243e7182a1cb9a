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
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "box.h"
#include "companions.h"
#include "fail.h"
#include "scope.h"
#include "state.h"
#include "sys.h"

enum { REPORTS, SIGNALS, NOTICES, OWN_SOURCES };

static const char *clone_hint(int error)
{
    switch (error) {
    case EPERM:
        return "sandbox doctor, which finds what forbids user namespaces here: a container's filter, a chroot, or "
               "sysctl kernel.unprivileged_userns_clone";
    case EACCES:
        return "sandbox doctor: a security module (AppArmor, SELinux) forbids this program user namespaces";
    case ENOSPC:
        return "sandbox doctor, which tells which limit it is: sysctl user.max_user_namespaces or its neighbours (0 "
               "forbids), or namespaces nested too deep";
    case EINVAL:
    case ENOSYS:
        return "sandbox doctor: this needs Linux 5.14 or newer, with user namespaces, and no container's filter that "
               "hides clone3";
    case EUSERS:
        return "sandbox doctor; or start it from fewer nested containers";
    case EAGAIN:
        return "end other programs: the limit on your processes (ulimit -u, a unit's TasksMax) is reached";
    default:
        return NULL;
    }
}

/* End with the monitor. The second look covers a monitor that had ended before the first line took effect. */
static void end_with_monitor(int reports)
{
    struct pollfd pipe = {.fd = reports, .events = 0};

    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        fail((struct failure){.what = "cannot tie the box to the launcher", .error = errno});
    if (poll(&pipe, 1, 0) < 0 || (pipe.revents & (POLLERR | POLLHUP | POLLNVAL)))
        fail((struct failure){.what = "the launcher is gone"});
}

/* A process without a controlling terminal can't open one by /dev/tty, and has none that could be read from. */
static void leave_session(const struct plan *plan)
{
    if ((plan->header->flags & SBX_PLAN_TERMINAL_OUTPUT) && setsid() < 0)
        fail((struct failure){.what = "cannot leave the terminal's session", .error = errno});
}

static void end_with_caller(pid_t caller)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        fail((struct failure){.what = "cannot tie the box to the caller", .error = errno});
    if (getppid() != caller)
        fail((struct failure){.what = "the caller is gone"});
}

_Noreturn static void run_in_box(struct call *call, int reports, const struct sockets *sockets, const struct state *state,
                                 const sigset_t *caller_mask)
{
    const struct plan *plan = call->plan;
    static struct root root;

    leave_state(state);
    keep_ends_of_box(sockets);
    end_with_monitor(reports);     /* before: all capabilities, but only in the new user namespace     */
    map_ids(plan);                 /* after: the user is himself; no other id exists                   */
    limit_nested_namespaces(plan); /* after: no further user namespaces, unless the policy says so     */
    leave_session(plan);           /* after: no terminal, when the policy lets it have output only     */
    name_host(plan);
    raise_loopback(plan);
    (void)umask(0);
    make_root(&root, sockets);     /* after: an empty tmpfs is attached; host mounts are a private copy */
    run_mount_ops(&root, plan);    /* a list, checked: what the policy grants                          */
    bind_documents(&root, call);   /* what the user named                                              */
    bind_terminal(&root, plan);
    leave_listeners(sockets);
    leave_host(&root);             /* after: the host's tree is unreachable, and no descriptor leads there */
    enter_directory(call);
    heed_orders(sockets->orders[BOXS_END]);
    enter_scope(plan, sockets->orders[BOXS_END]); /* after: what limits it from outside does           */
    memset(call->caller_memory, 0, call->caller_memory_size); /* /proc/1/cmdline and environ are empty   */
    set_limits(plan);
    confine(call);                 /* after: no capabilities, no new privileges, filter on             */
    run_init(call, reports, sockets->orders[BOXS_END], caller_mask);
}

/* What a received signal is for the application, 0 for nothing. What the terminal sends (si_code above 0) reaches the
 * application itself, but for the end of a session, of which the kernel tells the session's leader only; unless the box
 * has a session of its own, in which a terminal's stop would be ignored. */
static int meaning_of(const struct signalfd_siginfo *received, const struct plan_header *header)
{
    int signal = (int)received->ssi_signo;

    if (received->ssi_code <= 0)
        return signal;
    if (header->flags & SBX_PLAN_TERMINAL_OUTPUT)
        return signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU ? SIGSTOP : signal;
    return signal == SIGHUP && getsid(0) == getpid() ? SIGHUP : 0;
}

static void hand_on(int signal, pid_t init)
{
    siginfo_t info = {.si_signo = signal, .si_code = SI_QUEUE};

    if (sys_queue_signal(init, signal, &info) != 0 && errno != ESRCH)
        fail((struct failure){.what = "cannot hand on a signal", .error = errno});
}

static void hand_on_signal(int signals, pid_t init, const struct plan_header *header)
{
    struct signalfd_siginfo received;

    if (read(signals, &received, sizeof received) != sizeof received)
        fail((struct failure){.what = "cannot receive a signal", .error = errno});
    int signal = meaning_of(&received, header);
    if (signal != 0)
        hand_on(signal, init);
}

/* Before the application runs. Returns `status`. */
static int end_box(pid_t init, int status)
{
    if (kill(init, SIGKILL) != 0 || waitpid(init, NULL, 0) != init)
        fail((struct failure){.what = "cannot end the box", .error = errno});
    return status;
}

/* Ctrl-C and the like between block_signals() and clone3 reached this process alone: the start is cancelled. Later
 * ones reach the box's first process as well, which heeds them. */
static int cancelled_by(pid_t init)
{
    int signal = terminal_signal();

    if (signal != 0)
        (void)end_box(init, signal);
    return signal;
}

/* The next news from the box; of kind 0 when its first process has ended without a word. */
static struct news hear(int reports)
{
    struct news news = {0};
    ssize_t got;

    do
        got = read(reports, &news, sizeof news);
    while (got < 0 && errno == EINTR);
    if (got != 0 && got != sizeof news)
        fail((struct failure){.what = "cannot hear from the box", .error = errno});
    return news;
}

/* The box's first process has ended without a word: was killed, or could not make the box and has said why. */
static int status_of_ended(pid_t init, int was_ready)
{
    int status;

    if (waitpid(init, &status, 0) != init)
        fail((struct failure){.what = "lost track of the box", .error = errno});
    if (was_ready)
        return WIFSIGNALED(status) ? EXIT_SIGNAL_BASE + WTERMSIG(status) : EXIT_SANDBOX;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SANDBOX)
        report((struct failure){.what = "the box's first process ended while the box was being made"});
    return EXIT_SANDBOX;
}

/* The shell sees this process only. Unlike SIGSTOP, SIGTSTP does nothing where no shell could continue us (an orphaned
 * process group: a desktop entry, a unit). SIGCONT comes to both of us. */
static void stop_with_application(void)
{
    sigset_t stop;

    (void)sigemptyset(&stop);
    (void)sigaddset(&stop, SIGTSTP);
    if (raise(SIGTSTP) != 0 || sigprocmask(SIG_UNBLOCK, &stop, NULL) != 0 || sigprocmask(SIG_BLOCK, &stop, NULL) != 0)
        fail((struct failure){.what = "cannot stop with the application", .error = errno});
}

/* One wait: for the box, a signal, or a companion. */
static void wait_for_any(struct pollfd *sources, struct companion *companions, const struct surroundings *around)
{
    int timeout_ms;
    size_t count = watch_companions(companions, sources + OWN_SOURCES, &timeout_ms);

    if (poll(sources, OWN_SOURCES + count, timeout_ms) < 0) {
        if (errno != EINTR)
            fail((struct failure){.what = "cannot wait for the box", .error = errno});
        for (size_t i = 0; i < OWN_SOURCES; i++)
            sources[i].revents = 0;
        return;
    }
    serve_companions(companions, sources + OWN_SOURCES, count, around);
}

/* Until the box reports the application's status. That it does when no other process is left in the box, so that
 * there is no need to wait for the kernel to take its namespaces apart. */
static int wait_for_status(pid_t init, int reports, int signals, int notices, struct call *call,
                           struct companion *companions, const struct surroundings *around)
{
    struct pollfd sources[OWN_SOURCES + COMPANION_SOURCES_MAX] = {[REPORTS] = {.fd = reports, .events = POLLIN},
                                                                  [SIGNALS] = {.fd = signals, .events = POLLIN},
                                                                  [NOTICES] = {.fd = notices, .events = POLLIN}};

    for (;;) {
        wait_for_any(sources, companions, around);
        if (sources[SIGNALS].revents)
            hand_on_signal(signals, init, call->plan->header);
        if (sources[NOTICES].revents || sources[REPORTS].revents) /* what it said before it ended */
            pass_on_notices(notices, call->caller_environment);
        if (!sources[REPORTS].revents)
            continue;
        struct news news = hear(reports);
        while (news.kind == NEWS_STOPPED && poll(sources, 1, 0) > 0) /* however often it stopped, we stop once */
            news = hear(reports);
        if (news.kind == NEWS_ENDED) {
            call->ended_by = news.signal;
            return news.status;
        }
        if (news.kind != NEWS_STOPPED)
            return status_of_ended(init, 1);
        stop_with_application();
    }
}

/* The signals that end, stop or speak to an application. */
static void handed_on(sigset_t *set)
{
    static const int signals[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,  SIGUSR2, SIGALRM,
                                  SIGABRT, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGWINCH};

    (void)sigemptyset(set);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        (void)sigaddset(set, signals[i]);
}

/* Block them, and SIGCHLD and SIGIO (orders) for the box's first process, which inherits the mask. */
static void block_signals(sigset_t *caller_mask)
{
    sigset_t blocked;

    handed_on(&blocked);
    (void)sigaddset(&blocked, SIGCHLD);
    (void)sigaddset(&blocked, SIGIO);
    /* A caller that ignores SIGCHLD would make our children impossible to wait for. */
    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR || sigprocmask(SIG_BLOCK, &blocked, caller_mask) != 0)
        fail((struct failure){.what = "cannot block signals", .error = errno});
}

/* The box goes on to its end when what holds it from outside does. Returns 0, or -1 with the exit status. */
static int let_start(const struct call *call, int scope, int reports, int orders, int *status)
{
    static const char go = PERMISSION;
    int signal = 0;

    if (call->plan->header->scope.count == 0)
        return 0;
    if (await_scope(scope, reports, &signal) == 0) {
        if (send(orders, &go, sizeof go, MSG_NOSIGNAL) == sizeof go)
            return 0;
        report((struct failure){.what = "cannot start the application", .error = errno});
    }
    *status = signal != 0 ? EXIT_SIGNAL_BASE + signal : EXIT_SANDBOX;
    return -1;
}

/* The monitor's part of the life of a box. */
static int watch(struct call *call, pid_t init, int reports, int scope, const struct sockets *sockets,
                 const struct state *state, const sigset_t *caller_mask)
{
    const struct surroundings around = {
        .plan = call->plan, .state_path = state->path, .environment = call->caller_environment, .mask = caller_mask};
    struct companion companions[COMPANIONS];
    sigset_t set;
    int status;

    keep_ends_of_monitor(sockets, call);
    make_companions(companions, call->plan, sockets, state->control);
    if (let_start(call, scope, reports, sockets->orders[MONITORS_END], &status) != 0)
        return end_box(init, status);
    if (hear(reports).kind != NEWS_READY)
        return status_of_ended(init, 0);
    /* The application alone decides when its input and output are closed. */
    (void)close(STDIN_FILENO);
    (void)close(STDOUT_FILENO);
    handed_on(&set);
    CLEANUP_FD int signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (signals < 0)
        fail((struct failure){.what = "cannot receive signals", .error = errno});
    status = wait_for_status(init, reports, signals, sockets->notices, call, companions, &around);
    end_companions(companions);
    return status;
}

int run_box(struct call *call)
{
    uint32_t flags = call->plan->header->flags;
    int pipe_ends[2], init_pidfd = -1, status;
    sigset_t caller_mask;
    struct sockets sockets;
    struct state state;

    if (flags & SBX_PLAN_DIE_WITH_PARENT)
        end_with_caller(call->caller);
    block_signals(&caller_mask);
    if (pipe2(pipe_ends, O_CLOEXEC) != 0)
        fail((struct failure){.what = "cannot make a pipe", .error = errno});
    make_sockets(&sockets, call);
    make_state(&state, call->boxes, plan_string(call->plan, call->plan->header->app),
               plan_string(call->plan, call->plan->header->facts));
    if (call->start_lock >= 0 && close(call->start_lock) != 0)
        fail((struct failure){.what = "cannot let the next start go on", .error = errno});

    pid_t init = sys_clone3((struct clone_args){
        .flags = CLONE_PIDFD | CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP |
                 ((flags & SBX_PLAN_PRIVATE_NETWORK) ? CLONE_NEWNET : 0),
        .exit_signal = SIGCHLD,
        .pidfd = (uint64_t)(uintptr_t)&init_pidfd,
    });
    if (init < 0) {
        int error = errno;
        remove_state(&state);
        fail((struct failure){.what = "cannot make the box's namespaces", .error = error, .hint = clone_hint(error)});
    }
    if (init == 0) {
        (void)close(pipe_ends[0]);
        run_in_box(call, pipe_ends[1], &sockets, &state, &caller_mask);
    }
    (void)close(pipe_ends[1]);
    int signal = cancelled_by(init);
    int scope = signal != 0 ? NO_SCOPE : ask_for_scope(call, init_pidfd, &caller_mask);
    (void)close(init_pidfd);
    if (signal != 0)
        status = EXIT_SIGNAL_BASE + signal;
    else if (scope == SCOPE_FAILED)
        status = end_box(init, EXIT_SANDBOX);
    else
        status = watch(call, init, pipe_ends[0], scope, &sockets, &state, &caller_mask);
    sys_cleanup_fd(&scope);
    (void)close(pipe_ends[0]);
    remove_state(&state);
    return status;
}

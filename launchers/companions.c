/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The processes beside a box that the monitor starts when they are first needed: the broker, which the application
 * speaks to, and the steward, which the user's commands speak to. They are Python; this file knows how to start them,
 * with which sockets, and when to do it again. It reads nothing from those sockets.
 *
 * A companion's end never ends the application. One that ends with status 0 had nothing to do, and is started again
 * when it is needed, five times a second at most; another failed, and waits for a second. The steward may have promised something (a grant that ends): it is then started
 * without waiting to be needed.
 */
#include "companions.h"

#include <linux/capability.h>
#include <linux/limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "descriptors.h"
#include "environment.h"
#include "fail.h"
#include "python.h"
#include "sys.h"

enum { PAUSE_MS = 1000, SHORT_PAUSE_MS = 200 /* from one start to the next */, WORD_MAX = 64 };

static const char code[] = "from sandboxer.companion import main; main()";

static int64_t now_ms(void)
{
    struct timespec now = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void add_socket(struct companion *companion, const char *name, int fd, enum wakes wakes)
{
    if (fd >= 0)
        companion->sockets[companion->socket_count++] = (struct companion_socket){.name = name, .fd = fd, .wakes = wakes};
}

void make_companions(struct companion companions[COMPANIONS], const struct plan *plan, const struct sockets *sockets,
                     int control)
{
    struct companion *broker = &companions[0], *steward = &companions[1];

    *broker = (struct companion){.word = "broker",
                                 .input = plan->data + plan->header->broker.offset,
                                 .input_size = plan->header->broker.count,
                                 .has_own_root = 1,
                                 .pidfd = -1};
    for (size_t i = 0; i < sockets->listener_count; i++)
        add_socket(broker, sockets->names[i], sockets->listeners[i], WAKES);
    add_socket(broker, "descriptor", sockets->descriptor, WAKES_ONE);
    add_socket(broker, "steward", sockets->pair[0], WAKES_NOT);

    *steward = (struct companion){.word = "steward",
                                  .input = (const unsigned char *)plan->header,
                                  .input_size = plan->header->size,
                                  .is_trusted_with_time = 1,
                                  .pidfd = -1};
    add_socket(steward, "control", control, WAKES);
    add_socket(steward, "broker", sockets->pair[1], WAKES);
    add_socket(steward, "orders", sockets->orders[MONITORS_END], WAKES_NOT);
}

/* The companion's input as a descriptor that nothing can change any more. */
static int make_input(const struct companion *companion)
{
    CLEANUP_FD int made = memfd_create(companion->word, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int input = made < 0 ? -1 : fcntl(made, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

    if (input < 0 || write(input, companion->input, companion->input_size) != (ssize_t)companion->input_size ||
        lseek(input, 0, SEEK_SET) != 0 ||
        fcntl(input, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
        sys_cleanup_fd(&input);
        return -1;
    }
    return input;
}

/* In namespaces of its own a process may make itself a root with nothing in it. It gets the two capabilities that this
 * takes across execve(), over those namespaces only, and gives them up. */
static void enter_own_namespaces(const struct plan *plan)
{
    static const int kept[] = {CAP_SYS_ADMIN, CAP_SYS_CHROOT};
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0}};

    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        fail((struct failure){.what = "cannot make the broker's namespaces", .error = errno});
    map_ids(plan);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        sets[0].inheritable |= 1U << kept[i];
    sets[0].permitted = sets[0].effective = sets[0].inheritable | 1U << CAP_SETPCAP; /* which execve() takes away */
    if (syscall(SYS_capset, &header, sets) != 0)
        fail((struct failure){.what = "cannot limit the broker's capabilities", .error = errno});
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept[i], 0, 0) != 0)
            fail((struct failure){.what = "cannot give the broker its capabilities", .error = errno});
    /* The kernel says EINVAL for the first capability that it doesn't know. */
    for (int capability = 0; capability < 64; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) {
            if (errno == EINVAL && capability > CAP_AUDIT_READ)
                break;
            fail((struct failure){.what = "cannot empty the broker's bounding set", .error = errno});
        }
}

_Noreturn static void become(const struct companion *companion, int input, pid_t monitor, const struct surroundings *around)
{
    static char python[PATH_MAX], words[SOCKETS_MAX][WORD_MAX];
    static char *const empty[] = {NULL}; /* the session's tokens are nothing for whoever may be taken over */
    static char option_e[] = "-E", option_p[] = "-P", option_c[] = "-c";
    char *argv[SOCKETS_MAX + 8] = {python,       option_e, option_p, option_c, (char *)(uintptr_t)code,
                                   (char *)(uintptr_t)companion->word, (char *)(uintptr_t)around->state_path};
    size_t count = 7;

    if (companion->has_own_root)
        enter_own_namespaces(around->plan);
    /* From the root: what lies where the user stands may be the application's. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != monitor || setsid() < 0 || chdir("/") != 0)
        fail((struct failure){.what = "cannot tie a companion to the launcher", .subject = companion->word, .error = errno});
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nothing < 0 || sys_replace(input, STDIN_FILENO) != STDIN_FILENO ||
        (nothing != STDOUT_FILENO && sys_replace(nothing, STDOUT_FILENO) != STDOUT_FILENO) ||
        fcntl(STDOUT_FILENO, F_SETFD, 0) != 0)
        fail((struct failure){.what = "cannot give a companion its input", .subject = companion->word, .error = errno});
    mute_terminal(STDERR_FILENO);
    for (size_t i = 0; i < companion->socket_count; i++) {
        const struct companion_socket *socket = &companion->sockets[i];

        if (fcntl(socket->fd, F_SETFD, 0) != 0)
            fail((struct failure){.what = "cannot give a companion its sockets", .subject = socket->name, .error = errno});
        (void)snprintf(words[i], sizeof words[i], "%s=%d", socket->name, socket->fd);
        argv[count++] = words[i];
    }
    if (sigprocmask(SIG_SETMASK, around->mask, NULL) != 0)
        fail((struct failure){.what = "cannot restore the signal mask", .error = errno});
    find_python(python);
    char *const *environment = companion->has_own_root ? empty : outside_environment(around->environment, STAYS);
    if (!environment)
        fail((struct failure){.what = "the environment is too long for a companion", .subject = companion->word});
    (void)execve(python, argv, environment);
    fail((struct failure){.what = "cannot start a companion", .subject = python, .error = errno});
}

static void start(struct companion *companion, const struct surroundings *around)
{
    CLEANUP_FD int input = make_input(companion);
    pid_t monitor = getpid();
    int pidfd = -1;

    companion->started_ms = now_ms();
    companion->not_before_ms = companion->started_ms + PAUSE_MS;
    pid_t pid = input < 0 ? -1
                          : sys_clone3((struct clone_args){.flags = CLONE_PIDFD,
                                                           .pidfd = (uint64_t)(uintptr_t)&pidfd,
                                                           .exit_signal = SIGCHLD});
    if (pid == 0)
        become(companion, input, monitor, around);
    if (pid < 0) {
        report((struct failure){.what = "cannot start a companion", .subject = companion->word, .error = errno});
        return;
    }
    companion->pid = pid;
    companion->pidfd = pidfd;
    companion->is_wanted = 0;
}

/* The one connection that was made before the broker ran ends with it: whoever holds the other end learns of it. */
static void drop_connection(struct companion *companion)
{
    for (size_t i = 0; i < companion->socket_count; i++)
        if (companion->sockets[i].wakes == WAKES_ONE) {
            (void)close(companion->sockets[i].fd);
            companion->sockets[i] = companion->sockets[--companion->socket_count];
            return;
        }
}

static void note_end(struct companion *companion)
{
    int status = 0;

    if (waitpid(companion->pid, &status, 0) != companion->pid)
        status = -1; /* no reason to end the application */
    (void)close(companion->pidfd);
    companion->pidfd = -1;
    drop_connection(companion);
    if (status == 0) {
        companion->not_before_ms = companion->started_ms + SHORT_PAUSE_MS;
    } else {
        companion->not_before_ms = now_ms() + PAUSE_MS;
        companion->is_wanted = companion->is_trusted_with_time;
    }
}

static int may_start(const struct companion *companion)
{
    return companion->pidfd < 0 && companion->not_before_ms <= now_ms();
}

/* Of two timeouts, of which the first may be none. */
static int sooner(int timeout_ms, int64_t other_ms)
{
    int other = other_ms > 0 ? (int)other_ms : 0;

    return timeout_ms < 0 || other < timeout_ms ? other : timeout_ms;
}

size_t watch_companions(const struct companion companions[COMPANIONS], struct pollfd *sources, int *timeout_ms)
{
    size_t count = 0;

    *timeout_ms = -1;
    for (size_t i = 0; i < COMPANIONS; i++) {
        const struct companion *companion = &companions[i];

        if (companion->pidfd >= 0)
            sources[count++] = (struct pollfd){.fd = companion->pidfd, .events = POLLIN};
        else if (!may_start(companion) || companion->is_wanted)
            *timeout_ms = sooner(*timeout_ms, companion->not_before_ms - now_ms());
        else
            for (size_t s = 0; s < companion->socket_count; s++)
                if (companion->sockets[s].wakes != WAKES_NOT)
                    sources[count++] = (struct pollfd){.fd = companion->sockets[s].fd, .events = POLLIN};
    }
    return count;
}

/* What poll() said of a descriptor. */
static int ready(int fd, const struct pollfd *sources, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (sources[i].fd == fd)
            return sources[i].revents;
    return 0;
}

void serve_companions(struct companion companions[COMPANIONS], const struct pollfd *sources, size_t count,
                      const struct surroundings *around)
{
    for (size_t i = 0; i < COMPANIONS; i++) {
        struct companion *companion = &companions[i];
        int wanted = companion->is_wanted;

        if (companion->pidfd >= 0) {
            if (ready(companion->pidfd, sources, count))
                note_end(companion);
            continue;
        }
        /* A connection whose other end nobody holds any more is no reason to start anything. */
        for (size_t s = 0; s < companion->socket_count; s++)
            if (companion->sockets[s].wakes == WAKES_ONE && (ready(companion->sockets[s].fd, sources, count) & POLLHUP))
                drop_connection(companion);
        for (size_t s = 0; s < companion->socket_count; s++)
            wanted |= companion->sockets[s].wakes != WAKES_NOT && ready(companion->sockets[s].fd, sources, count);
        if (wanted && may_start(companion))
            start(companion, around);
    }
}

/* One that hangs in a file system is left to the kernel, which ends it with this process. */
void end_companions(const struct companion companions[COMPANIONS])
{
    for (size_t i = 0; i < COMPANIONS; i++) {
        struct pollfd end = {.fd = companions[i].pidfd, .events = POLLIN};

        if (companions[i].pidfd >= 0 && kill(companions[i].pid, SIGKILL) == 0)
            (void)poll(&end, 1, PAUSE_MS);
    }
}

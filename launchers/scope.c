/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The box's scope. A user manager can hold a box to limits of memory, tasks and time; it is spoken to by a service of
 * this user's (sandboxer/desktop/scopes), which is asked while the box is being made, and has to have answered before
 * the application starts. Where nobody listens, the service is started.
 *
 * The request is the plan's, and a descriptor of the box's first process; the answer is "K", or "E" and one line.
 */
#include "scope.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "environment.h"
#include "fail.h"
#include "python.h"
#include "sys.h"

enum { PATIENCE_MS = 10000, SLICE_MS = 50, ANSWER_MAX = 512 };

static const char cannot[] = "the box could not be given its limits",
                  hint[] = "sandbox doctor, which looks at the user manager and the session bus";

/* Where the service listens: beside the directory of boxes. */
static void service_directory(const struct call *call, char path[SBX_PATH_SIZE_MAX])
{
    size_t length = (size_t)(strrchr(call->boxes, '/') - call->boxes);

    memcpy(path, call->boxes, length);
    path[length] = '\0';
}

/* A connection to the service that runs; -1 with ENOENT or ECONNREFUSED when none does. */
static int connect_to_service(const char *directory)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat found;
    CLEANUP_FD int parent = open(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP_FD int place = parent < 0 ? -1 : openat(parent, "scopes", O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (place < 0 || fstat(place, &found) != 0)
        return -1;
    if (!S_ISSOCK(found.st_mode) || found.st_uid != getuid()) {
        errno = EPERM;
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d", place);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int error = errno;
        (void)close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* In the process that becomes the service. It outlives the box, and keeps nothing of the caller's open. */
_Noreturn static void become_service(int connection, const char *directory, char *const *environment,
                                     const sigset_t *caller_mask)
{
    static char python[PATH_MAX], word[32], option_e[] = "-E", option_p[] = "-P", option_c[] = "-c", kind[] = "scopes",
                                            code[] = "from sandboxer.companion import main; main()";
    char *argv[] = {python, option_e, option_p, option_c, code, kind, (char *)(uintptr_t)directory, word, NULL};
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (setsid() < 0 || sys_fork() != 0)
        _exit(nothing < 0);
    find_python(python);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if ((nothing == fd ? fcntl(fd, F_SETFD, 0) : sys_replace(nothing, fd)) < 0)
            _exit(EXIT_SANDBOX);
    if (sys_replace(connection, STDERR_FILENO + 1) < 0 || sys_close_range(STDERR_FILENO + 2, ~0U) != 0 ||
        sigprocmask(SIG_SETMASK, caller_mask, NULL) != 0 || chdir("/") != 0)
        _exit(EXIT_SANDBOX);
    (void)umask(077);
    (void)snprintf(word, sizeof word, "connection=%d", STDERR_FILENO + 1);
    environment = outside_environment(environment, STAYS);
    if (environment)
        (void)execve(python, argv, environment);
    _exit(EXIT_SANDBOX);
}

/* Start the service; returns a connection to it. */
static int start_service(const char *directory, char *const *environment, const sigset_t *caller_mask)
{
    int ends[2], status;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return -1;
    pid_t child = sys_fork();
    if (child == 0)
        become_service(ends[1], directory, environment, caller_mask);
    (void)close(ends[1]);
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        (void)close(ends[0]);
        return -1;
    }
    return ends[0];
}

static int send_request(int fd, const struct plan *plan, int init_pidfd)
{
    struct iovec content = {.iov_base = (void *)(uintptr_t)(plan->data + plan->header->scope.offset),
                            .iov_len = plan->header->scope.count};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct msghdr message = {.msg_iov = &content, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};

    memcpy(CMSG_DATA(&control.header), &init_pidfd, sizeof init_pidfd);
    return sendmsg(fd, &message, MSG_NOSIGNAL) == (ssize_t)content.iov_len ? 0 : -1;
}

int ask_for_scope(const struct call *call, int init_pidfd, const sigset_t *caller_mask)
{
    static char directory[SBX_PATH_SIZE_MAX];

    if (call->plan->header->scope.count == 0)
        return NO_SCOPE;
    service_directory(call, directory);
    int connection = connect_to_service(directory);
    if (connection < 0 && (errno == ENOENT || errno == ECONNREFUSED))
        connection = start_service(directory, call->caller_environment, caller_mask);
    if (connection >= 0 && send_request(connection, call->plan, init_pidfd) == 0)
        return connection;
    report((struct failure){.what = cannot, .subject = "the service for scopes", .error = errno, .hint = hint});
    sys_cleanup_fd(&connection);
    return SCOPE_FAILED;
}

/* Read the answer. 0 when it is yes. */
static int heed_answer(int connection)
{
    static char answer[ANSWER_MAX + 1];
    ssize_t size = recv(connection, answer, ANSWER_MAX, MSG_DONTWAIT);

    if (size > 0 && answer[0] == 'K')
        return 0;
    answer[size > 0 ? size : 0] = '\0';
    report((struct failure){.what = cannot,
                            .subject = size > 1 && answer[0] == 'E' ? answer + 1 : "the service for scopes ended without an answer",
                            .hint = hint});
    return -1;
}

static int64_t now_ms(void)
{
    struct timespec now = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int await_scope(int connection, int reports, int *signal)
{
    struct pollfd sources[] = {{.fd = connection, .events = POLLIN}, {.fd = reports, .events = 0}};
    int64_t end = now_ms() + PATIENCE_MS;

    if (connection == NO_SCOPE)
        return 0;
    while (now_ms() < end) {
        int ready = poll(sources, sizeof sources / sizeof sources[0], SLICE_MS);

        if (ready < 0 && errno != EINTR)
            fail((struct failure){.what = "cannot wait for the box's limits", .error = errno});
        if (ready > 0 && sources[0].revents)
            return heed_answer(connection);
        if (ready > 0 && sources[1].revents)
            return -1; /* the box is gone, and has said why or was killed */
        *signal = terminal_signal();
        if (*signal != 0)
            return -1;
    }
    report((struct failure){.what = cannot, .subject = "the service for scopes", .error = ETIMEDOUT, .hint = hint});
    return -1;
}

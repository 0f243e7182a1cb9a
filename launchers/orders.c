/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Orders: from outside, pid 1 is asked to start programs beside the application. They are forked from it, so that they
 * have every confinement that the application has, and nothing that pid 1 keeps for itself.
 *
 * Who gives orders is the user's (the steward); nothing in the box holds the other end.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "box.h"
#include "fail.h"
#include "sys.h"

enum {
    ORDER_START = 'X',
    ORDER_ENTER = 'E',
    ORDER_FREEZE = 'S',
    ORDER_THAW = 'T',
    ORDER_SIZE_MAX = 16384,
    ORDER_WORDS_MAX = 256,
    GIVEN_MAX = 4,    /* descriptors that come with an order: the standard ones, and one for the exit status */
    ENTERED_MAX = 32, /* programs at once whose end somebody waits for */
};

/* A program that somebody outside waits for. */
struct entered {
    pid_t pid; /* 0: this place is free */
    int status;
};
static struct entered entered[ENTERED_MAX];
static int frozen;

/* Whoever waits for it learns how it ended; that nobody does any more is no reason to end the box. */
void tell_of_end(pid_t pid, int ended_status)
{
    int32_t status = status_of(ended_status);

    for (size_t i = 0; i < ENTERED_MAX; i++)
        if (entered[i].pid == pid) {
            ssize_t told = write(entered[i].status, &status, sizeof status);

            (void)told;
            (void)close(entered[i].status);
            entered[i].pid = 0;
        }
}

/* Start another program beside the application, with all of its confinement: it is forked from the same process. */
_Noreturn static void start_ordered(const struct call *call, char *const *argv, const sigset_t *caller_mask)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (setsid() < 0 || nothing < 0)
        fail((struct failure){.what = "cannot start a program in the box", .subject = argv[0], .error = errno});
    for (int fd = STDIN_FILENO; fd <= STDOUT_FILENO; fd++)
        if ((nothing == fd ? fcntl(fd, F_SETFD, 0) : sys_replace(nothing, fd)) < 0)
            fail((struct failure){.what = "cannot start a program in the box", .subject = argv[0], .error = errno});
    start_application(call, argv, caller_mask);
}

/* TERM is the one variable that belongs to where a program is called from. */
static void set_terminal_type(char **environment, const char *type)
{
    static char variable[64];
    size_t count = 0;

    if (!*type || snprintf(variable, sizeof variable, "TERM=%s", type) >= (int)sizeof variable)
        return;
    while (environment[count] && strncmp(environment[count], "TERM=", 5) != 0)
        count++;
    if (count + 1 < WORDS_MAX) {
        if (!environment[count])
            environment[count + 1] = NULL;
        environment[count] = variable;
    }
}

/* The words of an order to enter. */
enum { WORD_SERIAL, WORD_DEADLINE, WORD_DIRECTORY, WORD_TERMINAL, WORD_PROGRAM };

/* The same with descriptors of whoever asked, in a directory, and with the terminal that one of them may be. */
_Noreturn static void start_entered(const struct call *call, char *const *words, const int given[GIVEN_MAX],
                                    const sigset_t *caller_mask)
{
    const char *directory = words[WORD_DIRECTORY], *terminal = words[WORD_TERMINAL], *program = words[WORD_PROGRAM];

    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if ((given[fd] == fd ? fcntl(fd, F_SETFD, 0) : sys_replace(given[fd], fd)) < 0)
            fail((struct failure){.what = "cannot give a program its input and output", .subject = program, .error = errno});
    if (setsid() < 0 || (isatty(STDIN_FILENO) && ioctl(STDIN_FILENO, TIOCSCTTY, 0) != 0))
        fail((struct failure){.what = "cannot start a program on this terminal", .subject = program, .error = errno});
    if (*directory && chdir(directory) != 0)
        fail((struct failure){.what = "cannot enter a directory in the box", .subject = directory, .error = errno});
    set_terminal_type(call->environment, terminal);
    start_application(call, words + WORD_PROGRAM, caller_mask);
}

/* The words of an order, which point into it; or 0 when it is none. `size` is what it had, which may be more than what
 * was kept of it. */
static size_t words_of(char *order, ssize_t size, char *words[ORDER_WORDS_MAX + 1])
{
    size_t count = 0;

    if (size < 2 || size > ORDER_SIZE_MAX || order[size - 1] != '\0')
        return 0;
    for (char *word = order + 1; word < order + size; word += strlen(word) + 1) {
        if (count == ORDER_WORDS_MAX)
            return 0;
        words[count++] = word;
    }
    words[count] = NULL;
    return count;
}

/* An order, and what came with it: all GIVEN_MAX descriptors, or none. */
struct order {
    char text[ORDER_SIZE_MAX];
    ssize_t size; /* what it had; more than fits: too long */
    int given[GIVEN_MAX];
    int is_given;
};

/* Returns 0, or -1 when there is nothing. */
static int receive_order(int orders, struct order *order)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int[GIVEN_MAX]))];
    } control;
    struct iovec content = {.iov_base = order->text, .iov_len = sizeof order->text};
    struct msghdr message = {.msg_iov = &content, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};

    order->is_given = 0;
    order->size = recvmsg(orders, &message, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
    if (order->size <= 0)
        return -1;
    const struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    if (!rights || rights->cmsg_type != SCM_RIGHTS)
        return 0;
    size_t count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(order->given, CMSG_DATA(rights), count * sizeof(int));
    order->is_given = count == GIVEN_MAX && !(message.msg_flags & MSG_CTRUNC);
    for (size_t i = 0; !order->is_given && i < count; i++)
        (void)close(order->given[i]);
    return 0;
}

/* A directory would let the program walk out of the box. */
static int is_directory(int fd)
{
    struct stat found;

    return fstat(fd, &found) != 0 || S_ISDIR(found.st_mode);
}

static struct entered *free_place(void)
{
    for (size_t i = 0; i < ENTERED_MAX; i++)
        if (entered[i].pid == 0)
            return &entered[i];
    return NULL;
}

/* Whoever asked has given up when this time has come (nanoseconds of CLOCK_BOOTTIME): nothing is to start behind his back. */
static int is_too_late(const char *deadline)
{
    struct timespec now = {0};

    if (clock_gettime(CLOCK_BOOTTIME, &now) != 0)
        return 1;
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec > strtoull(deadline, NULL, 10);
}

/* Start a program on descriptors of whoever asked. Returns its pid, or minus an error's number. */
static pid_t enter(const struct call *call, const struct order *order, char *const *words, const sigset_t *caller_mask)
{
    struct entered *place = free_place();

    if (is_too_late(words[WORD_DEADLINE]))
        return -ETIMEDOUT;
    if (frozen)
        return -EBUSY;
    for (size_t i = 0; i < GIVEN_MAX; i++)
        if (is_directory(order->given[i]))
            return -EISDIR;
    if (!place)
        return -EAGAIN;
    int status = fcntl(order->given[GIVEN_MAX - 1], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (status < 0)
        return -errno;
    pid_t pid = sys_fork();
    if (pid == 0)
        start_entered(call, words, order->given, caller_mask);
    if (pid < 0) {
        int error = errno;
        (void)close(status);
        return -error;
    }
    *place = (struct entered){.pid = pid, .status = status};
    return pid;
}

static pid_t start(const struct call *call, char *const *words, const sigset_t *caller_mask)
{
    if (frozen)
        return -EBUSY;
    pid_t pid = sys_fork();
    if (pid == 0)
        start_ordered(call, words, caller_mask);
    return pid < 0 ? -errno : pid;
}

/* All that is in the box, what is being forked just now as well: the kernel sees to that for a signal to all. */
static int signal_all(int signal)
{
    frozen = signal == SIGSTOP;
    return kill(-1, signal) == 0 || errno == ESRCH ? 0 : -errno;
}

int is_frozen(void)
{
    return frozen;
}

/* What an order came to: a pid, 0, or minus an error's number; and which order it was, where that has a number. */
struct reply {
    int32_t result;
    uint32_t serial;
};

static struct reply carry_out(const struct call *call, struct order *order, const sigset_t *caller_mask, size_t *size)
{
    static char *words[ORDER_WORDS_MAX + 1];
    size_t count = words_of(order->text, order->size, words);
    char kind = count > 0 ? order->text[0] : '\0';

    *size = sizeof(int32_t);
    if (kind == ORDER_START && !order->is_given && *words[0])
        return (struct reply){.result = start(call, words, caller_mask)};
    if ((kind == ORDER_FREEZE || kind == ORDER_THAW) && !order->is_given)
        return (struct reply){.result = signal_all(kind == ORDER_FREEZE ? SIGSTOP : SIGCONT)};
    if (kind == ORDER_ENTER && count > WORD_PROGRAM && order->is_given && *words[WORD_PROGRAM]) {
        *size = sizeof(struct reply);
        return (struct reply){.result = enter(call, order, words, caller_mask),
                              .serial = (uint32_t)strtoul(words[WORD_SERIAL], NULL, 10)};
    }
    return (struct reply){.result = -EINVAL};
}

/* Carry out what the steward asks for, and tell it what that came to. */
void obey(const struct call *call, int orders, const sigset_t *caller_mask)
{
    static struct order order;

    while (receive_order(orders, &order) == 0) {
        size_t size;
        struct reply reply = carry_out(call, &order, caller_mask, &size);

        for (size_t i = 0; order.is_given && i < GIVEN_MAX; i++)
            (void)close(order.given[i]);
        if (send(orders, &reply, size, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)size)
            return; /* whoever asked is gone */
    }
}

/* An order is announced by SIGIO, for which pid 1 waits as for all signals. Others in the box can send it; then there is
 * nothing to read. */
void heed_orders(int orders)
{
    if (fcntl(orders, F_SETOWN, getpid()) != 0 || fcntl(orders, F_SETFL, O_RDWR | O_NONBLOCK | O_ASYNC) != 0)
        fail((struct failure){.what = "cannot listen for orders", .error = errno});
}

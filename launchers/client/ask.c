/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * One question to the broker, and its answer, of which nothing is believed unseen.
 *
 * A command shares the descriptor in SANDBOXER_BROKER_FD with the program that started it, and two that use one
 * connection take each other's answers: so the socket's path comes first here, and the descriptor only where there is
 * no path and no process that owns it (F_SETOWN).
 */
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "client.h"

enum { TIMEOUT_S = 30, ERRNO_MAX = 4095 };

static const char *address = SBX_BROKER_SOCKET, *given_number = "";
static int broker = -1;

void find_broker(char *const *environment)
{
    static const char path[] = SBX_BROKER_VARIABLE "=", number[] = SBX_BROKER_DESCRIPTOR_VARIABLE "=";

    for (; *environment; environment++) {
        if (strncmp(*environment, path, sizeof path - 1) == 0 && (*environment)[sizeof path - 1])
            address = *environment + sizeof path - 1;
        if (strncmp(*environment, number, sizeof number - 1) == 0)
            given_number = *environment + sizeof number - 1;
    }
}

static int connect_by_path(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    size_t length = strlen(address);

    if (length >= sizeof name.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(name.sun_path, address, length);
    CLEANUP_FD int made = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (made < 0 || connect(made, (const struct sockaddr *)&name, sizeof name) != 0)
        return -1;
    int fd = made;
    made = -1;
    return fd;
}

/* The descriptor that the environment names, if it is a connected socket of ours and no process owns it; else -1. */
static int take_given(void)
{
    struct sockaddr_un peer;
    socklen_t size = sizeof peer, type_size = sizeof(int);
    int fd = 0, type = 0;

    if (!given_number[0] || strlen(given_number) > 7)
        return -1;
    for (const char *digit = given_number; *digit; digit++) {
        if (*digit < '0' || *digit > '9')
            return -1;
        fd = fd * 10 + (*digit - '0');
    }
    if (fcntl(fd, F_GETOWN) != 0 || getpeername(fd, (struct sockaddr *)&peer, &size) != 0 ||
        peer.sun_family != AF_UNIX || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) != 0 ||
        type != SOCK_SEQPACKET || fcntl(fd, F_SETOWN, getpid()) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return -1;
    return fd;
}

static int connect_to_broker(void)
{
    struct timeval limit = {.tv_sec = TIMEOUT_S};

    broker = connect_by_path();
    int why = errno;
    if (broker < 0)
        broker = take_given();
    errno = why;
    if (broker < 0)
        return -1;
    if (setsockopt(broker, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0 ||
        setsockopt(broker, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0)
        return -1;
    return 0;
}

static void disconnect(void)
{
    (void)close(broker);
    broker = -1;
}

/* Take the descriptor that came; close what came beside it. 0, or -1 when it isn't exactly one or none. */
static int take_descriptor(struct msghdr *message, struct answer *answer)
{
    struct cmsghdr *part = CMSG_FIRSTHDR(message); /* there is room for one */
    size_t count = 0, size;

    if (!part || part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
        return part ? -1 : 0;
    size = part->cmsg_len - CMSG_LEN(0);
    for (; (count + 1) * sizeof(int) <= size; count++) {
        int fd;
        memcpy(&fd, CMSG_DATA(part) + count * sizeof fd, sizeof fd);
        if (count == 0)
            answer->fd = fd;
        else
            (void)close(fd);
    }
    return count == 1 ? 0 : -1;
}

/* Does this command give a descriptor, and of this type? Directories and devices are none that a broker hands out. */
static int is_promised(uint16_t command, int fd)
{
    struct stat found;

    if (command != SBX_BROKER_OPEN && command != SBX_BROKER_CONNECT && command != SBX_BROKER_WATCH)
        return fd < 0;
    if (fd < 0 || fstat(fd, &found) != 0)
        return 0;
    return (found.st_mode & S_IFMT) == (command == SBX_BROKER_OPEN      ? S_IFREG
                                        : command == SBX_BROKER_CONNECT ? S_IFSOCK
                                                                        : 0);
}

/* Send the request and receive the answer. 0, an errno of the broker's or of ours, or -1: the broker has ended. */
static int exchange(const struct iovec *request, uint16_t command, struct answer *answer, int *sent)
{
    struct sbx_broker_reply reply;
    struct iovec parts[] = {{&reply, sizeof reply}, {answer->data, sizeof answer->data - sizeof reply}};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    struct msghdr message = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t size;

    *sent = send(broker, request->iov_base, request->iov_len, MSG_NOSIGNAL) >= 0;
    do
        size = *sent ? recvmsg(broker, &message, MSG_CMSG_CLOEXEC) : -1;
    while (*sent && size < 0 && errno == EINTR);
    if (size < 0)
        return errno == EPIPE || errno == ECONNRESET ? -1 : errno == EAGAIN ? ETIMEDOUT : errno;
    int single = take_descriptor(&message, answer) == 0;
    if (size == 0 && answer->fd < 0)
        return -1;
    if (!single || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || (size_t)size < sizeof reply)
        return EPROTO;
    if (reply.version != SBX_BROKER_VERSION)
        return EPROTONOSUPPORT;
    answer->size = (size_t)size - sizeof reply;
    if (reply.command != command || reply.error < 0 || reply.error > ERRNO_MAX ||
        (reply.error ? answer->size || answer->fd >= 0 : !is_promised(command, answer->fd)))
        return EPROTO;
    answer->value = reply.value;
    return reply.error;
}

/* May it be asked again when the broker ended without an answer? */
static int is_repeatable(const struct question *question)
{
    return question->command == SBX_BROKER_HELLO || question->command == SBX_BROKER_STAT ||
           question->command == SBX_BROKER_ACCESS || question->command == SBX_BROKER_READLINK ||
           question->command == SBX_BROKER_LIST ||
           (question->command == SBX_BROKER_OPEN &&
            !(question->flags & (SBX_BROKER_FLAG_CREATE | SBX_BROKER_FLAG_TRUNCATE)));
}

int ask(struct question question, struct answer *answer, int *status)
{
    static _Alignas(8) char memory[SBX_BROKER_REQUEST_SIZE_MAX];
    size_t first = strlen(question.first), second = strlen(question.second);
    struct sbx_broker_request head = {.version = SBX_BROKER_VERSION,
                                      .command = question.command,
                                      .flags = question.flags,
                                      .argument = question.argument,
                                      .first_size = (uint16_t)first,
                                      .second_size = (uint16_t)second};
    struct iovec request = {.iov_base = memory, .iov_len = sizeof head + first + second};
    int sent = 0;

    *status = STATUS_FAILED;
    if (first > SBX_BROKER_PATH_SIZE_MAX || second > SBX_BROKER_PATH_SIZE_MAX)
        return ENAMETOOLONG;
    memcpy(memory, &head, sizeof head);
    memcpy(memory + sizeof head, question.first, first);
    memcpy(memory + sizeof head + first, question.second, second);
    for (int tries = 0; tries < 2; tries++) {
        if (broker < 0 && connect_to_broker() != 0) {
            *status = STATUS_NO_BROKER;
            return errno;
        }
        *answer = (struct answer){.fd = -1};
        int error = exchange(&request, question.command, answer, &sent);
        if (error > 0 && answer->fd >= 0) {
            (void)close(answer->fd);
            answer->fd = -1;
        }
        if (error >= 0)
            return error;
        disconnect();
        if (sent && !is_repeatable(&question))
            break;
    }
    return EPIPE;
}

void tell_refusal(const char *verb, const char *subject, int error, int status)
{
    tell(verb, status == STATUS_NO_BROKER ? address : subject, error);
}

int ask_about(const char *verb, struct question question, const char *first, const char *second, struct answer *answer)
{
    static char places[2][SBX_BROKER_PATH_SIZE_MAX + 1];
    int status = STATUS_FAILED, error = 0;

    question.first = places[0];
    if (absolute_path(first, places[0]) != 0 || (second && absolute_path(second, places[1]) != 0))
        error = errno;
    if (second)
        question.second = places[1];
    if (error == 0)
        error = ask(question, answer, &status);
    if (error == 0)
        return STATUS_OK;
    tell_refusal(verb, first, error, status);
    return status;
}

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What a broker costs that is written in C: the same socket, the same messages, the same calls for a file (openat2
 * beneath the directory of a rule, and SCM_RIGHTS), for the benchmark to compare the real one with. It answers OPEN for
 * reading and HELLO, by one rule; it confines nothing, logs nothing, and is no part of the product.
 *
 * open_server SOCKET DIRECTORY
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker_protocol.h"

enum { CLIENTS_MAX = 64 };

struct message {
    struct sbx_broker_request head;
    char paths[2 * SBX_BROKER_PATH_SIZE_MAX + 1];
};

static struct pollfd sockets[1 + CLIENTS_MAX]; /* the listening one, then the clients */
static nfds_t socket_count;
static const char *rule; /* what the directory is called, in requests as well */
static int directory;

/* No empty, "." or ".." component: the kernel would resolve them, and the rule is for names. */
static int is_normal(const char *path)
{
    for (const char *at = path; *at == '/'; at += strcspn(at + 1, "/") + 1) {
        size_t length = strcspn(at + 1, "/");
        if (length == 0 || (at[1] == '.' && (length == 1 || (length == 2 && at[2] == '.'))))
            return 0;
    }
    return path[0] == '/';
}

/* The verdict: what lies beneath the directory, or NULL. */
static const char *beneath(const char *path)
{
    size_t length = strlen(rule);

    return is_normal(path) && strncmp(path, rule, length) == 0 && path[length] == '/' ? path + length + 1 : NULL;
}

/* A regular file, opened for reading without ever opening anything else. A descriptor, or -errno. */
static int open_file(const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    struct stat found;
    char name[32];
    const char *inner = beneath(path);

    if (!inner)
        return -EACCES;
    int place = (int)syscall(SYS_openat2, directory, inner, &how, sizeof how);
    if (place < 0)
        return -errno;
    int fd = -EACCES;
    if (fstat(place, &found) == 0 && S_ISREG(found.st_mode)) {
        (void)snprintf(name, sizeof name, "/proc/self/fd/%d", place);
        fd = open(name, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            fd = -errno;
    }
    (void)close(place);
    return fd;
}

/* Send an answer, with a descriptor unless it is negative. 0, or -1 when the client can't take it at once. */
static int answer(int client, uint16_t command, int error, uint64_t value, int fd)
{
    struct sbx_broker_reply reply = {
        .version = SBX_BROKER_VERSION, .command = command, .error = error, .value = value};
    struct iovec part = {.iov_base = &reply, .iov_len = sizeof reply};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {0};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (fd >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        *rights = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
        memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    return sendmsg(client, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof reply ? 0 : -1;
}

/* Read one request and answer it. -1: this client is done with. */
static int serve(int client)
{
    struct message message;
    struct iovec part = {.iov_base = &message, .iov_len = sizeof message};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    struct msghdr received = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t size = recvmsg(client, &received, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (size <= 0)
        return -1;
    if (received.msg_controllen || (received.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
        (size_t)size < sizeof message.head || message.head.version != SBX_BROKER_VERSION ||
        (size_t)size != sizeof message.head + message.head.first_size + message.head.second_size ||
        memchr(message.paths, '\0', (size_t)size - sizeof message.head)) {
        (void)answer(client, message.head.command, EPROTO, 0, -1);
        return -1;
    }
    message.paths[message.head.first_size] = '\0';
    if (message.head.command == SBX_BROKER_HELLO)
        return answer(client, SBX_BROKER_HELLO, 0, SBX_BROKER_REQUEST_SIZE_MAX, -1);
    if (message.head.command != SBX_BROKER_OPEN || message.head.flags != SBX_BROKER_FLAG_READ)
        return answer(client, message.head.command, EACCES, 0, -1);
    int fd = open_file(message.paths);
    int sent = answer(client, SBX_BROKER_OPEN, fd < 0 ? -fd : 0, 0, fd);
    if (fd >= 0)
        (void)close(fd);
    return sent;
}

static void take(int listener)
{
    int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    if (client < 0)
        return;
    if (socket_count > CLIENTS_MAX) {
        (void)close(client);
        return;
    }
    sockets[socket_count++] = (struct pollfd){.fd = client, .events = POLLIN};
}

static int failed(const char *what)
{
    perror(what);
    return 125;
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path) {
        (void)fputs("open_server SOCKET DIRECTORY\n", stderr);
        return 125;
    }
    rule = argv[2];
    directory = open(rule, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return failed(rule);
    memcpy(address.sun_path, argv[1], strlen(argv[1]) + 1);
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 16) != 0)
        return failed(argv[1]);
    sockets[socket_count++] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (;;) {
        if (poll(sockets, socket_count, -1) < 0)
            return failed("poll");
        for (nfds_t i = socket_count - 1; i > 0; i--) {
            if (!sockets[i].revents || serve(sockets[i].fd) == 0)
                continue;
            (void)close(sockets[i].fd);
            sockets[i] = sockets[--socket_count];
        }
        if (sockets[0].revents)
            take(listener);
    }
}

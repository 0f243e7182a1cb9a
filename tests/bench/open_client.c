/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A client of the broker in C, for the benchmark: opens one file again and again and closes it, and prints how long the
 * median opening took, without the closing, in nanoseconds. With "-" for the socket it opens the file itself.
 *
 * open_client SOCKET|- PATH COUNT
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "broker_protocol.h"

enum { COUNT_MAX = 1000000, WARM = 200 };

static int64_t times[COUNT_MAX];

static int64_t now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int earlier(const void *one, const void *other)
{
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;

    return (a > b) - (a < b);
}

static int connected(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int broker = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (broker < 0 || strlen(path) >= sizeof address.sun_path)
        return -1;
    memcpy(address.sun_path, path, strlen(path) + 1);
    return connect(broker, (struct sockaddr *)&address, sizeof address) == 0 ? broker : -1;
}

/* Ask for the file. Its descriptor, or -1. */
static int brokered(int broker, const char *path)
{
    size_t length = strlen(path);
    struct {
        struct sbx_broker_request head;
        char path[SBX_BROKER_PATH_SIZE_MAX];
    } request = {.head = {.version = SBX_BROKER_VERSION,
                          .command = SBX_BROKER_OPEN,
                          .flags = SBX_BROKER_FLAG_READ,
                          .first_size = (uint16_t)length}};
    struct sbx_broker_reply reply;
    struct iovec part = {.iov_base = &reply, .iov_len = sizeof reply};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int fd = -1;

    memcpy(request.path, path, length);
    if (send(broker, &request, sizeof request.head + length, MSG_NOSIGNAL) < 0 ||
        recvmsg(broker, &message, MSG_CMSG_CLOEXEC) != sizeof reply || reply.error || !CMSG_FIRSTHDR(&message))
        return -1;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

int main(int argc, char **argv)
{
    int count = argc == 4 ? atoi(argv[3]) : 0;

    if (count < 1 || count > COUNT_MAX || strlen(argv[2]) > SBX_BROKER_PATH_SIZE_MAX) {
        (void)fputs("open_client SOCKET|- PATH COUNT\n", stderr);
        return 125;
    }
    int plain = strcmp(argv[1], "-") == 0, broker = plain ? -1 : connected(argv[1]);
    for (int i = -WARM; i < count; i++) {
        int64_t start = now();
        int fd = plain ? open(argv[2], O_RDONLY | O_CLOEXEC) : brokered(broker, argv[2]);
        int64_t end = now();
        if (fd < 0 || close(fd) != 0) {
            perror(argv[2]);
            return 125;
        }
        if (i >= 0)
            times[i] = end - start;
    }
    qsort(times, (size_t)count, sizeof times[0], earlier);
    (void)printf("%lld\n", (long long)times[count / 2]);
    return 0;
}

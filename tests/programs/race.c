/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A hostile application: some of its processes ask the broker for names while others exchange what these names mean.
 *
 *   race SHARED WHAT TRIES SECRET-INODE
 *
 * SHARED is a directory that this box can write and that the broker's rules are for. In it are
 *   file       a regular file that holds "inside"     link    a symbolic link to a secret, which begins with "SECRET"
 *   directory  a directory with `file` in it          away    a symbolic link to a directory with a secret `file`
 *   deep/deep  a directory with a link `up`, to as many levels up as lead to the secret from elsewhere
 * WHAT is read, write, stat, list, mkdir, unlink or rename. Each asker has a connection of its own.
 * With WHAT check-then-open nobody is asked: the askers look at the name and then open it, as a careless broker would.
 * The one line that it prints counts: tries, requests that were granted, refused, answers that were the secret.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ASKERS = 3, SWAPPERS = 2, PATHS = 4, CARELESS = 999 };

static const struct kind {
    const char *name;
    uint16_t command;
    uint32_t flags;
} kinds[] = {
    {"read", 1, 1},   {"write", 1, 2 | 32}, {"stat", 2, 0},   {"list", 5, 0},
    {"mkdir", 6, 0},  {"unlink", 8, 0},     {"rename", 7, 0}, {"check-then-open", CARELESS, 0},
};

static struct counts {
    long tries, granted, refused, leaks;
} *counts;

static char shared[512];
static unsigned long secret_inode;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "race: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static int connection(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", getenv("SANDBOXER_BROKER"));
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");
    return fd;
}

static _Noreturn void swap(int odd)
{
    static const char *const pairs[][2] = {
        {"file", "link"}, {"directory", "away"}, {"file", "directory"}, {"deep/deep", "out/deep"}, {"directory", "link"},
    };
    int here = open(shared, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (here < 0)
        fail(shared);
    for (unsigned long round = 0;; round++) {
        const char *const *pair = pairs[odd ? round % 2 : round % 5];

        renameat2(here, pair[0], here, pair[1], RENAME_EXCHANGE);
    }
}

/* Send one request, take its answer. Whether it was granted; in *fd the descriptor or -1, in data what came. */
static int ask(int socket_fd, const struct kind *kind, const char *path, const char *second, char *data, size_t *size, int *fd)
{
    struct {
        uint16_t version, command;
        uint32_t flags, argument;
        uint16_t first_size, second_size;
    } __attribute__((packed)) head = {1, kind->command, kind->flags, 0, (uint16_t)strlen(path), (uint16_t)strlen(second)};
    char request[sizeof head + 2048], control[CMSG_SPACE(sizeof(int))];
    struct iovec vector = {data, 16384};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got;
    int32_t error;

    memcpy(request, &head, sizeof head);
    memcpy(request + sizeof head, path, strlen(path));
    memcpy(request + sizeof head + strlen(path), second, strlen(second));
    if (send(socket_fd, request, sizeof head + strlen(path) + strlen(second), 0) < 0)
        fail("send");
    if ((got = recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC)) < 16)
        fail("receive");
    *fd = -1;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part))
        memcpy(fd, CMSG_DATA(part), sizeof *fd);
    *size = (size_t)got;
    memcpy(&error, data + 4, sizeof error);
    return error == 0;
}

static void judge(struct counts *mine, const char *data, size_t size, int fd)
{
    struct stat status;
    char head[6];
    uint64_t inode;

    if (fd >= 0) {
        if (fstat(fd, &status) < 0)
            fail("fstat");
        if (!S_ISREG(status.st_mode) || status.st_ino == secret_inode ||
            (pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head && memcmp(head, "SECRET", sizeof head) == 0))
            mine->leaks++;
        if (write(fd, "inside", 6) < 0 && errno != EBADF)
            fail("write");
        close(fd);
    }
    if (size >= 16 + 16) {
        memcpy(&inode, data + 16 + 8, sizeof inode);
        if (inode == secret_inode)
            mine->leaks++;
    }
    if (memmem(data + 16, size - 16, "SECRET", 6))
        mine->leaks++;
}

static _Noreturn void asker(const struct kind *kind, long tries, int number, struct counts *mine)
{
    static const char *const names[PATHS] = {"file", "directory/file", "directory", "deep/deep/up"};
    int fd = kind->command == CARELESS ? -1 : connection(), given;
    char path[1024], other[1024], data[16384];
    size_t size;

    for (mine->tries = 0; mine->tries < tries; mine->tries++) {
        const char *name = names[(mine->tries + number) % PATHS];

        snprintf(path, sizeof path, "%s/%s", shared, name);
        other[0] = '\0';
        if (kind->command == 6)
            snprintf(path, sizeof path, "%s/directory/new-%d-%ld", shared, number, mine->tries % 64);
        if (kind->command == 7 || kind->command == 8)
            snprintf(path, sizeof path, "%s/directory/%s", shared, mine->tries % 2 ? "file" : "other");
        if (kind->command == 7)
            snprintf(other, sizeof other, "%s/directory/%s", shared, mine->tries % 2 ? "other" : "file");
        if (kind->command == CARELESS) {
            struct stat status;

            memset(data, 0, 16);
            size = 16;
            given = lstat(path, &status) == 0 && S_ISREG(status.st_mode) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
            if (given >= 0)
                mine->granted++;
            else
                mine->refused++;
        } else if (ask(fd, kind, path, other, data, &size, &given))
            mine->granted++;
        else
            mine->refused++;
        judge(mine, data, size, given);
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    const struct kind *kind = NULL;
    struct counts all = {0};
    pid_t swappers[SWAPPERS], askers[ASKERS];
    int failed = 0, status;

    if (argc != 5)
        return 2;
    snprintf(shared, sizeof shared, "%s", argv[1]);
    for (size_t index = 0; index < sizeof kinds / sizeof *kinds; index++)
        if (strcmp(kinds[index].name, argv[2]) == 0)
            kind = &kinds[index];
    secret_inode = strtoul(argv[4], NULL, 10);
    counts = mmap(NULL, sizeof *counts * ASKERS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!kind || counts == MAP_FAILED)
        return 2;
    for (int index = 0; index < SWAPPERS; index++)
        if ((swappers[index] = fork()) == 0)
            swap(index);
    for (int index = 0; index < ASKERS; index++)
        if ((askers[index] = fork()) == 0)
            asker(kind, atol(argv[3]) / ASKERS + 1, index, &counts[index]);
    for (int index = 0; index < ASKERS; index++)
        if (waitpid(askers[index], &status, 0) != askers[index] || status != 0)
            failed = 1;
    for (int index = 0; index < SWAPPERS; index++)
        kill(swappers[index], SIGKILL);
    for (int index = 0; index < ASKERS; index++) {
        all.tries += counts[index].tries;
        all.granted += counts[index].granted;
        all.refused += counts[index].refused;
        all.leaks += counts[index].leaks;
    }
    printf("%ld %ld %ld %ld\n", all.tries, all.granted, all.refused, all.leaks);
    return failed;
}

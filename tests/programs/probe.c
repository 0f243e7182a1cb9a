/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A small static program that runs in a box and reports its own confinement: one line of key=value facts on standard
 * output. A fact is the same in every run of the same plan, so that two lines can be compared as they are: what differs
 * by nature (an inode, a keyring's number) is compared with the host's value, given as a word, and reported as
 * own or shared.
 *
 * Words: NAME=VALUE, where NAME is a namespace (user, mnt, pid, ipc, uts, net, cgroup) with its inode outside,
 * keyring= the session keyring's number outside, marker= a file that only the host has, abstract= the name of an
 * abstract socket that somebody outside listens on, broker= (if given) the path of a socket on which somebody answers
 * within five seconds.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static char text[256 * 1024]; /* of the file that was read last */

static const char *read_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t got = 0;

    while (fd >= 0 && used < sizeof text - 1 && (got = read(fd, text + used, sizeof text - 1 - used)) > 0)
        used += (size_t)got;
    if (fd < 0 || got < 0)
        used = (size_t)snprintf(text, sizeof text, "%s", strerrorname_np(errno));
    if (fd >= 0)
        close(fd);
    text[used] = '\0';
    while (used && text[used - 1] == '\n')
        text[--used] = '\0';
    return text;
}

static const char *word(char **words, const char *name)
{
    size_t length = strlen(name);

    for (; *words; words++)
        if (strncmp(*words, name, length) == 0 && (*words)[length] == '=')
            return *words + length + 1;
    return "";
}

/* Lines of /proc/self/status, under shorter names. */
static void report_status(void)
{
    static const char *const lines[][2] = {
        {"Uid", "uid"},       {"Gid", "gid"},     {"Groups", "groups"}, {"CapInh", "inh"},
        {"CapPrm", "prm"},    {"CapEff", "eff"},  {"CapBnd", "bnd"},    {"CapAmb", "amb"},
        {"NoNewPrivs", "nnp"}, {"Seccomp", "seccomp"}, {"Seccomp_filters", "filters"}, {"NSpid", "nspid"},
    };
    static char status[64 * 1024];

    strcpy(status, read_file("/proc/self/status"));
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char start[32];
        snprintf(start, sizeof start, "\n%s:\t", lines[i][0]);
        const char *value = strstr(status, start);
        value = value ? value + strlen(start) : "?\n";
        printf(" %s=", lines[i][1]);
        for (; *value && *value != '\n'; value++)
            putchar(*value == '\t' || *value == ' ' ? ',' : *value);
    }
}

static void report_namespaces(char **words)
{
    static const char *const names[] = {"user", "mnt", "pid", "ipc", "uts", "net", "cgroup"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct stat found;
        char path[32];
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
        if (stat(path, &found) != 0)
            printf(" %s-ns=%s", names[i], strerrorname_np(errno));
        else
            printf(" %s-ns=%s", names[i],
                   found.st_ino == strtoull(word(words, names[i]), NULL, 10) ? "shared" : "own");
    }
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_seen(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int is_process(const struct dirent *entry)
{
    return entry->d_name[0] >= '0' && entry->d_name[0] <= '9';
}

static void report_directory(const char *name, const char *path, int (*shown)(const struct dirent *))
{
    struct dirent **entries;
    int count = scandir(path, &entries, shown, by_name);

    printf(" %s=", name);
    for (int i = 0; i < count; i++)
        printf("%s%s", i ? "," : "", entries[i]->d_name);
}

static void report_descriptors(void)
{
    printf(" fds=");
    for (int fd = 0, first = 1; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0) {
            printf("%s%d", first ? "" : ",", fd);
            first = 0;
        }
}

static void report_limits(void)
{
    static const int kinds[] = {RLIMIT_NPROC, RLIMIT_NOFILE, RLIMIT_FSIZE, RLIMIT_DATA};

    printf(" limits=");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct rlimit limit = {0};
        getrlimit(kinds[i], &limit);
        printf("%s%llx/%llx", i ? "," : "", (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
    }
}

/* Each mount: where, its own flags, its type. Ids and devices differ from run to run. */
static void report_mounts(void)
{
    char *line, *rest = text;
    int count = 0;

    read_file("/proc/self/mountinfo");
    printf(" mounts=");
    while ((line = strsep(&rest, "\n"))) {
        char place[4096], flags[256], tail[4096], *type;
        if (sscanf(line, "%*d %*d %*s %*s %4095s %255s %4095[^\n]", place, flags, tail) != 3)
            continue;
        type = strstr(tail, "- ");
        printf("%s%s:%s", count++ ? ";" : "", place, flags);
        printf(":%.*s", (int)strcspn(type ? type + 2 : "?", " "), type ? type + 2 : "?");
        if (strncmp(tail, "- ", 2) != 0)
            printf(":propagates");
    }
}

static const char *outcome(long result)
{
    return result >= 0 ? "yes" : strerrorname_np(errno) ? strerrorname_np(errno) : "?";
}

static void report_attempts(char **words)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *name = word(words, "abstract");
    long keyring = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0, 0, 0);
    int made, socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strncpy(address.sun_path + 1, name, sizeof address.sun_path - 2);
    printf(" abstract=%s", outcome(connect(socket_fd, (struct sockaddr *)&address,
                                           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)))));
    close(socket_fd);
    printf(" keyring=%s", keyring < 0 ? strerrorname_np(errno) : keyring == atol(word(words, "keyring")) ? "shared" : "own");
    printf(" marker=%s", outcome(access(word(words, "marker"), F_OK)));
    made = mkdir("/made-by-probe", 0755);
    printf(" root-writable=%s", outcome(made));
    made = open("/usr/made-by-probe", O_CREAT | O_WRONLY, 0600);
    printf(" usr-writable=%s", outcome(made));
    errno = 0;
    (void)syscall(SYS_vhangup);
    printf(" filter=%d", errno);
    printf(" max-user-namespaces=%s", read_file("/proc/sys/user/max_user_namespaces"));
    made = open("/proc/sys/user/max_user_namespaces", O_WRONLY);
    printf(" limit-writable=%s", outcome(made));
    made = open("/proc/1/root/", O_RDONLY | O_DIRECTORY);
    printf(" init-root=%s", outcome(made));
    made = open("/proc/1/mem", O_RDWR);
    printf(" init-memory=%s", outcome(made));
}

/* Whether a broker answers a message at all. */
static void report_broker(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct pollfd answer = {.fd = fd, .events = POLLIN};
    char byte;

    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    long result = connect(fd, (struct sockaddr *)&address, sizeof address);
    if (result == 0)
        result = send(fd, "pid", 3, MSG_NOSIGNAL);
    errno = result < 0 ? errno : ETIMEDOUT;
    if (result > 0)
        result = poll(&answer, 1, 5000) == 1 && recv(fd, &byte, 1, 0) == 1 ? 0 : -1;
    printf(" broker=%s", outcome(result));
    close(fd);
}

int main(int argc, char **argv)
{
    char name[256] = "";

    (void)argc;
    report_descriptors();
    report_limits();
    printf(" pid=%d parent=%d", getpid(), getppid());
    report_status();
    report_namespaces(argv + 1);
    gethostname(name, sizeof name - 1);
    printf(" hostname=%s dumpable=%d cwd=%s", name, prctl(PR_GET_DUMPABLE), getcwd(text, sizeof text) ? text : "?");
    report_directory("root", "/", is_seen);
    report_directory("dev", "/dev", is_seen);
    report_directory("processes", "/proc", is_process);
    report_mounts();
    report_attempts(argv + 1);
    if (*word(argv + 1, "broker"))
        report_broker(word(argv + 1, "broker"));
    printf(" complete=yes\n");
    return fflush(stdout) ? 1 : 0;
}

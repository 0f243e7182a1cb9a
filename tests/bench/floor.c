/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The floor of the benchmark: the namespaces of a box, and nothing else. One clone3() with the flags that `sandbox`
 * passes, the program, and a wait for its end: no root file system, no filter, no first process.
 *
 * floor private|host PROGRAM [ARGUMENT...]     (private: a network namespace, too)
 */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int private_network = argc > 2 && strcmp(argv[1], "private") == 0, status;

    if (argc < 3 || (!private_network && strcmp(argv[1], "host") != 0)) {
        (void)fputs("floor private|host PROGRAM [ARGUMENT...]\n", stderr);
        return 125;
    }
    struct clone_args arguments = {
        .flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP |
                 (private_network ? CLONE_NEWNET : 0),
        .exit_signal = SIGCHLD,
    };
    pid_t child = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
    if (child == 0) {
        (void)execv(argv[2], argv + 2);
        perror(argv[2]);
        _exit(125);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) {
        perror("floor");
        return 125;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}

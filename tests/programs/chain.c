/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A box that is out to seem frozen: chains of processes that each live for a moment. A link counts, starts the next one
 * as its sibling, and ends; nobody waits for it, so that no listing of processes has more than the first of all, which
 * sleeps.
 *
 * Words: the file in whose first eight bytes is counted, and how many chains there are.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static long start(unsigned long flags)
{
    return syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
}

int main(int count, char **words)
{
    if (count != 3)
        return 2;
    int file = open(words[1], O_RDWR);
    volatile unsigned long *counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || counter == MAP_FAILED || signal(SIGCHLD, SIG_IGN) == SIG_ERR)
        return 1;
    for (int chains = atoi(words[2]); chains > 0; chains--)
        if (start(0) == 0)
            for (;;) {
                ++*counter;
                if (start(CLONE_PARENT) > 0)
                    _exit(0);
            }
    for (;;)
        (void)pause();
}

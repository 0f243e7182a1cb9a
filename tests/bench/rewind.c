/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Between two runs of the benchmark: put the descriptors that bubblewrap reads to their beginning, and remove the files
 * that are named. Those that hyperfine runs share the descriptors, hence their offsets.
 *
 * rewind FIRST LAST [FILE...]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 3)
        return 125;
    for (int fd = atoi(argv[1]); fd <= atoi(argv[2]); fd++)
        if (lseek(fd, 0, SEEK_SET) != 0) {
            perror("rewind");
            return 125;
        }
    for (char **file = argv + 3; *file; file++)
        if (unlink(*file) != 0 && errno != ENOENT) {
            perror(*file);
            return 125;
        }
    return 0;
}

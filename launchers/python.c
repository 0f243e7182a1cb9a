/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * This program and the console script "sandboxer" are installed side by side, and the script's first line names the
 * interpreter that has the package: true of a virtual environment, pipx, uv, --user and a system package.
 */
#include "python.h"

#include <linux/limits.h>
#include <string.h>

#include "environment.h"
#include "fail.h"
#include "sys.h"

enum { WORDS_PASSED_MAX = 65536 };

static const char hint[] = "install the package again; this program and the script sandboxer belong side by side";

/* The path of a file beside this program. Returns 0 or -1. */
static int beside(const char *name, char *path)
{
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    char *slash;

    if (length <= 0)
        return -1;
    path[length] = '\0';
    slash = strrchr(path, '/');
    if (!slash || (size_t)(slash + 1 - path) + strlen(name) + 1 > PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(slash + 1, name, strlen(name) + 1);
    return 0;
}

/* The interpreter in the first line of the script. Long paths, and ones with spaces, get a /bin/sh trampoline there
 * from pip and uv; then the interpreter is the python3 beside it. */
static int interpreter_of(const char *script, char *python)
{
    char line[PATH_MAX];
    CLEANUP_FD int fd = open(script, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, line, sizeof line - 1);

    if (length < 0)
        return -1;
    line[length] = '\0';
    line[strcspn(line, " \n")] = '\0';
    const char *name = strrchr(line, '/');
    if (strncmp(line, "#!/", 3) == 0 && name && strncmp(name, "/python", 7) == 0) {
        memcpy(python, line + 2, strlen(line + 2) + 1);
        return 0;
    }
    return beside("python3", python);
}

/* The script and its interpreter. */
static void find(char *script, char *python)
{
    if (beside("sandboxer", script) != 0 || interpreter_of(script, python) != 0)
        fail((struct failure){.what = "cannot find the Python half", .subject = script, .error = errno, .hint = hint});
}

void find_python(char *python)
{
    static char script[PATH_MAX];

    find(script, python);
}

_Noreturn void exec_python(const char *const *first, char *const *rest, char *const *environment)
{
    static char *words[WORDS_PASSED_MAX];
    static char python[PATH_MAX], script[PATH_MAX], option_e[] = "-E", option_p[] = "-P";
    size_t count = 0;

    find(script, python);
    words[count++] = python;
    words[count++] = option_e; /* PYTHON* variables are not for us */
    words[count++] = option_p; /* nor are modules in the working directory */
    words[count++] = script;
    while (*first)
        words[count++] = (char *)(uintptr_t)*first++;
    for (; *rest; rest++) {
        if (count + 1 >= WORDS_PASSED_MAX)
            fail((struct failure){.what = "the command line has too many words"});
        words[count++] = *rest;
    }
    words[count] = NULL;
    environment = outside_environment(environment, COMES_BACK);
    if (!environment)
        fail((struct failure){.what = "the environment is too long"});
    (void)execve(python, words, environment);
    fail((struct failure){.what = "cannot start the Python half", .subject = python, .error = errno, .hint = hint});
}

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The way to the Python half: compiling, explaining, checking.
 */
#ifndef SANDBOXER_PYTHON_H
#define SANDBOXER_PYTHON_H

/* Execute the console script "sandboxer", which lies beside this program, with the words of `first` and then of `rest`,
 * both NULL-terminated. Doesn't return: ends the process with a message when it can't. */
_Noreturn void exec_python(const char *const *first, char *const *rest, char *const *environment);

/* The path of the interpreter that has the Python half, into a buffer of PATH_MAX bytes; or ends the process likewise. */
void find_python(char *python);

#endif

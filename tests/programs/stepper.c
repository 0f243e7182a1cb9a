/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Runs a command and interferes with exactly one system call of exactly one of its processes.
 *
 *   stepper REPORT list COMMAND...                          name every call
 *   stepper REPORT fault PROCESS CALL ERRNO COMMAND...      that call isn't made, and returns that error
 *   stepper REPORT kill PROCESS CALL VICTIM COMMAND...      before that call, process VICTIM is killed, and is gone
 *
 * Processes count from 0 in the order in which they come to be: of a launcher, 0 is the monitor, 1 the box's first
 * process, 2 the application. Calls count from 0 in each process, from its first program's start. The calls of all but
 * the first two are left alone once they have executed a program of their own. strace can inject faults too, but its counts run in each
 * process at once, so that a fault of the monitor's would hide the same one of the box's first process.
 *
 * REPORT gets one line for each event, in order:
 *   call PROCESS CALL NUMBER   hit NUMBER   killed   started   exit PROCESS WAIT-STATUS   hang
 * It ends when every process has ended, or kills them all after ten seconds ("hang").
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES_MAX = 64, TIME_LIMIT_S = 10, MONITOR = 0, APPLICATION = 2 };
enum mode { LIST, FAULT, KILL };

static FILE *report;
static pid_t processes[PROCESSES_MAX], victim, held;
static int count, program_runs, fault_pending, has_executed[PROCESSES_MAX];
static long calls[PROCESSES_MAX];
static enum mode mode;
static long chosen_process, chosen_call, argument; /* argument: the errno, or the victim */

static _Noreturn void give_up(const char *what)
{
    perror(what);
    exit(99);
}

static void out_of_time(int number)
{
    (void)number;
    fputs("hang\n", report);
    fflush(report);
    _exit(98); /* PTRACE_O_EXITKILL ends the rest */
}

#if defined(__x86_64__)
static long set_number(pid_t pid, long number)
{
    return ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), number);
}
static long set_result(pid_t pid, long result)
{
    return ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), result);
}
#elif defined(__aarch64__)
static long set_number(pid_t pid, long number)
{
    int value = (int)number;
    struct iovec place = {&value, sizeof value};

    return ptrace(PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &place);
}
static long set_result(pid_t pid, long result)
{
    struct user_regs_struct registers;
    struct iovec place = {&registers, sizeof registers};

    if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &place) != 0)
        return -1;
    registers.regs[0] = (unsigned long long)result;
    return ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &place);
}
#endif

static int number_of(pid_t pid)
{
    for (int i = 0; i < count; i++)
        if (processes[i] == pid)
            return i;
    if (count == PROCESSES_MAX)
        give_up("too many processes");
    processes[count] = pid;
    return count++;
}

static void note_exit(pid_t pid, int status)
{
    fprintf(report, "exit %d %d\n", number_of(pid), status);
}

/* Kill a process. The caller of the chosen call is held until the victim is gone: what comes after comes after. */
static void kill_victim(pid_t caller)
{
    if (argument >= count)
        return; /* not there yet */
    victim = processes[argument];
    held = victim == caller ? 0 : caller;
    kill(victim, SIGKILL);
    fputs("killed\n", report);
}

static void enter_call(pid_t pid, int process, long number)
{
    long call = calls[process]++;

    if (mode == LIST)
        fprintf(report, "call %d %ld %ld\n", process, call, number);
    else if (process == chosen_process && call == chosen_call) {
        fprintf(report, "hit %ld\n", number);
        if (mode == KILL)
            kill_victim(pid);
        else if (set_number(pid, -1) != 0)
            give_up("cannot take a call away");
        else
            fault_pending = 1;
    }
}

static void at_call(pid_t pid, int process)
{
    struct __ptrace_syscall_info info;

    if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) < 0)
        return; /* killed meanwhile */
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY && program_runs)
        enter_call(pid, process, (long)info.entry.nr);
    else if (info.op == PTRACE_SYSCALL_INFO_EXIT && fault_pending && process == chosen_process) {
        fault_pending = 0;
        if (set_result(pid, -argument) != 0)
            give_up("cannot set a result");
    }
}

/* Returns how the process is to go on. */
static int at_stop(pid_t pid, int status, int *signal)
{
    int process = number_of(pid), event = status >> 16, kind = WSTOPSIG(status);

    *signal = 0;
    if (event == PTRACE_EVENT_EXEC) {
        program_runs = 1;
        has_executed[process] = 1;
        if (process == APPLICATION)
            fputs("started\n", report);
    } else if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK) {
        unsigned long child;
        if (ptrace(PTRACE_GETEVENTMSG, pid, NULL, &child) == 0)
            (void)number_of((pid_t)child); /* before its parent's next call */
    } else if (event == PTRACE_EVENT_STOP) {
        if (kind != SIGTRAP)
            return PTRACE_LISTEN;
    } else if (kind == (SIGTRAP | 0x80))
        at_call(pid, process);
    else if (event == 0)
        *signal = kind;
    if (process >= APPLICATION && has_executed[process])
        return PTRACE_CONT;
    return mode == LIST || process == chosen_process || !program_runs ? PTRACE_SYSCALL : PTRACE_CONT;
}

static void follow(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
        int signal;

        if (pid <= 0)
            continue;
        if (!WIFSTOPPED(status)) {
            note_exit(pid, status);
            if (pid == victim && held) {
                (void)ptrace(PTRACE_CONT, held, NULL, 0);
                held = 0;
            }
            continue;
        }
        int how = at_stop(pid, status, &signal);
        if (pid != held)
            (void)ptrace(how, pid, NULL, signal); /* ESRCH: killed meanwhile; waitpid() will tell */
    }
}

static pid_t start(char **command)
{
    int gate[2];
    char byte = 0;

    if (pipe(gate) != 0)
        give_up("pipe");
    pid_t pid = fork();
    if (pid < 0)
        give_up("fork");
    if (pid == 0) {
        close(gate[1]);
        fclose(report);
        if (read(gate[0], &byte, 1) != 1)
            _exit(99);
        close(gate[0]);
        execv(command[0], command);
        _exit(99);
    }
    if (ptrace(PTRACE_SEIZE, pid, NULL,
               PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL) != 0)
        give_up("cannot trace");
    number_of(pid);
    if (write(gate[1], "", 1) != 1)
        give_up("write");
    close(gate[0]);
    close(gate[1]);
    return pid;
}

int main(int argc, char **argv)
{
    int words = 3;

    if (argc < 4 || !(report = fopen(argv[1], "we")))
        give_up("usage: stepper REPORT list|fault|kill ...");
    mode = strcmp(argv[2], "list") == 0 ? LIST : strcmp(argv[2], "fault") == 0 ? FAULT : KILL;
    if (mode != LIST) {
        if (argc < 7)
            give_up("usage");
        chosen_process = atol(argv[3]);
        chosen_call = atol(argv[4]);
        argument = atol(argv[5]);
        words = 6;
    }
    signal(SIGALRM, out_of_time);
    alarm(TIME_LIMIT_S);
    (void)start(argv + words);
    follow();
    return fclose(report) ? 99 : 0;
}

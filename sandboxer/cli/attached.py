"""
A program in a running box whose streams, signals and exit status are this process's.

What comes in: a box, what is to run there, and this process's own standard streams. What goes out: its exit status.

What the program gets is made here, for it alone: ends of socket pairs, which pass one way and which nobody else in the
box can open, as pipes could be; or, where this process is in a terminal, the slave of a pseudoterminal, whose master
stays here. None of the caller's descriptors goes in, nor its terminal, nor its environment but TERM: so whoever is in
the box has nothing more than before. It can't type into the terminal in which the command was given (TIOCSTI reaches
its own), read what is typed there after the program has ended, or open what a stream was redirected to. What it writes
does reach the user's terminal, as with any program: that can be asked to answer, and the answer is read by the program,
or by the shell once it has ended. The program leads a session of its own in the box, which the end of the terminal
hangs up. When it has ended, terminal and signals are this process's own again, whatever is still to be written.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import termios
import tty
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from sandboxer.cli import relay
from sandboxer.cli.relay import Way
from sandboxer.errors import StewardError
from sandboxer.host import session
from sandboxer.steward import control, descendants, freezing, processes
from sandboxer.steward.boxes import Box
from sandboxer.steward.control import Exec, Executed
from sandboxer.words import changed

HANDED_ON = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
)
FROM_A_KEYBOARD = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
"""Those that a terminal sends to all that runs in its foreground, not to one process."""
STREAMS = (0, 1, 2)


class Terminal:
    """
    This process's terminal, and the one that is made for the program. The first is raw while the program has the other:
    keys such as Ctrl-C and Ctrl-Z mean something to whoever reads them in the box.
    """

    def __init__(self) -> None:
        self._kept = termios.tcgetattr(0)
        self._is_raw = False
        self.master, self.slave = os.openpty()
        os.set_blocking(self.master, False)  # whoever pastes must not keep what is printed from being read
        termios.tcsetattr(self.slave, termios.TCSANOW, self._kept)
        self.follow_size()

    def follow_size(self) -> None:
        """The kernel tells the program."""
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetwinsize(self.master, termios.tcgetwinsize(0))

    def make_raw(self) -> None:
        """In the background this stops the process, as it should, until the shell gives the terminal back."""
        tty.setraw(0, termios.TCSADRAIN)
        self._is_raw = True

    def return_keys(self) -> None:
        """The program has ended: keys mean what they did. What it has still to say was made for a terminal already."""
        iflag, oflag, *others = self._kept
        self._set([iflag, oflag & ~termios.OPOST, *others])

    def restore(self) -> None:
        """Whatever happened. Where the terminal is in use by others by now, it is left to them."""
        self._set(self._kept)
        self._is_raw = False

    def _set(self, attributes: list[Any]) -> None:
        if not self._is_raw:
            return
        with contextlib.suppress(OSError, termios.error):  # it is gone
            if not _is_in_use():
                termios.tcsetattr(0, termios.TCSANOW, attributes)


def _is_in_use() -> bool:
    """Whether a terminal is others' by now; one that isn't this session's has no foreground to tell it by."""
    try:
        return os.tcgetpgrp(0) != os.getpgrp()
    except OSError:
        return False


class Signals:
    """
    What this process is sent goes on to the program, once that is known; a stop stops both.

    What was ignored when this process began stays so.
    """

    def __init__(self, box: Box, terminal: Terminal | None) -> None:
        self._box = box
        self._terminal = terminal
        self._number = 0
        self._first = 0
        self._early: list[int] = []

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Until the block ends."""
        before = {}
        try:
            for number in (*HANDED_ON, signal.SIGTSTP, signal.SIGWINCH):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    before[number] = signal.signal(number, self._heed)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def program_is(self, number: int) -> None:
        """Its pid in the box. What has come before is handed on now."""
        self._number = number
        for early in self._early:
            self._hand_on(early, group=early in FROM_A_KEYBOARD)

    def _heed(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGWINCH:
            if self._terminal is not None:
                self._terminal.follow_size()
        elif number == signal.SIGTSTP:
            self._stop()
        elif self._number:
            self._hand_on(number, group=number in FROM_A_KEYBOARD)
        else:
            self._early.append(number)

    def _stop(self) -> None:
        """From outside, or by a key where the program has no terminal of its own."""
        self._hand_on(signal.SIGSTOP, group=True)
        if self._terminal is not None:
            self._terminal.restore()
        os.kill(os.getpid(), signal.SIGSTOP)
        if self._terminal is not None:
            self._terminal.make_raw()
            self._terminal.follow_size()
        self._hand_on(signal.SIGCONT, group=True)

    def _hand_on(self, number: int, *, group: bool) -> None:
        """To the program, which is looked for each time; one that has ended needs none."""
        if not self._number:
            return
        with contextlib.suppress(StewardError, OSError):
            self._first = self._first or descendants.first_process(self._box.monitor)
            pid = processes.by_number(self._first, self._number)
            if pid:
                processes.send(pid, self._first, number, group=group)


def run(box: Box, request: Exec, *, is_interactive: bool = True) -> int:
    """
    Run a program, and wait for it.

    Args:
        is_interactive: in a terminal the program gets one, too; else it has no input from there.
    Returns:
        Its exit status, 126 and 127 as a shell has them.
    Raises:
        StewardError: it couldn't be started, or the box ended before it.
    """
    if freezing.is_frozen(box, processes.find(box)):
        raise StewardError(
            "cannot run anything in a box that is frozen", subject=box.id, hint=f"sandbox thaw {box.id}"
        )
    terminal = Terminal() if is_interactive and os.isatty(0) and os.isatty(1) else None
    given, ways = _streams(terminal, is_interactive=is_interactive)
    ending, told = os.pipe()
    signals = Signals(box, terminal)
    name = session.current().environment.get("TERM", "") if terminal is not None else ""
    try:
        with contextlib.ExitStack() as taken:
            taken.enter_context(signals.handled())
            if terminal is not None:
                taken.callback(terminal.return_keys)
                terminal.make_raw()
            try:
                pid = _start(box, changed(request, terminal=name), [*given, told], ending)
            finally:
                for fd in {*given, told}:
                    os.close(fd)
            signals.program_is(pid)
            status = relay.run(ways, ending, taken.close)
    finally:
        if terminal is not None:
            terminal.restore()
            os.close(terminal.master)
        os.close(ending)
    if status is None:
        raise StewardError("the box has ended, and with it what ran there", subject=box.id)
    return status


def _streams(terminal: Terminal | None, *, is_interactive: bool) -> tuple[list[int], list[Way]]:
    """What the program is given, and the ways between that and our own streams."""
    given: list[int] = []
    ways: list[Way] = []
    for number in STREAMS:
        if terminal is not None and os.isatty(number):
            given.append(terminal.slave)
            if number == 0:
                ways.append(Way(0, terminal.master, "both", is_output=False))
            elif number == 1:
                ways.append(Way(terminal.master, 1, "both", is_output=True))
            continue
        theirs, ours = _pair(is_input=number == 0)
        given.append(theirs)
        os.set_blocking(ours, False)
        if number > 0:
            ways.append(Way(ours, number, "source", is_output=True))
        elif not _is_open(0) or (not is_interactive and os.isatty(0)):
            os.close(ours)
        else:
            ways.append(Way(0, ours, "sink", is_output=False))
    return given, ways


def _pair(*, is_input: bool) -> tuple[int, int]:
    """The program's end, and ours."""
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    theirs.shutdown(socket.SHUT_WR if is_input else socket.SHUT_RD)
    return theirs.detach(), ours.detach()


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _start(box: Box, request: Exec, given: Sequence[int], ending: int) -> int:
    """
    The program's pid in the box; 0 where the steward was lost after it had passed the order on.

    Raises:
        StewardError: it isn't started.
    """
    try:
        answer = control.ask(box, request, given)
    except StewardError as error:
        if isinstance(error.__cause__, OSError) and _is_on_its_way(ending, given[-1]):
            return 0
        raise
    if not isinstance(answer, Executed):
        raise StewardError("cannot understand what the box's steward says", subject=type(answer).__name__)
    return answer.pid


def _is_on_its_way(ending: int, told: int) -> bool:
    """Whether anybody but us still holds the writing end of the status: then pid 1 has the order, or will."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, told, inheritable=False)
    os.close(null)
    poll = select.poll()
    poll.register(ending, select.POLLIN)
    events = poll.poll(0)
    return not events or bool(events[0][1] & select.POLLIN)

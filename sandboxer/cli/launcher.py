"""
Becoming the launcher: the last thing that the Python half does.

What comes in: the words after the program's name. What goes out: nothing; this process is the launcher, or
LaunchError. What Python has changed of the process is put back: the application inherits it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Mapping
from typing import NoReturn

from sandboxer.errors import LaunchError
from sandboxer.host.installation import native_program

IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def become(words: Iterable[str], environment: Mapping[str, str] | None = None) -> NoReturn:
    """
    Execute the launcher, with these variables, or those that there are.

    Raises:
        LaunchError: it isn't there, or can't be executed.
    """
    program = native_program()
    for number in IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        if environment is None:
            os.execv(program, [program, *words])  # noqa: S606
        else:
            os.execve(program, [program, *words], environment)  # noqa: S606
    except OSError as error:
        raise LaunchError(
            "cannot start the launcher",
            subject=f"{program}: {error.strerror}",
            hint="install sandboxer again: the programs sandbox and sandboxer belong side by side",
        ) from error

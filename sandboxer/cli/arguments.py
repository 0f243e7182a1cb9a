"""
Words of the verbs that look: explain, check, list.

What comes in: what follows the verb. What goes out: argparse's namespace, or UsageError with the hint where to read
on. Starting an application doesn't come by here: argparse costs 10 ms.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from sandboxer.cli import output
from sandboxer.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

WIDTH = 80


class Parser(argparse.ArgumentParser):
    """A verb's command line; mistakes are UsageErrors, and --help fits a terminal of 80 columns."""

    def __init__(self, verb: str, does: str, examples: str) -> None:
        super().__init__(
            prog=f"sandbox {verb}",
            description=does,
            epilog=f"examples\n{examples}",
            formatter_class=_Formatter,
            add_help=False,
            allow_abbrev=False,
        )
        self.add_argument("-h", "--help", action="help", help="print this")

    def actions(self) -> list[argparse.Action]:
        """What it takes, in the order of --help: for completion and manual pages."""
        return self._actions

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:  # noqa: ARG002  # argparse's
        """The help, written as pages are: argparse itself would pass over a full disk."""
        output.write(message)

    def error(self, message: str) -> NoReturn:
        raise UsageError("cannot understand the command line", subject=message, hint=f"{self.prog} --help")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=24, width=WIDTH)

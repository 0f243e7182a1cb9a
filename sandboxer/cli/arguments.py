"""
Words of the verbs that look: explain, check, list.

What comes in: what follows the verb. What goes out: argparse's namespace, or UsageError with the hint where to read
on. Starting an application doesn't come by here: argparse costs 10 ms.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

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

    def parse_known_args(
        self,
        args: Iterable[str] | None = None,
        namespace: Any = None,  # argparse's
    ) -> tuple[Any, list[str]]:
        """As argparse's, but nothing is left over: an action's own parser knows best what it takes."""
        found, rest = super().parse_known_args(args, namespace)
        option = next((word for word in rest if word.startswith("-")), "")
        if option:
            known = [word for action in self._actions for word in action.option_strings if _is_told(action)]
            raise self._cannot(f"there is no option {option}", option, known)
        if rest:
            raise self._cannot(f"too many words: {' '.join(rest)}")
        return found, rest

    def _check_value(self, action: argparse.Action, value: Any) -> None:  # argparse's
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            raise self._cannot(f"{value} is none of {', '.join(known)}", str(value), known)

    def _cannot(self, why: str, word: str = "", known: Sequence[str] = ()) -> UsageError:
        """The mistake, with what was meant by `word` where that can be told, else where to read on."""
        hint = ""
        if word:
            from sandboxer.cli.spelling import word_hint

            hint = word_hint(word, known)
        return UsageError(
            "cannot understand the command line", subject=why, hint=hint or f"{self.prog} --help"
        )

    def error(self, message: str) -> NoReturn:
        raise self._cannot(message)


def _is_told(action: argparse.Action) -> bool:
    return action.help != argparse.SUPPRESS


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=24, width=WIDTH)

"""
The command line: which verb, and what becomes of errors.

What comes in: sys.argv. What goes out: an exit status, or this process becomes the launcher. Each verb is imported
when it is used: most of a compile's time is imports. It never prints a traceback without --debug.
"""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
VERBS = (
    "explain",
    "check",
    "list",
    "open",
    "grant",
    "revoke",
    "grants",
    "install",
    "unit",
    "ps",
    "exec",
    "kill",
    "freeze",
    "thaw",
    "logs",
    "inspect",
    "doctor",
)
FROM_MENU, APART, JOIN, FAILED = "--from-menu", "--apart", "--join", "--failed"
"""Words of wrappers and of the launcher, before the user's own; see launchers/main.c."""
MESSAGES_MAX = 16384
FAILED_STATUS = 125


def main() -> int:
    """The console script `sandboxer`. Returns the exit status."""
    words = sys.argv[1:]
    manner = []
    while words[:1] in ([FROM_MENU], [APART]):
        manner.append(words.pop(0))
    debug = words[:1] == ["--debug"]
    if debug:
        words = words[1:]
    debug = debug or (words[:1] == ["run"] and "--debug" in words[: _end_of_options(words)])
    from sandboxer.errors import FAILURE, SandboxerError

    users = words[1:] if words[:1] == [JOIN] else words
    app = (
        users[0]
        if users and users[0][:1] not in ("", "-") and users[0] not in (*VERBS, "run", "help")
        else ""
    )
    try:
        return dispatch(words, debug=debug, manner=tuple(manner))
    except SandboxerError as error:
        if debug:
            import traceback

            traceback.print_exc()
        message = _printable(error.render(app))
        print(message, file=sys.stderr)
        if FROM_MENU in manner:
            _notify(app, message)
        return FAILURE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        what = f"sandboxer: internal error: {type(error).__name__}: {_printable(str(error))}"
        message = f"{what}\n  try: the same with `sandbox --debug`, and report what it prints"
        print(message, file=sys.stderr)
        if FROM_MENU in manner:
            _notify(app, message)
        return FAILURE


def dispatch(words: list[str], *, debug: bool, manner: tuple[str, ...] = ()) -> int:
    """Run a verb. Raises SandboxerError."""
    from sandboxer.errors import NoProgramError, UsageError

    verb = words[0] if words else ""
    if verb == FAILED:
        return _tell_of_failure(words[1:])
    if verb == JOIN:
        from sandboxer.cli import join

        return join.main(words[1:], manner)
    if verb in ("--help", "-h", "help", "--version") or (verb == "run" and _asks_for_help(words)):
        from sandboxer.cli import output, usage

        output.write(f"{usage.VERSION if verb == '--version' else usage.HELP}\n")
        return 0
    if verb in VERBS:
        from importlib import import_module

        module = import_module(f"sandboxer.cli.{verb}")
        status: int = module.main(words[1:])
        return status
    if not verb or verb.startswith("-"):
        raise UsageError(
            f"there is no option {verb}" if verb else "there is nothing to start", hint="sandbox --help"
        )
    from sandboxer.cli.launch import launch
    from sandboxer.cli.request import app_request, run_request

    request = run_request(words, debug=debug) if verb == "run" else app_request(words, debug=debug)
    try:
        return launch(request, manner)
    except NoProgramError as error:
        from sandboxer.cli.spelling import verb_hint

        error.hint = verb_hint(verb, (*VERBS, "run", "help")) or error.hint
        raise


def _tell_of_failure(words: list[str]) -> int:
    """STATUS APP, from the launcher: what it told stderr of a start from a menu is on standard input."""
    status, app = (*words, "", "")[:2]
    _notify(app, os.fsdecode(sys.stdin.buffer.read(MESSAGES_MAX)))
    return int(status) if status.isascii() and status.isdigit() else FAILED_STATUS


def _notify(app: str, message: str) -> None:
    """Show what nobody would read on stderr."""
    from sandboxer.desktop import notify

    notify.show_failure(app, message)


def _asks_for_help(words: list[str]) -> bool:
    return not {"--help", "-h"}.isdisjoint(words[: _end_of_options(words)])


def _end_of_options(words: list[str]) -> int:
    return words.index("--") if "--" in words else len(words)


def _printable(text: str) -> str:
    """Lines without what a terminal would act upon: file names in messages may be an application's choice."""
    from sandboxer.cli.output import visible

    return "\n".join(visible(line) for line in text.split("\n"))


if __name__ == "__main__":
    sys.exit(main())

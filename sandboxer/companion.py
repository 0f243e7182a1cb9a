"""
The processes beside a box that the launcher starts when they are needed: `python -c '…main()' KIND DIRECTORY
NAME=FD...`.

What comes in: "broker" or "steward" with the directory of the box's state, or "scopes" with that of the session's
boxes, and descriptors by name. What goes out: an exit status. It imports only what the chosen one needs: the broker is
to stay small.
"""

from __future__ import annotations

import sys

USAGE = 2


def main() -> None:
    """Become the companion. The launcher is the only caller."""
    words = sys.argv[1:]
    if len(words) < 2 or words[0] not in ("broker", "steward", "scopes"):
        sys.exit(USAGE)
    kind, directory, *pairs = words
    descriptors = {name: int(number) for name, _, number in (pair.partition("=") for pair in pairs)}
    if kind == "broker":
        from sandboxer.broker import process as broker

        sys.exit(broker.main(directory, descriptors))
    if kind == "scopes":
        from sandboxer.desktop.scopes import service as scopes

        sys.exit(scopes.main(directory, descriptors))
    from sandboxer.steward import process as steward

    sys.exit(steward.main(directory, descriptors))

"""`python -m sandboxer.cli.shells SHELL`: print its script."""

from __future__ import annotations

import sys

from sandboxer.cli.shells import bash, fish, zsh
from sandboxer.cli.shells.tables import tables

SHELLS = {"bash": bash.script, "zsh": zsh.script, "fish": fish.script}


def main(words: list[str]) -> int:
    """Print. Returns 0, or 2 where no shell is named."""
    if len(words) != 1 or words[0] not in SHELLS:
        print(f"usage: python -m sandboxer.cli.shells {'|'.join(SHELLS)}", file=sys.stderr)
        return 2
    sys.stdout.write(SHELLS[words[0]](tables()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

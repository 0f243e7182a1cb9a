"""`python -m sandboxer.cli.manual PAGE`: print it."""

from __future__ import annotations

import sys

from sandboxer.cli.manual import broker, command, policy

PAGES = {
    "sandbox.1": command.page,
    "sandbox-broker.1": broker.page,
    "sandboxer-policy.5": policy.page,
}


def main(words: list[str]) -> int:
    """Print. Returns 0, or 2 where no page is named."""
    if len(words) != 1 or words[0] not in PAGES:
        print(f"usage: python -m sandboxer.cli.manual {'|'.join(PAGES)}", file=sys.stderr)
        return 2
    sys.stdout.write(PAGES[words[0]]())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

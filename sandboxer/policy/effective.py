"""A policy after merging: the values that hold, and the line that made each."""

from __future__ import annotations

from sandboxer.policy.model import Policy
from sandboxer.words import BUILT_IN, Origin, Record


class Effective(Record):
    """
    What `merge` makes of an application's layers.

    `name` is the application's, `origins` is keyed by (dotted key, list item or table key or ""), with items
    as the policy has them ("?~/.gitconfig"). The files that were read, or looked for and absent, are the
    host's to remember.
    """

    name: str
    policy: Policy
    origins: dict[tuple[str, str], Origin]
    found: bool
    """Whether a policy of this name exists; without one the strict default holds."""

    def origin(self, key: str, item: str = "") -> Origin:
        """The line that set `key` ("files.home"), or that added `item` to the list `key`; else "built in"."""
        return self.origins.get((key, item)) or self.origins.get((key, "")) or BUILT_IN

"""
Which sockets lie in a directory.

What comes in: the directory's real path. What goes out: the sockets' paths in it, found by a short look: the entries
first, then those of the directories among them, and so on. It never follows a link, and asks the kernel only about what
is neither a file nor a directory nor a link: a few milliseconds at most.
"""

from __future__ import annotations

import os
import stat

ENTRIES_MAX = 2_000
DIRECTORIES_MAX = 200
"""That are looked into: opening one costs as much as 20 entries."""
LEVELS = 3
"""gnupg/d.…/S.gpg-agent is as deep as known programs go below the runtime directory."""


def find(directory: str) -> tuple[str, ...]:
    """Paths relative to `directory`, sorted; what can't be looked into holds none."""
    found: list[str] = []
    level, entries, directories = [""], ENTRIES_MAX, DIRECTORIES_MAX
    for _ in range(LEVELS):
        deeper: list[str] = []
        for name in level[:directories] if entries > 0 else ():
            entries -= _look(directory, name, entries, found, deeper)
        directories -= len(level)
        level = sorted(deeper) if directories > 0 else []
    return tuple(sorted(found))


def _look(directory: str, name: str, most: int, found: list[str], deeper: list[str]) -> int:
    """Look into one directory, at no more than `most` entries. Returns how many those were."""
    count = 0
    try:
        with os.scandir(os.path.join(directory, name)) as entries:
            for entry in entries:
                if count >= most:
                    break
                count += 1
                path = os.path.join(name, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    deeper.append(path)
                elif not (entry.is_symlink() or entry.is_file(follow_symlinks=False)) and stat.S_ISSOCK(
                    entry.stat(follow_symlinks=False).st_mode
                ):
                    found.append(path)
    except OSError:  # closed to the user, or gone
        return count
    return count

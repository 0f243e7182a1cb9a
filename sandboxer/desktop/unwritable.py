"""
What the user can do about a place that can't be written.

What comes in: a path, and the error that writing there has ended with. What goes out: one line.
"""

from __future__ import annotations

import errno
import os
import shlex


def remedy(path: str, error: OSError) -> str:
    """The hint for a file that can't be made, replaced or removed at `path`."""
    directory = os.path.dirname(path)
    while not os.path.isdir(directory) and directory != os.path.dirname(directory):
        directory = os.path.dirname(directory)
    named = shlex.quote(directory)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"make room for it: df -h {named}"
        case errno.EACCES | errno.EPERM:
            return f"make it writable: chmod u+w {named}"
        case errno.EROFS:
            return f"it is mounted read-only; see: findmnt -T {named}"
        case errno.EEXIST | errno.ENOTDIR | errno.EISDIR:
            return f"remove what is in the way, or move it: ls -ld {shlex.quote(path)}"
    return f"look at it: ls -la {named}"

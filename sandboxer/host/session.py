"""
The session that asks: its environment and its directory.

What comes in: the process's own environment, read here and nowhere else in the package.
What goes out: plain values. Nothing is recorded here: `facts` records what a plan is made from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from sandboxer.errors import ResolveError


class Session:
    """
    One session, as it was when the process started.

    `environment` is a copy; `cache_home` is where the user's caches live: $XDG_CACHE_HOME, or ~/.cache.
    """

    def __init__(self, environment: Mapping[str, str], cache_home: str) -> None:
        self.environment = dict(environment)
        self.cache_home = cache_home

    def directory(self) -> str:
        """The working directory, links resolved. Raises ResolveError when it was deleted."""
        try:
            return os.getcwd()
        except OSError as error:
            raise ResolveError(
                "cannot tell the working directory",
                subject=error.strerror or str(error),
                hint="cd to a directory that exists",
            ) from error


def current() -> Session:
    """The session of this process."""
    from xdg import BaseDirectory

    cache_home: str = BaseDirectory.xdg_cache_home
    if not os.path.isabs(cache_home):  # The base directory specification: relative paths are to be ignored.
        cache_home = os.path.join(os.path.expanduser("~"), ".cache")
    return Session(os.environ, cache_home)

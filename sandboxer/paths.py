"""
Where the files that come with sandboxer are.

What comes in: which kind ("policies", "desktop"). What goes out: a directory. It never looks outside the
installation.
"""

from __future__ import annotations

import os.path
from functools import cache

from sandboxer.errors import SandboxerError


@cache
def data_dir(kind: str) -> str:
    """
    The directory of one kind of shipped files, absolute, links followed.

    Installed, it lies inside the package; in a checkout beside it. A checkout is known by its launchers/, so
    that a stray site-packages/policies of somebody else's is never taken for ours.

    Raises:
        SandboxerError: it is in neither place.
    """
    package = os.path.dirname(os.path.realpath(__file__))
    checkout = os.path.dirname(package)
    inside, beside = os.path.join(package, kind), os.path.join(checkout, kind)
    if os.path.isdir(inside):
        return inside
    if os.path.isdir(beside) and os.path.isdir(os.path.join(checkout, "launchers")):
        return beside
    raise SandboxerError(
        f"cannot find the {kind} that come with sandboxer",
        subject=f"{inside}: no such directory",
        hint="install sandboxer again",
    )

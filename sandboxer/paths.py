"""
Where the files that come with sandboxer are.

What comes in: which kind ("policies", "desktop"), or a file of desktop/. What goes out: a path. It never looks outside
the installation.
"""

from __future__ import annotations

import os.path
from functools import cache

from sandboxer.errors import SandboxerError

INSTALLED_AS = {"desktop": "desktop-data"}
"""What has another name inside the package than in a checkout: sandboxer/desktop/ holds modules."""


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
    inside, beside = os.path.join(package, INSTALLED_AS.get(kind, kind)), os.path.join(checkout, kind)
    if os.path.isdir(inside):
        return inside
    if os.path.isdir(beside) and os.path.isdir(os.path.join(checkout, "launchers")):
        return beside
    raise SandboxerError(
        f"cannot find the {kind} that come with sandboxer",
        subject=f"{inside}: no such directory",
        hint="install sandboxer again",
    )


def data_file(name: str) -> str:
    """
    A shipped file of desktop/, by its path there ("systemd/sandbox@.service"): absolute, links followed.

    Raises:
        SandboxerError: it isn't there.
    """
    path = os.path.join(data_dir("desktop"), name)
    if os.path.exists(path):
        return path
    raise SandboxerError(
        f"cannot find {os.path.basename(name)}, which comes with sandboxer",
        subject=f"{path}: no such file",
        hint="install sandboxer again",
    )

"""
The AppArmor profile for the launcher, as text for the path where it is installed.

What comes in: the template desktop/apparmor/sandboxer, the launcher's path. What goes out: a profile. It is never made
for an interpreter: a profile for python3 would be one for every Python program of the machine.
"""

from __future__ import annotations

import re

from sandboxer.errors import LaunchError
from sandboxer.paths import data_file

TEMPLATE_PATH = "/usr/bin/sandbox"
"""The launcher's path in the template, which is a profile for a distribution's package as it stands."""
SPECIAL = re.compile(r'([\\*?\[\]{}^"@])')


def profile(launcher: str) -> str:
    """
    The profile.

    Raises:
        LaunchError: the path can't be written in a profile; the template is missing.
    """
    if not launcher.isprintable():
        raise LaunchError(
            "cannot write an AppArmor profile",
            subject=f"{launcher!r}: a path with control characters",
            hint="install sandboxer elsewhere",
        )
    path = data_file("apparmor/sandboxer")
    try:
        with open(path, encoding="utf-8") as file:
            template = file.read()
    except OSError as error:
        raise LaunchError(
            "cannot read the AppArmor profile that comes with sandboxer",
            subject=f"{path}: {error.strerror}",
            hint="install sandboxer again",
        ) from error
    return template.replace(f"sandboxer {TEMPLATE_PATH} ", f"sandboxer {_written(launcher)} ")


def _written(path: str) -> str:
    """A path as profiles have it: signs with a meaning escaped, quoted where it has blanks. Source: apparmor.d(5)."""
    escaped = SPECIAL.sub(r"\\\1", path)
    return f'"{escaped}"' if re.search(r"[\s#,()=<>]", escaped) else escaped

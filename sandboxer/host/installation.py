"""
Where this program itself is, and which of its files a plan depends on.

What comes in: nothing but where this module and the console script lie. What goes out: paths. It never looks at what
the files hold.
"""

from __future__ import annotations

import os
import sys

from sandboxer.paths import data_dir


def native_program() -> str:
    """
    Where the launcher is: beside the console script, else beside the interpreter. It may not exist.

    Installers put both scripts into one directory, and tools that link one of them elsewhere link both. A name without
    a directory ("-c") is none of a script: where the user stands, an application may have put anything.
    """
    try:
        beside = os.path.dirname(os.path.abspath(sys.argv[0])) if "/" in sys.argv[0] else ""
    except FileNotFoundError:  # A relative name, and the working directory was deleted.
        beside = ""
    places = [beside, os.path.dirname(sys.executable)]
    for place in places:
        path = os.path.join(place, "sandbox")
        if place and os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.realpath(path)
    return os.path.join(places[-1], "sandbox")


def broker_client() -> str:
    """The program with which a box asks its broker: installed beside the launcher. It may not exist."""
    return os.path.join(os.path.dirname(native_program()), "sandbox-broker")


def program_files() -> tuple[str, ...]:
    """
    The files that make up this program's version.

    Installed: the launcher and the package's first file, which every upgrade replaces. In a checkout, where any file
    can change alone: each module of the package that took part.
    """
    package = _package()
    files = [os.path.realpath(native_program()), os.path.join(package, "__init__.py")]
    if _is_checkout(package):
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "sandboxer" and getattr(module, "__file__", None):
                files.append(os.path.realpath(str(module.__file__)))
    return tuple(dict.fromkeys(file for file in files if os.path.exists(file)))


def installed_policies() -> str:
    """The directory of shipped policies where an installer put it; "" in a checkout, where people edit them."""
    return "" if _is_checkout(_package()) else data_dir("policies")


def _package() -> str:
    return os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def _is_checkout(package: str) -> bool:
    return os.path.exists(os.path.join(os.path.dirname(package), "launchers"))

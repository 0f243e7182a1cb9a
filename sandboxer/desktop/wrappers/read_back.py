"""
A second reader for wrappers: what is about to be put in place is read by pyxdg, which knows nothing of how it was made.

What comes in: a wrapper. What goes out: "" when each of its commands starts the launcher, else what is wrong with it.
A file of which two readers think differently isn't written.
"""

from __future__ import annotations

import os

from sandboxer.desktop.wrappers.exec_line import split
from sandboxer.desktop.wrappers.key_file import unescape
from sandboxer.desktop.wrappers.programs import command


def starts_outside(content: bytes, launcher: str) -> str:
    """What would start something else than the launcher (an absolute path), in words; "" when nothing does."""
    from xdg.Exceptions import Error
    from xdg.IniFile import IniFile

    fd = os.memfd_create("wrapper", os.MFD_CLOEXEC)
    with open(fd, "r+b") as file:
        file.write(content)
        file.flush()
        try:
            read = IniFile()
            read.parse(f"/proc/self/fd/{fd}", ["Desktop Entry"])
        except (Error, UnicodeError, ValueError) as error:
            return f"it is no right desktop entry: {error}"
    for group, pairs in read.content.items():
        for key, value in pairs.items():
            if key.partition("[")[0].strip() != "Exec":
                continue
            try:
                program = command(split(unescape(value))).program
            except ValueError as error:
                return f"[{group}] {key}: {error}"
            if program != launcher:
                return f"[{group}] {key} would start {program}"
    return ""

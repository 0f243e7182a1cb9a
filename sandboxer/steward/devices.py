"""
Device nodes, and what whoever has one can do with it.

What comes in: the path of a node below /dev. What goes out: a sentence that sounds as dangerous as it is, or a refusal.
It never looks at the node itself.
"""

from __future__ import annotations

import posixpath

from sandboxer.errors import StewardError

TERMINALS = ("/dev/pts/", "/dev/tty", "/dev/console", "/dev/ptmx", "/dev/vcs", "/dev/fd/")
MEANINGS = (
    ("/dev/input/", "everything that is typed and clicked, passwords too, in every program"),
    ("/dev/uinput", "keyboards and mice of its own making: it can type into every program"),
    ("/dev/uhid", "keyboards and mice of its own making: it can type into every program"),
    ("/dev/video", "the camera, whenever it likes"),
    ("/dev/media", "the camera, whenever it likes"),
    ("/dev/snd/", "the microphone and the loudspeakers, whenever it likes"),
    ("/dev/dri/", "the graphics card: what other programs draw has leaked through its drivers"),
    ("/dev/nvidia", "the graphics card: what other programs draw has leaked through its drivers"),
    ("/dev/hidraw", "raw input devices: keyboards, and the security keys that you sign in with"),
    ("/dev/bus/usb/", "a USB device as a whole: its data, and its firmware"),
    ("/dev/usb/", "a USB device as a whole: its data, and its firmware"),
    ("/dev/kvm", "virtual machines"),
    ("/dev/net/", "network interfaces of its own making"),
    ("/dev/fuse", "file systems of its own making"),
    ("/dev/mem", "the whole memory of the machine"),
    ("/dev/port", "the whole memory of the machine"),
)
DRIVER = "and its driver, which is part of the kernel"


def meaning(path: str, *, block: bool) -> str:
    """
    What the application gets with a node, for people: "the camera, whenever it likes; and its driver, …".

    Raises:
        StewardError: it is a terminal, or lies outside /dev.
    """
    if not path.startswith("/dev/"):
        raise StewardError(
            "refuses to grant a device node that doesn't lie in /dev",
            subject=path,
            hint="name the device by its path in /dev",
        )
    if path.startswith(TERMINALS):
        raise StewardError(
            "refuses to grant a terminal",
            subject=f"{path}: what is typed there could be read, and programs outside be typed to",
        )
    if block:
        return f"all that is stored on {posixpath.basename(path)}, whoever's it is, past every permission of files"
    for start, words in MEANINGS:
        if path.startswith(start):
            return f"{words}; {DRIVER}"
    return f"whatever {posixpath.basename(path)} is; {DRIVER}"

"""
What comes with sandboxer for shells, man and desktops, put where they look: for those who installed it into an
environment of its own, whose share/ nobody reads.

What comes in: the base directories. What goes out: files to be written, as `installing.install` takes them, and
`installing.undo` takes away again. It writes nothing.
"""

from __future__ import annotations

import os
import shutil

from sandboxer.desktop.wrappers import entries
from sandboxer.desktop.wrappers.entries import Kind
from sandboxer.desktop.wrappers.wanted import FILE_MODE, Wanted
from sandboxer.desktop.wrappers.wrapper import digest
from sandboxer.host.view import Host
from sandboxer.paths import data_file

ID = "org.sandboxer.Sandboxer"
PLACES = {
    "completions/sandbox.bash": "bash-completion/completions/sandbox",
    "completions/_sandbox": "zsh/site-functions/_sandbox",
    "completions/sandbox.fish": "fish/vendor_completions.d/sandbox.fish",
    "man/sandbox.1": "man/man1/sandbox.1",
    "man/sandbox-broker.1": "man/man1/sandbox-broker.1",
    "man/sandboxer-policy.5": "man/man5/sandboxer-policy.5",
    f"icons/hicolor/scalable/apps/{ID}.svg": f"icons/hicolor/scalable/apps/{ID}.svg",
    f"icons/hicolor/symbolic/apps/{ID}-symbolic.svg": f"icons/hicolor/symbolic/apps/{ID}-symbolic.svg",
    f"metainfo/{ID}.metainfo.xml": f"metainfo/{ID}.metainfo.xml",
}
"""Files of desktop/, and where they are looked for below $XDG_DATA_HOME. launchers/CMakeLists.txt has the same."""
ZSH_DIRECTORY = "zsh/site-functions"


def wanted_files(host: Host) -> list[Wanted]:
    """
    The files, each with its place in the user's data directory.

    Raises:
        SandboxerError: one of them isn't where it was installed.
    """
    base = entries.directories(host).data[0]
    found = []
    for name, place in PLACES.items():
        origin = data_file(name)
        with open(origin, "rb") as file:
            content = file.read()
        found.append(
            Wanted(
                kind=Kind.EXTRA,
                name=os.path.basename(place),
                path=os.path.join(base, place),
                policy="",
                origin=origin,
                origin_digest=digest(content),
                content=content,
                mode=FILE_MODE,
            )
        )
    return found


def left_to_the_user(host: Host) -> list[str]:
    """What is still to be done, in words: zsh has no directory of the user's that it looks into by itself."""
    if shutil.which("zsh", path=host.variable("PATH")) is None:
        return []
    directory = os.path.join(entries.directories(host).data[0], ZSH_DIRECTORY)
    return [f"zsh completes once ~/.zshrc says, before compinit: fpath=({directory} $fpath)"]

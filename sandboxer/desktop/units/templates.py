"""
Units of our own: the template for any application, the scope service, units for single applications.

What comes in: shipped templates, the launcher's and the interpreter's path, a policy. What goes out: texts of units.
It writes nothing.
"""

from __future__ import annotations

from sandboxer.desktop.units.words import ESCAPED_FIRST, quoted
from sandboxer.errors import ResolveError
from sandboxer.paths import data_file
from sandboxer.policy.effective import Effective
from sandboxer.policy.model import Policy

TEMPLATE = "sandbox@.service"
SCOPES_SOCKET = "sandboxer-scopes.socket"
INSTALLED = (TEMPLATE, "sandboxer-scopes.service", SCOPES_SOCKET)
SOCKETS_TARGET = "sockets.target.wants"
LAUNCHER, PYTHON = "@LAUNCHER@", "@PYTHON@"


def installed_text(name: str, launcher: str, python: str) -> str:
    """
    A shipped unit for this installation.

    Raises:
        SandboxerError: it isn't there, or can't be read.
    """
    path = data_file(f"systemd/{name}")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise ResolveError(
            "cannot read a shipped unit", subject=f"{path}: {error.strerror or error}"
        ) from error
    return text.replace(LAUNCHER, first_word(launcher)).replace(PYTHON, first_word(python))


def first_word(path: str) -> str:
    """A program's path as the first word of a command: its escapes hold outside quotes, and "%" is doubled."""
    return "".join(f"\\x{ord(letter):02x}" if letter in ESCAPED_FIRST else letter for letter in path).replace(
        "%", "%%"
    )


def own_name(app: str) -> str:
    """The file name of an application's own unit; characters that no unit's name has are escaped as systemd does."""
    return f"sandbox-{''.join(_name_part(letter) for letter in app)}.service"


def new_text(app: str, effective: Effective, launcher: str) -> str:
    """A unit for one application, to be edited and enabled."""
    policy: Policy = effective.policy
    graphical = bool(policy.display.wayland) or bool(policy.display.x11)
    target = "graphical-session.target" if graphical else "default.target"
    lines = [
        f"# {app} in its box. Yours to edit; to start it with the session: systemctl --user enable {own_name(app)}",
        "[Unit]",
        f"Description={(policy.summary or app).replace('%', '%%')}, in a box",
        "Documentation=man:sandbox(1)",
    ]
    if graphical:
        lines += [
            "# It has windows, and ends with the session that shows them.",
            f"PartOf={target}",
            f"After={target}",
        ]
    lines += [
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart={first_word(launcher)} {quoted(app)}",
        "Slice=app.slice",
        "# The launcher hands SIGTERM on to the application; whatever is left is killed.",
        "KillMode=mixed",
        "TimeoutStopSec=10",
    ]
    if graphical:
        lines += [
            "# Closing its window ends it; started again it is only after a crash.",
            "Restart=on-abnormal",
        ]
    else:
        lines += ["Restart=on-failure", "# 125: the box can't be made, which trying again doesn't change."]
        lines += ["RestartPreventExitStatus=125"]
    if policy.network.access != "none":
        lines += ["# It has the network of the machine, which may come up later than the session."]
        lines += ["RestartSec=5"]
    lines += ["", "[Install]", f"WantedBy={target}"]
    return "\n".join(lines) + "\n"


def _name_part(letter: str) -> str:
    return letter if letter.isascii() and (letter.isalnum() or letter in "_.-") else f"\\x{ord(letter):02x}"

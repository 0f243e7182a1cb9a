"""
The error tree.

What comes in: what went wrong, on what, who asked for it, what to do.
What goes out: one message of four parts, the same in a terminal and in a notification.
Nothing here prints or exits; `cli` does.
"""

from __future__ import annotations

from sandboxer.words import Origin

FAILURE = 125
"""The exit status of every error here: no box was made, and the application hasn't run."""


class SandboxerError(Exception):
    """
    Base of every error that is meant for the user.

    Args:
        what: the failed action, lower case, no full stop ("cannot share the Wayland socket").
        subject: what it happened to and why ("/run/user/1000/wayland-0: no such file").
        origin: the policy line that asked for it, where one did.
        hint: what to do, in one line.
    """

    def __init__(self, what: str, *, subject: str = "", origin: Origin | None = None, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.subject = subject
        self.origin = origin
        self.hint = hint

    def render(self, app: str = "") -> str:
        """The message as the user reads it: two to four lines, no trailing newline."""
        named = f"{app}: " if app and not self.what.startswith(f"{app} ") else ""
        lines = [f"sandboxer: {named}{self.what}"]
        if self.subject:
            lines.append(f"  {self.subject}")
        if self.origin is not None:
            lines.append(f"  asked for by {self.origin}")
        if self.hint:
            lines.append(f"  try: {self.hint}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.render()


class UsageError(SandboxerError):
    """The command line can't be understood."""


class PolicyError(SandboxerError):
    """A policy file can't be read, parsed or merged."""


class ResolveError(SandboxerError):
    """The policy asks for something that this machine or session doesn't have, or that contradicts itself."""


class NoProgramError(ResolveError):
    """There is neither a program nor a policy of this name: it may not be meant for an application's at all."""


class PlanError(SandboxerError):
    """A plan can't be laid out, or is refused by the decoder."""


class LaunchError(SandboxerError):
    """The plan can't be stored or handed to the launcher."""


class StewardError(SandboxerError):
    """Something can't be done to a box that runs."""


class BusError(SandboxerError):
    """
    A service on a bus can't be asked, or refuses.

    `name` is the D-Bus error's ("org.freedesktop.DBus.Error.ServiceUnknown"), "" where there was no answer at all.
    """

    def __init__(self, what: str, *, subject: str = "", hint: str = "", name: str = "") -> None:
        super().__init__(what, subject=subject, hint=hint)
        self.name = name

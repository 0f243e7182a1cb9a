"""
Which grants of files open what should be the user's alone.

What comes in: grants on this machine. What goes out: what they show of the places where keys, passwords and sessions
are kept, and the same grants with their weight. It decides nothing of what is granted: it is for the verbs that look,
and asks more of the machine than a start should.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from sandboxer.broker.rules import CHANGES, Rule
from sandboxer.grants.grant import Grant, Weight
from sandboxer.grants.paths import within
from sandboxer.host.view import Host
from sandboxer.plan.ops import Op, OpFlag, OpKind
from sandboxer.words import BoxPath, HostPath, Record, changed

SENSITIVE = {
    ".ssh": "keys to other machines",
    ".gnupg": "keys to your mail and signatures",
    ".password-store": "passwords",
    ".local/share/keyrings": "passwords",
    ".local/share/kwalletd": "passwords",
    ".aws": "keys to cloud accounts",
    ".azure": "keys to cloud accounts",
    ".config/gcloud": "keys to cloud accounts",
    ".kube": "keys to clusters",
    ".docker": "passwords of registries",
    ".config/gh": "a token for GitHub",
    ".git-credentials": "passwords",
    ".netrc": "passwords",
    ".pgpass": "passwords",
    ".mozilla": "a browser's passwords and sessions",
    ".config/google-chrome": "a browser's passwords and sessions",
    ".config/chromium": "a browser's passwords and sessions",
    ".pki": "certificates",
    ".config/rclone": "keys to cloud accounts",
    ".config/BraveSoftware": "a browser's passwords and sessions",
    ".config/microsoft-edge": "a browser's passwords and sessions",
    ".config/keepassxc": "what opens a password store",
    ".config/Bitwarden": "passwords",
    ".thunderbird": "mail and its passwords",
    ".bash_history": "commands that you typed, secrets among them",
    ".zsh_history": "commands that you typed, secrets among them",
}
"""Places in the home that hold what opens other things."""
WIDE = {
    "/": "all there is on this machine",
    "/etc": "the settings of the whole machine",
    "/home": "the files of every user",
    "/media": "every disk that is plugged in",
    "/mnt": "every disk that is mounted there",
    "/root": "the administrator's own files",
    "/run": "the sockets of all that runs",
    "/var": "the data of the whole machine",
    "~": "keys, passwords and the data of all other programs included",
    "~/.config": "the settings of all other programs, with the passwords among them",
    "~/.local": "the data of all other programs",
    "~/.local/share": "the data of all other programs",
    "~/.cache": "what all other programs keep of their work",
}
"""Directories that are far more than a program's own, and what is in them. "~" is the home directory."""
COVERS = (OpKind.BIND, OpKind.OWN, OpKind.HIDE)
KEYS = (
    *(f"files.{key}" for key in ("read", "write", "own", "system")),
    *(f"broker.{key}" for key in ("read", "write", "append")),
)


class Secret(Record):
    """A place of SENSITIVE that a grant shows by `op`. `inside`: with more besides, so that it could be hidden."""

    name: str
    holds: str
    op: Op
    inside: bool

    @property
    def verb(self) -> str:
        """What the application can do with it."""
        return "read and change" if self.op.flags & OpFlag.WRITE else "read"


def shown_by(grant: Grant) -> list[Op]:
    """What a grant binds, and what the broker opens by it, as if that were bound."""
    asked = [
        Op(
            kind=OpKind.BIND,
            box_path=BoxPath(item.path),
            source=HostPath(posixpath.join(item.root, item.name).rstrip("/") or "/"),
            flags=OpFlag.WRITE if item.rights & CHANGES else OpFlag(0),
            origin=grant.origin,
        )
        for item in grant.brokered
        if isinstance(item, Rule)
    ]
    return [*(op for op in grant.ops if op.kind is OpKind.BIND), *asked]


def weighed(grants: Sequence[Grant], host: Host) -> list[Grant]:
    """The grants; those of secrets, or of far more than a program's own, are holes, and say why."""
    return [_weighed(grant, grants, host) for grant in grants]


def exposed(grant: Grant, grants: Sequence[Grant], host: Host) -> Iterator[Secret]:
    """The secrets that are there and that a grant of files shows, unless another grant covers them."""
    if grant.origin.key not in KEYS:
        return
    ops = shown_by(grant)
    mounted = ops and not grant.brokered  # what the broker opens, no mount covers
    covers = [op for other in grants for op in other.ops if op.kind in COVERS] if mounted else []
    for name, holds in SENSITIVE.items() if ops else ():
        real = host.resolve(posixpath.join(host.user.home, name))
        for op in ops if real is not None else ():
            assert real is not None
            if within(op.source, real):
                yield Secret(name=name, holds=holds, op=op, inside=False)
            elif within(real, op.source) and not any(
                within(real, hidden) for other in grants for hidden in other.hidden if grant.brokered
            ):
                shown = BoxPath(op.box_path + real[len(op.source.rstrip("/")) :])
                if not _covered(shown, real, op, covers):
                    yield Secret(name=name, holds=holds, op=op, inside=True)


def _covered(shown: BoxPath, real: str, by: Op, covers: Sequence[Op]) -> bool:
    """Whether something between lies over the place where a grant would show a secret."""
    for op in covers:
        if op.box_path == by.box_path and op.kind is not OpKind.HIDE:
            continue
        if within(shown, op.box_path) and within(op.box_path, by.box_path):
            same = op.kind is OpKind.BIND and op.source + shown[len(op.box_path) :] == real
            if not same:
                return True
    return False


def _weighed(grant: Grant, grants: Sequence[Grant], host: Host) -> Grant:
    if grant.weight is Weight.HOLE:
        return grant
    secrets = list(dict.fromkeys(f"~/{found.name}: {found.holds}" for found in exposed(grant, grants, host)))
    why = _wide(grant, host) or "; ".join(secrets)
    if not why:
        return grant
    detail = "; ".join(part for part in (grant.detail, why) if part)
    return changed(grant, weight=Weight.HOLE, detail=detail)


def _wide(grant: Grant, host: Host) -> str:
    """What a grant of far too much holds, or ""."""
    if grant.origin.key not in KEYS:
        return ""
    home = host.resolve(host.user.home) or host.user.home
    for op in shown_by(grant):
        if within(home, op.source) and op.source not in WIDE:
            return WIDE["~"]
        for path, holds in WIDE.items():
            if op.source == (home + path[1:] if path.startswith("~") else path):
                return holds
    return ""

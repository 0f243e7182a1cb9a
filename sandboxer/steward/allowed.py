"""
What may be granted to a running box.

What comes in: what was found outside, how it is wanted, the plan and the Host. What goes out: the paths in it that have
to stay covered, or StewardError. The user asks, and is believed to mean it; what no grant of a policy could do isn't
done here either: nothing of the kernel's is shown, nothing that boxes are controlled by, nothing that the policy hides,
and nothing is made writable from which programs are run outside.
"""

from __future__ import annotations

from collections.abc import Sequence

from sandboxer.broker.rules import decode
from sandboxer.errors import ResolveError, StewardError
from sandboxer.grants import protected
from sandboxer.grants.paths import within
from sandboxer.host.view import Host
from sandboxer.plan.ops import Op, OpFlag, OpKind, Plan
from sandboxer.steward.sources import Source
from sandboxer.words import BoxPath, HostPath, Origin

KERNEL = ("/proc", "/sys", "/dev")
GRANTED = Origin("command line")


def covers(
    source: Source, plan: Plan, host: Host, *, write: bool, hidden: Sequence[str] = ()
) -> tuple[str, ...]:
    """
    Judge a grant.

    Args:
        hidden: paths on the host, besides the plan's own, that the policy hides.
    Returns:
        Paths on the host that lie in `source` and must be covered where it is shown.
    Raises:
        StewardError: it may not be granted.
    """
    if not (source.is_directory or source.is_file or source.is_device):
        raise StewardError(
            "only files, directories and device nodes can be granted to a running box",
            subject=f"{source.path}: a socket or a pipe",
            hint="what listens on a socket is granted in the policy (files.read), or by the broker",
        )
    inside = list(refuse_closed(source, host))
    for path in dict.fromkeys((*hidden, *hidden_paths(plan))):
        if within(source.path, path):
            raise StewardError(
                "refuses to grant what the policy hides",
                subject=f"{source.path}: in {path}",
                hint="take it out of files.hide, and start the application again",
            )
        inside.append(path)
    found = tuple(path for path in dict.fromkeys(inside) if within(path, source.path))
    if write:
        _refuse_self_grants(source, host)
        if found:
            raise StewardError(
                "refuses to make writable what holds something hidden",
                subject=f"{source.path}: holds {found[0]}, which could be moved out from under its cover",
                hint="grant it read-only, or a directory in it",
            )
    return found


def refuse_closed(source: Source, host: Host) -> tuple[str, ...]:
    """
    Refuse what no box may see, whoever asks. Returns the paths of all that is closed to boxes.

    Raises:
        StewardError: it is a part of the kernel's, or of what boxes and the session are controlled by.
    """
    _refuse_kernel(source)
    places = _closed(host)
    for closed in places:
        if within(source.path, closed):
            raise StewardError(
                "refuses to grant what boxes are controlled by",
                subject=f"{source.path}: in {closed}",
                hint="copy what is needed to another directory, and grant that",
            )
    return places


def hidden_paths(plan: Plan) -> tuple[str, ...]:
    """Host paths that the plan's policy hides: those that it covers in the box, and those that its broker refuses."""
    binds = [op for op in plan.ops if op.kind is OpKind.BIND]
    found = list(decode(plan.broker).hidden) if plan.broker else []
    for op in plan.ops:
        if op.kind is OpKind.HIDE:
            above = [bind for bind in binds if within(op.box_path, bind.box_path)]
            if above:
                bind = max(above, key=lambda bind: len(bind.box_path))
                found.append(bind.source.rstrip("/") + op.box_path[len(bind.box_path.rstrip("/")) :])
    return tuple(dict.fromkeys(found))


def collides(path: str, source: str, plan: Plan) -> bool:
    """Whether showing something at `path` in the box would cover what the plan has put there, or beneath."""
    for op in plan.ops:
        if op.kind is OpKind.DIR or not within(op.box_path, path):
            continue
        if op.box_path != path or op.kind is not OpKind.BIND or op.source != source:
            return True
    return False


def _refuse_kernel(source: Source) -> None:
    for top in KERNEL:
        if top == "/dev" and source.is_device:
            continue
        if within(source.path, top) or within(top, source.path):
            raise StewardError(
                "refuses to grant a part of the kernel as a file",
                subject=f"{source.path}: {'in' if within(source.path, top) else 'holds'} {top}",
                hint="a device is granted by the path of its node in /dev",
            )


def _closed(host: Host) -> tuple[str, ...]:
    """Places of ours, and the session's runtime directory: its sockets lead to the programs behind them."""
    runtime = host.variable("XDG_RUNTIME_DIR") or ""
    places = [*protected.closed(host), *([runtime.rstrip("/")] if runtime.startswith("/") else [])]
    return tuple(dict.fromkeys(end for place in places for end in protected.spellings(place, host)))


def _refuse_self_grants(source: Source, host: Host) -> None:
    op = Op(
        kind=OpKind.BIND,
        box_path=BoxPath(source.path),
        source=HostPath(source.path),
        flags=OpFlag.WRITE,
        origin=GRANTED,
    )
    try:
        protected.refuse_self_grants((op,), host)
    except ResolveError as error:
        raise StewardError(
            error.what,
            subject=error.subject,
            hint="grant it read-only, or a directory that holds only documents",
        ) from error

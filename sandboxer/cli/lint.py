"""
What is allowed in a policy, and yet worth a second look.

What comes in: a policy, its survey on this machine, and the files whose lines are looked at. What goes out: findings,
each with its line. It finds no errors: see `check`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from sandboxer.cli.secrets import Secret, exposed, shown_by
from sandboxer.cli.survey import Survey
from sandboxer.errors import SandboxerError
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.grants.paths import within
from sandboxer.host.view import Host
from sandboxer.plan.ops import Op, OpFlag, OpKind
from sandboxer.policy.checks import BROKERED
from sandboxer.policy.layer import Layer
from sandboxer.words import Origin, Record

ERROR, WARNING = "error", "warning"
PATH_KEYS = (
    "files.read",
    "files.write",
    "files.own",
    "files.system",
    "files.hide",
    *(f"broker.{key}" for key in BROKERED),
)


class Finding(Record):
    """`level` is ERROR or WARNING; `subject` and `hint` may be empty, `line` is 0 where there is none."""

    level: str
    file: str
    line: int
    key: str
    what: str
    subject: str = ""
    hint: str = ""


def of_error(error: SandboxerError, file: str, level: str = ERROR) -> Finding:
    """An error as a finding; `file` is where it is reported when it doesn't say."""
    origin = error.origin or Origin(file)
    return at(origin, error.what, error.subject, error.hint, level=level)


def at(origin: Origin, what: str, subject: str = "", hint: str = "", level: str = WARNING) -> Finding:
    """A finding about a line."""
    return Finding(
        level=level, file=origin.file, line=origin.line, key=origin.key, what=what, subject=subject, hint=hint
    )


def twice(layer: Layer) -> Iterator[Finding]:
    """Items that a file's own list holds more than once."""
    for setting in layer.settings:
        if not isinstance(setting.value, tuple) or setting.key == "arguments":
            continue
        for index, item in enumerate(setting.value):
            if item in setting.value[:index]:
                first = layer.origin(setting, setting.value.index(item))
                yield at(
                    layer.origin(setting, index),
                    "an item stands twice",
                    f'"{item}": line {first.line} has it',
                )


def lint(made: Survey, layers: Collection[Layer], host: Host) -> Iterator[Finding]:
    """
    Warnings about lines of these layers.

    Args:
        made: of the policy that the layers belong to.
    """
    files = {layer.file for layer in layers}
    grants = [item for item in made.found if isinstance(item, Grant)]
    mine = [grant for grant in grants if grant.origin.file in files]
    for layer in layers:
        yield from _known_before(layer, made)
        if not made.errors:
            yield from _of_no_effect(layer, made)
    for grant in mine:
        secrets = list(exposed(grant, grants, host))
        if grant.weight is Weight.HOLE and not secrets:
            hint = (
                'write x11 = "fallback" if it knows Wayland'
                if made.effective.policy.display.x11 is True
                else ""
            )
            hint = hint if grant.origin.key == "display.x11" else ""
            yield at(grant.origin, f"this opens a hole: {grant.words}", grant.detail, hint)
        yield from _sensitive(secrets)
        yield from _within_another(grant, grants)
    yield from _told_away(grants, files)
    yield from _idle(made, grants, files)


def _known_before(layer: Layer, made: Survey) -> Iterator[Finding]:
    """Items that an earlier file or set has."""
    origins = made.effective.origins
    for setting in layer.settings:
        if not isinstance(setting.value, tuple) or setting.key in ("arguments", "extends"):
            continue
        for index, item in enumerate(setting.value):
            here, first = layer.origin(setting, index), origins.get((setting.key, item))
            if first is not None and first.file != here.file:
                yield at(
                    here,
                    "an item is there already",
                    f'"{item}": {first.file}:{first.line} has it',
                    "take it out",
                )


def _of_no_effect(layer: Layer, made: Survey) -> Iterator[Finding]:
    """Paths that come to nothing here."""
    grants = [item for item in made.found if isinstance(item, Grant)]
    idle = [item.words for item in made.found if isinstance(item, Withheld)]
    for setting in layer.settings:
        if setting.key not in PATH_KEYS or not isinstance(setting.value, tuple):
            continue
        for index, item in enumerate(setting.value):
            origin, name = layer.origin(setting, index), item.removeprefix("?")
            if item.startswith("!") or made.effective.origins.get((setting.key, item)) != origin:
                continue
            if setting.key == "files.hide":
                if any(words.startswith(f"{name} is hidden") for words in idle):
                    yield at(
                        origin,
                        "this hides what nothing shows",
                        item,
                        "take it out, or see what it was to hide",
                    )
            elif not any(grant.origin == origin and name in grant.words for grant in grants):
                yield at(origin, "this grants nothing here", f"{item}: nothing there")


def _sensitive(secrets: Collection[Secret]) -> Iterator[Finding]:
    for secret in secrets:
        yield at(
            secret.op.origin,
            f"this lets it {secret.verb} what should be yours alone",
            f"~/{secret.name}: {secret.holds}",
            f'hide that part: hide = ["~/{secret.name}"]' if secret.inside else "",
        )


def _within_another(grant: Grant, grants: Sequence[Grant]) -> Iterator[Finding]:
    """
    Paths of `files` and `broker` that lie in what another line grants, at least as far; of two equal ones the later is
    told. What is mounted need not be asked for; what may be asked for isn't mounted.
    """
    if grant.origin.key not in PATH_KEYS[:2] and not grant.origin.key.startswith("broker."):
        return
    for other in grants:
        comparable = other.origin.key.startswith("files.") or (
            other.origin.key == grant.origin.key and other.brokered
        )
        if other.origin == grant.origin or not comparable or not _covers(other, grant):
            continue
        if _covers(grant, other) and grants.index(other) > grants.index(grant):
            continue
        yield at(
            grant.origin,
            "this is granted already",
            f"{other.words}, by {other.origin}",
            "take one of them out",
        )
        return


def _covers(wide: Grant, narrow: Grant) -> bool:
    """Whether all that `narrow` shows is shown by `wide`, writable where it is writable."""
    given, asked = shown_by(wide), shown_by(narrow)
    return bool(asked) and all(any(_shows(op, inner) for op in given) for inner in asked)


def _shows(wide: Op, op: Op) -> bool:
    if wide.kind is not OpKind.BIND or op.kind is not OpKind.BIND:
        return False
    return within(op.source, wide.source) and not (op.flags & OpFlag.WRITE and not wide.flags & OpFlag.WRITE)


def _told_away(grants: Collection[Grant], files: Collection[str]) -> Iterator[Finding]:
    """Two holes that are worse together."""
    watches = [grant for grant in grants if grant.origin.key == "display.x11" and grant.weight is Weight.HOLE]
    sends = [
        grant for grant in grants if grant.origin.key == "network.access" and grant.weight is Weight.HOLE
    ]
    for watch in watches[:1]:
        for send in sends[:1]:
            mine = next((grant for grant in (watch, send) if grant.origin.file in files), None)
            if mine is not None:
                yield at(
                    mine.origin,
                    "with X11 and the network together it can send away what is typed in other windows",
                    f"{watch.origin} and {send.origin}",
                    "use Wayland, or do without one of them",
                )


def _idle(made: Survey, grants: Sequence[Grant], files: Collection[str]) -> Iterator[Finding]:
    """Lines that do nothing without another one."""
    policy, origin = made.effective.policy, made.effective.origin
    has_broker = any(grant.brokered for grant in grants)
    for is_idle, line, what, hint in (
        (
            policy.files.siblings and policy.files.documents == "none",
            origin("files.siblings"),
            "nothing is handed in, so there is nothing beside it",
            'set files.documents = "read", or take it out',
        ),
        (
            bool(policy.broker.ssh_agent_keys) and "ssh-agent" not in policy.broker.connect,
            origin("broker.ssh-agent-keys"),
            "no SSH agent is given, so its keys are named for nothing",
            'add "ssh-agent" to broker.connect, or take them out',
        ),
        (
            policy.broker.descriptor and not has_broker,
            origin("broker.descriptor"),
            "there is nothing to ask for, and so no broker",
            "grant something under [broker], or take it out",
        ),
    ):
        if is_idle and line.file in files:
            yield at(line, what, "", hint)
    opens = [
        op
        for grant in grants
        if grant.origin.key in ("broker.write", "broker.append")
        for op in shown_by(grant)
    ]
    for grant in grants:
        if grant.origin.key != "broker.create" or grant.origin.file not in files:
            continue
        for op in shown_by(grant):
            if not any(within(op.source, other.source) or within(other.source, op.source) for other in opens):
                hint = "name it under broker.write or broker.append, too"
                yield at(grant.origin, "a file that is made must be opened to be written", op.box_path, hint)
                break

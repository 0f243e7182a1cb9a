"""
`sandbox check [FILE…]`: what is wrong, or doubtful, in policies.

What comes in: the words after the verb; without files, every file of every layer. What goes out: findings by file and
line, or one line that says that there are none; exit status 1 where there are errors. It goes on after the first
error, it starts nothing and leaves nothing behind.

Warnings are about files that are named, and about the user's and the administrator's: what is shipped has been
thought about, and opens what its application can't do without.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence

from sandboxer.cli import output
from sandboxer.cli.arguments import Parser
from sandboxer.cli.lint import ERROR, WARNING, Finding, at, lint, of_error, twice
from sandboxer.cli.output import Block, Part, Tone, line
from sandboxer.cli.sources import KINDS, Source, layer_sources, named_sources
from sandboxer.cli.survey import Anywhere, survey
from sandboxer.errors import PolicyError, ResolveError, SandboxerError
from sandboxer.grants.syscalls import unknown_group
from sandboxer.host import session
from sandboxer.host.view import FileType, Host
from sandboxer.policy import layers
from sandboxer.policy.checks import check_name
from sandboxer.policy.deny import parse_group
from sandboxer.policy.effective import Effective
from sandboxer.policy.layer import Layer, Setting
from sandboxer.policy.parse import problems, salvage
from sandboxer.words import Origin, changed

DOES = "Looks for mistakes in policies: in these files, or in all that there are."
EXAMPLES = """\
  sandbox check
  sandbox check ~/.config/sandboxer/apps/mypaint.toml"""
GROUPED = ("syscalls.deny", "syscalls.allow")
OF_THE_SESSION = ("display.", "sound.", "devices.")
"""Keys whose grants depend on where one sits, not on what one wrote: a text console has no display."""


def main(argv: list[str]) -> int:
    """Check. Returns 0, or 1 when there are errors. Raises UsageError."""
    options = parser().parse_args(argv)
    here = session.current()
    host = Anywhere(here)
    found = [
        source for file in options.files for source in named_sources(file, here.directory(), host)
    ] or layer_sources(host)
    findings = check(found, host)
    if not options.files:
        findings = [*of_the_users_own(found, findings), *strays(host)]
    findings.sort(key=lambda finding: (finding.file, finding.line))
    if options.json:
        output.write(json.dumps(facts(found, findings), indent=2) + "\n")
    else:
        output.show(page(found, findings))
    return 1 if any(finding.level == ERROR for finding in findings) else 0


def check(sources: Sequence[Source], host: Host) -> list[Finding]:
    """Everything that is to be said of these files, each thing once, errors of one file in the order of lines."""
    findings: dict[Finding, None] = {}
    readable: dict[Source, Layer] = {}
    for source in sources:
        for finding in _of_file(source, host, readable):
            findings[finding] = None
    broken = {finding.file for finding in findings if finding.level == ERROR and not finding.line}
    policies: dict[tuple[str, str, str], list[Source]] = {}
    for source in sources:
        if source.kind != "deny":
            key = (source.kind, source.name, source.path if source.outside else "")
            policies.setdefault(key, []).append(source)
    for (kind, name, file), mine in policies.items():
        advised = [readable[source] for source in mine if source.advised and source in readable]
        for finding in _of_policy(kind, name, file, advised, mine, host):
            if finding.level == WARNING or finding.file not in broken:
                findings[finding] = None
    return list(findings)


def of_the_users_own(sources: Sequence[Source], findings: Sequence[Finding]) -> list[Finding]:
    """All errors, and warnings about files of the user and the administrator: a server has no display, and is fine."""
    shipped = {source.shown for source in sources if not source.advised}
    return [finding for finding in findings if finding.level == ERROR or finding.file not in shipped]


def _of_file(source: Source, host: Host, readable: dict[Source, Layer]) -> Iterator[Finding]:
    """What a file says by itself; its layer, when it says something, goes into `readable`."""
    try:
        content = host.read(source.path)
        if content is None:
            there = host.type_of(source.path)
            why = "no such file" if there is None else "it is no file, or may not be read"
            raise PolicyError("cannot read a policy", subject=why, origin=Origin(source.shown))
        if source.kind == "deny":
            parse_group(source.name, content, source.shown)
            return
        wrong = problems(content, source.shown)
        yield from (of_error(error, source.shown) for error in wrong)
        right = salvage(content, source.shown)
        yield from (of_error(error, source.shown) for error in _unknown_names(right, host))
        if not wrong:
            readable[source] = right
            yield from twice(right)
    except SandboxerError as error:
        yield of_error(error, source.shown)


def _unknown_names(layer: Layer, host: Host) -> Iterator[PolicyError]:
    """Sets and groups that a file names and that aren't there, all of them."""
    for setting in layer.settings:
        if not isinstance(setting.value, tuple):
            continue
        for index, item in enumerate(setting.value):
            if (
                setting.key == "extends"
                and not item.startswith("!")
                and item not in layers.names("sets", host)
            ):
                yield layers.unknown_set(item, host, layer.origin(setting, index))
            elif (
                setting.key in GROUPED and item.startswith("@") and item[1:] not in layers.names("deny", host)
            ):
                yield unknown_group(item, host, layer.origin(setting, index))


def _of_known_sets(setting: Setting, known: Collection[str]) -> Setting:
    if setting.key != "extends" or not isinstance(setting.value, tuple):
        return setting
    pairs = zip(setting.value, setting.lines, strict=True)
    kept = [(item, line) for item, line in pairs if item in known or item.startswith("!")]
    return changed(setting, value=tuple(item for item, _ in kept), lines=tuple(line for _, line in kept))


def _reader(host: Host) -> layers.Reader:
    """What is right of a file, less the sets that aren't there: `_of_file` has told those."""
    known = layers.names("sets", host)

    def right(content: bytes, file: str) -> Layer:
        layer = salvage(content, file)
        return Layer(file=file, settings=tuple(_of_known_sets(setting, known) for setting in layer.settings))

    return right


def _of_policy(
    kind: str, name: str, file: str, advised: Sequence[Layer], mine: Sequence[Source], host: Host
) -> Iterator[Finding]:
    """What the merged policy is on this machine. What belongs to no line is told of the last of its files."""
    shown = file or mine[-1].shown
    try:
        made = survey(_merged(kind, name, file, host), host, with_program=kind == "apps")
    except SandboxerError as error:
        subject = [source.shown for source in mine if error.subject.startswith(f"{source.shown}: ")]
        yield of_error(error, subject[0] if subject else shown)
        return
    for missing in made.errors:
        of_session = (
            isinstance(missing, ResolveError)
            and missing.origin is not None
            and missing.origin.key.startswith(OF_THE_SESSION)
        )
        if advised or not of_session:
            yield of_error(missing, shown, WARNING if of_session else ERROR)
    told = {layer.file for layer in advised}
    if made.absent is not None and made.absent.origin is not None and made.absent.origin.file in told:
        yield of_error(made.absent, shown, WARNING)
    yield from lint(made, advised, host)


def _merged(kind: str, name: str, file: str, host: Host) -> Effective:
    reader = _reader(host)
    if kind == "sets" and not file:
        return layers.load_set(name, host, reader=reader)
    return layers.load(name, host, file=file or None, reader=reader)


def strays(host: Host) -> Iterator[Finding]:
    """Files in the user's and the administrator's layers that look like policies, and that nothing reads."""
    for place in layers.places(host):
        if place.shipped:
            continue
        for entry in host.entries(place.path):
            if entry.endswith(".toml") and host.type_of(f"{place.path}/{entry}") is FileType.REGULAR:
                hint = f"move it to {place.shown}/apps/"
                yield at(
                    Origin(f"{place.shown}/{entry}"), "nothing reads this file", "it is in no apps/", hint
                )
        for kind in KINDS:
            for entry in host.entries(f"{place.path}/{kind}"):
                stem, _, ending = entry.rpartition(".")
                if ending not in ("toml", "d") or check_name(stem) is not None:
                    origin = Origin(f"{place.shown}/{kind}/{entry}")
                    yield at(origin, "nothing reads this file", "", "name it NAME.toml, or remove it")


def page(sources: Sequence[Source], findings: Sequence[Finding]) -> Iterable[Block]:
    """As compilers write: FILE:LINE: error: what."""
    for finding in findings:
        place = f"{finding.file}:{finding.line}" if finding.line else finding.file
        tone = Tone.HOLE if finding.level == ERROR else Tone.WARNING
        key = output.quiet(f"  [{finding.key}]") if finding.key else ""
        yield line(f"{place}: ", Part(text=f"{finding.level}: ", tone=tone), finding.what, key)
        if finding.subject:
            yield line(finding.subject, indent=4)
        if finding.hint:
            yield line(f"try: {finding.hint}", indent=4)
    errors = sum(finding.level == ERROR for finding in findings)
    told = (
        f"{_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}"
        if findings
        else "nothing amiss"
    )
    yield line(f"{_count(len(sources), 'file')}: {told}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def facts(sources: Sequence[Source], findings: Sequence[Finding]) -> dict[str, object]:
    """For machines."""
    return {
        "files": [source.shown for source in sources],
        "errors": sum(finding.level == ERROR for finding in findings),
        "warnings": sum(finding.level == WARNING for finding in findings),
        "findings": [
            {
                "level": finding.level,
                "what": finding.what,
                "subject": finding.subject,
                "origin": {"file": finding.file, "line": finding.line, "key": finding.key},
                "hint": finding.hint,
            }
            for finding in findings
        ],
    }


def parser() -> Parser:
    """The verb's words."""
    words = Parser("check", DOES, EXAMPLES)
    words.add_argument(
        "files", nargs="*", metavar="FILE", help="a policy, a set or a group, by its file or its name"
    )
    words.add_argument("--json", action="store_true", help="for machines; see sandboxer/cli/README.md")
    return words

"""
`sandbox check [FILE…]`: what is wrong, or doubtful, in policies.

What comes in: the words after the verb; without files, every file of every layer. What goes out: findings by file and
line, or one line that says that there are none; exit status 1 where there are errors. It goes on after the first
error, it starts nothing and leaves nothing behind.

Warnings are about files that are named, and about the user's and the administrator's: what is shipped has been
thought about, and opens what its application can't do without.
"""

from __future__ import annotations

import argparse
import json
import os.path
from collections.abc import Iterable, Iterator, Sequence

from sandboxer.cli import output
from sandboxer.cli.arguments import Parser
from sandboxer.cli.lint import ERROR, WARNING, Finding, at, lint, of_error, twice
from sandboxer.cli.output import Block, Part, Tone, line
from sandboxer.cli.survey import Anywhere, survey
from sandboxer.errors import PolicyError, SandboxerError
from sandboxer.host import session
from sandboxer.host.view import FileType, Host
from sandboxer.policy import layers
from sandboxer.policy.checks import check_name
from sandboxer.policy.deny import parse_group
from sandboxer.policy.effective import Effective
from sandboxer.policy.layer import Layer
from sandboxer.policy.parse import parse, problems
from sandboxer.words import Origin, Record

DOES = "Looks for mistakes in policies: in these files, or in all that there are."
EXAMPLES = """\
  sandbox check
  sandbox check ~/.config/sandboxer/apps/mypaint.toml"""
KINDS = ("apps", "sets", "deny")
OF_THE_SESSION = ("display.", "sound.", "devices.")
"""Keys whose grants depend on where one sits, not on what one wrote: a text console has no display."""


class Source(Record):
    """
    One file to check. `kind` is of KINDS, `name` what it belongs to ("firefox"), `shown` how the user knows it.

    `outside` is for a file that lies in no layer, `advised` for one whose doubtful lines are told, too.
    """

    path: str
    shown: str
    kind: str
    name: str
    outside: bool = False
    advised: bool = False


def main(argv: list[str]) -> int:
    """Check. Returns 0, or 1 when there are errors. Raises UsageError."""
    options = _options(argv)
    here = session.current()
    host = Anywhere(here)
    files = [os.path.normpath(os.path.join(here.directory(), file)) for file in options.files]
    found = [file_source(file, host) for file in files] or layer_sources(host)
    findings = check(found, host)
    if not options.files:
        findings += strays(host)
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
    broken = {finding.file for finding in findings if finding.level == ERROR}
    policies: dict[tuple[str, str, str], list[Source]] = {}
    for source in sources:
        if source.kind != "deny":
            key = (source.kind, source.name, source.path if source.outside else "")
            policies.setdefault(key, []).append(source)
    for (kind, name, file), mine in policies.items():
        advised = [readable[source] for source in mine if source.advised and source in readable]
        for finding in _of_policy(kind, name, file, advised, host):
            if finding.level == WARNING or finding.file not in broken:
                findings[finding] = None
    return list(findings)


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
        if not wrong:
            readable[source] = parse(content, source.shown)
            yield from twice(readable[source])
    except SandboxerError as error:
        yield of_error(error, source.shown)


def _of_policy(kind: str, name: str, file: str, advised: Sequence[Layer], host: Host) -> Iterator[Finding]:
    """What the merged policy is on this machine."""
    shown = file or f"{kind}/{name}.toml"
    try:
        made = survey(_merged(kind, name, file, host), host, with_program=False)
    except SandboxerError as error:
        yield of_error(error, shown)
        return
    for missing in made.errors:
        of_session = missing.origin is not None and missing.origin.key.startswith(OF_THE_SESSION)
        if advised or not of_session:
            yield of_error(missing, shown, WARNING if of_session else ERROR)
    yield from lint(made, advised, host)


def _merged(kind: str, name: str, file: str, host: Host) -> Effective:
    if file:
        return layers.load(name, host, file=file)
    return layers.load_set(name, host) if kind == "sets" else layers.load(name, host)


def layer_sources(host: Host) -> list[Source]:
    """Every file of every layer that something reads."""
    found = []
    for place in layers.places(host):
        for kind in KINDS:
            for entry in host.entries(f"{place.path}/{kind}"):
                name, _, ending = entry.rpartition(".")
                if check_name(name) is not None or entry.startswith("."):
                    continue
                files = [entry] if ending == "toml" else []
                if ending == "d" and kind != "deny":
                    inner = host.entries(f"{place.path}/{kind}/{entry}")
                    files = [f"{entry}/{file}" for file in inner if file.endswith(".toml") and file[0] != "."]
                found += [_in_layer(place, kind, name, file) for file in files]
    return found


def _in_layer(place: layers.Place, kind: str, name: str, file: str) -> Source:
    inner = f"{kind}/{file}"
    shown = inner if place.shipped else f"{place.shown}/{inner}"
    return Source(path=f"{place.path}/{inner}", shown=shown, kind=kind, name=name, advised=not place.shipped)


def file_source(path: str, host: Host) -> Source:
    """A file that was named, by its absolute path: as part of its layer, when it lies in one."""
    for source in layer_sources(host):
        if source.path == path:
            return Source(path=path, shown=source.shown, kind=source.kind, name=source.name, advised=True)
    stem = os.path.basename(path).removesuffix(".toml")
    kind = "deny" if os.path.basename(os.path.dirname(path)) == "deny" else "apps"
    return Source(path=path, shown=path, kind=kind, name=stem, outside=True, advised=True)


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


def _options(argv: list[str]) -> argparse.Namespace:
    parser = Parser("check", DOES, EXAMPLES)
    parser.add_argument("files", nargs="*", metavar="FILE", help="a policy, a set, or a group in deny/")
    parser.add_argument("--json", action="store_true", help="for machines; see sandboxer/cli/README.md")
    return parser.parse_args(argv)

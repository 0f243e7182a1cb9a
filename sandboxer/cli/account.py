"""
Grants → the account of what an application can see and do, in plain words.

What comes in: a policy's grants on this machine, and what is withheld. What goes out: a page for people, or plain
values for JSON. It decides nothing and asks the machine nothing: the sentences are the grants' own.

Holes come first. Then each topic has a heading, the topic that touches most of the user's own things first. Sentences
of ordinary weight that differ only in the path ("can read /etc/…") are told as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sandboxer.cli.output import EMPTY, Block, Part, Tone, heading, line, quiet
from sandboxer.errors import SandboxerError
from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.policy.effective import Effective
from sandboxer.policy.layer import COMMAND_LINE
from sandboxer.words import Origin

READS = "can read /"
SENTENCE = 2
"""Columns before a sentence; what explains it has twice as many."""


def account(
    effective: Effective, found: Sequence[Grant | Withheld], start: Sequence[Block] = ()
) -> list[Block]:
    """The whole page; `start` tells what is started, beneath the title."""
    grants = [item for item in found if isinstance(item, Grant)]
    holes = [grant for grant in grants if grant.weight is Weight.HOLE]
    page = [*_title(effective), *start, EMPTY, *_holes(holes)]
    for topic in _topics(grants):
        page += [EMPTY, heading(topic.capitalize())]
        mine = [grant for grant in grants if grant.topic == topic and grant.weight is not Weight.HOLE]
        page += _sentences(sorted(mine, key=lambda grant: grant.weight))
    page += _withheld([item for item in found if isinstance(item, Withheld)])
    return page


def facts(effective: Effective, found: Sequence[Grant | Withheld]) -> dict[str, object]:
    """The same for machines: every grant by itself, in the order in which they were resolved."""
    return {
        "application": effective.name,
        "summary": effective.policy.summary,
        "policy-found": effective.found,
        "policy-files": list(policy_files(effective)),
        "sets": list(effective.policy.extends),
        "grants": [
            {
                "topic": grant.topic,
                "words": grant.words,
                "detail": grant.detail,
                "weight": grant.weight.name.lower(),
                "origin": origin_facts(grant.origin),
            }
            for grant in found
            if isinstance(grant, Grant)
        ],
        "withheld": [
            {"topic": item.topic, "words": item.words} for item in found if isinstance(item, Withheld)
        ],
    }


def origin_facts(origin: Origin) -> dict[str, object]:
    """A line of a policy, for machines; `line` is 0 where there is none."""
    return {"file": origin.file, "line": origin.line, "key": origin.key}


def policy_files(effective: Effective) -> tuple[str, ...]:
    """The files that set something, each once: those of sets first, as they were merged; the command line last."""
    files = dict.fromkeys(origin.file for origin in effective.origins.values())
    sets = {name: index for index, name in enumerate(effective.policy.extends)}

    def rank(file: str) -> tuple[bool, int]:
        _, of_set, name = file.rpartition("sets/")
        name = name.partition("/")[0].removesuffix(".toml").removesuffix(".d")
        return file == COMMAND_LINE, sets.get(name, len(sets)) if of_set else len(sets)

    return tuple(sorted(files, key=rank))


def error_facts(error: SandboxerError) -> dict[str, object]:
    """An error of four parts, for machines."""
    return {
        "what": error.what,
        "subject": error.subject,
        "origin": origin_facts(error.origin) if error.origin is not None else None,
        "hint": error.hint,
    }


def _title(effective: Effective) -> Iterable[Block]:
    name, summary = Part(text=effective.name, tone=Tone.HEADING), effective.policy.summary
    if effective.found:
        yield line(name, f": {summary}" if summary else "")
    else:
        yield line(
            name,
            ": ",
            Part(text="no policy has this name, so the strict default holds.", tone=Tone.WARNING),
            f" To grant more, write ~/.config/sandboxer/apps/{effective.name}.toml.",
        )
    yield line(quiet(f"policy: {', '.join(policy_files(effective)) or 'built in'}"))


def _holes(holes: Sequence[Grant]) -> Iterable[Block]:
    if not holes:
        yield line(Part(text="Holes: none", tone=Tone.GOOD))
        return
    yield heading("Holes, through which it reaches beyond its box", Tone.HOLE)
    for hole in holes:
        yield line(Part(text=hole.words, tone=Tone.HOLE), *_asked_by((hole.origin,)), indent=SENTENCE)
        if hole.detail:
            yield line(Part(text=hole.detail, tone=Tone.WARNING), indent=2 * SENTENCE)


def _topics(grants: Sequence[Grant]) -> list[str]:
    """Topics that have more than holes: those with the user's own things first, else as they came."""
    weights: dict[str, Weight] = {}
    for grant in grants:
        if grant.weight is not Weight.HOLE:
            weights[grant.topic] = min(grant.weight, weights.get(grant.topic, Weight.NOTICE))
    return sorted(weights, key=lambda topic: weights[topic])


def _sentences(grants: Sequence[Grant]) -> Iterable[Block]:
    told: dict[tuple[str, str, str], list[Grant]] = {}
    for index, grant in enumerate(grants):
        alike = grant.weight is Weight.NOTICE and not grant.detail and grant.words.startswith(READS)
        told.setdefault((grant.origin.file, grant.origin.key, "" if alike else str(index)), []).append(grant)
    for same in told.values():
        words = same[0].words
        if len(same) > 1:
            words += ", " + ", ".join(grant.words.removeprefix(READS[:-1]) for grant in same[1:])
        detail = f"; {same[0].detail}" if same[0].detail else ""
        yield line(words, detail, *_asked_by([grant.origin for grant in same]), indent=SENTENCE)


def _asked_by(origins: Sequence[Origin]) -> Iterable[Part]:
    """Who asked, dimmed; of several lines of one key, the first and the last."""
    first = origins[0]
    numbers = sorted(origin.line for origin in origins)
    place = f"{first.file}:{numbers[0]}" if first.line else first.file
    if len(numbers) > 1 and numbers[0] != numbers[-1]:
        place += f"-{numbers[-1]}"
    yield quiet(f"  [{place} {first.key}".rstrip() + "]")


def _withheld(withheld: Sequence[Withheld]) -> Iterable[Block]:
    if withheld:
        yield from (EMPTY, heading("Nothing else"))
        yield line("; ".join(item.words for item in withheld), indent=SENTENCE)

"""
`sandbox explain APP`: what an application can see and do, and which line says so.

What comes in: the words after the verb. What goes out: the account in plain words; with --plan the plan as the
launcher's own decoder reads it; with --syscalls the verdicts of the compiled filter; each also as JSON. It leaves
nothing behind: no private home, no cached plan, no cached filter.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from sandboxer.cli import account, output, plan_page, verdicts
from sandboxer.cli.arguments import Parser
from sandboxer.cli.output import EMPTY, Block, Part, Tone, line
from sandboxer.cli.request import Request
from sandboxer.cli.survey import Survey, named, survey
from sandboxer.errors import FAILURE, PlanError, PolicyError, UsageError
from sandboxer.grants import syscalls
from sandboxer.host import session
from sandboxer.host.facts import Facts
from sandboxer.host.view import Host
from sandboxer.plan import broker_filter, seccomp
from sandboxer.plan.build import build
from sandboxer.plan.codec import encode
from sandboxer.plan.ops import Plan
from sandboxer.policy.deny import read_groups
from sandboxer.resolve import resolve

DOES = "Tells what an application can see and do, and which line of a policy says so."
EXAMPLES = """\
  sandbox explain firefox
  sandbox explain firefox --set display.x11=false --syscalls"""

Pages = tuple[list[Block], dict[str, object]]
"""The same for people and for machines."""


def main(argv: list[str]) -> int:
    """
    Explain. Returns 0, or 125 when the application couldn't be started here, which the page says, too.

    Raises:
        SandboxerError: the command line or a policy can't be understood, or no plan can be made.
    """
    options = _options(argv)
    request, host = _request(options), Facts(session.current())
    page = filtered if options.syscalls else planned if options.plan else explained
    blocks, values = page(request, host)
    if options.json:
        output.write(json.dumps(values, indent=2) + "\n")
    else:
        output.show(blocks)
    return FAILURE if values.get("errors") else 0


def explained(request: Request, host: Host) -> Pages:
    """The account. What keeps the application from being started here is in it."""
    effective, with_program = named(request, host)
    made = survey(effective, host, with_program=with_program)
    for error in made.errors:
        if isinstance(error, PolicyError) and error.origin and error.origin.key.startswith("syscalls."):
            raise error  # what names no system call has no account
    values = account.facts(effective, made.found)
    values["command"] = list(made.resolved.command) if made.resolved is not None else []
    values["absent"] = account.error_facts(made.absent) if made.absent is not None else None
    values["errors"] = [account.error_facts(error) for error in made.errors]
    return account.account(effective, made.found, [*_start(made)]), values


def planned(request: Request, host: Host) -> Pages:
    """
    The plan, encoded and decoded again.

    Raises:
        SandboxerError: no plan can be made.
    """
    effective, with_program = named(request, host)
    resolved = resolve(effective, host, command_given=not with_program)
    program = seccomp.assemble(syscalls.rules(effective, host), effective.policy.syscalls.foreign)
    image = encode(
        build(
            resolved,
            program,
            request.words,
            host.stamps(),
            flags=request.flags,
            broker_program=b"" if resolved.broker is None else broker_filter.assemble(),
        )
    )
    plan = _decoded(image)
    return plan_page.page(plan, len(image)), plan_page.facts(plan, len(image))


def filtered(request: Request, host: Host) -> Pages:
    """The verdicts of the filter that the launcher would load."""
    effective, _ = named(request, host)
    rules = syscalls.rules(effective, host)
    program = seccomp.assemble(rules, effective.policy.syscalls.foreign)
    abis = verdicts.judge(program, rules)
    groups = read_groups(sorted({rule.group for rule in rules if rule.group}), host)
    summaries = {name: group.summary for name, group in groups.items()}
    return verdicts.page(program, abis, summaries), verdicts.facts(program, abis)


def _decoded(image: bytes) -> Plan:
    try:
        from sandboxer.plan.decode import decode
    except ImportError as error:
        raise PlanError(
            "cannot read plans: the launcher's decoder isn't there",
            subject=str(error),
            hint="install sandboxer again, so that its C half is built",
        ) from error
    return decode(image)


def _start(made: Survey) -> Iterator[Block]:
    """What is started, or why it can't be."""
    if made.resolved is not None and made.resolved.command:
        yield line(output.quiet(f"starts: {' '.join(made.resolved.command)}"))
    if made.absent is not None:
        yield line(Part(text=made.absent.what, tone=Tone.WARNING), output.quiet(f"  ({made.absent.subject})"))
        if made.absent.hint.startswith("did you mean"):
            yield line(made.absent.hint.capitalize())
    if made.errors:
        yield EMPTY
        yield line(Part(text="It can't be started here as things are:", tone=Tone.HOLE))
        for error in made.errors:
            for text in error.render().removeprefix("sandboxer: ").splitlines():
                yield line(text, indent=2)
        yield line("What it would have, with that left out:")


def _request(options: argparse.Namespace) -> Request:
    settings = tuple(options.set)
    words = [word for value in settings for word in ("--set", value)]
    if options.policy is not None:
        words = ["run", "--policy", options.policy, *words]
        return Request(words=tuple(words), rest=(), policy=options.policy, settings=settings)
    if "/" in options.app:
        raise UsageError(
            "an application goes by its name",
            subject=f"{options.app}: a path",
            hint=f"sandbox explain --policy {options.app}",
        )
    return Request(words=("app", options.app, *words), rest=(), policy=options.app, settings=settings)


def parser() -> Parser:
    """The verb's words."""
    words = Parser("explain", DOES, EXAMPLES)
    what = words.add_argument_group("what is explained (one of them)")
    what.add_argument("app", nargs="?", metavar="APP", help="an application, or a set")
    what.add_argument("--policy", metavar="NAME|FILE", help="what `sandbox run --policy` would start with")
    words.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="as if this were set; can be repeated"
    )
    how = words.add_mutually_exclusive_group()
    how.add_argument("--plan", action="store_true", help="the plan, as the launcher's decoder reads it")
    how.add_argument("--syscalls", action="store_true", help="what the filter does with each system call")
    words.add_argument("--json", action="store_true", help="for machines; see sandboxer/cli/README.md")
    return words


def _options(argv: list[str]) -> argparse.Namespace:
    options = parser().parse_args(argv)
    if (options.app is None) == (options.policy is None):
        raise UsageError(
            "cannot tell what to explain" if options.app is None else "there can be only one policy",
            subject="either APP or --policy is needed",
            hint="sandbox explain firefox",
        )
    return options

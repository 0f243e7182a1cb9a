"""
`sandbox logs BOX|APP`: what was said about a box: by its broker, by its steward, and in the journal.

What comes in: the words after the verb. What goes out: a line for each entry, the oldest first; JSON, one object a
line; with --follow also those that are still to come. Boxes that have ended are found by what was logged of them. The
application's own output isn't among it, but where the journal has it.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence

from sandboxer.cli import output
from sandboxer.cli.arguments import Parser
from sandboxer.cli.log_lines import Entry, File, followed_journal, journal, journal_entry
from sandboxer.cli.output import Block, Part, Tone, line, quiet
from sandboxer.cli.survey import Anywhere
from sandboxer.errors import StewardError, UsageError
from sandboxer.grants.brokered import log_directory
from sandboxer.host import session
from sandboxer.steward import boxes, cgroups, descendants, naming, services
from sandboxer.steward import journal as steward_journal
from sandboxer.steward.boxes import Box
from sandboxer.words import Record

DOES = "Tells what was said of a box: by its broker, from outside, in the journal."
EXAMPLES = """\
  sandbox logs firefox
  sandbox logs firefox.1234 --follow
  sandbox logs firefox -n 1000 --json"""
COUNT = 100
COUNT_MAX = 1_000_000
STEP_S = 0.25
SOURCES = {"steward": "outside"}
"""What pages call a source: who did something to the box from outside, while it ran."""


class Subject(Record):
    """`box` is an id, "" for all boxes of the application; `running` those of them that run."""

    app: str
    box: str
    running: tuple[Box, ...]


def main(argv: list[str]) -> int:
    """Tell. Returns 0. Raises SandboxerError."""
    options = parser().parse_args(argv)
    if not 0 <= options.count <= COUNT_MAX:
        raise UsageError("cannot show so many lines", subject=f"-n {options.count}")
    here = session.current()
    places = {
        "broker": log_directory(Anywhere(here)),
        "steward": steward_journal.directory_of(here),
    }
    subject = meant(options.box, boxes.all_running(here), tuple(places.values()))
    files = [File(f"{place}/{subject.app}/{subject.app}.log", source) for source, place in places.items()]
    found = [entry for file in files for entry in file.all() if _is_about(entry, subject)]
    began = _began(subject)
    of_journal = journal(_matches(subject), subject.box or subject.app, max(options.count, 1))
    found += [entry for entry in of_journal if entry.time >= began]
    found.sort(key=lambda entry: entry.time)
    _print(found[len(found) - min(options.count, len(found)) :], is_json=options.json)
    if not found and not options.json and not options.follow:
        output.show([line(f"Nothing has been said of {subject.box or subject.app}.")])
    if options.follow:
        _follow(files, subject, is_json=options.json)
    return 0


def meant(word: str, running: Sequence[Box], places: Sequence[str]) -> Subject:
    """
    Which application or box a word means: one that runs, or one of which something was logged.

    Raises:
        StewardError: none.
    """
    found = naming.meant(word, running)
    if any(word != box.app for box in found):  # an application's are all of its boxes, ended ones too
        if len(found) > 1:
            raise StewardError(f"{word} runs {len(found)} times", subject=naming.listed(found))
        (box,) = found
        return Subject(app=box.app, box=box.id, running=found)
    app, _, number = word.rpartition(".")
    if found or _has_log(word, places):
        return Subject(app=word, box="", running=found)
    if app and number.isascii() and number.isdigit() and _has_log(app, places):
        return Subject(app=app, box=word, running=())
    unknown = naming.unknown(word, running)
    raise StewardError(
        "nothing was said of such a box",
        subject=f"{word}: it doesn't run, and no log has its name",
        hint=unknown.hint or "sandbox ps, which lists the boxes that run",
    )


def _has_log(app: str, places: Sequence[str]) -> bool:
    return (
        bool(app)
        and "/" not in app
        and "\0" not in app
        and not app.startswith(".")
        and any(os.path.lexists(f"{place}/{app}/{app}.log") for place in places)
    )


def _is_about(entry: Entry, subject: Subject) -> bool:
    return not subject.box or entry.box == subject.box


def _began(subject: Subject) -> str:
    """As entries have it: what a service's unit, or a process of this number, said before isn't the box's."""
    if not subject.running:
        return ""
    when = time.gmtime(min(box.started for box in subject.running))
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", when)


def _matches(subject: Subject) -> list[str]:
    """
    What to ask the journal for: each launcher's own entries, and those of the units that boxes have to themselves, be
    it a scope or the service that they are. A box that has ended is known by its launcher's number.
    """
    launchers = [box.monitor for box in subject.running]
    if subject.box and not subject.running:
        launchers = [int(subject.box.rpartition(".")[2])]
    matches: list[str] = []
    for pid in launchers:
        matches += ["+", f"_PID={pid}", "_COMM=sandbox"]
    for box in subject.running:
        if service := services.service_of(box.monitor):
            matches += ["+", f"_SYSTEMD_USER_UNIT={service}"]
        try:
            path = cgroups.path_of(descendants.first_process(box.monitor))
        except StewardError:
            continue
        unit = path.rpartition("/")[2]
        if unit.startswith("app-sandboxer-") and unit.endswith(".scope"):
            matches += ["+", f"_SYSTEMD_USER_UNIT={unit}"]
    return matches[1:]


def _follow(files: Sequence[File], subject: Subject, *, is_json: bool) -> None:
    """Until Ctrl-C."""
    name = subject.box or subject.app
    process = followed_journal(_matches(subject))
    try:
        while True:
            found = [entry for file in files for entry in file.more() if _is_about(entry, subject)]
            if process is not None:
                process, entries = _said(process, name)
                found += entries
            else:
                time.sleep(STEP_S)
            _print(sorted(found, key=lambda entry: entry.time), is_json=is_json)
    finally:
        if process is not None:
            process.terminate()
            process.wait()


def _said(process: subprocess.Popen[bytes], name: str) -> tuple[subprocess.Popen[bytes] | None, list[Entry]]:
    """What the journal says within a moment; the process is None when it has ended."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], STEP_S)[0]:
        return process, []
    said = process.stdout.readline()
    if not said:
        process.wait()
        return None, []
    return process, list(journal_entry(said, name))


def _print(entries: Sequence[Entry], *, is_json: bool) -> None:
    if is_json:
        output.write(
            "".join(json.dumps({"source": entry.source, **entry.fields}) + "\n" for entry in entries)
        )
    elif entries:
        output.show(page(entries))
    sys.stdout.flush()


def page(entries: Sequence[Entry]) -> Iterable[Block]:
    """For people: in their own time."""
    for entry in entries:
        yield line(
            quiet(f"{_local(entry.time)} {entry.box} "),
            f"{SOURCES.get(entry.source, entry.source)}: ",
            Part(text=entry.text, tone=Tone.WARNING if entry.is_refusal else Tone.PLAIN),
        )


def _local(when: str) -> str:
    from datetime import datetime

    try:
        return f"{datetime.fromisoformat(when).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return when


def parser() -> Parser:
    """The verb's words."""
    words = Parser("logs", DOES, EXAMPLES)
    words.add_argument(
        "box",
        metavar="BOX|APP",
        help="a box, running or not, a service, or all of an application's; lines of `outside` tell what was granted "
        "to it, handed in and run in it while it ran, and what it had opened outside",
    )
    words.add_argument(
        "-n", dest="count", type=int, default=COUNT, metavar="N", help=f"the last N lines ({COUNT})"
    )
    words.add_argument("--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    words.add_argument("--json", action="store_true", help="one object a line; see sandboxer/cli/README.md")
    return words

"""
sandbox-broker(1): the client that programs in a box use.

What comes in: what the client's --help prints. What goes out: the page's source. The client is C and knows its own
options; nothing is written twice.
"""

from __future__ import annotations

import subprocess

from sandboxer.cli.manual import roff
from sandboxer.host.installation import broker_client

COLUMN = 22
"""Where meanings begin in the help."""
DESCRIPTION = """\
Asks the box's broker, a small process outside, for what lies outside the box: files to be opened, names, services.
What it gives, the policy's table `[broker]` says; all that is asked for is logged outside.

Under the name `xdg-open`, which it has in a box, it has links and files opened outside."""


def page() -> str:
    """
    The source, with a line end.

    Raises:
        OSError: the client isn't installed.
    """
    done = subprocess.run([broker_client(), "--help"], capture_output=True, text=True, check=True)
    _, *parts = done.stdout.strip("\n").split("\n\n")
    verbs, notes = parts[0], " ".join(parts[1:])
    told, _, statuses = " ".join(notes.split()).partition("Exit status: ")
    lines = [
        *roff.header("sandbox-broker", 1, "ask from inside a box for what lies outside"),
        *roff.section_head("SYNOPSIS"),
        f"{roff.bold('sandbox-broker')} {roff.italic('VERB')} [{roff.italic('OPTION')}...] [{roff.italic('PATH')}...]",
        *roff.section_head("DESCRIPTION"),
        *roff.markdown(DESCRIPTION),
        *roff.section_head("VERBS"),
        *(line for entry, words in _entries(verbs) for line in roff.tagged(roff.bold(entry), words)),
        *roff.section_head("NOTES"),
        *roff.paragraph(told),
        *roff.section_head("EXIT STATUS"),
        *roff.paragraph(statuses),
        *roff.section_head("SEE ALSO"),
        *roff.paragraph("**sandbox**(1), **sandboxer-policy**(5)"),
    ]
    return roff.source(lines)


def _entries(text: str) -> list[tuple[str, str]]:
    """The help's two columns: what can be typed, and what it means."""
    found: list[tuple[str, str]] = []
    lines = text.split("\n")
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        entry, _, words = line.strip().partition("  ")
        if not line[:COLUMN].strip():  # a meaning goes on
            entry, before = found.pop()
            words = f"{before} {line.strip()}"
        elif not words and following[:COLUMN].strip():  # its meaning follows after a single blank
            entry, words = line[:COLUMN].strip(), line[COLUMN:]
        found.append((entry, words.strip()))
    return found

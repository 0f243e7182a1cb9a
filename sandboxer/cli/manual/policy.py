"""
sandboxer-policy(5): the format of policies.

What comes in: the reference's introduction, the model. What goes out: the page's source.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandboxer.cli.manual import roff
from sandboxer.policy.keys import Key, Table, tables
from sandboxer.policy.reference import INTRODUCTION


def page() -> str:
    """The source, with a line end."""
    introduction = list(roff.markdown(INTRODUCTION))
    lines = [
        *roff.header("sandboxer-policy", 5, "what an application gets in its box"),
        *roff.section_head("DESCRIPTION"),
        *introduction,
        *roff.section_head("KEYS"),
        *roff.paragraph(
            "Those without a table stand at the top of the file, before the first **[table]**. "
            "With each comes what it may be, and what it is where no policy says anything."
        ),
        *(line for table in tables() for line in _table(table)),
        *roff.section_head("FILES"),
        *roff.tagged("`~/.config/sandboxer/apps/NAME.toml`", "The user's policy of an application."),
        *roff.tagged("`~/.config/sandboxer/apps/NAME.d/*.toml`", "Drop-ins, merged over it."),
        *roff.tagged("`/etc/sandboxer`", "The same of the administrator's."),
        *roff.section_head("SEE ALSO"),
        *roff.paragraph("**sandbox**(1)"),
    ]
    return roff.source(lines)


def _table(table: Table) -> Iterator[str]:
    if table.name:
        yield from roff.below(f"[{table.name}]")
        yield from roff.paragraph(table.description)
    for key in table.keys:
        yield from _key(table, key)


def _key(table: Table, key: Key) -> Iterator[str]:
    name = key.name.removeprefix(f"{table.name}.")
    yield from roff.tagged(f"{roff.bold(name)} = {roff.text(key.expects)}", key.description)
    yield ".br"
    yield f"Default: {roff.bold(key.default)}"

"""
The groups of system calls that policies refuse by name: policies/deny/NAME.toml → Group.

What comes in: a group's name, and the directories of all layers. What goes out: its calls, each with the reason, who
else refuses it, the errno that it gets, and on which arguments. It never decides which groups hold: policies do.

A file of the same name in a later layer adds to the group; `syscalls.allow` is the only way to take a call away.
"""

from __future__ import annotations

import errno
import tomllib
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from sandboxer.errors import PolicyError
from sandboxer.policy.layers import group_files
from sandboxer.words import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandboxer.host.view import Host

Errno = Literal["EPERM", "EACCES", "EINVAL", "ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT"]
Source = Literal["flatpak", "docker", "firejail", "bubblejail", "systemd", "ours"]
Word = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Name = Annotated[str, Meta(pattern="^[a-z_][a-z0-9_]*$")]
FULL = 0xFFFFFFFF


class Condition(Record, rename={"among": "is", "not_among": "is-not", "any_bit": "any-bit"}, order=True):
    """
    A test on the low 32 bits of one argument, `mask` applied first. Exactly one of the three tests is there.

    The high halves are ignored on purpose: every argument that is tested is a 32-bit number to the kernel, which
    ignores them too, so a filter that looked at them could be led astray.
    """

    argument: Annotated[int, Meta(ge=0, le=5)]
    mask: Word = FULL
    among: tuple[Word, ...] = ()
    not_among: tuple[Word, ...] = ()
    any_bit: Word = 0


class Call(Record):
    """
    System calls that one sentence covers. Refused only where all of `when` hold; always, when it is empty.

    `unless = "nested"` leaves them out for an application that may build a sandbox of its own (advanced.nested).
    """

    names: Annotated[tuple[Name, ...], Meta(min_length=1)]
    reason: Annotated[str, Meta(min_length=1)]
    source: Annotated[tuple[Source, ...], Meta(min_length=1)]
    errno: Errno = "EPERM"
    when: tuple[Condition, ...] = ()
    unless: Literal["nested", ""] = ""

    @property
    def number(self) -> int:
        """The errno as a number."""
        return int(getattr(errno, self.errno))


class Group(Record):
    """What one group refuses. `files` are those it was read from, as the user knows them."""

    name: str
    summary: str
    calls: tuple[Call, ...]
    files: tuple[str, ...]


class _File(Record):
    summary: Annotated[str, Meta(min_length=1)]
    call: Annotated[tuple[Call, ...], Meta(min_length=1)]


def read_groups(names: Sequence[str], host: Host) -> dict[str, Group]:
    """
    The groups of these names, without "@", from all layers; those that no layer has are left out.

    Raises:
        PolicyError: a file can't be understood, can't be read or isn't trustworthy.
    """
    groups: dict[str, Group] = {}
    for name, files in group_files(names, host).items():
        for file, content in files:
            group = parse_group(name, content, file)
            groups[name] = _merged(groups[name], group) if name in groups else group
    return groups


def parse_group(name: str, content: bytes, file: str) -> Group:
    """
    Read one file of a group.

    Raises:
        PolicyError: what is wrong, with the line and what to write.
    """
    try:
        text = content.decode()
        data = msgspec.convert(tomllib.loads(text), _File)
    except (ValueError, RecursionError) as error:
        from sandboxer.policy.deny_diagnosis import explain

        raise explain(content, error, file) from error
    for index, call in enumerate(data.call):
        for condition in call.when:
            if bool(condition.among) + bool(condition.not_among) + bool(condition.any_bit) != 1:
                from sandboxer.policy.deny_diagnosis import place_of

                raise PolicyError(
                    "a group's condition is not one test",
                    subject=f"argument {condition.argument} of {call.names[0]}",
                    origin=place_of(content, file, "call", index, "when"),
                    hint="write exactly one of is = [..], is-not = [..] and any-bit = ..",
                )
    return Group(name=name, summary=data.summary, calls=data.call, files=(file,))


def _merged(earlier: Group, later: Group) -> Group:
    """A later file's calls come first, so that its errno and reason hold where both name a call."""
    return Group(
        name=earlier.name,
        summary=later.summary,
        calls=later.calls + earlier.calls,
        files=earlier.files + later.files,
    )

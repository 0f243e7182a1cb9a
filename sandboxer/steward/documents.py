"""
Documents for a box that runs: what `sandbox open` names.

What comes in: paths as the user typed them. What goes out: paths in the box. A file that the box shows already, at its
path or at its real one, keeps that; any other is shown alone at /run/documents/N/NAME, read-only or writable by the
plan's flags, with the directory that it lies in only where the plan says so: as launchers/documents.c does for the
words of a start, whose numbers end at 256.
"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Sequence

from sandboxer.errors import StewardError
from sandboxer.grants.paths import cache_home, within
from sandboxer.host.view import Host
from sandboxer.plan.ops import PlanFlag
from sandboxer.steward import allowed, sources
from sandboxer.steward.hand import Hand
from sandboxer.steward.sources import Source

DOCUMENTS = "/run/documents"
NUMBERS_OF_STARTS = 256
READ = PlanFlag.DOCUMENTS_READ | PlanFlag.DOCUMENTS_WRITE


def show(hand: Hand, host: Host, paths: Sequence[str], hidden: Sequence[str]) -> list[str]:
    """
    Where the box has each of `paths` (absolute).

    Raises:
        StewardError: one isn't a file, or the policy takes no documents. Nothing is shown then but what came before it.
    """
    if not hand.plan.flags & READ:
        raise StewardError(
            "this application gets no files that are named",
            subject=f'{hand.plan.app}: files.documents = "none"',
            hint=f"sandbox grant {hand.plan.app} {paths[0]}",
        )
    writable = hand.writable()
    found = [_document(path, writable, host) for path in paths]
    return [_place(hand, host, path, source, hidden) for path, source in zip(paths, found, strict=True)]


def _document(path: str, writable: Sequence[str], host: Host) -> Source:
    source = sources.find(path, writable)
    if not stat.S_ISREG(source.mode):
        raise StewardError(
            "only files can be opened",
            subject=f"{path}: a directory" if source.is_directory else f"{path}: no regular file",
            hint="a directory is granted: sandbox grant BOX DIRECTORY" if source.is_directory else "",
        )
    copies = f"{cache_home(host)}/sandboxer/presented"  # which are made to be opened
    if not within(source.path, host.resolve(copies) or copies):
        allowed.refuse_closed(source, host)
    return source


def _place(hand: Hand, host: Host, path: str, source: Source, hidden: Sequence[str]) -> str:
    there, _ = hand.shown(tuple(dict.fromkeys((posixpath.normpath(path), source.path))), source)
    if there:
        return there
    flags, name = hand.plan.flags, posixpath.basename(path)
    directory = f"{DOCUMENTS}/{NUMBERS_OF_STARTS + hand.ledger.next_number}"
    if flags & PlanFlag.DOCUMENTS_SIBLINGS and name == posixpath.basename(source.path):
        _siblings(hand, host, source, directory, hidden)
    write = bool(flags & PlanFlag.DOCUMENTS_WRITE)
    grant, _ = hand.show(source, (f"{directory}/{name}",), kind="document", write=write)
    return grant.path


def _siblings(hand: Hand, host: Host, source: Source, place: str, hidden: Sequence[str]) -> None:
    """The directory around a document, unless it is a file system's top, holds the home, or is hidden."""
    parent = posixpath.dirname(source.path)
    home = host.resolve(host.user.home) or host.user.home
    if "/" not in parent[1:] or "/." in parent or within(home, parent):
        return
    directory = sources.find(parent, ())
    try:
        covers = allowed.covers(directory, hand.plan, host, write=False, hidden=hidden)
    except StewardError:  # hidden, or closed to boxes: then the document alone
        return
    hand.show(directory, (place,), kind="siblings", covers=covers)

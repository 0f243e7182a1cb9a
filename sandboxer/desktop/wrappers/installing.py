"""
`sandbox install` and its undoing: what is wanted is written, what was there before is kept, or brought back.

What comes in: what is wanted, the ledger. What goes out: files in the user's directories, and for each what became of
it. Whenever it is ended in the middle, the ledger knows more than there is, never less; so undoing ends well. It never
follows a link at a place that it writes to, and never removes what it hasn't written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from sandboxer.desktop.unwritable import remedy
from sandboxer.desktop.wrappers import entries, placing, refreshing
from sandboxer.desktop.wrappers.entries import Kind
from sandboxer.desktop.wrappers.placing import ABSENT, STRANGE
from sandboxer.desktop.wrappers.wanted import Wanted
from sandboxer.desktop.wrappers.wrapper import digest
from sandboxer.desktop.wrappers.written import Item, Ledger
from sandboxer.errors import LaunchError
from sandboxer.host.session import Session
from sandboxer.host.view import Host
from sandboxer.words import Record, changed

ICON_THEME = "/icons/hicolor"
CACHE = "mimeinfo.cache"
NO_TYPES = b"[MIME Cache]\n"


class Outcome(Record):
    """
    What became of one file. `why` is for what was left or kept as it is, and what a wrapper doesn't do that its origin
    did; "absent" wasn't there to be removed.
    """

    what: Literal["wrapped", "unchanged", "removed", "restored", "left", "kept", "absent"]
    kind: Kind
    path: str
    policy: str
    why: str = ""


class HalfDone(LaunchError):
    """Something couldn't be written; `outcomes` tell what was, and stays."""

    def __init__(self, error: LaunchError, outcomes: Sequence[Outcome]) -> None:
        super().__init__(error.what, subject=error.subject, origin=error.origin, hint=error.hint)
        self.outcomes = tuple(outcomes)


class Hand:
    """What writes: the ledger, the user's own group, the launcher that wrappers start."""

    def __init__(self, ledger: Ledger, host: Host, session: Session) -> None:
        user = host.user
        self.ledger = ledger
        self.session = session
        self.group = user.gid if user.group == user.name else -1
        self.complaints: list[str] = []

    @contextlib.contextmanager
    def at(self, path: str) -> Iterator[tuple[int, str]]:
        """The directory that a path lies in, and the name there. Raises LaunchError for whatever goes wrong."""
        try:
            directory = placing.open_directory(os.path.dirname(path), group=self.group)
            try:
                yield directory, os.path.basename(path)
            finally:
                os.close(directory)
        except OSError as error:
            raise cannot_write(path, error) from error

    @contextlib.contextmanager
    def keeping(self) -> Iterator[int]:
        """The directory of what is kept."""
        fd = os.open(self.ledger.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def look(self, path: str) -> str:
        """As `placing.look`; what can't be there is absent."""
        if not os.path.isdir(os.path.dirname(path)):
            return ABSENT
        with self.at(path) as (directory, name):
            return placing.look(directory, name)

    def keep(self, path: str) -> str:
        """Keep what is at a path; returns its name in the ledger's directory."""
        kept = self.ledger.new_name()
        with self.at(path) as (directory, name), self.keeping() as place:
            placing.keep(directory, name, place, kept)
        return kept


def install(wanted: Sequence[Wanted], launcher: str, hand: Hand) -> list[Outcome]:
    """
    Write what is wanted.

    Raises:
        LaunchError: nothing was written. HalfDone: something can't be; what was until then is in the ledger, and the
            rest is as it was.
    """
    outcomes: list[Outcome] = []
    items: list[Item] = []
    before: dict[str, Item | None] = {}
    missing: list[str] = []
    todo: list[Wanted] = []
    for one in wanted:
        there, known = hand.look(one.path), hand.ledger.item(one.path)
        new, mine = digest(one.content), known is not None and there in known.digests
        if why := _hindrance(one, there, mine=mine):
            outcomes.append(Outcome(what="left", kind=one.kind, path=one.path, policy=one.policy, why=why))
            continue
        kept, kept_digest = (known.kept, known.kept_digest) if known is not None else ("", "")
        if there != ABSENT and not mine:
            kept, kept_digest = hand.keep(one.path), there
        item = _item(one, launcher, (new, *(known.digests if known is not None else ())), kept, kept_digest)
        if mine and known == changed(item, digests=(new,)):
            outcomes.append(
                Outcome(what="unchanged", kind=one.kind, path=one.path, policy=one.policy, why=one.loss)
            )
            continue
        items.append(item)
        before[one.path] = known
        todo.append(one)
        missing += placing.missing_directories(os.path.dirname(one.path))
    hand.ledger.note(items, missing)
    for done, one in enumerate(todo):
        try:
            _put(one, hand)
        except LaunchError as error:
            unwritten = {other.path: before[other.path] for other in todo[done:]}
            _give_up(items[:done], unwritten, hand)
            raise HalfDone(error, outcomes) from error
        outcomes.append(
            Outcome(what="wrapped", kind=one.kind, path=one.path, policy=one.policy, why=one.loss)
        )
    _finish(items, hand)
    return outcomes


def _finish(items: Sequence[Item], hand: Hand) -> None:
    """These were written."""
    hand.ledger.note([changed(item, digests=item.digests[:1]) for item in items], [])
    _refresh({item.path for item in items}, hand)
    hand.ledger.tidy()


def _give_up(items: Sequence[Item], unwritten: Mapping[str, Item | None], hand: Hand) -> None:
    """
    Let the ledger tell what there is: these items, and of what wasn't written what it knew before.

    Where not even that can be written, it knows more than there is.
    """
    with contextlib.suppress(LaunchError):
        hand.ledger.forget([path for path, known in unwritten.items() if known is None], [])
        hand.ledger.note([known for known in unwritten.values() if known is not None], [])
        hand.ledger.forget([], _remove_directories(hand.ledger))
        _finish(items, hand)


def undo(items: Sequence[Item], hand: Hand) -> list[Outcome]:
    """
    Bring back what was there before these items. What was changed since is kept as it is, and stays in the ledger.

    Raises:
        HalfDone: something can't be written; what was undone until then is noted.
    """
    outcomes: list[Outcome] = []
    gone: list[str] = []
    try:
        for item in items:
            if item.kind is Kind.CACHE:
                continue
            outcome = _undo(item, hand)
            outcomes.append(outcome)
            if outcome.what != "kept":
                gone.append(item.path)
    except LaunchError as error:
        raise HalfDone(error, outcomes) from error
    finally:
        _forget(gone, [], hand)
    _refresh({*gone, *(item.path for item in hand.ledger.items if item.kind is Kind.CACHE)}, hand)
    if _forget([], _remove_directories(hand.ledger), hand):
        hand.ledger.tidy()
    return outcomes


def _forget(gone: list[str], directories: list[str], hand: Hand) -> bool:
    """Take out of the ledger what is undone. On a full disk it stays there, and what is undone is so all the same."""
    try:
        hand.ledger.forget(gone, directories)
    except LaunchError as error:
        _complain(f"{error.subject}: what is undone stays in the list until there is room", hand)
        return False
    return True


def cannot_write(path: str, error: OSError) -> LaunchError:
    """The error of four parts for a place in the user's directories."""
    alone = error.errno == errno.EPERM and error.filename == os.path.dirname(path)
    return LaunchError(
        "cannot change what is to be installed, or undone",
        subject=f"{path}: {error.strerror or error}",
        hint=f"chmod go-w {shlex.quote(os.path.dirname(path))}" if alone else remedy(path, error),
    )


def _hindrance(one: Wanted, there: str, *, mine: bool) -> str:
    """Why a file isn't written, though the others can be."""
    if there == STRANGE:
        return "something that is no file is in the way"
    if blocking := placing.in_the_way(os.path.dirname(one.path)):
        return f"{blocking} is in the way, which is no directory"
    if one.kind is Kind.SHIM and there != ABSENT and not mine:
        return "there is something of this name already"
    return ""


def _item(one: Wanted, launcher: str, digests: tuple[str, ...], kept: str, kept_digest: str) -> Item:
    return Item(
        kind=one.kind,
        name=one.name,
        path=one.path,
        policy=one.policy,
        launcher=launcher,
        origin=one.origin,
        origin_digest=one.origin_digest,
        digests=tuple(dict.fromkeys(digests)),
        kept=kept,
        kept_digest=kept_digest,
    )


def _put(one: Wanted, hand: Hand) -> None:
    try:
        for directory in placing.missing_directories(os.path.dirname(one.path)):
            os.mkdir(directory, placing.DIRECTORY_MODE)
    except OSError as error:
        raise cannot_write(one.path, error) from error
    with hand.at(one.path) as (place, name):
        placing.put(place, name, one.content, one.mode)


def _undo(item: Item, hand: Hand) -> Outcome:
    there = hand.look(item.path)
    outcome = Outcome(what="removed", kind=item.kind, path=item.path, policy=item.policy)
    if there == item.kept_digest:  # nothing, or what was there before: a command ended before it wrote
        if os.path.isdir(os.path.dirname(item.path)):
            with hand.at(item.path) as (directory, name):
                placing.remove_draft(directory, name)
        return changed(outcome, what="absent" if there == ABSENT else "unchanged")
    if there == ABSENT and not item.kept:
        return changed(outcome, what="absent")
    if there != ABSENT and there not in item.digests:
        why = "it was changed since: remove it or put it right, then undo once more"
        return changed(outcome, what="kept", why=why)
    if not item.kept:
        with hand.at(item.path) as (directory, name):
            placing.remove(directory, name)
        return outcome
    with hand.at(item.path) as (directory, name), hand.keeping() as place:
        placing.bring_back(place, item.kept, directory, name)
        placing.remove_draft(directory, name)
    return changed(outcome, what="restored")


def _remove_directories(ledger: Ledger) -> list[str]:
    """Of the directories that were made, remove those that hold nothing; which are no more."""
    gone: list[str] = []
    for path in sorted(ledger.directories, key=len, reverse=True):
        if any(item.path.startswith(f"{path}/") for item in ledger.items):
            continue
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                continue
        gone.append(path)  # whatever is in it now is somebody else's, and so is the directory
    return gone


def _refresh(paths: set[str], hand: Hand) -> None:
    """Tell the desktop of files that were written or taken away, now or by a command that ended before it said so."""
    named = [path.partition("/applications/") for path in paths]
    for directory in sorted({f"{base}/applications" for base, slash, _ in named if slash}):
        if os.path.isdir(directory):
            _update_types(directory, hand)
    for base, theme, _ in (path.partition(ICON_THEME) for path in paths):
        if theme:
            refreshing.outdate_icons(f"{base}{theme}")
    if any(path.endswith(".service") for path in paths):
        _complain(refreshing.reload_bus(hand.session), hand)


def _update_types(directory: str, hand: Hand) -> None:
    """
    The list of types beside the wrappers; when the last of them is gone, what was there before.

    Its item has no digests while it is being made: whatever is there then counts as ours.
    """
    path = f"{directory}/{CACHE}"
    known, there = hand.ledger.item(path), hand.look(path)
    needed = any(
        item.kind is Kind.ENTRY and item.path.startswith(f"{directory}/") for item in hand.ledger.items
    )
    if there == STRANGE:
        _complain(f"{path}: something that is no file is in the way", hand)
        return
    mine = known is not None and (not known.digests or there in (*known.digests, known.kept_digest, ABSENT))
    if known is not None and mine and not needed:
        with hand.at(path) as (place, name), hand.keeping() as keeping:
            if not known.kept:
                placing.remove(place, name)
            elif there != known.kept_digest:
                placing.bring_back(keeping, known.kept, place, name)
        _forget([path], [], hand)
        return
    if known is None and not needed:
        return
    if known is None:
        kept = hand.keep(path) if there != ABSENT else ""
        known = Item(
            kind=Kind.CACHE,
            name=CACHE,
            path=path,
            policy="",
            launcher="",
            origin="",
            origin_digest=ABSENT,
            digests=(),
            kept=kept,
            kept_digest=there,
        )
        hand.ledger.note([known], [])
    if needed and known.digests:
        with contextlib.suppress(LaunchError):  # on a full disk, nothing can be made either
            hand.ledger.note([changed(known, digests=())], [])
    _complain(refreshing.update_types(directory, hand.session), hand)
    if needed:
        made = changed(known, digests=(hand.look(path),))
        if hand.ledger.item(path) != made:
            hand.ledger.note([made], [])
        return
    if not known.kept and entries.read(path) == NO_TYPES:
        with hand.at(path) as (place, name):
            placing.remove(place, name)
    _forget([path], [], hand)


def _complain(text: str, hand: Hand) -> None:
    if text and text not in hand.complaints:
        hand.complaints.append(text)

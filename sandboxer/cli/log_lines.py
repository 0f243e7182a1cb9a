"""
Where the lines of `sandbox logs` come from: the broker's log, the steward's, and the journal where there is one.

What comes in: an application, or one of its boxes, running or not. What goes out: entries by their time. A line that is
no entry is left out; what an entry says may be an application's choice and is shown with care by whoever prints it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sandboxer.words import Record

PIECE = 1 << 20
LINE_MAX = 64 * 1024
JOURNAL_S = 10.0
JOURNAL = ("journalctl", "--user", "--quiet", "--no-pager", "--output=json")
REQUESTS = {
    "end": "end of the grant of",
    "tell": "second start:",
    "present": "open outside",
    "fail": "what serves its grants ended:",
}
"""What pages call the steward's requests whose names don't say it (`steward.journal`)."""
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
"""As `broker.log` writes it: entries are put in order by it, as text."""
PRIORITY_MAX = 3
"""Errors, and worse: see syslog(3)."""


class Entry(Record):
    """`time` as ISO 8601, UTC, with milliseconds; `source` is "broker", "steward" or "journal"."""

    time: str
    source: str
    box: str
    text: str
    is_refusal: bool
    fields: Mapping[str, Any]


class File:
    """A log that grows and is rotated: NAME, and NAME.1 before it."""

    def __init__(self, path: str, source: str) -> None:
        self._path = path
        self._source = source
        self._inode = 0
        self._offset = 0
        self._rest = b""

    def all(self) -> Iterator[Entry]:
        """What there is; `more` goes on from there."""
        try:
            with open(f"{self._path}.1", "rb") as file:
                for line in file:
                    yield from self._entry(line)
        except OSError:  # it was never rotated
            pass
        yield from self.more()

    def more(self) -> Iterator[Entry]:
        """What has come since."""
        try:
            with open(self._path, "rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode:
                    yield from self._end_of_rotated()
                    self._inode, self._offset, self._rest = status.st_ino, 0, b""
                yield from self._read(file)
        except OSError:  # nothing was logged, or it is being rotated
            return

    def _end_of_rotated(self) -> Iterator[Entry]:
        """What was added to the file that was read until now, before it was rotated away."""
        if not self._inode:
            return
        try:
            with open(f"{self._path}.1", "rb") as file:
                if os.fstat(file.fileno()).st_ino == self._inode:
                    yield from self._read(file)
        except OSError:
            return

    def _read(self, file: Any) -> Iterator[Entry]:
        file.seek(self._offset)
        while piece := file.read(PIECE):
            self._offset += len(piece)
            *lines, self._rest = (self._rest + piece).split(b"\n")
            if len(self._rest) > LINE_MAX:
                self._rest = b""
            for line in lines:
                yield from self._entry(line)

    def _entry(self, line: bytes) -> Iterator[Entry]:
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            return
        if isinstance(fields, dict) and TIME.fullmatch(str(fields.get("time"))):
            yield Entry(
                time=fields["time"],
                source=self._source,
                box=str(fields.get("box", "")),
                text=_told(fields),
                is_refusal=fields.get("verdict") in ("denied", "failed"),
                fields=fields,
            )


def _told(fields: Mapping[str, Any]) -> str:
    """A line of the broker's or the steward's as a sentence."""
    request = fields.get("request", "?")
    text = f"{REQUESTS.get(request, request) if isinstance(request, str) else '?'} {fields.get('path', '')}".rstrip()
    if fields.get("to"):
        text += f" to {fields['to']}"
    text += f": {fields.get('verdict', '?')}"
    reasons = [str(fields[key]) for key in ("error", "why", "rule") if fields.get(key)]
    return text + (f" ({'; '.join(reasons)})" if reasons else "")


def journal(matches: Sequence[str], box: str, count: int) -> list[Entry]:
    """The last entries that match; none where there is no journal."""
    if not matches:
        return []
    try:
        done = subprocess.run(  # fixed words, and matches of numbers and names of units
            [*JOURNAL, f"--lines={count}", *matches],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=JOURNAL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [entry for line in done.stdout.splitlines() for entry in journal_entry(line, box)]


def followed_journal(matches: Sequence[str]) -> subprocess.Popen[bytes] | None:
    """A process that prints entries as they come; None where there is no journal."""
    if not matches:
        return None
    try:
        return subprocess.Popen(
            [*JOURNAL, "--follow", "--lines=0", *matches],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None


def journal_entry(line: bytes, box: str) -> Iterator[Entry]:
    """One of journalctl's lines. Source: systemd.journal-fields(7), and its JSON format: bytes come as numbers."""
    try:
        fields = json.loads(line)
        when = datetime.fromtimestamp(int(fields["__REALTIME_TIMESTAMP"]) / 1_000_000, UTC)
        message = fields.get("MESSAGE")
        if isinstance(message, list):
            message = bytes(message).decode("utf-8", "replace")
        priority = int(fields.get("PRIORITY", 6))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return
    yield Entry(
        time=f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03}Z",
        source="journal",
        box=box,
        text=str(message or ""),
        is_refusal=priority <= PRIORITY_MAX,
        fields={"time": when.isoformat(), "message": str(message or ""), "priority": priority},
    )

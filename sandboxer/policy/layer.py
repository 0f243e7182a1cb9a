"""One policy file's content, typed: only the keys that it holds, each with its line."""

from __future__ import annotations

from sandboxer.words import Origin, Record

COMMAND_LINE = "command line"

Value = bool | str | tuple[str, ...] | dict[str, str]


class Setting(Record):
    """
    One key with its value.

    `key` is dotted ("files.read"), `line` 1-based (0 on the command line), `lines` those of a list's items or
    a table's keys, in their order.
    """

    key: str
    value: Value
    line: int = 0
    lines: tuple[int, ...] = ()


class Layer(Record):
    """What one file, or the command line, says. `file` is shown to the user: see `words.Origin`."""

    file: str
    settings: tuple[Setting, ...]

    def origin(self, setting: Setting, item: int | None = None) -> Origin:
        """The line of a setting, or of its item at an index."""
        line = setting.line if item is None else setting.lines[item]
        return Origin(self.file, line, setting.key)

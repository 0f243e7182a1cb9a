"""
Words that all rooms share: the record base, origins, the two kinds of path.

Records are msgspec structs, not dataclasses: a compile is mostly imports, and the standard
library's dataclasses cost 14 ms of them where msgspec is already loaded to validate policies.
This is the only module that imports msgspec for its struct; `policy` imports it to convert.
"""

from __future__ import annotations

import sys
from typing import NewType, TypeVar, dataclass_transform

# msgspec takes two names from typing_extensions where that is installed, which costs 27 ms (it loads inspect), and from
# typing where it isn't: the same for Python 3.11 and newer. So that a compile doesn't depend on what else is installed,
# it isn't found while msgspec is loaded; None is how the import system is told so. Whoever has loaded it keeps it.
_hidden = sys.modules.setdefault("typing_extensions", None) is None  # type: ignore[arg-type]
try:
    import msgspec
finally:
    if _hidden:
        del sys.modules["typing_extensions"]

HostPath = NewType("HostPath", str)
"""An absolute path outside the box, with every symbolic link resolved."""

BoxPath = NewType("BoxPath", str)
"""An absolute path inside the box, normalised, with no symbolic link among its parents."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all data that passes between rooms: immutable, compared by value."""


R = TypeVar("R", bound=Record)


def changed(record: R, **fields: object) -> R:
    """
    A copy of a record with some fields changed: `changed(op, box_path=path)`.

    Source: msgspec.structs.replace does the same, but its module imports inspect (7 ms of a compile).
    """
    kept = {name: getattr(record, name) for name in record.__struct_fields__}
    return type(record)(**(kept | fields))


class Origin(msgspec.Struct, frozen=True):
    """
    The line that asked for something.

    `file` is the policy file as the user would open it (shipped ones relative: "apps/firefox.toml"),
    "command line" or "built in"; `line` is 1-based, 0 where there is none; `key` is the dotted key
    ("files.read").
    """

    file: str
    line: int = 0
    key: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place} {self.key}".rstrip()


BUILT_IN = Origin("built in")

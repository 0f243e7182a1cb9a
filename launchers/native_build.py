"""
Writes the C source of an extension: `python native_build.py OUT.c MODULE HEADER...`, called by CMakeLists.txt.

What comes in: headers beside this file, in the order in which they include each other. What goes out: one C file that
gives Python what those headers declare. The declarations are taken from the headers themselves, so nothing is declared
twice. It compiles nothing.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import cffi

HERE = Path(__file__).parent
INLINE_FUNCTION = re.compile(r"^static inline .*?^}\n", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"#define\s+\w+\s+-?\d+\b")


def declarations(header: str) -> str:
    """What cffi can read of a header: types, functions and plain numbers; no other directive, no body."""
    lines = INLINE_FUNCTION.sub("", header).splitlines()
    kept = []
    for line in lines:
        if not line.startswith("#"):
            kept.append(line)
        elif number := NUMBER.match(line):
            kept.append(number.group())
    return "\n".join(kept)


def main() -> None:
    """The last header includes those before it."""
    out, module, *headers = sys.argv[1:]
    builder = cffi.FFI()
    for name in headers:
        builder.cdef(declarations((HERE / name).read_text(encoding="utf-8")))
    builder.set_source(module, f'#include "{headers[-1]}"')
    builder.emit_c_code(out)


if __name__ == "__main__":
    main()

"""
The C header of the broker's protocol: `python -m sandboxer.broker.header > launchers/client/broker_protocol.h`.

What comes in: the table in `broker.protocol`. What goes out: the text of the header. It never writes the file itself; a
test compares the two.
"""

from __future__ import annotations

import struct
import sys

from sandboxer.broker import protocol

STRUCTS = (
    ("request", protocol.REQUEST, protocol.REQUEST_FIELDS),
    ("reply", protocol.REPLY, protocol.REPLY_FIELDS),
    ("stat", protocol.STAT, protocol.STAT_FIELDS),
)
TYPES = {"H": "uint16_t", "I": "uint32_t", "i": "int32_t", "Q": "uint64_t", "q": "int64_t"}
NUMBERS = ("VERSION", "PATH_SIZE_MAX", "REQUEST_SIZE_MAX", "REPLY_SIZE_MAX")
TEXTS = ("SOCKET", "VARIABLE", "DESCRIPTOR_VARIABLE")


def render() -> str:
    """The whole header, with a newline at its end."""
    lines = [
        "/*",
        " * The broker's protocol, for programs in C. The page on it is sandboxer/broker/PROTOCOL.md.",
        " * Generated from sandboxer/broker/protocol.py by `python -m sandboxer.broker.header`: change it there.",
        " */",
        "#ifndef SANDBOXER_BROKER_PROTOCOL_H",
        "#define SANDBOXER_BROKER_PROTOCOL_H",
        "",
        "#include <stdint.h>",
        "",
    ]
    lines += [f"#define SBX_BROKER_{name} {getattr(protocol, name)}" for name in NUMBERS]
    lines += [f'#define SBX_BROKER_{name} "{getattr(protocol, name)}"' for name in TEXTS]
    lines += ["", "enum sbx_broker_command {"]
    for command in protocol.COMMANDS:
        lines.append(f"\t/* {command.does} */")
        lines.append(f"\tSBX_BROKER_{command.name.upper()} = {command.number},")
    lines += ["};", "", "enum sbx_broker_flag {"]
    for bit, (name, meaning) in protocol.FLAGS.items():
        lines += [f"\t/* {meaning} */", f"\tSBX_BROKER_FLAG_{name.upper()} = {bit},"]
    lines += ["};"]
    for name, layout, fields in STRUCTS:
        lines += ["", *struct_lines(name, layout, fields)]
    return "\n".join([*lines, "", "#endif", ""])


def struct_lines(name: str, layout: struct.Struct, fields: tuple[str, ...]) -> list[str]:
    """One struct, with an assertion that the compiler lays it out in the same way."""
    codes = layout.format.removeprefix("=")
    lines = [f"struct sbx_broker_{name} {{"]
    lines += [f"\t{TYPES[code]} {field};" for code, field in zip(codes, fields, strict=True)]
    size = f"_Static_assert(sizeof(struct sbx_broker_{name}) == {layout.size}, "
    return [*lines, "};", f'{size}"a struct of the protocol has padding");']


if __name__ == "__main__":
    sys.stdout.write(render())

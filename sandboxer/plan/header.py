"""
The C header of the plan vocabulary, printed from `plan.ops`: `python -m sandboxer.plan.header > launchers/ops.h`.

What comes in: the source text of `plan/ops.py` (for the docstrings under the members) and its values.
What goes out: the text of launchers/ops.h. It never writes the file itself; a test compares the two.
"""

from __future__ import annotations

import ast
import sys
from enum import IntEnum, IntFlag
from itertools import pairwise

from sandboxer.plan import ops

LIMITS = (
    "PLAN_SIZE_MAX",
    "OPS_MAX",
    "STAMPS_MAX",
    "ENV_MAX",
    "ARGV_MAX",
    "BPF_MAX",
    "KEEP_FDS_MAX",
    "LISTEN_MAX",
    "CONNECT_MAX",
    "FACTS_MAX",
    "SCOPE_MAX",
    "BROKER_DESCRIPTOR",
    "CONNECT_FIRST",
    "PATH_SIZE_MAX",
)
ENUMS: tuple[tuple[type[IntEnum | IntFlag], str, str], ...] = (
    (ops.OpKind, "sbx_op_kind", "SBX_OP_"),
    (ops.OpFlag, "sbx_op_flag", "SBX_OPF_"),
    (ops.PlanFlag, "sbx_plan_flag", "SBX_PLAN_"),
    (ops.LimitKind, "sbx_limit_kind", "SBX_LIMIT_"),
    (ops.StampKind, "sbx_stamp_kind", "SBX_STAMP_"),
    (ops.EnvKind, "sbx_env_kind", "SBX_ENV_"),
)


def documented(body: list[ast.stmt]) -> dict[str, str]:
    """The string literal under each assignment, by the assigned name, on one line."""
    found: dict[str, str] = {}
    for statement, below in pairwise(body):
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[statement.targets[0].id] = comment(str(below.value.value))
    return found


def comment(text: str) -> str:
    """Documentation as it can stand between /* and */."""
    return " ".join(text.replace("*/", "* /").split())


def render() -> str:
    """The whole header, with a newline at its end."""
    with open(str(ops.__file__), encoding="utf-8") as file:
        tree = ast.parse(file.read())
    constants = documented(tree.body)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    lines = [
        "/*",
        " * The vocabulary of plans, for the decoder and the launcher.",
        " * Generated from sandboxer/plan/ops.py by `python -m sandboxer.plan.header`: change it there.",
        " */",
        "#ifndef SBX_OPS_H",
        "#define SBX_OPS_H",
        "",
        f'#define SBX_PLAN_MAGIC "{ops.MAGIC.decode("ascii")}"',
        f"#define SBX_PLAN_MAGIC_SIZE {len(ops.MAGIC)}",
    ]
    for name in LIMITS:
        said = f" /* {constants[name]} */" if name in constants else ""
        lines.append(f"#define SBX_{name} {getattr(ops, name)}{said}")
    for kind, c_name, prefix in ENUMS:
        node = classes[kind.__name__]
        members = documented(node.body)
        lines += ["", f"/* {comment(ast.get_docstring(node) or '')} */", f"enum {c_name} {{"]
        for member in kind:
            if member.name in members:
                lines.append(f"\t/* {members[member.name]} */")
            lines.append(f"\t{prefix}{member.name} = {member.value},")
        lines.append("};")
    lines += ["", "#endif", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(render())

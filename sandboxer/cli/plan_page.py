"""
A plan, told entry by entry.

What comes in: a plan as the launcher's decoder read it, the broker's rules in it as the broker reads them. What goes
out: a page for people, plain values for JSON. It never prints what a file of the box holds, only how large it is: the X
server's cookie is among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag

from sandboxer.broker.rules import KEYS, Rule, Rules, Service, decode
from sandboxer.cli.output import EMPTY, Block, Part, Table, heading, line, quiet
from sandboxer.plan.bpf import INSTRUCTION
from sandboxer.plan.ops import EnvEntry, EnvKind, Op, OpFlag, OpKind, Plan, Stamp, StampKind

ENVIRONMENT = {
    EnvKind.SET: "set",
    EnvKind.PASS: "as outside",
    EnvKind.PASS_PREFIX: "as outside, all that begin so",
    EnvKind.KEEP_OUT: "kept out of those, if it is in the name",
}
STAMPS = {
    StampKind.ENV: "variable is",
    StampKind.ENV_ABSENT: "variable is absent",
    StampKind.FILE: "file is unchanged",
    StampKind.TYPE: "file is of the same type",
    StampKind.ABSENT: "file is absent",
    StampKind.KERNEL: "kernel is",
    StampKind.DIRECTORY: "started in",
}


def page(plan: Plan, size_bytes: int) -> list[Block]:
    """For people."""
    blocks: list[Block] = [
        line(f"The plan of {plan.app}, {size_bytes} bytes, as the launcher's decoder reads it"),
        EMPTY,
        heading("Header"),
        Table(rows=tuple(_row(name, told) for name, told in _header(plan)), indent=2),
        EMPTY,
        heading(f"Operations ({len(plan.ops)}), in order"),
    ]
    if plan.ops:
        blocks.append(Table(rows=tuple(_op(op) for op in plan.ops), indent=2))
    if plan.broker:
        blocks += _broker(decode(plan.broker))
    blocks += [EMPTY, heading(f"Environment ({len(plan.environment)})")]
    if plan.environment:
        rows = tuple(_row(entry.name, ENVIRONMENT[entry.kind], _value(entry)) for entry in plan.environment)
        blocks.append(Table(rows=rows, indent=2))
    blocks += [EMPTY, heading(f"Stamps ({len(plan.stamps)}): the plan holds as long as")]
    if plan.stamps:
        rows = tuple(_row(STAMPS[stamp.kind], _stamp(stamp)) for stamp in plan.stamps)
        blocks.append(Table(rows=rows, indent=2))
    return blocks


def facts(plan: Plan, size_bytes: int) -> dict[str, object]:
    """For machines."""
    return {
        "application": plan.app,
        "size-bytes": size_bytes,
        "request": list(plan.request),
        "command": list(plan.command),
        "uid": plan.uid,
        "gid": plan.gid,
        "hostname": plan.hostname,
        "home": plan.home,
        "notice": plan.notice,
        "flags": flag_names(plan.flags),
        "keep-fds": list(plan.keep_fds),
        "filter-instructions": len(plan.program) // INSTRUCTION.size,
        "operations": [
            {
                "kind": op.kind.name.lower(),
                "box-path": op.box_path,
                "source": op.source,
                "size-bytes": len(op.data),
                "mode": op.mode,
                "flags": flag_names(op.flags),
                "origin": str(op.origin),
            }
            for op in plan.ops
        ],
        "environment": [
            {"kind": entry.kind.name.lower(), "name": entry.name, "value": entry.value}
            for entry in plan.environment
        ],
        "broker": _broker_facts(decode(plan.broker)) if plan.broker else None,
        "stamps": [
            {"kind": stamp.kind.name.lower(), "name": stamp.name, "value": stamp.value}
            for stamp in plan.stamps
        ],
    }


def _broker(rules: Rules) -> list[Block]:
    """What the broker goes by."""
    rows = [
        (*_row(", ".join(right_names(rule.rights)), rule.path, _beneath(rule)), quiet(f"[{rule.origin}]"))
        for rule in rules.paths
    ]
    rows += [
        (*_row("connect", service.name, _service(service)), quiet(f"[{service.origin}]"))
        for service in rules.services
    ]
    rows += [(*_row("present", item.kind, item.value), quiet(f"[{item.origin}]")) for item in rules.outward]
    count, length = len(rows), len(rules.program) // INSTRUCTION.size
    rows += [(*_row("never", path, ""), quiet("")) for path in rules.hidden]
    return [
        EMPTY,
        heading(f"Broker ({count} rules), confined by a filter of {length} instructions"),
        line(f"logs to {rules.log}", indent=2),
        Table(rows=tuple(rows), indent=2),
    ]


def right_names(rights: int) -> list[str]:
    """What a rule permits, by the keys of `[broker]`, those that come with another left out."""
    names = [name for name, meant in KEYS.items() if rights & meant == meant]
    implied = [name for name in names for other in names if other != name and KEYS[name] & ~KEYS[other] == 0]
    return [name for name in names if name not in implied]


def _beneath(rule: Rule) -> str:
    host = f"{rule.root.rstrip('/')}/{rule.name}" if rule.name else rule.root
    where = "the same" if host == rule.path else host
    return f"{where}, {'that file' if rule.name else 'all beneath'}{'' if rule.follow else ', no links'}"


def _service(service: Service) -> str:
    return f"{service.path} ({', '.join(service.keys)})" if service.keys else service.path


def _broker_facts(rules: Rules) -> dict[str, object]:
    return {
        "log": rules.log,
        "hidden": list(rules.hidden),
        "filter-instructions": len(rules.program) // INSTRUCTION.size,
        "paths": [
            {
                "path": rule.path,
                "root": rule.root,
                "name": rule.name,
                "rights": right_names(rule.rights),
                "follows-links": rule.follow,
                "origin": rule.origin,
            }
            for rule in rules.paths
        ],
        "services": [
            {"name": item.name, "path": item.path, "keys": list(item.keys), "origin": item.origin}
            for item in rules.services
        ],
        "outward": [
            {"kind": item.kind, "value": item.value, "origin": item.origin} for item in rules.outward
        ],
    }


def flag_names(flags: IntFlag) -> list[str]:
    """The flags that are set: ["private-network", ...]."""
    return [(flag.name or "").lower().replace("_", "-") for flag in type(flags) if flag in flags]


def _header(plan: Plan) -> Sequence[tuple[str, str]]:
    return (
        ("answers", " ".join(plan.request)),
        ("starts", " ".join(plan.command) or "the command that is given"),
        ("runs as", f"user {plan.uid}, group {plan.gid}, on host {plan.hostname}"),
        ("home", plan.home),
        ("flags", ", ".join(flag_names(plan.flags)) or "none"),
        ("keeps", ", ".join(map(str, plan.keep_fds)) or "no descriptor but 0, 1 and 2"),
        ("says", plan.notice or "nothing"),
        ("filter", f"{len(plan.program) // INSTRUCTION.size} instructions; see --syscalls"),
    )


def _row(*cells: str) -> tuple[Part, ...]:
    return tuple(Part(text=cell) for cell in cells)


def _op(op: Op) -> tuple[Part, ...]:
    return (*_row(op.kind.name.lower(), op.box_path, _what(op)), quiet(f"[{op.origin}]"))


def _what(op: Op) -> str:
    match op.kind:
        case OpKind.BIND:
            flags = flag_names(op.flags & ~OpFlag.DIRECTORY)
            where = "the same" if op.source == op.box_path else str(op.source)
            return f"{where} ({', '.join(flags)})" if flags else where
        case OpKind.LINK:
            return f"→ {op.source}"
        case OpKind.FILE:
            return f"{len(op.data)} bytes, mode {op.mode:04o}"
        case OpKind.DIR | OpKind.OWN:
            return f"mode {op.mode:04o}"
        case OpKind.LISTEN:
            kind = "stream" if op.flags & OpFlag.STREAM else "messages"
            return f"the broker listens, as {op.source} ({kind}, mode {op.mode:04o})"
        case OpKind.CONNECT:
            return f"connected to {op.source}"
    return ""


def _value(entry: EnvEntry) -> str:
    return entry.value if entry.kind is EnvKind.SET else ""


def _stamp(stamp: Stamp) -> str:
    match stamp.kind:
        case StampKind.ENV:
            return f"{stamp.name}={stamp.value}"
        case StampKind.FILE:
            return f"{stamp.name} (inode {stamp.inode}, {stamp.size} bytes, mode {stamp.mode:o})"
    return stamp.name

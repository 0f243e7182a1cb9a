"""
Bytes → Plan, through the launcher's own decoder.

What comes in: an image, from the cache or from anywhere. What goes out: the plan as the launcher would read it, or
PlanError with the decoder's reason. It checks nothing itself: what C accepts is shown, and nothing else is.
It is not on the compile path: only `explain --plan` and the tests read plans back.
"""

from __future__ import annotations

import os
from typing import Any

from sandboxer._native import ffi, lib
from sandboxer.errors import PlanError
from sandboxer.plan.codec import ALIGNMENT, INSTRUCTION_SIZE
from sandboxer.plan.ops import (
    EnvEntry,
    EnvKind,
    LimitKind,
    Op,
    OpFlag,
    OpKind,
    Plan,
    PlanFlag,
    Stamp,
    StampKind,
)
from sandboxer.words import BoxPath, Origin


def decode(image: bytes) -> Plan:
    """
    Read a plan as the launcher reads it.

    Returns:
        The plan. An origin comes back as one text, in `file`: an image keeps it as it is printed.
    Raises:
        PlanError: the decoder refuses the image; `subject` is its reason.
    """
    memory = ffi.new("uint64_t[]", -(-len(image) // ALIGNMENT) or 1)
    ffi.memmove(memory, image, len(image))
    plan = ffi.new("struct plan *")
    why = ffi.new("const char **")
    if lib.plan_check(memory, len(image), plan, why) != 0:
        raise PlanError("cannot read the plan", subject=ffi.string(why[0]).decode())
    header = plan.header

    def text(reference: int) -> str:
        return os.fsdecode(ffi.string(plan.strings + reference))

    return Plan(
        app=text(header.app),
        request=tuple(text(plan.request[i]) for i in range(header.request.count)),
        uid=header.uid,
        gid=header.gid,
        hostname=text(header.hostname),
        command=tuple(text(plan.command[i]) for i in range(header.command.count)),
        notice=text(header.notice),
        home=BoxPath(text(header.home)),
        flags=PlanFlag(header.flags),
        keep_fds=tuple(header.keep_fds[0 : header.keep_fd_count]),
        ops=tuple(_op(plan, plan.ops[i], text) for i in range(header.ops.count)),
        environment=tuple(
            EnvEntry(kind=EnvKind(entry.kind), name=text(entry.name), value=text(entry.value))
            for entry in plan.environment[0 : header.environment.count]
        ),
        stamps=tuple(_stamp(stamp, text) for stamp in plan.stamps[0 : header.stamps.count]),
        program=bytes(ffi.buffer(plan.program, header.program.count * INSTRUCTION_SIZE)),
        broker=bytes(ffi.buffer(plan.data + header.broker.offset, header.broker.count)),
        limits=tuple((kind, header.limits[kind]) for kind in LimitKind if header.limits_set & 1 << kind),
        scope=bytes(ffi.buffer(plan.data + header.scope.offset, header.scope.count)),
        facts=text(header.facts),
    )


def _op(plan: Any, op: Any, text: Any) -> Op:
    return Op(
        kind=OpKind(op.kind),
        box_path=BoxPath(text(op.box_path)),
        source=text(op.source),
        data=bytes(ffi.buffer(plan.data + op.data_offset, op.data_size)),
        mode=op.mode,
        flags=OpFlag(op.flags),
        origin=Origin(text(op.origin)),
    )


def _stamp(stamp: Any, text: Any) -> Stamp:
    return Stamp(
        kind=StampKind(stamp.kind),
        name=text(stamp.name),
        value=text(stamp.value),
        device=stamp.device,
        inode=stamp.inode,
        size=stamp.size,
        mode=stamp.mode,
        mtime_ns=stamp.mtime_ns,
        ctime_ns=stamp.ctime_ns,
    )

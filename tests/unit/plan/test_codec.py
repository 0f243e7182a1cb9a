"""The layout of plans, field by field, and what is refused."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from sandboxer.errors import PlanError
from sandboxer.plan import ops
from sandboxer.plan.codec import HEADER_SIZE, encode
from sandboxer.plan.ops import EnvEntry, EnvKind, Op, OpFlag, OpKind, Plan, PlanFlag, Stamp, StampKind
from sandboxer.words import BoxPath, HostPath, Origin, changed

PLAN = Plan(
    app="firefox",
    request=("app", "firefox"),
    uid=1000,
    gid=1001,
    hostname="firefox",
    command=("/usr/bin/firefox",),
    notice="",
    home=BoxPath("/home/ann"),
    flags=PlanFlag.PRIVATE_NETWORK | PlanFlag.BY_DIRECTORY,
    keep_fds=(3, 7),
    ops=(
        Op(kind=OpKind.FILE, box_path=BoxPath("/etc/a"), data=b"same", mode=0o644),
        Op(kind=OpKind.FILE, box_path=BoxPath("/etc/b"), data=b"same", mode=0o600),
        Op(
            kind=OpKind.BIND,
            box_path=BoxPath("/usr"),
            source=HostPath("/usr"),
            flags=OpFlag.DIRECTORY | OpFlag.WRITE,
            origin=Origin("apps/x.toml", 3, "files.read"),
        ),
    ),
    environment=(EnvEntry(kind=EnvKind.SET, name="A", value="b"),),
    stamps=(
        Stamp(
            kind=StampKind.FILE,
            name="/f",
            device=2**40,
            inode=3,
            size=4,
            mode=0o100644,
            mtime_ns=2**62,
            ctime_ns=6,
        ),
    ),
    program=struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000),
)


class Image:
    """An image, taken apart by the layout's description and nothing of the encoder's."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.magic, self.size, self.flags, self.uid, self.gid, self.fd_count = struct.unpack_from(
            "<8s5I", content
        )
        self.fds = struct.unpack_from("<16I", content, 28)
        numbers = struct.unpack_from("<16I", content, 92)
        names = ("ops", "environment", "stamps", "command", "request", "program", "strings", "data")
        self.sections = {name: numbers[2 * i : 2 * i + 2] for i, name in enumerate(names)}
        self.app, self.hostname, self.notice, self.home = struct.unpack_from("<4I", content, 156)

    def string(self, reference: int) -> str:
        start = self.sections["strings"][0] + reference
        return self.content[start : self.content.index(b"\0", start)].decode("utf-8", "surrogateescape")

    def records(self, name: str, form: str) -> list[tuple[Any, ...]]:
        offset, count = self.sections[name]
        return [
            struct.unpack_from(form, self.content, offset + i * struct.calcsize(form)) for i in range(count)
        ]


def test_the_header_holds_the_plan_s_own_fields() -> None:
    image = Image(encode(PLAN))
    assert (b"SBXPLAN3", len(image.content), 65, 1000, 1001, 2) == (
        image.magic,
        image.size,
        image.flags,
        image.uid,
        image.gid,
        image.fd_count,
    )
    assert (3, 7, *[0] * 14) == image.fds
    assert ("firefox", "firefox", "", "/home/ann") == tuple(
        map(image.string, (image.app, image.hostname, image.notice, image.home))
    )
    assert bytes(HEADER_SIZE - 172) == image.content[172:HEADER_SIZE]


LISTEN = Op(kind=OpKind.LISTEN, box_path=BoxPath("/run/sandboxer/broker"), source="broker", mode=0o600)
CONNECT = Op(
    kind=OpKind.CONNECT,
    box_path=BoxPath("/dev/fd/100"),
    source=HostPath("/run/user/1000/wayland-0"),
    mode=100,
)
BROKERED = changed(PLAN, ops=(*PLAN.ops, LISTEN, CONNECT), broker=b"the rules")


def test_the_broker_s_rules_lie_in_the_data_and_the_header_says_where() -> None:
    image = Image(encode(BROKERED))
    offset, size = struct.unpack_from("<2I", image.content, 172)
    start = image.sections["data"][0] + offset
    assert b"the rules" == image.content[start : start + size]
    assert bytes(HEADER_SIZE - 180) == image.content[180:HEADER_SIZE]
    *_, listen, connect = image.records("ops", "<HH7I")
    assert (10, 0, 0o600, "broker") == (*listen[:3], image.string(listen[4]))
    assert (11, 0, 100, "/dev/fd/100") == (*connect[:3], image.string(connect[3]))


@pytest.mark.parametrize(
    "changes",
    [
        {"broker": b""},
        {"ops": ()},
        {"ops": (changed(LISTEN, source=""),)},
        {"ops": (changed(LISTEN, source="a" * 33),)},
        {"ops": (changed(LISTEN, source="Broker"),)},
        {"ops": (changed(LISTEN, source="a=b"),)},
        {"ops": (changed(LISTEN, mode=0o1777),)},
        {"ops": (changed(LISTEN, flags=OpFlag.WRITE),)},
        {"ops": (LISTEN,) * (ops.LISTEN_MAX + 1)},
        {"ops": (LISTEN, changed(CONNECT, mode=101))},
        {"ops": (LISTEN, changed(CONNECT, mode=101, box_path=BoxPath("/dev/fd/101")))},
        {"ops": (LISTEN, changed(CONNECT, box_path=BoxPath("/dev/fd/0100")))},
        {"ops": (LISTEN, changed(CONNECT, source="wayland-0"))},
        {"ops": (LISTEN, changed(CONNECT, flags=OpFlag.STREAM))},
        {"ops": (LISTEN, CONNECT, CONNECT)},
        {
            "ops": (
                LISTEN,
                *(
                    changed(CONNECT, mode=number, box_path=BoxPath(f"/dev/fd/{number}"))
                    for number in range(100, 101 + ops.CONNECT_MAX)
                ),
            )
        },
        {"keep_fds": (100,)},
        {"keep_fds": (99,), "flags": PlanFlag.BROKER_DESCRIPTOR},
        {"ops": (), "broker": b"", "flags": PlanFlag.BROKER_DESCRIPTOR},
    ],
)
def test_sockets_that_the_decoder_would_refuse_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        encode(changed(BROKERED, **changes))


def test_a_kept_descriptor_may_have_a_number_that_the_policy_does_not_use() -> None:
    assert encode(changed(BROKERED, keep_fds=(99, 101)))


def test_sections_follow_one_another_with_zeros_up_to_the_next_multiple_of_eight() -> None:
    image = Image(encode(PLAN))
    sizes = {
        "ops": 32,
        "environment": 16,
        "stamps": 64,
        "command": 4,
        "request": 4,
        "program": 8,
        "strings": 1,
        "data": 1,
    }
    end = HEADER_SIZE
    for name, (offset, count) in image.sections.items():
        assert (end + 7) // 8 * 8 == offset
        assert bytes(offset - end) == image.content[end:offset]
        end = offset + count * sizes[name]
    assert len(image.content) == end


def test_operations_read_back() -> None:
    image = Image(encode(PLAN))
    one, other, bind = image.records("ops", "<HH7I")
    assert (3, 0, 0o644, "/etc/a", "", 4) == (*one[:3], image.string(one[3]), image.string(one[4]), one[6])
    assert one[5] == other[5], "equal contents are stored once"
    assert b"same" == image.content[image.sections["data"][0] :][:4]
    assert (4, 9, 0, "/usr", "/usr") == (*bind[:3], image.string(bind[3]), image.string(bind[4]))
    assert "apps/x.toml:3 files.read" == image.string(bind[7])


def test_stamps_variables_and_words_read_back() -> None:
    image = Image(encode(PLAN))
    (stamp,) = image.records("stamps", "<4I6Q")
    assert (3, "/f", "", 0o100644, 2**40, 3, 4, 2**62, 6, 0) == (
        stamp[0],
        image.string(stamp[1]),
        image.string(stamp[2]),
        *stamp[3:],
    )
    ((kind, name, value, zero),) = image.records("environment", "<4I")
    assert (1, "A", "b", 0) == (kind, image.string(name), image.string(value), zero)
    assert ["app", "firefox"] == [image.string(word) for (word,) in image.records("request", "<I")]
    assert PLAN.program == image.content[image.sections["program"][0] :][:8]


def test_strings_begin_and_end_with_nul_and_are_stored_once() -> None:
    image = Image(encode(PLAN))
    offset, size = image.sections["strings"]
    strings = image.content[offset : offset + size]
    assert b"\0" == strings[:1] == strings[-1:]
    texts = strings[1:-1].split(b"\0")
    assert len(texts) == len(set(texts))


def test_names_that_are_not_utf_8_keep_their_bytes() -> None:
    path = BoxPath(b"/tmp/\xff".decode("utf-8", "surrogateescape"))
    image = encode(changed(PLAN, ops=(Op(kind=OpKind.DIR, box_path=path, mode=0o755),)))
    assert b"\0/tmp/\xff\0" in image


def op(**fields: Any) -> Op:
    return Op(**{"kind": OpKind.DIR, "box_path": BoxPath("/x"), **fields})


@pytest.mark.parametrize(
    "changes",
    [
        {"ops": tuple(op() for _ in range(ops.OPS_MAX + 1))},
        {"stamps": PLAN.stamps * (ops.STAMPS_MAX + 1)},
        {"environment": PLAN.environment * (ops.ENV_MAX + 1)},
        {"command": ("x",) * (ops.ARGV_MAX + 1)},
        {"request": ("x",) * (ops.ARGV_MAX + 1)},
        {"request": ()},
        {"program": b""},
        {"program": bytes(7)},
        {"program": bytes(8 * (ops.BPF_MAX + 1))},
        {"keep_fds": tuple(range(3, 4 + ops.KEEP_FDS_MAX))},
        {"keep_fds": (2,)},
        {"keep_fds": (7, 3)},
        {"keep_fds": (1024,)},
        {"uid": 0},
        {"gid": 0},
        {"app": ""},
        {"hostname": "h" * 65},
        {"home": BoxPath("/")},
        {"home": BoxPath("relative")},
        {"ops": (op(box_path=BoxPath("/a/../b")),)},
        {"ops": (op(box_path=BoxPath("/a//b")),)},
        {"ops": (op(box_path=BoxPath("/a/")),)},
        {"ops": (op(box_path=BoxPath("/" + "a" * 256)),)},
        {"ops": (op(box_path=BoxPath("/a" * 2048)),)},
        {"ops": (op(kind=OpKind.BIND),)},
        {"ops": (op(kind=OpKind.BIND, source="relative"),)},
        {"ops": (op(kind=OpKind.LINK),)},
        {"ops": (op(mode=0o4755),)},
        {"notice": "a\0b"},
        {"environment": (EnvEntry(kind=EnvKind.SET, name="A=B"),)},
        {"environment": (EnvEntry(kind=EnvKind.PASS_PREFIX, name=""),)},
        {"environment": (EnvEntry(kind=EnvKind.PASS, name="A", value="b"),)},
        {"stamps": (changed(PLAN.stamps[0], mtime_ns=-1),)},
        {"ops": (op(kind=OpKind.FILE, data=bytes(ops.PLAN_SIZE_MAX)),)},
    ],
)
def test_what_the_decoder_would_refuse_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        encode(changed(PLAN, **changes))

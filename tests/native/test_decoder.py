"""
The C decoder, through cffi: it reads back what the encoder wrote, and refuses everything else without crashing.

A crash ends the test process, so what is tried on broken images runs here as it is: a signal is a failure of the run.
Broken images that are accepted are read in full, so that the offsets that were let through are followed.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plans
import pytest
from conftest import COMPLETE, need
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandboxer.errors import PlanError
from sandboxer.plan import ops
from sandboxer.plan.codec import HEADER_SIZE, encode
from sandboxer.plan.decode import decode
from sandboxer.plan.ops import EnvEntry, EnvKind, Op, OpFlag, OpKind, Plan, PlanFlag, Stamp, StampKind
from sandboxer.words import BoxPath, Origin

TREE = Path(__file__).resolve().parent.parent.parent
SECTIONS_AT = struct.calcsize("<8s21I")
"""Where the table of the eight sections begins in the header."""
BROKER_AT = struct.calcsize("<8s21I16I4I")
"""Where the header says where the broker's rules are."""
INTERESTING = (
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    63,
    64,
    191,
    192,
    255,
    256,
    4095,
    4096,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 8,
    2**32 - 1,
)
FUZZ_RUNS = 10_000_000 if COMPLETE else 1_000_000

SOCKETS = (OpKind.LISTEN, OpKind.CONNECT)

name_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and len(os.fsencode(name)) <= 255
)
paths = st.lists(name_texts, min_size=1, max_size=5).map(lambda names: "/" + "/".join(names))
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
some_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
variables = st.text(st.characters(codec="utf-8", exclude_characters="\0="), min_size=1, max_size=20)
numbers = st.integers(0, 2**64 - 1)
origins = texts.map(lambda text: Origin(text.rstrip()))  # as an origin prints itself


@st.composite
def operations(draw: st.DrawFn) -> Op:
    kind = draw(st.sampled_from([kind for kind in OpKind if kind not in SOCKETS]))
    flags = OpFlag(draw(st.integers(0, 15))) if kind is OpKind.BIND else OpFlag(0)
    source = draw(paths) if kind is OpKind.BIND else draw(some_texts) if kind is OpKind.LINK else ""
    return Op(
        kind=kind,
        box_path=BoxPath(draw(paths)),
        source=source,
        data=draw(st.binary(max_size=100)) if kind is OpKind.FILE else b"",
        mode=draw(st.integers(0, 0o1777)),
        flags=flags,
        origin=draw(origins),
    )


@st.composite
def with_sockets(draw: st.DrawFn, plan: Plan) -> Plan:
    """The plan with sockets for a broker and connections, and what has to go with them."""
    listeners = [
        Op(
            kind=OpKind.LISTEN,
            box_path=BoxPath(draw(paths)),
            source=draw(st.text("abcz09-", min_size=1, max_size=32)),
            mode=draw(st.integers(0, 0o777)),
            flags=draw(st.sampled_from([OpFlag(0), OpFlag.STREAM])),
            origin=draw(origins),
        )
        for _ in range(draw(st.integers(0, ops.LISTEN_MAX)))
    ]
    connections = [
        Op(
            kind=OpKind.CONNECT,
            box_path=BoxPath(f"/dev/fd/{number}"),
            source=draw(paths),
            mode=number,
            origin=draw(origins),
        )
        for number in range(ops.CONNECT_FIRST, ops.CONNECT_FIRST + draw(st.integers(0, ops.CONNECT_MAX)))
    ]
    broker = draw(st.binary(min_size=1, max_size=200)) if listeners else b""
    reserved = range(ops.BROKER_DESCRIPTOR, ops.CONNECT_FIRST + ops.CONNECT_MAX)
    return changed(
        plan,
        ops=(*plan.ops, *listeners, *connections),
        broker=broker,
        flags=plan.flags if broker else plan.flags & ~PlanFlag.BROKER_DESCRIPTOR,
        keep_fds=tuple(fd for fd in plan.keep_fds if fd not in reserved),
    )


@st.composite
def environment_entries(draw: st.DrawFn) -> EnvEntry:
    kind = draw(st.sampled_from(EnvKind))
    return EnvEntry(kind=kind, name=draw(variables), value=draw(texts) if kind is EnvKind.SET else "")


stamps = st.builds(
    Stamp,
    kind=st.sampled_from(StampKind),
    name=some_texts,
    value=texts,
    device=numbers,
    inode=numbers,
    size=numbers,
    mode=st.integers(0, 2**32 - 1),
    mtime_ns=numbers,
    ctime_ns=numbers,
)
flag_sets = st.integers(0, sum(PlanFlag)).map(
    lambda bits: PlanFlag(bits | (PlanFlag.DOCUMENTS_READ if bits & PlanFlag.DOCUMENTS_WRITE else 0))
)
plain_plans = st.builds(
    Plan,
    app=st.text("abc-.", min_size=1, max_size=128),
    request=st.lists(texts, min_size=1, max_size=8).map(tuple),
    uid=st.integers(1, 2**32 - 1),
    gid=st.integers(1, 2**32 - 1),
    hostname=st.text("abc", min_size=1, max_size=64),
    command=st.lists(some_texts, max_size=8).map(tuple),
    notice=texts,
    home=paths.map(BoxPath),
    flags=flag_sets,
    keep_fds=st.sets(st.integers(3, 1023), max_size=16).map(lambda fds: tuple(sorted(fds))),
    ops=st.lists(operations(), max_size=8).map(tuple),
    environment=st.lists(environment_entries(), max_size=5).map(tuple),
    stamps=st.lists(stamps, max_size=5).map(tuple),
    program=st.integers(1, 40).flatmap(lambda count: st.binary(min_size=8 * count, max_size=8 * count)),
)
any_plan = plain_plans.flatmap(with_sockets)
EXAMPLE = plans.small_box(["/usr/bin/true", "word"], home="/home/t", keep_fds=(3, 9), notice="a notice")
WITH_SOCKETS = plans.small_box(
    ["/usr/bin/true"],
    home="/home/t",
    flags=PlanFlag.BROKER_DESCRIPTOR,
    more=[
        plans.listen("broker"),
        plans.listen("ssh-agent", stream=True),
        plans.connect("/run/user/1000/wayland-0"),
        plans.connect("/run/user/1000/pipewire-0", ops.CONNECT_FIRST + 1),
    ],
    broker=b"the rules of a broker",
)
EXAMPLES = pytest.mark.parametrize("plan", [EXAMPLE, WITH_SOCKETS], ids=["plain", "with sockets"])


BROAD = settings(
    max_examples=400,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def changed(plan: Plan, **fields: object) -> Plan:
    """The plan with some fields changed."""
    kept: dict[str, Any] = {name: getattr(plan, name) for name in plan.__struct_fields__}
    return Plan(**(kept | fields))


def example(plan: Plan = EXAMPLE) -> bytes:
    """A plan as it is stored. Its numbers don't depend on who runs the tests."""
    return encode(changed(plan, uid=1000, gid=1000))


def try_to_decode(image: bytes) -> bool:
    """Whether the decoder takes an image. It may refuse it, with a reason; anything else is a failure."""
    try:
        decode(image)
    except PlanError as error:
        if not error.subject:
            raise
        return False
    return True


@given(any_plan)
@BROAD
def test_the_decoder_reads_what_the_encoder_wrote(plan: Plan) -> None:
    read = decode(encode(plan))
    for name in plan.__struct_fields__:
        assert getattr(plan, name) == getattr(read, name), name


def test_origins_read_back_as_they_are_printed() -> None:
    origin = Origin("apps/firefox.toml", 12, "files.read")
    plan = changed(
        EXAMPLE, uid=1000, gid=1000, ops=(Op(kind=OpKind.DIR, box_path=BoxPath("/x"), origin=origin),)
    )
    assert str(origin) == str(decode(encode(plan)).ops[0].origin)


def test_the_image_of_a_real_box_is_accepted() -> None:
    assert EXAMPLE.ops[3].box_path == decode(example()).ops[3].box_path


def with_header(at: int, *numbers: int) -> bytes:
    """The image of a box with a broker, with some numbers of its header changed."""
    listen = Op(kind=OpKind.LISTEN, box_path=BoxPath("/run/sandboxer/broker"), source="broker", mode=0o600)
    plan = changed(EXAMPLE, uid=1000, gid=1000, ops=(*EXAMPLE.ops, listen), broker=b"rules")
    image = bytearray(encode(plan))
    assert b"rules" == decode(bytes(image)).broker
    struct.pack_into(f"<{len(numbers)}I", image, at, *numbers)
    return bytes(image)


@pytest.mark.parametrize(("offset", "size"), [(0, 0), (0, 2**32 - 1), (2**32 - 1, 2), (8, 2**20), (2**20, 1)])
def test_rules_of_a_broker_that_lie_elsewhere_are_refused(offset: int, size: int) -> None:
    assert not try_to_decode(with_header(BROKER_AT, offset, size))


def test_a_header_that_goes_on_after_the_broker_is_refused() -> None:
    assert not try_to_decode(with_header(BROKER_AT + 8, 1))


@given(st.binary(max_size=2048))
@BROAD
def test_random_bytes_are_refused(image: bytes) -> None:
    assert not try_to_decode(image)


@given(st.binary(max_size=2048))
@BROAD
def test_random_bytes_with_a_right_beginning_are_refused(rest: bytes) -> None:
    size = len(ops.MAGIC) + 4 + len(rest)
    assert not try_to_decode(ops.MAGIC + struct.pack("<I", size) + rest)


@given(any_plan, st.data())
@BROAD
def test_changed_bytes_never_crash_the_decoder(plan: Plan, data: st.DataObject) -> None:
    image = bytearray(encode(plan))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(image) - 1))
        image[place] = data.draw(st.integers(0, 255))
    try_to_decode(bytes(image))


def test_every_shorter_image_is_refused() -> None:
    image = example()
    assert not [size for size in range(len(image)) if try_to_decode(image[:size])]


@pytest.mark.parametrize("added", [1, 7, 8, 4096])
def test_a_longer_image_is_refused(added: int) -> None:
    image = example() + bytes(added)
    assert not try_to_decode(image)
    assert not try_to_decode(image[:8] + struct.pack("<I", len(image)) + image[12:])


def test_an_image_beyond_the_limit_is_refused() -> None:
    assert not try_to_decode(example() + bytes(ops.PLAN_SIZE_MAX))


@EXAMPLES
def test_every_number_of_an_image_may_be_anything_without_a_crash(plan: Plan) -> None:
    image = example(plan)
    accepted = 0
    for place in range(0, len(image) - 3, 4):
        for value in INTERESTING:
            accepted += try_to_decode(image[:place] + struct.pack("<I", value) + image[place + 4 :])
    assert accepted > 0, "no change was accepted: the images differ in more than what was changed"


@EXAMPLES
def test_every_byte_of_the_header_may_be_anything_without_a_crash(plan: Plan) -> None:
    image = bytearray(example(plan))
    for place in range(HEADER_SIZE):
        kept = image[place]
        for value in range(256):
            image[place] = value
            try_to_decode(bytes(image))
        image[place] = kept


def test_swapped_sections_are_refused() -> None:
    image = example()
    table = [struct.unpack_from("<2I", image, SECTIONS_AT + 8 * index) for index in range(8)]
    for first in range(8):
        for second in range(first):
            swapped = bytearray(image)
            struct.pack_into("<2I", swapped, SECTIONS_AT + 8 * first, *table[second])
            struct.pack_into("<2I", swapped, SECTIONS_AT + 8 * second, *table[first])
            assert table[first] == table[second] or not try_to_decode(bytes(swapped)), (first, second)


def test_bytes_between_sections_must_be_zero() -> None:
    image = bytearray(example())
    offset, count = struct.unpack_from("<2I", image, SECTIONS_AT + 8 * 6)  # strings
    end = offset + count
    assert end % 8 != 0, "this example has no gap there"
    image[end] = 1
    with pytest.raises(PlanError, match="section data is out of place"):
        decode(bytes(image))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (b"/../../etc/x", "a box path"),
        (b"//bin/passwd", "a box path"),
        (b"relative/one", "a box path"),
        (b"/trailing///", "a box path"),
        (b"/dot/./path/", "a box path"),
    ],
)
def test_a_path_that_is_not_normal_is_refused(path: bytes, reason: str) -> None:
    marked = b"/mark/me/now"
    assert len(marked) == len(path)
    op = Op(kind=OpKind.DIR, box_path=BoxPath(marked.decode()))
    image = encode(changed(EXAMPLE, uid=1000, gid=1000, ops=(op,)))
    assert 1 == image.count(marked)
    with pytest.raises(PlanError, match=reason):
        decode(image.replace(marked, path))


@EXAMPLES
def test_fifty_thousand_changed_images_do_not_crash_it(plan: Plan) -> None:
    """The quick, blind kind, beside the fuzzer's: always the same ones, so that a failure can be repeated."""
    image, chance = example(plan), random.Random(20)
    for _ in range(50_000):
        broken = bytearray(image)
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(broken) // 4) * 4
            struct.pack_into("<I", broken, place, chance.choice(INTERESTING))
        try_to_decode(bytes(broken))


@pytest.mark.timeout(900)
def test_the_fuzzer_finds_nothing(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    clang = need("clang")
    fuzzer = tmp_path / "fuzz_plan"
    options = "-g -O1 -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Werror -fsanitize=fuzzer,address,undefined"
    built = subprocess.run(
        [
            *(clang, *options.split(), "-fno-sanitize-recover=all", f"-I{TREE / 'launchers'}"),
            *(TREE / "tests" / "native" / "fuzz_plan.c", TREE / "launchers" / "plan.c", "-o", fuzzer),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == built.returncode, built.stderr
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "box").write_bytes(example())
    (corpus / "sockets").write_bytes(example(WITH_SOCKETS))
    small = changed(EXAMPLE, uid=1000, gid=1000, ops=EXAMPLE.ops[:4], keep_fds=())
    (corpus / "small").write_bytes(encode(small))
    done = subprocess.run(
        [fuzzer, f"-runs={FUZZ_RUNS}", "-max_len=16384", "-print_final_stats=1", "-timeout=10", "corpus"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr[-6000:]
    assert f"Done {FUZZ_RUNS} runs" in done.stderr
    coverage = [line for line in done.stderr.splitlines() if " cov: " in line][-1]
    print(f"\n{FUZZ_RUNS} runs: {coverage}", file=sys.stderr)
    record_property("fuzz", coverage)

"""
Millions of messages that nobody would send, through parsing, verdicts and execution on a tree of files.

Some ten thousand by default, five million where everything is tested. What must hold: no exception, nothing handed out
but regular files of the tree that aren't hidden, nothing changed beside the tree, memory flat.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import RunningBroker, message, rule, rules_for
from conftest import COMPLETE
from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxer.broker import agent, protocol
from sandboxer.broker.beneath import Replaced
from sandboxer.broker.files import carry_out
from sandboxer.broker.log import Log, request_name
from sandboxer.broker.messages import Malformed, parse, reply
from sandboxer.broker.process import AGAIN
from sandboxer.broker.protocol import CONNECT, HELLO, PRESENT, REPLY_SIZE_MAX, REQUEST, WATCH
from sandboxer.broker.relay import taken
from sandboxer.broker.roots import Ground, open_roots
from sandboxer.broker.rules import Outward, Rules, Service, decode, encode
from sandboxer.broker.verdicts import Table, verdict

MESSAGES = 5_000_000 if COMPLETE else 60_000
SEEDS = (1, 2)
SENT = 100_000 if COMPLETE else 10_000
RULES = 100_000 if COMPLETE else 5_000
ANEW = 20_000
"""Messages after which the tree is made anew: they have removed most of it."""
GROWTH_MAX = 4096
"""Kilobytes between a tenth of the way and the end: what the allocator does with its arenas."""
NAMES = ["file", "sub", "inner", "deep", "hidden", "key", "link", "up", "out", "fifo", "new", "one", "x" * 255, "é"]
ODD = [b"..", b".", b"", b"\0", b"\xff", b"a" * 256, b"proc", b"self", b"fd", b"0"]
NUMBERS = [0, 1, 2, 4, 7, 8, 0o600, 0o755, 0o777, 0x100, 0xFFF, 0x02000100, 0x7FFFFFFF, 0xFFFFFFFF]
WORDS = [b"wayland", b"ssh-agent", b"https://example.org/", b"file:///tmp/x", b"mailto:a", b"javascript:1"]


class Field:
    """A tree of files with everything in it, and rules for it."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "tree"
        self.outside = directory / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_text("secret")
        self.log = Log(os.fsencode(directory / "log"), "app", "app.1")
        self.made: list[int] = []
        self.make()

    def make(self) -> None:
        """The tree, and the table on it, anew."""
        if self.made:
            for directory, names, _ in os.walk(self.root):
                for name in names:
                    path = Path(directory, name)
                    if not path.is_symlink():
                        path.chmod(0o700)
            shutil.rmtree(self.root)
            self.close()
        (self.root / "sub/deep/hidden").mkdir(parents=True)
        (self.root / "plain/sub").mkdir(parents=True)
        for name in "file sub/inner sub/deep/key sub/deep/hidden/key plain/file plain/sub/inner one".split():
            (self.root / name).write_text(name)
        for place in (self.root, self.root / "plain"):
            (place / "link").symlink_to("file")
            (place / "up").symlink_to("..")
            (place / "out").symlink_to(self.outside / "secret")
            os.mkfifo(place / "fifo")
        self.table = Table(self.rules())
        self.ground: Ground = open_roots(self.table)
        self.made = list({place.fd for place in self.table.places if place.fd >= 0})

    def rules(self) -> Rules:
        root = self.root
        return rules_for(
            "/log",
            [
                rule(root),
                rule(root / "plain", follow=True),
                rule(root / "plain/sub", "read", "write"),
                rule(root, "read", "create", "write", name="one"),
                rule("/in/the/box", "read", "list", root=root / "sub"),
            ],
            hidden=[root / "sub/deep/hidden", root / "sub/hidden"],
            services=[Service(name="wayland", path="/nothing", origin="p:1")],
            outward=[Outward(kind="link", value="https", origin="p:2"), Outward(kind="file", value="a/b", origin="")],
        )

    def close(self) -> None:
        self.ground.watches.close()
        for fd in self.made:
            os.close(fd)

    def handle(self, data: bytes) -> None:
        """What the server does with a message, and what must hold of it."""
        try:
            request = parse(data)
        except Malformed as error:
            reply(error.command, error.error)
            return
        found = verdict(request, self.table)
        assert 0 <= found.error < 4096
        if found.error or request.command in (HELLO, CONNECT, PRESENT):
            assert found.error == 0 or found.place is None
            return
        try:
            result = carry_out(request, found, self.ground)
        except Replaced:
            self.make()
            return
        assert 0 <= result.error < 4096
        assert len(reply(request.command, result.error, result.value, result.data)) <= REPLY_SIZE_MAX
        if result.fd >= 0:
            try:
                self.check(result.fd, request.command)
            finally:
                os.close(result.fd)

    def check(self, fd: int, command: int) -> None:
        """A descriptor that would have left."""
        where = os.readlink(f"/proc/self/fd/{fd}")
        if command == WATCH:
            assert where == "anon_inode:inotify"
            return
        assert command == protocol.OPEN
        assert stat.S_ISREG(os.fstat(fd).st_mode)
        assert where.startswith(f"{self.root}/"), where
        assert not f"{where}/".startswith((f"{self.root}/sub/hidden/", f"{self.root}/sub/deep/hidden/")), where


class Mutator:
    """Messages: well-formed ones from the field's own names, with something wrong in every third."""

    def __init__(self, field: Field, seed: int) -> None:
        self.random = random.Random(seed)
        self.heads = [
            os.fsencode(field.root),
            os.fsencode(field.root / "plain"),
            os.fsencode(field.root / "plain/sub"),
            os.fsencode(field.root / "sub/deep"),
            b"/in/the/box",
            os.fsencode(field.outside),
            b"/proc/self",
            b"",
        ]
        self.tails = [os.fsencode(name) for name in NAMES]
        self.odd = ODD
        self.pool = [self.well_formed() for _ in range(20_000)]

    def path(self) -> bytes:
        choice = self.random
        count = choice.choice((0, 1, 1, 1, 2, 2, 3))
        parts = (choice.choice(self.tails if choice.random() < 0.9 else self.odd) for _ in range(count))
        return b"/".join((choice.choice(self.heads), *parts))

    def well_formed(self) -> bytes:
        choice = self.random
        command = choice.choice((*range(12), protocol.OPEN, protocol.OPEN, protocol.OPEN, 12, 65535))
        known = protocol.COMMANDS[command].flags if command < 12 else 511
        flags = choice.getrandbits(9) & known
        if choice.random() < 0.05:
            flags = choice.getrandbits(32)
        argument = choice.choice(NUMBERS) if choice.random() < 0.5 else 0
        first = choice.choice(WORDS) if command in (CONNECT, PRESENT) else b"" if command == HELLO else self.path()
        second = b""
        if command == protocol.RENAME:
            second = self.path()
        elif command == protocol.LIST and choice.random() < 0.3:
            second = choice.choice(self.tails)
        return message(command, first[:65535], second[:65535], flags=flags, argument=argument)

    def __iter__(self) -> Iterator[bytes]:
        choice, pool = self.random, self.pool
        rand, pick = choice.random, choice.randrange
        while True:
            data = pool[int(rand() * len(pool))]
            kind = rand()
            if kind < 0.66:
                yield data
                continue
            changed = bytearray(data)
            if kind < 0.8:
                changed[pick(len(changed))] = pick(256)
            elif kind < 0.86:
                del changed[pick(len(changed)) :]
            elif kind < 0.9:
                changed += bytes(pick(40))
            elif kind < 0.95:
                other = pool[pick(len(pool))]
                changed[REQUEST.size :] = other[REQUEST.size :]
                struct.pack_into("=HH", changed, 12, min(65535, len(changed) - REQUEST.size), 0)
            else:
                struct.pack_into("=I", changed, 4 + 4 * pick(2), choice.getrandbits(32))
            yield bytes(changed)


def resident() -> int:
    """Kilobytes of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    one = Field(tmp_path)
    yield one
    one.close()
    one.log.close()
    assert ["secret"] == os.listdir(one.outside)
    assert "secret" == (one.outside / "secret").read_text()
    assert {"tree", "outside", "log"} == set(os.listdir(tmp_path))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
def test_messages_that_nobody_would_send(field: Field, seed: int) -> None:
    handle = field.handle
    count = MESSAGES // len(SEEDS)
    sizes = []
    for number, data in zip(range(count), Mutator(field, seed), strict=False):
        if number % ANEW == 0:
            field.make()
        if number and number % (count // 10) == 0:
            sizes.append(resident())
        handle(data)
    assert max(sizes) - sizes[0] < GROWTH_MAX, sizes


requests = st.builds(
    message,
    st.integers(0, 12),
    st.binary(max_size=60) | st.lists(st.sampled_from([*NAMES, "..", "."]), max_size=5).map("/".join),
    st.binary(max_size=20) | st.sampled_from(NAMES),
    flags=st.integers(0, 2**32 - 1) | st.integers(0, 511),
    argument=st.sampled_from(NUMBERS) | st.integers(0, 2**32 - 1),
    version=st.sampled_from([1, 1, 1, 0, 2]),
)


@settings(max_examples=5000 if COMPLETE else 500)
@given(data=st.binary(max_size=100) | requests)
def test_any_message_gets_a_verdict(data: bytes) -> None:
    try:
        request = parse(data)
    except Malformed as error:
        reply(error.command, error.error)
        return
    table = Table(rules_for("/log", [rule("/d"), rule("/", "read", name="d")], hidden=["/d/sub"]))
    found = verdict(request, table)
    if request.command not in (HELLO, CONNECT, PRESENT):
        assert (found.error == 0) == (found.place is not None)
    assert request_name(request.command)


@pytest.mark.timeout(300)
def test_rules_that_nobody_would_write(field: Field) -> None:
    choice = random.Random(3)
    whole = encode(field.rules())
    requests_ = [parse(data) for data in Mutator(field, 4).pool[:200] if len(data) >= REQUEST.size]
    read = 0
    for _ in range(RULES):
        changed = bytearray(whole)
        for _ in range(choice.randrange(1, 4)):
            changed[choice.randrange(8, len(changed))] = choice.randrange(256)
        try:
            table = Table(decode(bytes(changed)))
        except ValueError:
            continue
        read += 1
        assert 0 <= verdict(choice.choice(requests_), table).error < 4096
    assert read > RULES // 100


@pytest.mark.timeout(120)
def test_agents_messages_that_nobody_would_send() -> None:
    choice = random.Random(5)
    blob = struct.pack(">I", 4) + b"blob"
    seeds = [b"\x0b", b"\x0d" + blob + blob + bytes(4), b"\x0c" + struct.pack(">I", 2) + blob * 4, b"\x0e" + blob]
    keys = agent.Keys(("blob", agent.fingerprint(b"blob").decode()))
    for _ in range(RULES):
        changed = bytearray(choice.choice(seeds))
        for _ in range(choice.randrange(3)):
            changed[choice.randrange(len(changed))] = choice.choice((0, 1, 4, 255, choice.randrange(256)))
        data = bytes(changed[: choice.randrange(1, len(changed) + 1)])
        assert agent.asked(data)[0] in (agent.LIST, agent.SIGN, agent.REFUSE)
        listed = keys.listed(data)
        assert listed == agent.FAILURE or len(listed) <= len(data)
        buffer = bytearray(data)
        try:
            assert taken(buffer, 100) is None or len(buffer) < len(data)
        except ValueError:
            assert buffer == data


@pytest.mark.timeout(300)
def test_a_running_broker_outlives_them(field: Field, tmp_path: Path) -> None:
    outward, field.log = field.log, Log(os.fsencode(tmp_path / "log"), "other", "app.1")
    outward.close()
    given = field.rules()
    given.log = str(tmp_path / "log")
    sizes = []
    with RunningBroker(given, tmp_path) as running:
        client = running.serve()
        for number, data in zip(range(SENT), Mutator(field, 6), strict=False):
            if number % (SENT // 10) == 0:
                sizes.append(int(running.status()["VmRSS"].split()[0]))
            try:
                client.send(data)
                answer = client.receive()
            except TimeoutError:  # connected to a listener whose broker was just ending
                assert not running.is_running()
                answer = None
            except (BrokenPipeError, ConnectionResetError):  # the same, and it has ended by now
                answer = None
            if answer is not None:
                for fd in answer.fds:
                    os.close(fd)
            if answer is None or answer.name in ("EPROTO", "EPROTONOSUPPORT"):
                client.socket.close()
                if not running.is_running():  # what a rule is for was replaced
                    assert AGAIN == running.wait()
                    field.make()
                    running.start()
                client = running.connect()
        client.socket.close()
    shutil.rmtree(running.directory)
    assert max(sizes) - sizes[1] < GROWTH_MAX, sizes

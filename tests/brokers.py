"""
Brokers without a box: a real broker process, started as the launcher starts it, and clients that speak to it in bytes.

`RunningBroker` is the launcher's monitor as far as a broker can tell: it holds the listening sockets and starts another
broker when one has ended. What tests send isn't made by `sandboxer.client`, so that it can be wrong.
"""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

from sandboxer.broker import protocol
from sandboxer.broker.protocol import REPLY, REQUEST, VERSION
from sandboxer.broker.rules import KEYS, Outward, Rule, Rules, Service, encode
from sandboxer.plan import broker_filter

ALONE = (
    "unshare", "--user", f"--map-user={os.getuid()}", f"--map-group={os.getgid()}", "--mount",
    "--propagation=unchanged", "--keep-caps", "--",
)  # fmt: skip
"""The namespaces that the launcher gives a broker, with the capabilities to make itself a root there."""
ENDS = 10.0
"""Seconds that a broker has to end."""
ALL = 0
for _rights in KEYS.values():
    ALL |= _rights


def rule(path: Path | str, *keys: str, root: Path | str = "", name: str = "", follow: bool = False) -> Rule:
    """A rule for a host path that the box calls by the same name; `name` is the one file in it that it is for."""
    rights = 0
    for key in keys:
        rights |= KEYS[key]
    directory = str(path)
    return Rule(
        path=f"{directory}/{name}" if name else directory,
        root=str(root or directory),
        name=name,
        rights=rights or ALL,
        follow=follow,
        origin=f"policy.toml:{len(directory)} broker.{keys[0] if keys else 'all'}",
    )


def program() -> bytes:
    """The broker's filter, from a cache of its own."""
    with tempfile.TemporaryDirectory() as directory:
        return broker_filter.program(f"{directory}/filters")


_PROGRAM: list[bytes] = []


def rules_for(
    log: Path | str,
    paths: Iterable[Rule] = (),
    *,
    hidden: Iterable[Path | str] = (),
    services: Iterable[Service] = (),
    outward: Iterable[Outward] = (),
    app: str = "app",
) -> Rules:
    """Rules with the real filter."""
    if not _PROGRAM:
        _PROGRAM.append(program())
    return Rules(
        app=app,
        log=str(log),
        paths=tuple(paths),
        hidden=tuple(str(path) for path in hidden),
        services=tuple(services),
        outward=tuple(outward),
        program=_PROGRAM[0],
    )


class Answer(NamedTuple):
    """A reply; `fds` are what came with it."""

    error: int
    value: int
    data: bytes
    fds: list[int]
    command: int

    @property
    def name(self) -> str:
        """ "ok", or the errno's name."""
        return errno.errorcode[self.error] if self.error else "ok"


def message(
    command: int,
    path: bytes | str | Path = b"",
    second: bytes | str | Path = b"",
    *,
    flags: int = 0,
    argument: int = 0,
    version: int = VERSION,
) -> bytes:
    """A request as it travels."""
    first, other = os.fsencode(path), os.fsencode(second)
    return REQUEST.pack(version, command, flags, argument, len(first), len(other)) + first + other


class Client:
    """A connection to a broker. A context manager."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(ENDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes, fds: Iterable[int] = ()) -> None:
        """Send bytes, with descriptors."""
        rights = array.array("i", fds)
        self.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else [])

    def receive(self) -> Answer | None:
        """The next answer; None at the end."""
        try:
            data, control, flags, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(64))
        except ConnectionResetError:
            return None
        fds: list[int] = []
        for level, kind, content in control:
            assert (socket.SOL_SOCKET, socket.SCM_RIGHTS) == (level, kind)
            fds += struct.unpack(f"{len(content) // 4}i", content)
        if not data:
            return None
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        version, command, error, value = REPLY.unpack_from(data)
        assert version == VERSION
        return Answer(error, value, data[REPLY.size :], fds, command)

    def ask(self, data: bytes) -> Answer:
        """Send a request and wait for its answer, which must come."""
        self.send(data)
        answer = self.receive()
        assert answer is not None, "the broker has hung up"
        return answer

    def open(self, path: bytes | str | Path, flags: int = protocol.READ, *, mode: int = 0) -> Answer:
        """OPEN."""
        return self.ask(message(protocol.OPEN, path, flags=flags, argument=mode))

    def read(self, path: bytes | str | Path) -> bytes:
        """What a file that is opened for reading holds; the errno's name where it can't be."""
        answer = self.open(path)
        if answer.error:
            return answer.name.encode()
        (fd,) = answer.fds
        with os.fdopen(fd, "rb") as file:
            return file.read()


class RunningBroker:
    """
    A broker's surroundings: sockets in a directory, rules, and the process once `start` or `serve` has been called.

    `steward` is the other end of the pair, `descriptor` the other end of the connected descriptor.
    """

    def __init__(
        self,
        rules: Rules | bytes,
        directory: Path,
        *,
        agent: bool = False,
        steward: bool = False,
        descriptor: bool = False,
    ) -> None:
        self.rules = rules if isinstance(rules, bytes) else encode(rules)
        self.directory = directory / "app.4711"
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self._short = tempfile.TemporaryDirectory(prefix="b")  # a socket's path is at most 107 bytes
        self.address = f"{self._short.name}/s"
        self.agent_address = f"{self._short.name}/a"
        self.sockets: dict[str, socket.socket] = {}
        self._listen("broker", self.address, socket.SOCK_SEQPACKET)
        if agent:
            self._listen("ssh-agent", self.agent_address, socket.SOCK_STREAM)
        self.steward: socket.socket | None = None
        self.descriptor: socket.socket | None = None
        if steward:
            self.steward, self.sockets["steward"] = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.steward.settimeout(ENDS)
        if descriptor:
            self.descriptor, self.sockets["descriptor"] = socket.socketpair(
                socket.AF_UNIX, socket.SOCK_SEQPACKET
            )
        self.process: subprocess.Popen[bytes] | None = None
        self.error = b""

    def _listen(self, name: str, address: str, kind: int) -> None:
        listener = socket.socket(socket.AF_UNIX, kind)
        listener.bind(address)
        listener.listen(4096)
        self.sockets[name] = listener

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        for held in (self.steward, self.descriptor, *self.sockets.values()):
            if held is not None:
                held.close()
        self._short.cleanup()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the broker; it may not be ready yet."""
        memory = os.memfd_create("rules")
        try:
            os.write(memory, self.rules)
            os.lseek(memory, 0, os.SEEK_SET)
            words = [f"{name}={held.fileno()}" for name, held in self.sockets.items()]
            code = "from sandboxer.companion import main; main()"
            self.process = subprocess.Popen(
                [*ALONE, sys.executable, "-E", "-P", "-c", code, "broker", str(self.directory), *words],
                stdin=memory,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[held.fileno() for held in self.sockets.values()],
                start_new_session=True,
            )
        finally:
            os.close(memory)
        return self.process

    def connect(self) -> Client:
        """A client of the broker, which needn't run."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(self.address)
        return Client(connection)

    def serve(self) -> Client:
        """Start the broker and return a client that it has answered."""
        self.start()
        client = self.connect()
        answer = client.ask(message(protocol.HELLO))
        assert answer.error == 0
        return client

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def wait(self, seconds: float = ENDS) -> int:
        """The status of a broker that ends by itself; what it said is in `error`."""
        assert self.process is not None
        _, self.error = self.process.communicate(timeout=seconds)
        return self.process.returncode

    def end(self) -> None:
        """End it, if it runs. A message on its standard error is a failure."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            _, error = self.process.communicate(timeout=ENDS)
            self.process = None
            assert error == b"", error.decode()

    def status(self) -> dict[str, str]:
        """/proc/PID/status by field."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}

    def is_running(self) -> bool:
        assert self.process is not None
        return self.process.poll() is None


def until(condition: object, seconds: float = ENDS) -> bool:
    """Whether `condition()` comes true in time."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())

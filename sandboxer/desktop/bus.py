"""
A D-Bus connection: calls, signals, a name of one's own.

What comes in: a bus's address, and what to ask. What goes out: the bodies of replies, or a `BusError`. Nothing is
introspected: portals have properties that dbus-next refuses to read of, and each call would cost two. It never reads
the environment: whoever calls knows the address. What dbus-next does wrong is mended in `wire`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote

from sandboxer.desktop.wire import AuthError, Connection, Message, MessageFlag, MessageType, Variant
from sandboxer.errors import BusError
from sandboxer.words import Record

__all__ = ["BlockingBus", "Bus", "Call", "Refusal", "Signal", "Variant", "connect"]

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 25.0
"""As the reference implementation's."""
DAEMON = "org.freedesktop.DBus"
DAEMON_PATH = "/org/freedesktop/DBus"
FAILED = "org.freedesktop.DBus.Error.Failed"
UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"
DO_NOT_QUEUE = 4
OWNED = (1, 4)
"""RequestName's replies that mean: the name is ours, now or before."""

T = TypeVar("T")


class Signal(Record):
    """A signal, from the service that `Bus.listen` named."""

    path: str
    interface: str
    member: str
    body: list[Any]


class Call(Record):
    """
    A call to a name of ours. `sender` is the caller's unique name, and can't be forged.

    `descriptors` are closed when the handler returns: what it keeps it must duplicate. In `body` they are indices.
    """

    sender: str
    path: str
    interface: str
    member: str
    signature: str
    body: list[Any]
    descriptors: tuple[int, ...]


class Refusal(Exception):
    """What a handler raises to answer with an error. The caller sees both texts."""

    def __init__(self, text: str, name: str = FAILED) -> None:
        super().__init__(text)
        self.name = name


Listener = Callable[[Signal], None]
Handler = Callable[[Call], tuple[str, list[Any]] | None]
"""
Returns the reply's signature and body. None: there is no such method; Ping and Introspect are then answered without it.
"""


class Bus:
    """One connection, in a running event loop. Made by `Bus.connect`, ended by `close`."""

    def __init__(self, connection: Connection, address: str) -> None:
        self._connection = connection
        self._address = address
        self._owners: dict[str, str] = {}
        self._listeners: list[tuple[str, str, str, str, Listener]] = []
        self._handler: Handler | None = None
        connection.add_message_handler(self._receive)

    @classmethod
    async def connect(cls, address: str, timeout_s: float = CONNECT_TIMEOUT_S) -> Bus:
        """
        Connect to a bus.

        Args:
            address: as in DBUS_SESSION_BUS_ADDRESS: `unix:path=…` or `unix:abstract=…`, several divided by `;`.
        Raises:
            BusError: nobody answers there, or not as a bus does, or the address can't be understood.
        """
        why = "not an address of a Unix socket"
        for name in _sockets(address):
            try:
                return cls(await _connected(name, timeout_s), address)
            except (OSError, EOFError, TimeoutError, AuthError, ValueError) as error:
                why = _reason(error)
        raise BusError(
            "cannot connect to the bus",
            subject=f"{address or 'no address'}: {why}",
            hint="see what is missing: sandbox doctor",
        )

    @property
    def name(self) -> str:
        """The connection's unique name (":1.42")."""
        return str(self._connection.unique_name)

    @property
    def is_connected(self) -> bool:
        return bool(self._connection.connected)

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        descriptors: Sequence[int] = (),
    ) -> list[Any]:
        """
        Call a method. Returns the reply's body; variants in it are `Variant`s.

        Args:
            signature, body: of the arguments. descriptors: sent along; "h" in the body is an index into them. They
                stay the caller's. Those that a reply brings are closed.
        Raises:
            BusError: the service refuses (its `name` says how), isn't there, or doesn't answer in time.
        """
        message = Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
            unix_fds=list(descriptors),
        )
        what = f"{interface}.{member}"
        if not self.is_connected:
            raise self._lost(what)
        try:
            reply = await asyncio.wait_for(self._connection.call(message), timeout_s)
        except TimeoutError as error:
            raise BusError(
                "a service doesn't answer",
                subject=f"{destination}: {what}: no answer in {timeout_s:g} s",
                name="org.freedesktop.DBus.Error.NoReply",
            ) from error
        except (OSError, EOFError) as error:
            raise self._lost(what) from error
        if reply is None:
            raise self._lost(what)
        if reply.message_type is MessageType.ERROR:
            text = str(reply.body[0]) if reply.body else reply.error_name
            raise BusError(
                "a service refuses", subject=f"{destination}: {what}: {text}", name=reply.error_name
            )
        return list(reply.body)

    async def listen(
        self, handler: Listener, *, sender: str, path: str = "", interface: str = "", member: str = ""
    ) -> None:
        """
        Have `handler` called for a service's signals. "" is any.

        A signal counts only if it comes from the connection that owns the name `sender` at that time: anybody on a bus
        may send anything to a connection that he knows.
        """
        if sender != DAEMON and sender not in self._owners:
            self._owners[sender] = ""
            await self._match(sender=DAEMON, path=DAEMON_PATH, member="NameOwnerChanged", arg0=sender)
            with contextlib.suppress(BusError):  # NameHasNoOwner
                owner = await self._ask_daemon("GetNameOwner", "s", [sender])
                self._owners[sender] = str(owner[0])
        self._listeners.append((sender, path, interface, member, handler))
        await self._match(sender=sender, path=path, interface=interface, member=member)

    def owner(self, name: str) -> str:
        """The unique name of who owns a name now, "" for nobody; known of names that `listen` was told."""
        return self._owners.get(name, "")

    def serve(self, handler: Handler) -> None:
        """Have every method call answered by `handler`. Call it before `own`."""
        self._handler = handler

    async def own(self, name: str) -> None:
        """
        Own a well-known name.

        Raises:
            BusError: somebody else owns it, or the bus forbids it.
        """
        reply = await self._ask_daemon("RequestName", "su", [name, DO_NOT_QUEUE])
        if reply[0] not in OWNED:
            raise BusError("a name on the bus is taken", subject=name)

    async def wait_closed(self) -> None:
        """Until the connection has ended, whoever ended it."""
        with contextlib.suppress(OSError, EOFError):
            await self._connection.wait_ended()

    def close(self) -> None:
        """End the connection, now. What waits for an answer gets a `BusError`."""
        self._connection.end()

    async def _ask_daemon(self, member: str, signature: str, body: list[Any]) -> list[Any]:
        return await self.call(DAEMON, DAEMON_PATH, DAEMON, member, signature, body)

    async def _match(self, **fields: str) -> None:
        rule = ",".join(["type='signal'", *(f"{key}='{value}'" for key, value in fields.items() if value)])
        await self._ask_daemon("AddMatch", "s", [rule])

    def _lost(self, what: str) -> BusError:
        return BusError("the connection to the bus has ended", subject=f"{self._address}: {what}")

    def _receive(self, message: Message) -> Message | bool:
        """dbus-next's hook for whatever comes. It never raises: what it raised would be sent to the caller."""
        if message.message_type is MessageType.SIGNAL:
            self._receive_signal(message)
        elif message.message_type is MessageType.METHOD_CALL and self._handler is not None:
            return self._answer(self._handler, message)
        return False

    def _receive_signal(self, message: Message) -> None:
        if (
            message.sender == DAEMON
            and message.member == "NameOwnerChanged"
            and message.body[0] in self._owners
        ):
            self._owners[message.body[0]] = message.body[2]
        for sender, path, interface, member, listener in self._listeners:
            if (
                message.sender == self._owners.get(sender, sender)
                and path in ("", message.path)
                and interface in ("", message.interface)
                and member in ("", message.member)
            ):
                listener(
                    Signal(
                        path=message.path,
                        interface=message.interface,
                        member=message.member,
                        body=message.body,
                    )
                )

    @staticmethod
    def _answer(handler: Handler, message: Message) -> Message | bool:
        call = Call(
            sender=message.sender or "",
            path=message.path,
            interface=message.interface or "",
            member=message.member,
            signature=message.signature,
            body=message.body,
            descriptors=tuple(message.unix_fds),
        )
        try:
            result = handler(call)
            if result is None:
                return False
            reply = Message.new_method_return(message, *result)
        except Refusal as error:
            reply = Message.new_error(message, error.name, str(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours is no reason to tell a caller our paths, or to end
            reply = Message.new_error(message, FAILED, f"a fault of the service: {type(error).__name__}")
        return True if message.flags & MessageFlag.NO_REPLY_EXPECTED else reply


class BlockingBus:
    """The same for a command: each method waits. A context manager; see `connect`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bus: Bus) -> None:
        self._loop = loop
        self._bus = bus
        self._busy = False
        self._stopped = False

    @property
    def name(self) -> str:
        return self._bus.name

    def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        descriptors: Sequence[int] = (),
    ) -> list[Any]:
        """As `Bus.call`."""
        return self._wait(
            self._bus.call(
                destination,
                path,
                interface,
                member,
                signature,
                body,
                timeout_s=timeout_s,
                descriptors=descriptors,
            )
        )

    def listen(
        self, handler: Listener, *, sender: str, path: str = "", interface: str = "", member: str = ""
    ) -> None:
        """As `Bus.listen`. `handler` is called while another method waits, `run` for one."""
        self._wait(self._bus.listen(handler, sender=sender, path=path, interface=interface, member=member))

    def serve(self, handler: Handler) -> None:
        """As `Bus.serve`. Calls are answered while `run` waits."""

        def noting(call: Call) -> tuple[str, list[Any]] | None:
            self._busy = True
            return handler(call)

        self._bus.serve(noting)

    def own(self, name: str) -> None:
        """As `Bus.own`."""
        self._wait(self._bus.own(name))

    def run(self, timeout_s: float) -> None:
        """
        Answer calls and listen to signals: until `timeout_s` have passed without a call, or `stop`.

        Raises:
            BusError: the connection has ended.
        """
        self._wait(self._serve(timeout_s))

    def stop(self) -> None:
        """For a handler: `run` is to return; the answer is sent before."""
        self._stopped = True
        self._loop.call_soon(lambda: None)

    async def _serve(self, timeout_s: float) -> None:
        self._stopped, self._busy = False, False
        idle_until = self._loop.time() + timeout_s
        closed = asyncio.ensure_future(self._bus.wait_closed())
        try:
            while not self._stopped and self._loop.time() < idle_until and not closed.done():
                await asyncio.wait({closed}, timeout=min(0.05, timeout_s))
                if self._busy:
                    self._busy, idle_until = False, self._loop.time() + timeout_s
            if closed.done():
                raise BusError("the connection to the bus has ended", subject=self.name)
        finally:
            closed.cancel()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)


@contextlib.contextmanager
def connect(address: str, timeout_s: float = CONNECT_TIMEOUT_S) -> Iterator[BlockingBus]:
    """A connection for as long as the `with` lasts; see `Bus.connect` for the address and what it raises."""
    loop = asyncio.new_event_loop()
    try:
        bus = loop.run_until_complete(Bus.connect(address, timeout_s))
        try:
            yield BlockingBus(loop, bus)
        finally:
            bus.close()
            loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()


async def _connected(name: str, timeout_s: float) -> Connection:
    """A connection that has been greeted. `name`: of a Unix socket, an abstract one after a zero byte."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.settimeout(timeout_s)
        client.connect(name)
        connection = Connection(client)
    except BaseException:
        client.close()
        raise
    try:
        await asyncio.wait_for(connection.connect(), timeout_s)
    except BaseException:
        connection.end()
        raise
    return connection


def _sockets(address: str) -> Iterator[str]:
    """The names of Unix sockets in an address, in order. Source: D-Bus specification, "Server Addresses"."""
    for one in address.split(";"):
        transport, _, words = one.partition(":")
        options = dict(word.partition("=")[::2] for word in words.split(","))
        if transport == "unix" and "path" in options:
            yield unquote(options["path"], errors="surrogateescape")
        elif transport == "unix" and "abstract" in options:
            yield "\0" + unquote(options["abstract"], errors="surrogateescape")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, EOFError):
        return "it ends the connection"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)

"""
Boxes as units of the user manager (systemd --user).

What comes in: a request that `scope_requests` has let pass. What goes out: the name of the unit that holds the box's
first process, once it does and its control group shows every limit; or a `ManagerError` of one line. It never says yes
to what it hasn't read back from the kernel.

A box has a scope, app-sandboxer-APPLICATION-RANDOM.scope in app.slice, by which desktops tell applications apart.
Where the launcher is the main process of a service, the box stays in that service, which counts for more: the limits
are then set on the service, as long as it runs.

Source: org.freedesktop.systemd1(5), systemd.resource-control(5), https://systemd.io/DESKTOP_ENVIRONMENTS.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from typing import Any
from urllib.parse import quote

from sandboxer.desktop.bus import Bus, Signal, Variant
from sandboxer.desktop.scopes.requests import Request, lives
from sandboxer.errors import BusError
from sandboxer.host.manager import BUS, GROUPS, group_of, read

SYSTEMD = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
SERVICE = "org.freedesktop.systemd1.Service"
PROPERTIES = "org.freedesktop.DBus.Properties"
SUBSCRIBED = "org.freedesktop.systemd1.AlreadySubscribed"
PATIENCE_S = 8.0
"""Less than the launcher has, so that it hears why."""
VERIFY_S = 2.0
"""A service's new limits reach the kernel when the manager gets round to it; a scope's are there before its process."""
STEP_S = 0.002
NAME_MAX = 200
"""Characters of an escaped application's name: a unit's name has at most 255."""
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")
SECOND_USEC = 1_000_000

Properties = list[list[Any]]
GOES_ON: list[Any] = ["OOMPolicy", Variant("s", "continue")]
"""The kernel ends the process that wants too much memory; the manager isn't to end the others of the box as well."""


class ManagerError(Exception):
    """One line for the user."""


class Units:
    """The manager of a runtime directory, by its session bus; connected when needed, and again when that has ended."""

    def __init__(self, runtime: str) -> None:
        self._runtime = runtime
        self._address = f"unix:path={quote(os.fsencode(os.path.join(runtime, BUS)), safe='/-_.*')}"
        self._bus: Bus | None = None
        self._subscribed_to = ""
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._connecting = asyncio.Lock()
        self._knows_oom_policy = True

    async def hold(self, request: Request) -> str:
        """
        Put a box into a unit with its limits. Returns the unit's name.

        Raises:
            ManagerError: it isn't there, or not with all limits.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                unit = await self._service_of(request.monitor)
                if unit:
                    await self._limit(unit, request)
                else:
                    unit = await self._make_scope(request)
                await _verify(unit, request)
        except TimeoutError as error:
            raise ManagerError("the user manager doesn't answer") from error
        except BusError as error:
            raise ManagerError(f"the user manager: {error.what}: {error.subject}") from error
        return unit

    async def move_in(self, pid: int, name: str, description: str) -> None:
        """
        Put a process of ours into a scope beside the applications.

        Raises:
            BusError, TimeoutError: the manager doesn't.
        """
        unit = f"{name}-{secrets.token_hex(4)}.scope"
        properties: Properties = [
            ["PIDs", Variant("au", [pid])],
            ["Slice", Variant("s", "background.slice")],
            ["Description", Variant("s", description)],
            ["CollectMode", Variant("s", "inactive-or-failed")],
        ]
        async with asyncio.timeout(PATIENCE_S):
            await self._start(unit, properties)

    def close(self) -> None:
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    async def _make_scope(self, request: Request) -> str:
        unit = scope_name(request.app, secrets.token_hex(4))
        properties: Properties = [
            ["PIDs", Variant("au", [request.pid])],
            ["Slice", Variant("s", "app.slice")],
            ["Description", Variant("s", f"{request.app} in a box")],
            ["CollectMode", Variant("s", "inactive-or-failed")],
            *_limits(request),
        ]
        if self._knows_oom_policy:
            try:
                result = await self._start(unit, [*properties, GOES_ON])
            except BusError as error:
                if GOES_ON[0] not in error.subject:
                    raise
                self._knows_oom_policy = False  # before version 252; there a scope always goes on
        if not self._knows_oom_policy:
            result = await self._start(unit, properties)
        if result != "done":
            raise ManagerError(f"the user manager has not made {unit}: {result}")
        return unit

    async def _limit(self, unit: str, request: Request) -> None:
        """
        Set the limits on a service that runs, for the session, but those that it has already, or stricter ones: what
        its unit says isn't to be loosened. What was set in this way before, for an earlier policy, may be.
        """
        group = group_of(request.monitor)
        place = GROUPS + group[: group.index(unit) + len(unit)] if unit in group else ""
        wanted = [
            [name, Variant("t", value)]
            for name, value in request.properties.items()
            if self._was_set(unit, name) or not _holds(name, value, _shown(place, name))
        ]
        if wanted:
            await self._call("SetUnitProperties", "sba(sv)", [unit, True, wanted])

    def _was_set(self, unit: str, name: str) -> bool:
        """Whether a property was set until the session's end. Source: systemd, src/core/unit.c, unit_write_setting."""
        file = f"{unit}.d/50-{'CPUQuota' if name == 'CPUQuotaPerSecUSec' else name}.conf"
        places = (f"{self._runtime}/systemd/{kind}/{file}" for kind in ("user.control", "transient"))
        return any(os.path.exists(place) for place in places)

    async def _start(self, unit: str, properties: Properties) -> str:
        """Start a transient unit, and wait for it. Returns what became of its job: "done" is well."""
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[unit] = done
        try:
            await self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", [unit, "fail", properties, []])
            return await done
        finally:
            del self._waiting[unit]

    async def _service_of(self, pid: int) -> str:
        """The service of which a process is the main one; "" where it isn't."""
        if not any(part.endswith(".service") for part in group_of(pid).split("/")[-2:]):
            return ""
        try:
            path = (await self._call("GetUnitByPID", "u", [pid]))[0]
            main, unit = await asyncio.gather(
                self._property(path, SERVICE, "MainPID"), self._property(path, f"{SYSTEMD}.Unit", "Id")
            )
        except BusError as error:
            if error.name.startswith("org.freedesktop.DBus.Error.Unknown") or error.name.endswith(
                "NoUnitForPID"
            ):
                return ""  # a scope, or not this manager's
            raise
        return str(unit) if main == pid else ""

    async def _property(self, path: str, interface: str, name: str) -> object:
        bus = await self._connected()
        reply = await bus.call(
            SYSTEMD, path, PROPERTIES, "Get", "ss", [interface, name], timeout_s=PATIENCE_S
        )
        return reply[0].value

    async def _call(self, member: str, signature: str, body: list[Any]) -> list[Any]:
        bus = await self._connected()
        return await bus.call(SYSTEMD, PATH, MANAGER, member, signature, body, timeout_s=PATIENCE_S)

    async def _connected(self) -> Bus:
        """The bus, listened to: jobs that end are told only to whoever has subscribed to this very manager."""
        async with self._connecting:
            if self._bus is None or not self._bus.is_connected:
                self._subscribed_to = ""
                self._bus = await Bus.connect(self._address)
                await self._bus.listen(
                    self._ended, sender=SYSTEMD, path=PATH, interface=MANAGER, member="JobRemoved"
                )
            owner = self._bus.owner(SYSTEMD)
            if not owner or owner != self._subscribed_to:
                try:
                    await self._bus.call(SYSTEMD, PATH, MANAGER, "Subscribe", timeout_s=PATIENCE_S)
                except BusError as error:
                    if error.name != SUBSCRIBED:
                        raise
                self._subscribed_to = self._bus.owner(SYSTEMD)
            return self._bus

    def _ended(self, signal: Signal) -> None:
        """JobRemoved: number, job, unit, result."""
        if len(signal.body) == 4 and (done := self._waiting.get(signal.body[2])) and not done.done():
            done.set_result(signal.body[3])


def scope_name(app: str, random: str) -> str:
    """The unit of an application's box, as desktop environments expect it."""
    name = ""
    for letter in escaped(app):
        if len(name) + len(letter) > NAME_MAX:
            break
        name += letter
    return f"app-sandboxer-{name}-{random}.scope"


def escaped(text: str) -> list[str]:
    r"""Each letter as systemd writes it in a unit's name: "-" is "\x2d". Source: systemd.unit(5), systemd-escape(1)."""
    letters = [chr(byte) if byte in PLAIN else f"\\x{byte:02x}" for byte in os.fsencode(text)]
    return ["\\x2e", *letters[1:]] if letters[:1] == ["."] else letters


def _limits(request: Request) -> Properties:
    return [[name, Variant("t", value)] for name, value in request.properties.items()]


async def _verify(unit: str, request: Request) -> None:
    """
    Wait until the kernel shows what was asked for.

    Raises:
        ManagerError: the process has ended, or isn't there.
        TimeoutError: by the caller's patience.
    """
    wrong = "?"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(VERIFY_S):
            while wrong:
                if not lives(request.pidfd):
                    raise ManagerError("the box has ended")
                wrong = _wrong(unit, request)
                if wrong:
                    await asyncio.sleep(STEP_S)
    if wrong:
        raise ManagerError(wrong)


def _wrong(unit: str, request: Request) -> str:
    """What isn't as it is to be, "" when all is."""
    group = group_of(request.pid)
    if unit not in group.split("/"):
        return f"the box's first process isn't in {unit}, but in {group or 'no control group'}"
    place = GROUPS + group[: group.index(unit) + len(unit)]
    for name, value in request.properties.items():
        shown = _shown(place, name)
        if not _holds(name, value, shown):
            return f"{unit}: {name} is {shown or 'not there'} instead of {value}"
    return ""


FILES = {
    "TasksMax": "pids.max",
    "MemoryMax": "memory.max",
    "MemorySwapMax": "memory.swap.max",
    "MemoryHigh": "memory.high",
    "CPUQuotaPerSecUSec": "cpu.max",
    "IOWeight": "io.weight",
}


def _shown(group: str, name: str) -> str:
    """What the kernel shows of a property; "": it has no file for it, and so holds nothing."""
    return read(f"{group}/{FILES[name]}").strip()


def _holds(name: str, value: int, shown: str) -> bool:
    """Whether a file of a control group holds it, or less. Source: Documentation/admin-guide/cgroup-v2.rst."""
    words = shown.split()
    if name == "CPUQuotaPerSecUSec":  # "QUOTA PERIOD"; the manager chooses the period, and rounds
        if len(words) != 2 or not words[0].isdigit():
            return False
        return int(words[0]) * SECOND_USEC // int(words[1]) <= value + value // 100
    if name == "IOWeight":  # "default WEIGHT", and lines for devices
        return words[:2] == ["default", str(value)]
    return shown.isdigit() and int(shown) <= value  # else "max"

"""A message bus of the box's own: who gets one, and what the others are told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fakes import FakeHost
from machines import effective, machine

from sandboxer.errors import ResolveError
from sandboxer.grants import bus
from sandboxer.grants.grant import Grant
from sandboxer.plan.ops import EnvEntry, Op
from sandboxer.policy.model import Bus, Display, Policy

ADDRESS = "DBUS_SESSION_BUS_ADDRESS"
WANTED = Policy(bus=Bus(private=True))
DAEMON = {"/usr/bin/dbus-daemon": ""}


def granted(policy: Policy, host: FakeHost) -> list[Grant]:
    return [one for one in bus.grants(effective(policy), host) if isinstance(one, Grant)]


def ops(found: list[Grant]) -> dict[str, Op]:
    return {str(op.box_path): op for grant in found for op in grant.ops}


def variables(found: list[Grant]) -> dict[str, EnvEntry]:
    return {entry.name: entry for grant in found for entry in grant.environment}


def test_a_box_with_a_bus_gets_its_address_and_what_starts_it() -> None:
    found = granted(WANTED, machine(DAEMON))
    assert {bus.SETTINGS, bus.STARTER} == set(ops(found))
    assert f"unix:path={bus.SOCKET}" == variables(found)[ADDRESS].value
    assert (bus.STARTER,) == bus.command_prefix(effective(WANTED), machine(DAEMON))


def test_the_bus_starts_no_service_by_its_name() -> None:
    assert "servicedir" not in bus.CONFIGURATION
    assert "standard_session_servicedirs" not in bus.CONFIGURATION


def test_a_bus_that_must_be_there_needs_the_daemon() -> None:
    with pytest.raises(ResolveError, match="message bus") as caught:
        granted(WANTED, machine())
    assert "dbus-daemon" in caught.value.hint


def test_where_there_is_no_daemon_a_wish_is_no_error_and_nothing_goes_before_the_command() -> None:
    wish = Policy(bus=Bus(private="if-present"))
    assert [] == granted(wish, machine())
    assert () == bus.command_prefix(effective(wish), machine())


def test_what_has_windows_is_told_that_there_is_no_bus() -> None:
    found = granted(Policy(display=Display(x11=True)), machine(DAEMON))
    assert "disabled:" == variables(found)[ADDRESS].value
    assert [] == granted(Policy(), machine(DAEMON))


def test_of_many_that_start_at_once_one_starts_the_bus_and_all_wait_for_it(tmp_path: Path) -> None:
    daemon, socket = tmp_path / "daemon", tmp_path / "bus"
    bind = f"import os, socket, time; time.sleep(0.5); socket.socket(socket.AF_UNIX).bind({str(socket)!r})"
    daemon.write_text(f'#!/bin/sh\necho >>{tmp_path}/daemons\n{sys.executable} -c "{bind}"\n')
    daemon.chmod(0o755)
    script = bus.SCRIPT.format(socket=socket, started=tmp_path / "started", daemon=daemon, settings="none")
    words = ["/bin/sh", "-c", script, "with-bus", "test", "-S", str(socket)]
    started = [subprocess.Popen(words) for _ in range(8)]
    assert [0] * 8 == [process.wait(20) for process in started]
    assert "\n" == (tmp_path / "daemons").read_text()
